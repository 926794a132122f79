"""Group commit: what shares a batch, what each append is told, and what happens when storing fails."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import sampled_from
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from eventflowdb.append import Append
from eventflowdb.errors import EventflowError, StorageFailed, StoreFull, WrongExpectedVersion
from eventflowdb.events import CheckedEvent
from eventflowdb.limits import BATCH_BYTES_MAX, DEFERRED_SECONDS_MAX, EAGER_SECONDS
from eventflowdb.service.notices import Notices
from eventflowdb.service.writer import GroupCommitWriter
from eventflowdb.storage.batch import Outcome, Write
from eventflowdb.storage.transactions import OnStaged, run_here

from .fakes import STREAM, LoggedFaults, SteppedReactor, SteppedThread

FULL = StoreFull("the disk is full")
FAILED = StorageFailed("the disk failed")
BROKEN = RuntimeError("nobody expected this")


def numbered(number: int, size_bytes: int = 100) -> Append:
    """An append that can be told by its expected version."""
    return Append.to_stream(STREAM, number, [CheckedEvent.of(type="t", data="")], size_bytes)


def stored_of(number: int) -> list[bytes]:
    """What FakeStore stores of it."""
    return [b'{"id":"%026d","stream":"%b","version":%d,"position":1}' % (number, STREAM.encode(), number)]


class FakeStore:
    """Keeps the batches; on_batch runs while one is stored, faults say what becomes of the next ones."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.faults: list[Exception | None] = []
        self.showing_fault: Exception | None = None
        """What becomes of letting reads see."""
        self.refusals: dict[int, EventflowError] = {}
        self.on_batch: Callable[[], None] = lambda: None
        self.has_deferred = False
        self.is_much = False
        """Whether what is deferred is so much that it is to be seen as soon as it is answered."""
        self.shown: list[int] = []
        """So many batches there were whenever reads were let see them."""

    @property
    def has_much_deferred(self) -> bool:
        """As the test says."""
        return self.has_deferred and self.is_much

    def append_batch(self, writes: Sequence[Write], on_staged: OnStaged, *, may_defer: bool) -> list[Outcome]:
        """Keep the batch."""
        numbers = [int(write.parts[0].expected_version) for write in writes if isinstance(write, Append)]
        self.batches.append(numbers)
        self.on_batch()
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        self.has_deferred = may_defer
        if not may_defer:
            self.shown.append(len(self.batches))
        return [self.refusals.get(number) or stored_of(number) for number in numbers]

    def commit_deferred(self) -> None:
        """Let reads see all of it."""
        if self.showing_fault is not None:
            raise self.showing_fault
        self.has_deferred = False
        self.shown.append(len(self.batches))


class FakeInline:
    """Has batches committed on the reactor's thread or not, as the test says."""

    def __init__(self) -> None:
        self.is_on = False
        self.asked: list[tuple[int, int]] = []
        """For how many writes, and how many other requests there were."""
        self.seconds: list[float] = []

    def may_take(self, writes: Sequence[Write], others: int) -> bool:
        """As the test says."""
        self.asked.append((len(writes), others))
        return self.is_on

    def took(self, seconds: float) -> None:
        """Keep it."""
        self.seconds.append(seconds)


class Bench:
    """A writer over fakes, and what it told each append."""

    def __init__(self, *, is_deferring: bool = False, store: FakeStore | None = None) -> None:
        self.inline = FakeInline()
        self.store = store or FakeStore()
        self.thread = SteppedThread()
        self.reactor = SteppedReactor()
        self.clock = Clock()
        self.notices = Notices(self.clock)
        self.failures: list[StorageFailed] = []
        self.soon: list[Callable[[], None]] = []
        """What is to be called at the end of the turn; without deferring it is called at once."""
        self.writer = GroupCommitWriter(
            self.store,
            self.thread,
            self.reactor,
            self.failures.append,
            self.notices,
            self.clock.seconds,
            deferring=self.clock if is_deferring else None,
            soon=self.soon.append if is_deferring else run_here,
            inline=self.inline,
        )
        self.settled: list[tuple[int, Outcome]] = []

    def append(self, *numbers: int, size_bytes: int = 100) -> None:
        """Queue appends with these numbers."""
        for number in numbers:
            self.writer.append(numbered(number, size_bytes), self.keeper(number))

    def keeper(self, number: int) -> Callable[[Outcome], None]:
        """Keeps what an append is told."""
        return lambda outcome: self.settled.append((number, outcome))

    def end_turn(self) -> None:
        """Let happen what the end of the reactor's turn brings, without any thread."""
        while self.soon:
            self.soon.pop(0)()

    def run(self) -> None:
        """Let everything happen."""
        while self.soon or self.thread.jobs or self.reactor.calls:
            self.end_turn()
            if self.thread.jobs:
                self.thread.step()
            while self.reactor.calls:
                self.reactor.turn()

    def outcomes(self) -> dict[int, Outcome]:
        """What each append was told; none was told twice."""
        outcomes = dict(self.settled)
        assert len(outcomes) == len(self.settled)
        return outcomes


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def deferring() -> Bench:
    """One whose reads see what is stored a little later."""
    return Bench(is_deferring=True)


