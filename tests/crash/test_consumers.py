"""SIGKILL while the members of a consumer work, round after round: the promise of docs/consumers.md holds.

Events are of two kinds: some are acked by ACK, some by an append alone, so that it shows which of them have a result.
Members also fail events, forget some, and come too late. CRASH_ROUNDS and CRASH_SEED make a longer run, or the same
choices again.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.crash.load import PATIENCE_SECONDS, rounds, seeded, streams_of
from tests.system.resp import Connection, Refusal, encode, records
from tests.system.server import Server, wait_until

pytestmark = pytest.mark.system

NAME = "c"
ACKED, APPENDED, OTHER = "acked", "appended", "other"
"""The types of events: what becomes of them, or that the consumer is not for them."""
MEMBERS = 4
STREAMS = 16
ROUNDS_OF_A_LOG = 10
"""After so many rounds the consumer is drained, and the next round begins a new log."""
LOAD_SECONDS_MAX = 0.8
TIMEOUT_MS = 100
BEHIND_MAX = 2000
"""A writer that is so many events ahead of the members waits for them."""


@dataclass
class Journal:
    """What members asked and were told; times are monotonic, in nanoseconds.

    given: by event, when the FETCHes were sent that brought it; asked: events that somebody asked to settle; done: when
    it was known that they were settled; results: events whose append was answered; unexpected: refusals of other
    reasons than that a member was late.
    """

    given: dict[str, list[int]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    done: dict[str, int] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)
    unexpected: list[Refusal] = field(default_factory=list)

    def note_done(self, ids: Iterable[str]) -> None:
        """These are settled, as of now."""
        now = time.monotonic_ns()
        for event_id in ids:
            self.done.setdefault(event_id, now)

    def check(self) -> None:
        """Nothing came after it was settled."""
        assert not self.unexpected, self.unexpected
        for event_id, ended in self.done.items():
            assert max(self.given.get(event_id, [0])) < ended, f"{event_id} came again after it was settled"


class Member:
    """One member on one connection. stream: where it appends what came of events."""

    def __init__(self, connection: Connection, name: str, stream: str, journal: Journal) -> None:
        self._connection = connection
        self._name = {"consumer": NAME, "member": name}
        self._stream = stream
        self._journal = journal

    def fetch(self, limit: int, wait_ms: int) -> list[Any]:
        """FETCH."""
        sent = time.monotonic_ns()
        fetch = json.dumps({**self._name, "limit": limit, "wait_ms": wait_ms})
        events = [json.loads(record) for record in records(self._connection.call("FETCH", fetch))]
        for event in events:
            self._journal.given.setdefault(event["id"], []).append(sent)
        return events

    def settle(self, events: Sequence[Mapping[str, Any]], failed: Iterable[tuple[str, dict[str, Any]]] = ()) -> None:
        """Ack each in its way, and fail others, all at once; then read the answers."""
        acked = [event["id"] for event in events if event["type"] == ACKED]
        appended = [event["id"] for event in events if event["type"] == APPENDED]
        self._journal.asked.update(acked, appended)
        requests = [encode("ADD", json.dumps(self._append(event_id))) for event_id in appended]
        requests.append(encode("ACK", json.dumps({**self._name, "ids": acked})))
        requests += [encode("NACK", json.dumps({**self._name, "ids": [name], **how})) for name, how in failed]
        self._connection.send(b"".join(requests))
        for event_id in appended:
            if self._is_taken():
                self._journal.results.add(event_id)
                self._journal.note_done([event_id])
        if self._is_taken():
            self._journal.note_done(acked)
        for _ in requests[len(appended) + 1 :]:
            self._is_taken()

    def _append(self, event_id: str) -> dict[str, Any]:
        return {
            "stream": self._stream,
            "version": "any",
            "events": [{"type": "result", "data": event_id}],
            "checkpoint": {**self._name, "id": event_id},
        }

    def _is_taken(self) -> bool:
        reply = self._connection.read()
        if isinstance(reply, Refusal) and reply.code != "CONCURRENCY":
            self._journal.unexpected.append(reply)
        return not isinstance(reply, Refusal)


def work(server: Server, chance: random.Random, name: str, stream: str, journal: Journal) -> None:
    """Be a member until the connection breaks."""
    with server.connect() as connection:
        member = Member(connection, name, stream, journal)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            events = member.fetch(chance.choice((1, 5, 20, 100)), chance.choice((0, 20)))
            done, failed = [], []
            for event in events:
                dice = chance.random()
                if dice < 0.90:
                    done.append(event)
                elif dice < 0.98:
                    failed.append((event["id"], chance.choice(({"delay_ms": 0}, {"delay_ms": 50}, {"release": True}))))
                # Others it forgets, and they time out.
            if chance.random() < 0.02:
                time.sleep(1.5 * TIMEOUT_MS / 1000)
            member.settle(done, failed)


def write(server: Server, chance: random.Random, streams: Sequence[str], journal: Journal) -> None:
    """Append events until the connection breaks."""
    written = len(journal.given)
    with server.connect() as connection:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if written > len(journal.given) + BEHIND_MAX:
                time.sleep(0.01)
                continue
            types = chance.choices((ACKED, APPENDED, OTHER), (4, 4, 1), k=chance.randint(1, 20))
            add = {
                "stream": chance.choice(streams),
                "version": "any",
                "events": [{"type": kind, "data": ""} for kind in types],
            }
            written += len(records(connection.call("ADD", json.dumps(add))))


def until_it_breaks(journal: Journal, target: Callable[..., None], *arguments: Any) -> threading.Thread:
    """A thread that ends with its connection."""

    def run() -> None:
        try:
            with suppress(ConnectionError):
                target(*arguments, journal)
        except Refusal as refusal:
            journal.unexpected.append(refusal)

    return threading.Thread(target=run)


def listed(connection: Connection) -> Any:
    """The consumer as the server has it."""
    (consumer,) = records(connection.call("CONSUMER", "LIST"))
    return json.loads(consumer)


def check_what_is_stored(connection: Connection, results: str, journal: Journal) -> list[Any]:
    """The checkpoint has passed nothing too early, and each answered append is there once; the events for members."""
    log = [json.loads(record) for record in connection.read_log()]
    found = Counter(event["data"] for event in log if event["stream"] == results)
    assert max(found.values(), default=1) == 1, f"{found.most_common(1)}: more than one result"
    assert journal.results <= set(found), "an answered append is lost"
    mine = [event for event in log if event["type"] in (ACKED, APPENDED)]
    assert set(found) <= {event["id"] for event in mine if event["type"] == APPENDED} & journal.asked
    checkpoint = listed(connection)["checkpoint"]
    passed = [event for event in mine if event["id"] <= checkpoint]
    for event in passed:
        assert event["id"] in (found if event["type"] == APPENDED else journal.asked), f"{event} was passed too early"
    journal.note_done(found)
    journal.note_done([event["id"] for event in passed])
    return mine


def drain(connection: Connection, results: str, journal: Journal) -> list[str]:
    """Do all that is left; the ids of what came."""
    member = Member(connection, "drain", results, journal)
    drained: list[str] = []

    def is_drained() -> bool:
        events = member.fetch(1000, 100)
        drained.extend(event["id"] for event in events)
        member.settle(events)
        return not events and listed(connection)["lag"] == 0

    wait_until(is_drained)
    return drained


def check_the_end(connection: Connection, results: str, journal: Journal) -> int:
    """Drain the consumer: what was not settled comes once, in the order of each stream; gives how many events."""
    owed = {event["id"] for event in check_what_is_stored(connection, results, journal)} - journal.asked
    drained = drain(connection, results, journal)
    assert len(set(drained)) == len(drained)
    assert owed <= set(drained)
    mine = check_what_is_stored(connection, results, journal)
    assert {event["id"] for event in mine} <= set(journal.given), "some were never given out"
    assert journal.results | set(journal.done) >= {event["id"] for event in mine}
    places = {event_id: place for place, event_id in enumerate(drained)}
    for stream in {event["stream"] for event in mine}:
        order = [places[event["id"]] for event in mine if event["stream"] == stream and event["id"] in places]
        assert order == sorted(order), f"events of {stream} came out of order"
    if mine:
        assert listed(connection)["checkpoint"] >= mine[-1]["id"]
    journal.check()
    return len(mine)


def test_consumers_keep_their_promise_through_sigkill(start_server: StartServer) -> None:
    chance, names = seeded(), count()
    left = rounds(4)
    while left > 0:
        journal = Journal()
        results, *streams = streams_of(chance, 1 + STREAMS)
        data = f"data{left}"
        for _ in range(min(left, ROUNDS_OF_A_LOG)):
            server = start_server(DATA=data)
            with server.connect() as connection:
                create = {"create": NAME, "query": {"types": [ACKED, APPENDED]}, "timeout_ms": TIMEOUT_MS}
                connection.call("CONSUMER", json.dumps({**create, "retry_ms": 20, "tries_max": 0}))
                check_what_is_stored(connection, results, journal)
            threads = [
                until_it_breaks(journal, work, server, random.Random(chance.random()), f"m{next(names)}", results)
                for _ in range(MEMBERS)
            ]
            threads.append(until_it_breaks(journal, write, server, random.Random(chance.random()), streams))
            threads.append(threading.Timer(chance.uniform(0.1, LOAD_SECONDS_MAX), server.process.kill))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            server.kill()
            journal.check()
        with start_server(DATA=data) as server, server.connect() as connection:
            total = check_the_end(connection, results, journal)
        print(f"{total} events, {len(journal.results)} with a result, {sum(map(len, journal.given.values()))} given")
        assert total
        left -= ROUNDS_OF_A_LOG
