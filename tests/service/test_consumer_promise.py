"""The promise of docs/consumers.md under members that work, fail, say nothing, come late and vanish, and under crashes.

Hypothesis thinks of what happens in which order: every hop between threads and every read is a step of its own. The
model is naive: it knows what was asked for and what was given, not why. What is checked after each step:

- an event is settled only if somebody asked for that;
- an event is given out only when all before it in its stream are settled, or were given to the same member;
- while a member surely holds events of a stream nobody else is given any of it;
- an event is acked once, and an append that acks it is stored once.

In the end one member drains the consumer: whatever was not settled comes to it, and then everything is settled.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from eventflowdb.consumers import BEGINNING
from eventflowdb.ids import find_ulid_bytes
from eventflowdb.storage.consumers import open_consumer, parked_from, retries_from
from tests.folders import MachineInFolder

from .fakes import ReplyError, request
from .members import NAME, TIMEOUT_MS, Members, adding

WORKERS = ["m", "n", "o"]
STREAMS = "abc"
REFUSALS = {"CONCURRENCY", "OOM"}


@dataclass
class Question:
    """What a worker has asked and was not answered; names: the events it is about."""

    kind: str
    names: list[str] = field(default_factory=list)


@dataclass
class Worker:
    """A member as the model sees it.

    believed: what it was ever given, in order, and may act upon, rightly or not; given: what it was given and may hold;
    until: what it surely held when it was told, and until when; is_unsure: it may hold what nobody has seen.
    """

    name: str
    believed: list[str] = field(default_factory=list)
    given: set[str] = field(default_factory=set)
    until: dict[str, float] = field(default_factory=dict)
    asked: list[Question] = field(default_factory=list)
    is_unsure: bool = False

    def let_go(self, stream: str) -> None:
        """It may not hold what it held of a stream."""
        for name in [name for name in self.until if name[0] == stream]:
            del self.until[name]

    def forget(self) -> None:
        """It holds nothing."""
        self.given.clear()
        self.until.clear()
        self.is_unsure = False

    def surely_holds(self, stream: str, settled: set[str], now: float) -> bool:
        """Whether it holds events of a stream, whatever else has happened.

        The whole stream is taken from it when the time of any of them is over, the others' too.
        """
        held = {name for name in self.given - settled if name[0] == stream}
        return not self.is_unsure and bool(held) and min(self.until.get(name, now) for name in held) > now

    @property
    def is_waiting(self) -> bool:
        """Whether what it asks now would wait behind a FETCH."""
        return any(question.kind == "FETCH" for question in self.asked)


class Promise(MachineInFolder):
    """A server whose every step is taken by hand, and the members of one consumer."""

    def __init__(self) -> None:
        super().__init__()
        self.members = Members(self.folder / "database")
        self.members.make(tries_max=4)
        self.workers = {name: Worker(name) for name in WORKERS}
        self.events: list[str] = []
        """In the order of the log, as far as their writers were told."""
        self.begin_epoch(0)
        self.results_before: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        """By the stream: how many events were asked to be appended."""
        self.requests = 0
        """How many appends were sent under a request id of their own."""

    def begin_epoch(self, start: int) -> None:
        """The consumer begins anew behind so many events."""
        self.start = start
        self.asked_to_settle: set[str] = set()
        self.acked: set[str] = set()
        """By an answer that was about this event alone."""
        for worker in self.workers.values():
            worker.forget()

    @property
    def now(self) -> float:
        """The time of the server's clock."""
        return self.members.server.clock.seconds()

    def pick_worker(self, data: Any) -> Worker:
        """One that is not waiting for events."""
        free = [worker for worker in self.workers.values() if not worker.is_waiting]
        place: int = data.draw(st.integers(0, len(free) - 1))
        return free[place]

    def is_one_free(self) -> bool:
        """Whether there is such a one."""
        return not all(worker.is_waiting for worker in self.workers.values())

    def has_work(self) -> bool:
        """Whether one that is not waiting knows of events."""
        return any(worker.believed and not worker.is_waiting for worker in self.workers.values())

    def pick_work(self, data: Any, count: int = 3) -> tuple[Worker, list[str]]:
        """A worker, and some of the events it was given lately."""
        workers = [worker for worker in self.workers.values() if worker.believed and not worker.is_waiting]
        worker = workers[data.draw(st.integers(0, len(workers) - 1))]
        lately = list(dict.fromkeys(worker.believed[-8:]))
        return worker, data.draw(st.lists(st.sampled_from(lately), min_size=1, max_size=count, unique=True))

    def ask(self, worker: Worker, question: Question, *words: str) -> None:
        """Let a worker ask; nothing moves yet."""
        worker.asked.append(question)
        self.members.send(worker.name, *words)

    # What happens.

    @initialize(streams=st.text(STREAMS, min_size=1, max_size=6))
    def begin(self, streams: str) -> None:
        """There is something to do from the start."""
        self.append(streams, is_other=True)

    @rule(streams=st.text(STREAMS, min_size=1, max_size=4), is_other=st.booleans())
    def append(self, streams: str, is_other: bool) -> None:
        """Events come, one append each, and perhaps one that the consumer is not for."""
        for stream in streams:
            name = f"{stream}{self.counts[stream]}"
            self.counts[stream] += 1
            self.members.send("w", "ADD", adding(name))
        if is_other:
            self.members.send("w", "ADD", adding("a-other", type="other"))

    @precondition(is_one_free)
    @rule(
        data=st.data(), limit=st.integers(1, 4), wait_ms=st.sampled_from([0, 0, 500, 100_000]), count=st.integers(1, 2)
    )
    def fetch(self, data: Any, limit: int, wait_ms: int, count: int) -> None:
        """A worker asks for events, once or twice at once."""
        worker = self.pick_worker(data)
        for _ in range(count):
            worker.asked.append(Question("FETCH"))
        words = self.members.fetching(worker.name, limit, wait_ms)
        self.members.connection(worker.name).send(request("FETCH", words) * count)

    @precondition(is_one_free)
    @rule(data=st.data(), limit=st.integers(1, 4))
    def receive(self, data: Any, limit: int) -> None:
        """A worker asks for events and is answered: without it most runs have nobody hold anything."""
        self.fetch(data, limit, 0, 1)
        self.settle_down()

    @precondition(has_work)
    @rule(data=st.data())
    def ack(self, data: Any) -> None:
        """A worker says that events are done, rightly or late."""
        worker, names = self.pick_work(data)
        self.asked_to_settle.update(names)
        for name in names:
            worker.let_go(name[0])
        self.ask(worker, Question("ACK", names), "ACK", self.members.acking(worker.name, *names))

    @precondition(has_work)
    @rule(data=st.data(), fate=st.sampled_from(["again", "later", "park", "release"]))
    def nack(self, data: Any, fate: str) -> None:
        """A worker says that events failed, rightly or late."""
        worker, names = self.pick_work(data)
        if fate == "park":
            self.asked_to_settle.update(names)
        for name in names:
            worker.let_go(name[0])
        options: dict[str, dict[str, Any]] = {
            "again": {"delay_ms": 0},
            "later": {"delay_ms": 2000},
            "park": {"park": True},
            "release": {"release": True},
        }
        nack = self.members.nacking(worker.name, *names, **options[fate])
        self.ask(worker, Question(f"NACK {fate}", names), "NACK", nack)

    @precondition(has_work)
    @rule(data=st.data(), version=st.sampled_from(["any", "any", "any", 1000]), is_twice=st.booleans())
    def add(self, data: Any, version: str | int, is_twice: bool) -> None:
        """A worker appends what came of an event, which acks it; twice perhaps, as one that has had no answer does."""
        worker, (name,) = self.pick_work(data, 1)
        if version == "any":
            self.asked_to_settle.add(name)
            worker.let_go(name[0])
        fields: dict[str, Any] = {"version": version}
        if is_twice:
            self.requests += 1
            fields["request_id"] = f"request {self.requests}"
        words = self.members.adding(worker.name, name, name, **fields)
        for repetition in range(1 + is_twice):
            self.ask(worker, Question("ADD again" if repetition else "ADD", [name]), "ADD", words)

    @rule(milliseconds=st.sampled_from([1, 500, 2000, TIMEOUT_MS // 2, TIMEOUT_MS]))
    def pass_time(self, milliseconds: int) -> None:
        """Nothing is heard for a time."""
        self.members.server.clock.advance(milliseconds / 1000)

    @precondition(lambda self: self.members.server.thread.jobs)
    @rule()
    def commit(self) -> None:
        """What waits is stored; nobody is told yet."""
        self.members.server.thread.step()

    @precondition(lambda self: self.members.server.reactor.calls)
    @rule()
    def tell(self) -> None:
        """Those are told whose writes were stored."""
        self.members.server.reactor.turn()

    @precondition(lambda self: self.members.server.pool.reads)
    @rule(data=st.data())
    def read(self, data: Any) -> None:
        """A read happens."""
        self.members.server.pool.step(data.draw(st.integers(0, len(self.members.server.pool.reads) - 1)))

    @rule()
    def run(self) -> None:
        """All happens that is under way."""
        self.members.run()

    @rule(is_full=st.booleans())
    def fill_or_free_the_disk(self, is_full: bool) -> None:
        """There is no room on the disk any more, or again."""
        self.members.on_a_full_disk(is_full)

    @rule(name=st.sampled_from(WORKERS), is_half=st.booleans())
    def lose(self, name: str, is_half: bool) -> None:
        """A worker's connection breaks, after a goodbye or without. What it has asked for may be done or not."""
        if is_half:
            self.members.connection(name).conversation.input_ended()
            self.collect()
        self.members.lose(name)
        worker = self.workers[name]
        worker.is_unsure |= worker.is_waiting
        worker.asked.clear()

    @rule(data=st.data(), kind=st.sampled_from(["crash", "reset", "replay"]))
    def upset(self, data: Any, kind: str) -> None:
        """What seldom happens, and lets go of what members hold: one rule, for else they would never hold much."""
        if kind == "crash":
            self.crash()
        elif kind == "replay":
            self.replay()
        elif self.events:
            self.reset(data)

    def replay(self) -> None:
        """All parked events are given out again."""
        self.settle_down()
        parked = self.parked()
        replayed = self.members.ask("admin", "CONSUMER", replay=NAME)
        if not isinstance(replayed, ReplyError):
            assert replayed == len(parked)
            self.asked_to_settle -= parked
            self.acked -= parked
            for worker in self.workers.values():
                worker.given -= parked

    def reset(self, data: Any) -> None:
        """The consumer begins anew somewhere."""
        self.settle_down()
        start = data.draw(st.integers(0, len(self.events)))
        after = self.members.ids[self.events[start - 1]] if start else "beginning"
        self.members.send("admin", "CONSUMER", json.dumps({"reset": NAME, "after": after}))
        self.members.server.commit()
        (reply,) = self.members.told("admin")
        self.collect(is_stale=True)
        for worker in self.workers.values():
            # Though it be refused for want of room: who held what is forgotten.
            worker.until.clear()
        if not isinstance(reply, ReplyError):
            self.begin_epoch(start)
            self.results_before = Counter(self.members.results())

    def crash(self) -> None:
        """The process is gone between two steps; another one opens the same files."""
        self.members.restart()
        for worker in self.workers.values():
            worker.asked.clear()
            worker.forget()
        self.learn_of_appends()

    # What is told.

    def settle_down(self) -> None:
        """Let all happen that is under way, and hear of it."""
        self.members.run()
        self.hear()

    @invariant()
    def hear(self) -> None:
        """Everybody hears what they were told, and all of it is right."""
        self.learn_of_appends()
        self.collect()
        self.check_what_is_settled()

    def learn_of_appends(self) -> None:
        """The events that are stored."""
        chunk = self.members.server.store.open_log(BEGINNING, 1 << 20)
        assert chunk.rest is None
        found = [event for event in map(json.loads, chunk.records) if event["type"] == "t"]
        self.events = [event["data"] for event in found]
        self.members.ids.update({event["data"]: event["id"] for event in found})

    def collect(self, *, is_stale: bool = False) -> None:
        """Take the answers in their order, since what one is given is taken from others; stale: of before a reset."""
        for name, reply in self.members.told_all():
            worker = self.workers.get(name)
            if worker is None:
                continue  # a writer
            question = worker.asked.pop(0)
            if question.kind == "FETCH":
                self.take_fetched(worker, reply, is_stale=is_stale)
            else:
                self.take_answer(question, reply)

    def take_fetched(self, worker: Worker, names: Any, *, is_stale: bool) -> None:
        """A worker is given events."""
        if isinstance(names, ReplyError):
            raise AssertionError(names)
        worker.believed += names
        if is_stale:
            return
        parked, settled = self.parked(), self.settled()
        for name in names:
            stream = name[0]
            place = self.events.index(name)
            assert place >= self.start
            for earlier in self.events[self.start : place]:
                if earlier[0] == stream and earlier not in self.asked_to_settle | parked | worker.given:
                    raise AssertionError(f"{worker.name} was given {name} before {earlier}")
            for other in self.workers.values():
                if other is not worker:
                    is_held = other.surely_holds(stream, settled, self.now)
                    assert not is_held, f"{other.name} holds events of {stream}"
                    other.given = {held for held in other.given if held[0] != stream}
            worker.given.add(name)
        for name in names:
            worker.until[name] = self.now + TIMEOUT_MS / 1000

    def take_answer(self, question: Question, reply: Any) -> None:
        """A worker is told what became of what it asked for."""
        if isinstance(reply, ReplyError):
            assert reply.code in REFUSALS, reply
            return
        if question.kind == "ADD":
            assert reply == question.names
            self.note_acked(question.names[0])
        elif question.kind == "ADD again":
            assert reply == question.names
        elif question.kind == "ACK":
            assert reply <= len(question.names)
            if len(question.names) == reply:
                for name in question.names:
                    self.note_acked(name)

    def note_acked(self, name: str) -> None:
        """An answer says that it acked an event that had not been acked."""
        assert name not in self.acked, f"{name} was acked twice"
        self.acked.add(name)

    def parked(self) -> set[str]:
        """The parked events, as they are stored."""
        found = parked_from(self.members.server.store.environment, NAME, BEGINNING, 1 << 20)
        return {json.loads(event.record)["data"] for event in found}

    def settled(self) -> set[str]:
        """The events that count as done or are parked, as they are stored, without those before the start."""
        environment = self.members.server.store.environment
        opened = open_consumer(environment, NAME)
        again = {retry.settlement.id for retry in retries_from(environment, opened.consumer, BEGINNING, 1 << 20)}
        ids = {name: find_ulid_bytes(self.members.ids[name]) or b"" for name in self.events[self.start :]}
        passed = {name for name, event_id in ids.items() if event_id <= opened.consumer.checkpoint}
        return {name for name, event_id in ids.items() if name in passed or event_id in opened.done} - {
            name for name, event_id in ids.items() if event_id in again
        }

    def check_what_is_settled(self) -> None:
        """Nothing is settled that nobody asked to be settled, and of no event there is more than one result."""
        unasked = self.settled() - self.asked_to_settle - self.parked()
        assert not unasked, f"{unasked} were settled by nobody"
        counts = Counter(self.members.results()) - self.results_before
        assert max(counts.values(), default=0) <= 1, f"{counts} results of one event"

    def close(self) -> None:
        """The server is no more."""
        self.members.close()

    def end(self) -> None:
        """Everyone is gone; one comes and does all there is to do."""
        self.members.on_a_full_disk(False)
        self.settle_down()
        for worker in self.workers.values():
            self.members.lose(worker.name)
        self.members.pass_ms(10 * TIMEOUT_MS)
        self.members.run()
        self.learn_of_appends()
        owed = set(self.events[self.start :]) - self.asked_to_settle - self.parked()
        drained: list[str] = []
        while names := self.members.fetch("drain", 3):
            for name in names:
                drained.append(name)
                self.asked_to_settle.add(name)
                assert self.members.add("drain", name, name) == [name]
        for stream in STREAMS:
            assert [name for name in drained if name[0] == stream] == [
                name for name in self.events if name in drained and name[0] == stream
            ]
        assert len(set(drained)) == len(drained)
        assert owed <= set(drained), "some were lost"
        assert self.members.listed()["lag"] == 0
        if self.events[self.start :]:
            assert self.members.checkpoint() == self.events[-1]
        self.check_what_is_settled()


def test_consumers_keep_their_promise_whatever_happens() -> None:
    run_state_machine_as_test(Promise, settings=settings(max_examples=200, stateful_step_count=50, deadline=None))