def test_all_that_waits_goes_into_one_batch(bench: Bench) -> None:
    bench.append(1, 2, 3)
    bench.run()
    assert bench.store.batches == [[1, 2, 3]]
    assert bench.outcomes() == {number: stored_of(number) for number in (1, 2, 3)}


def test_nothing_is_stored_on_the_thread_that_appends(bench: Bench) -> None:
    bench.append(1)
    assert bench.store.batches == []
    assert len(bench.thread.jobs) == 1


def test_nothing_is_settled_on_the_commit_thread(bench: Bench) -> None:
    bench.append(1)
    bench.thread.step()
    assert bench.store.batches == [[1]]
    assert bench.settled == []


def test_what_comes_during_a_commit_goes_together_into_the_next(bench: Bench) -> None:
    def arrive() -> None:
        bench.store.on_batch = lambda: None
        bench.append(2, 3)

    bench.store.on_batch = arrive
    bench.append(1)
    bench.run()
    assert bench.store.batches == [[1], [2, 3]]
    assert sorted(bench.outcomes()) == [1, 2, 3]


def test_what_comes_between_a_commit_and_its_settling_is_stored_too(bench: Bench) -> None:
    bench.append(1)
    bench.thread.step()
    bench.append(2, 3)
    assert not bench.thread.jobs, "the thread is asked for when the first batch is settled"
    bench.run()
    assert bench.store.batches == [[1], [2, 3]]
    assert sorted(bench.outcomes()) == [1, 2, 3]


def test_what_comes_while_a_batch_is_settled_goes_together_into_the_next(bench: Bench) -> None:
    for number in (1, 2):
        bench.writer.append(numbered(number), lambda _outcome, number=number: bench.append(number + 10))  # type: ignore[misc]
    bench.run()
    assert bench.store.batches == [[1, 2], [12, 11]]
    assert sorted(bench.outcomes()) == [11, 12]


def test_the_commit_thread_is_never_asked_for_twice_at_once(bench: Bench) -> None:
    bench.append(1)
    bench.append(2)
    assert len(bench.thread.jobs) == 1
    bench.thread.step()
    bench.append(3)
    bench.reactor.turn()
    bench.append(4)
    assert len(bench.thread.jobs) == 1
    bench.run()
    assert bench.store.batches == [[1, 2], [3, 4]]


