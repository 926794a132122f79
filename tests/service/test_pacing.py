"""When collisions are told: to one after the other, to nobody late, and to those at once behind whom others wait."""

from itertools import count

import pytest
from twisted.internet.task import Clock

from eventflowdb.limits import REFUSAL_HOLD_SECONDS_MAX, RETRY_SECONDS
from eventflowdb.service.pacing import Pacing
from eventflowdb.service.reply import LongReply, PendingReply

from .fakes import OTHER, STREAM, LoggedFaults

TURNS = round(REFUSAL_HOLD_SECONDS_MAX / RETRY_SECONDS)


class Losers:
    """Writers that came too late; each is told the number of stores until then."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pacing = Pacing(self.clock, self.clock.seconds)
        self.stores = 0
        self._numbers = count()
        self.told: list[int] = []
        """Their numbers, in the order in which they were told."""

    def lose(self, losers: int = 1, stream: str = STREAM, *, is_urgent: bool = False) -> list[PendingReply]:
        """Some more came too late, numbered in their order."""
        return [self._lose(stream, is_urgent) for _ in range(losers)]

    def _lose(self, stream: str, is_urgent: bool) -> PendingReply:
        reply = PendingReply()
        if is_urgent:
            reply.hurry()
        number = next(self._numbers)
        reply.when_settled(lambda _: self.told.append(number))
        self.pacing.refuse(stream, number, reply, lambda: b"%d" % self.stores)
        return reply

    def store(self, stream: str = STREAM) -> None:
        """Something was stored."""
        self.stores += 1
        self.pacing.stored([stream])


@pytest.fixture
def losers() -> Losers:
    return Losers()


def values(replies: list[PendingReply]) -> list[bytes | LongReply | None]:
    """What they were answered."""
    return [reply.value for reply in replies]


def test_the_first_is_told_at_once_and_the_others_after_its_time(losers: Losers) -> None:
    losers.lose(3)
    assert losers.told == [0]
    losers.clock.advance(RETRY_SECONDS * 0.99)
    assert losers.told == [0]
    losers.clock.advance(RETRY_SECONDS * 0.02)
    assert losers.told == [0, 1]
    losers.clock.advance(RETRY_SECONDS * 0.97)
    assert losers.told == [0, 1]
    losers.clock.advance(RETRY_SECONDS * 0.04)
    assert losers.told == [0, 1, 2]


def test_whenever_something_is_stored_one_more_is_told_what_is_so_by_then(losers: Losers) -> None:
    replies = losers.lose(4)
    losers.store()
    losers.store()
    assert losers.told == [0, 1, 2]
    assert values(replies) == [b"0", b"1", b"2", None]
    losers.clock.advance(RETRY_SECONDS * 0.5)
    assert losers.told == [0, 1, 2]


def test_who_loses_after_something_was_stored_does_not_wait_where_nobody_stands_in_line(losers: Losers) -> None:
    for number in range(5):
        losers.lose()
        assert losers.told == list(range(number + 1))
        losers.store()


def test_nobody_is_held_for_longer_than_the_bound(losers: Losers) -> None:
    losers.lose(100)
    losers.clock.pump([RETRY_SECONDS / 2] * (2 * TURNS - 1))
    assert losers.told == list(range(TURNS))
    losers.clock.advance(RETRY_SECONDS)
    assert losers.told == list(range(100))


def test_streams_do_not_wait_for_each_other(losers: Losers) -> None:
    losers.lose(2)
    losers.lose(2, OTHER)
    assert losers.told == [0, 2]
    losers.store(OTHER)
    assert losers.told == [0, 2, 3]


def test_one_behind_whom_others_wait_is_told_at_once_and_takes_nobodys_turn(losers: Losers) -> None:
    losers.lose(2)
    losers.lose(is_urgent=True)
    assert losers.told == [0, 2]
    losers.clock.advance(RETRY_SECONDS)
    assert losers.told == [0, 2, 1]


def test_one_that_is_held_and_hurried_is_told_at_once_and_the_others_keep_their_order(losers: Losers) -> None:
    replies = losers.lose(4)
    replies[2].hurry()
    assert losers.told == [0, 2]
    replies[2].hurry()
    losers.clock.pump([RETRY_SECONDS] * 2)
    assert losers.told == [0, 2, 1, 3]


def test_a_line_in_which_nobody_stands_is_forgotten(losers: Losers) -> None:
    assert not losers.pacing.has_lines
    losers.lose(2)
    losers.store()
    assert losers.pacing.has_lines
    losers.clock.pump([RETRY_SECONDS] * 2)
    assert not losers.pacing.has_lines
    assert not losers.clock.getDelayedCalls()
    losers.store()
    losers.lose()
    assert losers.told == [0, 1, 2]


def test_the_fault_of_one_does_not_keep_the_next_ones_waiting(losers: Losers, faults: LoggedFaults) -> None:
    losers.lose()
    reply = PendingReply()
    reply.when_settled(fail)
    losers.pacing.refuse(STREAM, 7, reply, lambda: b"late")
    losers.lose()
    losers.clock.pump([RETRY_SECONDS] * 2)
    assert losers.told == [0, 1]
    assert isinstance(faults.take_one()["log_failure"].value, OSError)


def fail(_reply: PendingReply) -> None:
    """A connection that cannot be told."""
    raise OSError("a fault")


def test_a_refusal_is_counted_when_it_is_known_and_once(losers: Losers) -> None:
    _, before, after = losers.lose(3)
    counted: list[object] = []
    before.count_with(counted.append)
    assert counted == [b"0"]
    losers.store()
    assert before.value == b"1"
    assert counted == [b"0"]
    losers.store()
    after.count_with(counted.append)
    assert counted == [b"0", b"2"]


def test_one_that_waits_for_its_commit_is_counted_when_it_loses(losers: Losers) -> None:
    losers.lose()
    reply, counted = PendingReply(), list[object]()
    reply.count_with(counted.append)
    assert not counted
    losers.pacing.refuse(STREAM, 7, reply, lambda: b"late")
    assert counted == [b"late"]
    losers.clock.advance(RETRY_SECONDS)
    assert reply.value == b"late"
    assert counted == [b"late"]
