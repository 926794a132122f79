"""Error replies become the exceptions of the one tree, with nothing of the text lost."""

import pickle
from copy import copy

import pytest

from eventflowdb import errors
from eventflowdb.client.refusals import (
    ClientClosed,
    ConnectionLost,
    NotConnected,
    UnexpectedReply,
    UnknownRefusal,
    error_of,
)
from eventflowdb.errors import (
    CommandRefused,
    CorruptRecord,
    EventflowError,
    InvalidArgument,
    NotAuthenticated,
    NotHeld,
    NotPermitted,
    RequestConflict,
    StoreFull,
    TryAgain,
    UnlessMatched,
    WrongExpectedVersion,
    WrongPassword,
)

from .samples import CONCURRENCY_TEXT, STREAM


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        ("INVALIDARG events[0].type: expected a string", InvalidArgument, "events[0].type: expected a string"),
        ("NOAUTH Authentication required.", NotAuthenticated, "Authentication required."),
        ("WRONGPASS invalid username-password pair", WrongPassword, "invalid username-password pair"),
        ("NOPERM this user may not run 'add'", NotPermitted, "this user may not run 'add'"),
        ("TRYAGAIN the server is shutting down", TryAgain, "the server is shutting down"),
        ("OOM the disk is full", StoreFull, "the disk is full"),
        ("CORRUPT record 7 does not match its checksum", CorruptRecord, "record 7 does not match its checksum"),
        (f"CONCURRENCY {CONCURRENCY_TEXT}", WrongExpectedVersion, CONCURRENCY_TEXT),
        ("CONCURRENCY unless=0 event=x: such an event", UnlessMatched, "unless=0 event=x: such an event"),
        ("CONFLICT request_id 'a' was used", RequestConflict, "request_id 'a' was used"),
        (
            "ERR unknown command 'X', with args beginning with: ",
            CommandRefused,
            "unknown command 'X', with args beginning with: ",
        ),
        (
            "ERR wrong number of arguments for 'add' command",
            CommandRefused,
            "wrong number of arguments for 'add' command",
        ),
        ("ERR unknown subcommand 'X'. Try CLIENT HELP.", CommandRefused, "unknown subcommand 'X'. Try CLIENT HELP."),
        ("ERR syntax error", CommandRefused, "syntax error"),
        ("ERR max number of clients reached", TryAgain, "max number of clients reached"),
        ("ERR Protocol error: invalid bulk length", EventflowError, "Protocol error: invalid bulk length"),
        ("ERR", EventflowError, ""),
        ("READONLY this server follows another", UnknownRefusal, "READONLY this server follows another"),
        ("no code at all", EventflowError, "no code at all"),
        ("", EventflowError, ""),
    ],
)
def test_a_code_becomes_its_class_and_the_rest_its_text(text: str, kind: type[EventflowError], sentence: str) -> None:
    error = error_of(text)
    assert type(error) is kind
    assert str(error) == sentence


def test_every_code_of_the_error_tree_is_known() -> None:
    for kind in EventflowError.__subclasses__():
        if kind.__module__ == errors.__name__ and kind.code != EventflowError.code:
            assert isinstance(error_of(f"{kind.code} some text"), kind)


def test_an_unknown_code_can_be_read_from_the_error() -> None:
    assert error_of("READONLY this server follows another").code == "READONLY"
    assert error_of("no code at all").code == "ERR"


@pytest.mark.parametrize(
    ("text", "stream", "expected", "actual"),
    [
        (CONCURRENCY_TEXT, STREAM, 2, 3),
        (f"stream={STREAM} expected=0 actual=9007199254740991: text with a=b: and more", STREAM, 0, 2**53 - 1),
        (f"stream={STREAM} expected=exists actual=0: no such stream", STREAM, "exists", 0),
        (f"actual=3 key=value stream={STREAM}: in another order", STREAM, None, 3),
        (f"stream={STREAM} expected=² actual=-1: no numbers", STREAM, None, None),
        ("the stream holds more than expected", None, None, None),
        ("", None, None, None),
    ],
)
def test_a_refused_append_says_which_stream_and_which_versions(
    text: str, stream: str | None, expected: int | str | None, actual: int | None
) -> None:
    error = error_of(f"CONCURRENCY {text}")
    assert isinstance(error, WrongExpectedVersion)
    assert (error.stream, error.expected, error.actual) == (stream, expected, actual)
    assert str(error) == text


@pytest.mark.parametrize(
    "worded",
    [
        WrongExpectedVersion.of(STREAM, 2, 3),
        WrongExpectedVersion.of(STREAM, "exists", 0),
        UnlessMatched.of(1, "01KARS6Z4P0000000000000001"),
        NotHeld.of("send-mail", "01KARS6Z4P0000000000000001"),
        RequestConflict.of("a"),
    ],
    ids=str,
)
def test_the_servers_own_wording_of_a_refused_append_is_understood(worded: EventflowError) -> None:
    error = error_of(f"{worded.code} {worded}")
    assert type(error) is type(worded)
    assert (str(error), vars(error)) == (str(worded), vars(worded))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLost.because("the cable was cut", is_overdue=True),
        NotConnected.because("no server"),
        ClientClosed.because("the client was disconnected"),
        error_of("CONCURRENCY unless=0 event=x: such an event"),
        UnexpectedReply("HTTP"),
        error_of("READONLY this server follows another"),
        error_of(f"CONCURRENCY {CONCURRENCY_TEXT}"),
        error_of("NOAUTH Authentication required."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_copy_of_an_error_is_equal_to_it(error: EventflowError) -> None:
    for other in (copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert (str(other), other.code, vars(other)) == (str(error), error.code, vars(error))


def test_a_lost_connection_says_that_the_outcome_is_unknown_and_an_unsent_request_that_it_is_known() -> None:
    assert "may or may not have been carried out" in str(ConnectionLost.because("the cable was cut"))
    assert str(NotConnected.because("no server")) == "no server; nothing was sent"
    assert NotConnected.retry_can_help
    assert not ConnectionLost.retry_can_help
    assert not ClientClosed.retry_can_help