def test_a_batch_ends_when_its_requests_add_up_to_the_bound(bench: Bench) -> None:
    bench.append(1, 2, 3, 4, 5, size_bytes=BATCH_BYTES_MAX // 2)
    bench.run()
    assert bench.store.batches == [[1, 2], [3, 4], [5]]
    assert sorted(bench.outcomes()) == [1, 2, 3, 4, 5]


def test_an_append_above_the_bound_is_a_batch_alone(bench: Bench) -> None:
    bench.append(1, size_bytes=BATCH_BYTES_MAX + 1)
    bench.append(2)
    bench.run()
    assert bench.store.batches == [[1], [2]]


def test_batches_are_settled_in_the_order_they_were_stored(bench: Bench) -> None:
    bench.append(1, 2, 3, 4, size_bytes=BATCH_BYTES_MAX // 2)
    bench.run()
    assert [{number for number, _ in bench.settled[at : at + 2]} for at in (0, 2)] == [{1, 2}, {3, 4}]


def test_the_first_append_of_a_batch_is_settled_last(bench: Bench) -> None:
    """So that a connection finds all its replies settled when its first one is, and sends them in one write."""
    bench.append(1, 2, 3)
    bench.run()
    assert [number for number, _ in bench.settled] == [3, 2, 1]


def test_a_refusal_is_the_outcome_of_its_append_alone(bench: Bench) -> None:
    refusal = WrongExpectedVersion.of(STREAM, 2, 0)
    bench.store.refusals[2] = refusal
    bench.append(1, 2, 3)
    bench.run()
    assert bench.outcomes() == {1: stored_of(1), 2: refusal, 3: stored_of(3)}


def test_a_full_store_refuses_the_whole_batch_and_the_next_one_is_stored(bench: Bench) -> None:
    bench.store.faults = [FULL]
    bench.append(1, 2)
    bench.run()
    assert bench.outcomes() == {1: FULL, 2: FULL}
    bench.settled.clear()
    bench.append(3)
    bench.run()
    assert bench.outcomes() == {3: stored_of(3)}
    assert bench.failures == []


def test_a_full_store_does_not_end_the_stay_on_the_thread(bench: Bench) -> None:
    bench.store.faults = [FULL]
    bench.append(1, 2, 3, size_bytes=BATCH_BYTES_MAX // 2)
    bench.run()
    assert bench.outcomes() == {1: FULL, 2: FULL, 3: stored_of(3)}


def test_after_a_storage_failure_everything_waiting_and_later_is_refused(bench: Bench) -> None:
    bench.store.faults = [FAILED]
    bench.append(1, 2, 3, 4, size_bytes=BATCH_BYTES_MAX // 2)
    bench.thread.step()
    bench.append(5)
    bench.run()
    bench.append(6)
    assert bench.outcomes() == dict.fromkeys(range(1, 7), FAILED)
    assert bench.store.batches == [[1, 2]], "nothing more reaches the store"
    assert not bench.thread.jobs


def test_a_storage_failure_is_told_once(bench: Bench) -> None:
    bench.store.faults = [FAILED]
    bench.append(1, 2, 3, size_bytes=BATCH_BYTES_MAX // 2)
    bench.run()
    bench.append(4)
    bench.run()
    assert bench.failures == [FAILED]


def test_batches_stored_before_a_storage_failure_stay_answered(bench: Bench) -> None:
    bench.store.faults = [None, FAILED]
    bench.append(1, 2, 3, size_bytes=BATCH_BYTES_MAX // 2)
    bench.run()
    assert bench.outcomes() == {1: stored_of(1), 2: stored_of(2), 3: FAILED}


def test_an_append_made_while_a_failure_is_told_is_refused_too(bench: Bench) -> None:
    bench.store.faults = [FAILED]
    bench.writer.append(numbered(1), lambda _outcome: bench.append(2))
    bench.run()
    assert bench.outcomes() == {2: FAILED}
    assert len(bench.store.batches) == 1


def test_an_unexpected_fault_is_logged_once_and_each_append_gets_its_incident_id(
    bench: Bench, faults: LoggedFaults
) -> None:
    bench.store.faults = [BROKEN]
    bench.append(1, 2)
    bench.run()
    event = faults.take_one()
    assert event["log_failure"].value is BROKEN
    for number in (1, 2):
        outcome: Any = bench.outcomes()[number]
        assert type(outcome) is EventflowError
        assert f"incident {event['incident']};" in str(outcome)
        assert str(BROKEN) not in str(outcome), "a client gets no internals"


def test_after_an_unexpected_fault_later_batches_are_stored(bench: Bench, faults: LoggedFaults) -> None:
    bench.store.faults = [BROKEN]
    bench.append(1, 2, 3, size_bytes=BATCH_BYTES_MAX // 2)
    bench.run()
    faults.take_one()
    bench.append(4)
    bench.run()
    assert {number: bench.outcomes()[number] for number in (3, 4)} == {3: stored_of(3), 4: stored_of(4)}
    assert bench.failures == []


@pytest.mark.parametrize("outcome", [stored_of(1), FAILED], ids=["stored", "failed"])
def test_a_fault_in_telling_one_outcome_is_logged_and_keeps_no_other_from_being_told(
    bench: Bench, faults: LoggedFaults, outcome: Outcome
) -> None:
    def fail(_outcome: Outcome) -> None:
        raise BROKEN

    bench.store.faults = [outcome if isinstance(outcome, StorageFailed) else None]
    bench.append(1)
    bench.writer.append(numbered(2), fail)
    bench.append(3)
    idle = bench.writer.when_idle()
    bench.run()
    assert faults.take_one()["log_failure"].value is BROKEN
    assert sorted(bench.outcomes()) == [1, 3]
    assert fired(idle)


def fired(deferred: "Deferred[None]") -> bool:
    return bool(deferred.called)


def test_an_idle_writer_says_so_at_once(bench: Bench) -> None:
    assert fired(bench.writer.when_idle())
    bench.append(1)
    bench.run()
    assert fired(bench.writer.when_idle())


def test_idle_means_that_every_append_queued_so_far_is_settled(bench: Bench) -> None:
    bench.append(1, 2, 3, size_bytes=BATCH_BYTES_MAX // 2)
    idle, too = bench.writer.when_idle(), bench.writer.when_idle()
    settled_then: list[int] = []
    idle.addCallback(lambda _: settled_then.append(len(bench.settled)))
    bench.thread.step()
    assert not fired(idle), "stored, but not settled"
    bench.reactor.turn()
    assert not fired(idle), "one batch of two is settled"
    bench.run()
    assert settled_then == [3]
    assert fired(too)


def test_a_writer_whose_last_batch_is_stored_but_not_settled_is_not_idle(bench: Bench) -> None:
    bench.append(1)
    bench.thread.step()
    idle = bench.writer.when_idle()
    assert not fired(idle)
    bench.run()
    assert fired(idle)


def test_idle_waits_for_what_comes_before_the_last_batch_is_settled(bench: Bench) -> None:
    bench.append(1)
    idle = bench.writer.when_idle()
    bench.thread.step()
    bench.append(2)
    bench.reactor.turn()
    assert not fired(idle)
    bench.run()
    assert fired(idle)
    assert sorted(bench.outcomes()) == [1, 2]


@pytest.mark.parametrize("fault", [FULL, FAILED], ids=["full", "failed"])
def test_a_writer_is_idle_again_after_a_fault(bench: Bench, fault: Exception) -> None:
    bench.store.faults = [fault]
    bench.append(1)
    idle = bench.writer.when_idle()
    bench.run()
    assert fired(idle)


def test_a_batch_holds_all_that_came_in_one_turn(deferring: Bench) -> None:
    deferring.append(1)
    deferring.append(2, 3)
    assert not deferring.thread.jobs
    deferring.run()
    assert deferring.store.batches == [[1, 2, 3]]


def test_while_nobody_reads_appends_are_answered_before_reads_see_them(deferring: Bench) -> None:
    deferring.append(1)
    deferring.run()
    assert sorted(deferring.outcomes()) == [1]
    assert deferring.store.shown == []
    assert deferring.writer.is_stale


def test_a_record_that_cannot_be_understood_leaves_its_stream_in_doubt_and_is_told(
    deferring: Bench, faults: LoggedFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    deferring.append(1)
    deferring.run()
    monkeypatch.setattr("tests.service.test_writer.stored_of", lambda _number: [b"no record"])
    deferring.append(2)
    deferring.run()
    assert sorted(deferring.outcomes()) == [1, 2]
    faults.take_one()
    assert deferring.writer.unseen.tails == {STREAM: []}


def test_what_is_not_seen_yet_is_seen_soon(deferring: Bench) -> None:
    deferring.append(1)
    deferring.run()
    deferring.append(2)
    deferring.run()
    deferring.clock.advance(DEFERRED_SECONDS_MAX)
    deferring.run()
    assert deferring.store.shown == [2]
    assert not deferring.writer.is_stale


def test_much_is_seen_once_it_is_answered_and_no_sooner(deferring: Bench) -> None:
    deferring.store.is_much = True
    deferring.append(1)
    deferring.end_turn()
    deferring.thread.step()
    assert deferring.store.shown == [1]
    deferring.reactor.turn()
    assert sorted(deferring.outcomes()) == [1]
    assert deferring.writer.is_stale, "the commit thread has not said so yet"
    deferring.reactor.turn()
    assert not deferring.writer.is_stale


def test_a_read_that_asks_while_much_is_shown_has_it_shown_once(deferring: Bench) -> None:
    told: list[StorageFailed | None] = []
    deferring.store.is_much = True
    deferring.append(1)
    deferring.end_turn()
    deferring.thread.step()
    deferring.reactor.turn()
    deferring.writer.freshen(told.append)
    assert not deferring.thread.jobs
    deferring.reactor.turn()
    assert told == [None]


def test_no_batch_is_committed_on_the_reactors_thread_while_the_commit_thread_has_been_asked_for_another(
    deferring: Bench,
) -> None:
    """What was deferred before is due while a batch is stored that will be much: reads are let see it twice."""
    deferring.append(1)
    deferring.run()
    deferring.store.is_much = True
    deferring.append(2)
    deferring.end_turn()
    deferring.thread.step()
    deferring.clock.advance(DEFERRED_SECONDS_MAX)
    deferring.reactor.turn()
    deferring.reactor.turn()
    assert len(deferring.thread.jobs) == 1
    deferring.inline.is_on = True
    deferring.append(3)
    deferring.end_turn()
    assert deferring.store.batches == [[1], [2]]
    deferring.run()
    assert deferring.store.batches == [[1], [2], [3]]


def test_where_much_cannot_be_shown_the_storage_has_failed(deferring: Bench, faults: LoggedFaults) -> None:
    deferring.store.is_much = True
    deferring.store.showing_fault = FAILED
    deferring.append(1)
    deferring.run()
    assert deferring.outcomes() == {1: stored_of(1)}
    assert deferring.failures == [FAILED]
    assert deferring.writer.is_stale


def test_a_read_asks_for_what_was_answered_and_is_told_when_it_is_seen(deferring: Bench) -> None:
    told: list[int] = []
    deferring.append(1)
    deferring.run()
    for reader in (1, 2):
        deferring.writer.freshen(lambda _, reader=reader: told.append(reader))  # type: ignore[misc]
    assert told == []
    deferring.run()
    assert told == [1, 2]
    assert deferring.store.shown == [1]
    assert not deferring.writer.is_stale


def test_a_read_that_asks_during_a_batch_waits_for_that_batch_too(deferring: Bench) -> None:
    told: list[bool] = []
    deferring.append(1)
    deferring.run()
    deferring.append(2)
    deferring.soon.pop(0)()
    deferring.writer.freshen(lambda _: told.append(deferring.writer.is_stale))
    deferring.run()
    assert told == [False]
    assert sorted(deferring.outcomes()) == [1, 2]


def test_after_a_read_everything_is_seen_before_it_is_answered_for_a_while(deferring: Bench) -> None:
    deferring.append(1)
    deferring.run()
    deferring.writer.freshen(lambda _: None)
    deferring.run()
    deferring.append(2)
    deferring.run()
    assert deferring.store.shown == [1, 2]
    deferring.clock.advance(EAGER_SECONDS)
    deferring.append(3)
    deferring.run()
    assert deferring.store.shown == [1, 2]


class Watching:
    """One that waits for events."""

    def __init__(self) -> None:
        self.told = 0

    def log_grew(self) -> None:
        """Count it."""
        self.told += 1

    def log_closes(self) -> None:
        """Nothing comes any more."""


def test_what_somebody_waits_for_is_seen_at_once(deferring: Bench) -> None:
    watching = Watching()
    deferring.notices.watch(None, watching)
    deferring.append(1)
    deferring.run()
    assert deferring.store.shown == [1]
    assert watching.told == 1


def test_one_that_begins_to_wait_during_a_batch_is_told_when_it_is_seen(deferring: Bench) -> None:
    watching = Watching()
    deferring.store.on_batch = lambda: deferring.notices.watch(None, watching)
    deferring.append(1)
    deferring.soon.pop(0)()
    deferring.thread.step()
    deferring.reactor.turn()
    assert deferring.writer.is_stale
    assert watching.told == 0
    deferring.run()
    assert deferring.store.shown == [1]
    assert watching.told == 1


def test_a_server_that_stops_waits_until_everything_is_seen(deferring: Bench) -> None:
    deferring.append(1)
    idle = deferring.writer.when_idle()
    deferring.run()
    assert idle.called
    assert deferring.store.shown == [1]
    assert not deferring.clock.getDelayedCalls()


@pytest.mark.parametrize("is_inline", [False, True], ids=["commit thread", "reactor's thread"])
def test_where_reads_cannot_be_let_see_what_was_answered_they_are_refused(deferring: Bench, *, is_inline: bool) -> None:
    deferring.inline.is_on = is_inline
    deferring.append(1)
    deferring.run()
    deferring.store.showing_fault = FAILED
    told: list[StorageFailed | None] = []
    deferring.writer.freshen(told.append)
    deferring.run()
    assert deferring.failures == [FAILED]
    assert told == [FAILED]
    assert deferring.writer.is_stale, "reads still do not see it"
    deferring.writer.freshen(told.append)
    deferring.run()
    assert told == [FAILED, FAILED]
    assert fired(deferring.writer.when_idle())


def test_an_unexpected_fault_in_letting_reads_see_is_a_failure_of_the_storage(
    deferring: Bench, faults: LoggedFaults
) -> None:
    deferring.append(1)
    deferring.run()
    deferring.store.showing_fault = BROKEN
    deferring.clock.advance(DEFERRED_SECONDS_MAX)
    deferring.run()
    assert faults.take_one()["log_failure"].value is BROKEN
    (failure,) = deferring.failures
    assert isinstance(failure, StorageFailed)
    assert deferring.writer.is_stale


def test_a_batch_that_fails_leaves_what_was_deferred_before_unseen_and_reads_are_refused(deferring: Bench) -> None:
    told: list[StorageFailed | None] = []
    deferring.append(1)
    deferring.run()
    deferring.store.faults = [FAILED]
    deferring.append(2)
    deferring.run()
    assert deferring.outcomes() == {1: stored_of(1), 2: FAILED}
    assert deferring.writer.is_stale
    deferring.writer.freshen(told.append)
    deferring.run()
    assert told == [FAILED]


def test_appends_that_wait_when_reads_cannot_be_let_see_are_refused(deferring: Bench) -> None:
    deferring.inline.is_on = True
    deferring.append(1)
    deferring.end_turn()
    deferring.inline.is_on = False
    deferring.store.showing_fault = FAILED
    deferring.append(2)
    deferring.run()
    assert deferring.outcomes() == {1: stored_of(1), 2: FAILED}
    assert fired(deferring.writer.when_idle())


@pytest.fixture
def inline(deferring: Bench) -> Bench:
    """One that commits on the reactor's thread."""
    deferring.inline.is_on = True
    return deferring


def test_a_batch_that_may_be_is_committed_at_the_end_of_the_turn_without_a_thread(inline: Bench) -> None:
    inline.append(1)
    inline.append(2)
    assert inline.store.batches == []
    inline.end_turn()
    assert inline.store.batches == [[1, 2]]
    assert sorted(inline.outcomes()) == [1, 2]
    assert not inline.thread.jobs


def test_what_a_batch_on_the_reactors_thread_took_is_told(inline: Bench) -> None:
    inline.store.on_batch = lambda: inline.clock.advance(0.25)
    inline.append(1)
    inline.end_turn()
    assert inline.inline.seconds == [0.25]
    inline.inline.is_on = False
    inline.append(2)
    inline.run()
    assert inline.inline.seconds == [0.25], "not of one on the commit thread"


def test_requests_that_are_no_appends_are_counted_from_batch_to_batch(inline: Bench) -> None:
    for others in (0, 3, 1):
        inline.writer.visibility.others += others
        inline.append(1, 2)
        inline.end_turn()
    assert inline.inline.asked == [(2, 0), (2, 3), (2, 1)]


def test_what_was_deferred_on_the_reactors_thread_is_seen_before_the_commit_thread_goes_on(inline: Bench) -> None:
    inline.append(1)
    inline.end_turn()
    assert inline.writer.is_stale
    inline.inline.is_on = False
    inline.append(2)
    inline.end_turn()
    assert inline.store.shown == [1]
    assert not inline.writer.is_stale
    inline.run()
    assert inline.store.batches == [[1], [2]]


@pytest.fixture
def returning(deferring: Bench) -> Bench:
    """One whose commit thread has deferred a batch, and that may commit on the reactor's thread from now on."""
    deferring.append(1)
    deferring.run()
    assert deferring.writer.is_stale
    deferring.inline.is_on = True
    return deferring


def test_what_was_deferred_on_the_commit_thread_is_seen_before_the_reactors_thread_goes_on(returning: Bench) -> None:
    returning.append(2)
    returning.end_turn()
    returning.append(3)
    returning.end_turn()
    assert returning.store.batches == [[1]]
    returning.thread.step()
    assert returning.store.shown == [1]
    returning.reactor.turn()
    returning.end_turn()
    assert not returning.thread.jobs
    assert returning.store.batches == [[1], [2, 3]]
    assert returning.outcomes() == {number: stored_of(number) for number in (1, 2, 3)}


def test_one_that_waited_once_is_not_begun_again(returning: Bench) -> None:
    """What was deferred is shown again while a batch is on the commit thread, which holds none now."""
    returning.append(2)
    returning.run()
    assert returning.store.batches == [[1], [2]]
    returning.inline.is_on = False
    returning.append(3)
    returning.run()
    returning.clock.advance(DEFERRED_SECONDS_MAX)
    assert len(returning.thread.jobs) == 1
    returning.append(4)
    returning.end_turn()
    assert len(returning.thread.jobs) == 2
    returning.append(5)
    returning.thread.step()
    returning.reactor.turn()
    returning.end_turn()
    assert len(returning.thread.jobs) == 1, "the batch that was asked for is not done yet"
    assert not fired(returning.writer.when_idle())
    returning.run()
    assert sorted(returning.outcomes()) == [1, 2, 3, 4, 5]


def test_a_fault_of_who_waits_for_a_fresh_read_keeps_nobody_else_waiting(
    returning: Bench, faults: LoggedFaults
) -> None:
    told: list[StorageFailed | None] = []

    def fail(_failure: StorageFailed | None) -> None:
        raise BROKEN

    returning.writer.freshen(fail)
    returning.writer.freshen(told.append)
    returning.append(2)
    returning.run()
    returning.append(3)
    returning.run()
    assert told == [None]
    assert returning.outcomes() == {number: stored_of(number) for number in (1, 2, 3)}
    assert faults.take_one()["log_failure"].value is BROKEN


def test_a_batch_that_waits_for_the_commit_thread_goes_there_if_it_may_not_stay_any_more(returning: Bench) -> None:
    returning.append(2)
    returning.end_turn()
    returning.inline.is_on = False
    returning.thread.step()
    returning.reactor.turn()
    returning.end_turn()
    assert returning.store.batches == [[1]]
    returning.run()
    assert returning.store.batches == [[1], [2]]
    assert sorted(returning.outcomes()) == [1, 2]


def test_a_batch_that_waits_for_the_commit_thread_is_refused_where_reads_cannot_be_let_see(returning: Bench) -> None:
    returning.store.showing_fault = FAILED
    returning.append(2)
    idle = returning.writer.when_idle()
    returning.run()
    assert returning.outcomes() == {1: stored_of(1), 2: FAILED}
    assert returning.failures == [FAILED]
    assert fired(idle)


def test_a_read_has_what_was_deferred_on_the_reactors_thread_shown_at_the_end_of_the_turn(inline: Bench) -> None:
    told: list[bool] = []
    inline.append(1)
    inline.end_turn()
    inline.writer.freshen(lambda _: told.append(inline.writer.is_stale))
    assert told == [], "whoever asks is not called back before it has returned"
    inline.end_turn()
    assert told == [False]
    assert inline.store.shown == [1]
    assert not inline.thread.jobs


def test_much_that_was_deferred_on_the_reactors_thread_is_seen_at_the_end_of_the_turn(inline: Bench) -> None:
    inline.store.is_much = True
    inline.append(1)
    inline.soon.pop(0)()
    assert sorted(inline.outcomes()) == [1]
    assert inline.store.shown == []
    inline.end_turn()
    assert inline.store.shown == [1]
    assert not inline.writer.is_stale


@pytest.mark.parametrize("is_read_first", [True, False])
def test_a_read_that_asks_as_appends_go_over_to_the_commit_thread_is_told(
    inline: Bench, *, is_read_first: bool
) -> None:
    told: list[int] = []
    inline.append(1)
    inline.end_turn()
    inline.inline.is_on = False
    if is_read_first:
        inline.writer.freshen(lambda _: told.append(1))
    inline.append(2)
    if not is_read_first:
        inline.writer.freshen(lambda _: told.append(1))
    inline.run()
    assert told == [1]
    assert sorted(inline.outcomes()) == [1, 2]
    inline.append(3)
    inline.run()
    inline.clock.advance(DEFERRED_SECONDS_MAX)
    inline.run()
    inline.writer.freshen(lambda _: told.append(2))
    inline.run()
    assert told == [1, 2]


def test_a_failure_of_the_storage_on_the_reactors_thread_is_told_as_any(inline: Bench) -> None:
    inline.store.faults = [FAILED]
    inline.append(1, 2)
    inline.end_turn()
    inline.append(3)
    assert inline.outcomes() == {1: FAILED, 2: FAILED, 3: FAILED}
    assert inline.failures == [FAILED]


class PlacedStore(FakeStore):
    """Refuses what LMDB would: to go on with a transaction on another thread than the one it was begun on."""

    thread: SteppedThread

    def __init__(self) -> None:
        super().__init__()
        self.open_on_thread: bool | None = None
        """Whether a transaction is open there, or here; None where none is."""
        self.is_misplaced = False
        """It was gone on with elsewhere. (That a store raises the writer would take for a failure.)"""

    def append_batch(self, writes: Sequence[Write], on_staged: OnStaged, *, may_defer: bool) -> list[Outcome]:
        """Keep the batch."""
        self._go_on()
        outcomes = super().append_batch(writes, on_staged, may_defer=may_defer)
        self.open_on_thread = self.thread.is_running if may_defer else None
        return outcomes

    def commit_deferred(self) -> None:
        """Let reads see all of it."""
        self._go_on()
        super().commit_deferred()
        self.open_on_thread = None

    def _go_on(self) -> None:
        if self.open_on_thread not in (None, self.thread.is_running):
            self.is_misplaced = True


class AnyOrder(RuleBasedStateMachine):
    """Appends, reads and turns of both threads in any order: no transaction changes its thread, and all are told."""

    def __init__(self) -> None:
        super().__init__()
        self.store = PlacedStore()
        self.bench = Bench(is_deferring=True, store=self.store)
        self.store.thread = self.bench.thread
        self.numbers = count()
        self.asked, self.told = 0, 0

    @rule()
    def append(self) -> None:
        self.bench.append(next(self.numbers))

    @rule()
    def append_and_wait(self) -> None:
        self.append()
        self.bench.run()

    @rule()
    def switch(self) -> None:
        self.bench.inline.is_on = not self.bench.inline.is_on

    @rule()
    def become_much_or_little(self) -> None:
        self.store.is_much = not self.store.is_much

    @rule(seconds=sampled_from((DEFERRED_SECONDS_MAX, EAGER_SECONDS)))
    def pass_time(self, seconds: float) -> None:
        self.bench.clock.advance(seconds)

    @rule()
    def end_turn(self) -> None:
        self.bench.end_turn()

    @precondition(lambda self: self.bench.writer.is_stale)
    @rule()
    def read(self) -> None:
        self.asked += 1
        answered = set(self.bench.outcomes())
        self.bench.writer.freshen(lambda failure: self.tell(answered, failure))

    @precondition(lambda self: self.bench.thread.jobs)
    @rule()
    def step_thread(self) -> None:
        self.bench.thread.step()

    @precondition(lambda self: self.bench.reactor.calls)
    @rule()
    def turn_reactor(self) -> None:
        self.bench.reactor.turn()

    @invariant()
    def every_transaction_stays_on_its_thread(self) -> None:
        assert not self.store.is_misplaced

    def tell(self, answered: set[int], failure: StorageFailed | None) -> None:
        assert failure is None
        seen = {number for batch in self.store.batches[: self.store.shown[-1]] for number in batch}
        assert answered <= seen
        self.told += 1

    def teardown(self) -> None:
        bench = self.bench
        idle = bench.writer.when_idle()
        bench.run()
        assert fired(idle)
        assert sorted(bench.outcomes()) == list(range(next(self.numbers)))
        stored = [number for batch in bench.store.batches for number in batch]
        assert stored == sorted(bench.outcomes()), "in the order they came, once"
        assert self.store.open_on_thread is None
        assert self.told == self.asked


TestAnyOrder = AnyOrder.TestCase
