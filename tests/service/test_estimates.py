"""The periodic index: what is told, when it is brought up to date, and what a failure does to it."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from eventflowdb.service.estimates import Counts, Estimates

from .fakes import LoggedFaults

INTERVAL = 2.0


class Counting:
    """Counts that are under way until the test gives them."""

    def __init__(self) -> None:
        self.under_way: list[Deferred[Counts]] = []

    def __call__(self) -> "Deferred[Counts]":
        count: Deferred[Counts] = Deferred()
        self.under_way.append(count)
        return count

    def give(self, events: int, streams: int) -> None:
        """Finish the one count that is under way."""
        (count,) = self.under_way
        self.under_way.clear()
        count.callback((events, streams))

    def fail(self) -> None:
        """Fail the one count that is under way."""
        (count,) = self.under_way
        self.under_way.clear()
        count.errback(OSError("the disk did not answer"))


class Bench:
    """Estimates over counts and a clock that move by hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counting = Counting()
        self.estimates = Estimates(self.counting, INTERVAL, self.clock)

    def counts(self) -> Counts:
        return self.estimates.events, self.estimates.streams


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_before_the_first_index_there_is_nothing(bench: Bench) -> None:
    assert bench.counts() == (0, 0)
    bench.estimates.start()
    assert bench.counts() == (0, 0)


def test_the_first_index_is_taken_at_the_start(bench: Bench) -> None:
    bench.estimates.start()
    bench.counting.give(7, 2)
    assert bench.counts() == (7, 2)


def test_counts_are_as_of_the_last_index_until_the_interval_has_passed(bench: Bench) -> None:
    bench.estimates.start()
    bench.counting.give(7, 2)
    bench.clock.advance(INTERVAL - 0.01)
    assert not bench.counting.under_way
    bench.clock.advance(0.01)
    assert bench.counts() == (7, 2)
    bench.counting.give(8, 3)
    assert bench.counts() == (8, 3)


def test_a_slow_index_is_never_overtaken_by_the_next(bench: Bench) -> None:
    bench.estimates.start()
    bench.clock.advance(3 * INTERVAL)
    bench.counting.give(1, 1)
    bench.clock.advance(INTERVAL)
    bench.counting.give(2, 1)
    assert bench.counts() == (2, 1)


def test_a_failed_index_is_logged_leaves_the_older_counts_and_the_next_one_is_taken(
    bench: Bench, faults: LoggedFaults
) -> None:
    bench.estimates.start()
    bench.counting.give(7, 2)
    bench.clock.advance(INTERVAL)
    bench.counting.fail()
    assert isinstance(faults.take_one()["log_failure"].value, OSError)
    assert bench.counts() == (7, 2)
    bench.clock.advance(INTERVAL)
    bench.counting.give(8, 2)
    assert bench.counts() == (8, 2)


def stopping(estimates: Estimates) -> "Deferred[None]":
    return Deferred.fromCoroutine(estimates.stop())


def test_stopping_between_two_indexes_is_done_at_once(bench: Bench) -> None:
    bench.estimates.start()
    bench.counting.give(1, 1)
    assert stopping(bench.estimates).called
    bench.clock.advance(10 * INTERVAL)
    assert not bench.counting.under_way
    assert not bench.clock.getDelayedCalls()


def test_stopping_waits_for_the_index_under_way(bench: Bench) -> None:
    bench.estimates.start()
    stopped = stopping(bench.estimates)
    assert not stopped.called, "the store must not be closed under it"
    bench.counting.give(1, 1)
    assert stopped.called
    assert not bench.clock.getDelayedCalls()


def test_stopping_waits_for_a_failing_index_too(bench: Bench, faults: LoggedFaults) -> None:
    bench.estimates.start()
    stopped = stopping(bench.estimates)
    bench.counting.fail()
    faults.take_one()
    assert stopped.called
    assert stopped.result is None


def test_what_was_never_started_or_is_stopped_already_can_be_stopped(bench: Bench) -> None:
    assert stopping(bench.estimates).called
    bench.estimates.start()
    bench.counting.give(1, 1)
    assert stopping(bench.estimates).called
    assert stopping(bench.estimates).called
