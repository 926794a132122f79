"""Which failed requests are sent again, and what a request fails with in the end; without any connection."""

from collections.abc import Callable

import pytest

from eventflowdb.client import exchanges
from eventflowdb.client.exchanges import Exchange
from eventflowdb.client.refusals import ClientClosed, ConnectionLost, NotConnected, UnexpectedReply
from eventflowdb.client.retries import PAUSES_SECONDS, TRYAGAIN_SECONDS_MIN, Attempts
from eventflowdb.errors import (
    EventflowError,
    InvalidArgument,
    NotAuthenticated,
    RequestConflict,
    StoreFull,
    TryAgain,
    UnlessMatched,
    WrongExpectedVersion,
)

from .samples import STREAM

Make = Callable[[], Exchange[object]]


def read() -> Exchange[object]:
    return exchanges.get(STREAM)  # type: ignore[return-value]  # nobody decodes it


def append() -> Exchange[object]:
    return exchanges.add(STREAM, 0, [], request_id="mine")  # type: ignore[return-value]


def append_without_id() -> Exchange[object]:
    return exchanges.add(STREAM, 0, [], request_id=None)  # type: ignore[return-value]


def lost() -> ConnectionLost:
    return ConnectionLost.because("reset")


def end_of(exchange: Exchange[object], *failures: EventflowError) -> tuple[int, EventflowError]:
    """How many attempts failed until the last one's failure was told, and as what."""
    attempts = Attempts(exchange)
    for count, failure in enumerate(failures, 1):
        try:
            attempts.pause_after(failure)
        except EventflowError as error:
            return count, error
    raise AssertionError("another attempt is to come")


@pytest.mark.parametrize("make", [read, append])
def test_what_can_do_no_harm_is_repeated_three_times_when_its_connection_breaks(make: Make) -> None:
    attempts = Attempts(make())
    assert [attempts.pause_after(lost()) for _ in PAUSES_SECONDS] == list(PAUSES_SECONDS)
    last = lost()
    with pytest.raises(ConnectionLost) as raised:
        attempts.pause_after(last)
    assert raised.value is last


def test_an_append_without_a_request_id_is_not_repeated_when_its_connection_breaks() -> None:
    failure = lost()
    assert end_of(append_without_id(), failure) == (1, failure)
    assert failure.request_id is None


@pytest.mark.parametrize("make", [read, append, append_without_id])
def test_everything_is_repeated_that_the_server_asks_to_try_again(make: Make) -> None:
    attempts = Attempts(make())
    pauses = [attempts.pause_after(TryAgain("overloaded")) for _ in PAUSES_SECONDS]
    assert pauses == [max(pause, TRYAGAIN_SECONDS_MIN) for pause in PAUSES_SECONDS]
    with pytest.raises(TryAgain):
        attempts.pause_after(TryAgain("overloaded"))


@pytest.mark.parametrize("make", [read, append])
@pytest.mark.parametrize(
    "failure",
    [
        NotConnected.because("refused"),
        ClientClosed.because("closed"),
        ConnectionLost.because("no reply", is_overdue=True),
        UnexpectedReply("HTTP"),
        WrongExpectedVersion(""),
        StoreFull("full"),
        NotAuthenticated(""),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_other_failures_are_told_at_once(make: Make, failure: EventflowError) -> None:
    assert end_of(make(), failure) == (1, failure)


@pytest.mark.parametrize("make", [read, append])
def test_a_server_that_was_there_before_is_waited_for(make: Make) -> None:
    attempts = Attempts(make())
    attempts.pause_after(lost())
    assert attempts.pause_after(NotConnected.because("refused")) == PAUSES_SECONDS[1]


@pytest.mark.parametrize(
    "failure",
    [NotConnected.because("refused"), TryAgain("shutting down")],
    ids=lambda failure: type(failure).__name__,
)
def test_an_append_that_may_have_been_stored_does_not_end_as_one_that_was_not(failure: EventflowError) -> None:
    first = lost()
    assert end_of(append(), first, failure, failure, failure) == (4, first)
    assert first.request_id == "mine"


@pytest.mark.parametrize(
    "failure",
    [
        StoreFull("full"),
        NotAuthenticated(""),
        UnexpectedReply("HTTP"),
        ClientClosed.because("closed"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_failure_that_says_nothing_of_an_earlier_attempt_leaves_it_unknown(failure: EventflowError) -> None:
    first = lost()
    count, error = end_of(append(), first, failure)
    assert (count, error, error.__cause__) == (2, first, failure)


@pytest.mark.parametrize(
    "failure",
    [WrongExpectedVersion(""), UnlessMatched(""), RequestConflict(""), InvalidArgument("")],
    ids=lambda failure: type(failure).__name__,
)
def test_a_refusal_after_the_request_id_was_looked_up_says_that_nothing_was_stored(failure: EventflowError) -> None:
    assert end_of(append(), lost(), failure) == (2, failure)


def test_a_read_fails_with_what_its_last_attempt_failed_with() -> None:
    assert end_of(read(), lost(), failure := StoreFull("full")) == (2, failure)


def test_a_lost_append_tells_the_request_id_to_repeat_it_with() -> None:
    exchange = exchanges.add(STREAM, 0, [])
    overdue = ConnectionLost.because("no reply", is_overdue=True)
    with pytest.raises(ConnectionLost):
        Attempts(exchange).pause_after(overdue)
    assert overdue.request_id == exchange.request_id
    assert overdue.request_id
