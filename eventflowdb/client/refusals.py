"""What can go wrong, as a client sees it: the server's error replies as exceptions, and a client's own conditions.

Shared by all clients: nothing here may import Twisted or a Redis library.
"""

import re

from eventflowdb.errors import (
    CommandRefused,
    ConditionFailed,
    CorruptRecord,
    EventflowError,
    InvalidArgument,
    NoSuchConsumer,
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
from eventflowdb.events import EXISTS


class ConnectionLost(EventflowError):
    """The connection went away before the reply came: the request may or may not have been carried out.

    The client has repeated already what it may. A read can be repeated, and an append with the same request_id: it is
    answered the same, and stored once. An append without one is refused with WrongExpectedVersion if it was stored,
    or, at "any" version, stored twice: read the stream first.

    request_id: of the append that failed, to repeat it with; None if it had none, or was no append.
    is_overdue: whether the reply did not come in time.
    """

    is_overdue: bool = False
    request_id: str | None = None

    @classmethod
    def because(cls, reason: str, *, is_overdue: bool = False) -> "ConnectionLost":
        """The condition in words, with what it means for the request."""
        lost = cls(
            f"{reason}; the request may or may not have been carried out: "
            "repeat an append with the same request_id, or read its stream and see whether it was stored"
        )
        lost.is_overdue = is_overdue
        return lost


class NotConnected(ConnectionLost):
    """There was no connection to send the request on: it never left, and repeating it is safe."""

    retry_can_help = True

    @classmethod
    def because(cls, reason: str, *, is_overdue: bool = False) -> "NotConnected":
        """The condition in words; here the outcome is known."""
        return cls(f"{reason}; nothing was sent")


class ClientClosed(NotConnected):
    """The program has closed this client before: nothing was sent."""

    retry_can_help = False


class UnexpectedReply(EventflowError):
    """The server's bytes are not RESP, or not the reply that the command has: another server, or another version."""


class UnknownRefusal(EventflowError):
    """An error reply with a code that this client does not know. `code` is that code, `str()` the whole text."""

    def __init__(self, text: str, code: str = EventflowError.code) -> None:
        super().__init__(text)
        # The class states the code of all its instances; only here does each instance have its own.
        self.__dict__["code"] = code


_CLASSES: tuple[type[EventflowError], ...] = (
    InvalidArgument,
    NotAuthenticated,
    WrongPassword,
    NotPermitted,
    TryAgain,
    StoreFull,
    CorruptRecord,
    RequestConflict,
    NoSuchConsumer,
)
_CLASS_BY_CODE = {cls.code: cls for cls in _CLASSES}
_CODE = re.compile(r"[A-Z][A-Z0-9_]*")
_COMMAND_REFUSALS = ("unknown command", "unknown subcommand", "wrong number of arguments", "syntax error")
"""How Redis's own sentences begin that say the request is no command of the server."""
_TOO_MANY_CLIENTS = "max number of clients reached"
"""Redis's sentence for this has no code of its own; what it asks for is what TRYAGAIN asks for."""


def error_of(text: str) -> EventflowError:
    """The exception for an error reply; `text` is the reply as it came, without the leading `-`."""
    code, _, sentence = text.partition(" ")
    if code == WrongExpectedVersion.code:
        return _condition_failed(sentence)
    if code in _CLASS_BY_CODE:
        return _CLASS_BY_CODE[code](sentence)
    if code == EventflowError.code:
        return _error_without_code(sentence)
    if _CODE.fullmatch(code):
        return UnknownRefusal(text, code)
    return EventflowError(text)


def _error_without_code(sentence: str) -> EventflowError:
    if sentence.startswith(_COMMAND_REFUSALS):
        return CommandRefused(sentence)
    if sentence.startswith(_TOO_MANY_CLIENTS):
        return TryAgain(sentence)
    return EventflowError(sentence)


def _condition_failed(sentence: str) -> ConditionFailed:
    """`key=value ...: sentence`. A value that is not understood, and a key not known here, stay in the text alone."""
    pairs: dict[str, str] = {}
    for word in sentence.partition(": ")[0].split():
        key, _, value = word.partition("=")
        if value:
            pairs[key] = value
    if "unless" in pairs:
        return UnlessMatched(sentence, unless=_find_number(pairs["unless"]), event=pairs.get("event"))
    if "consumer" in pairs:
        return NotHeld(sentence, consumer=pairs["consumer"], event=pairs.get("event"))
    expected = pairs.get("expected", "")
    return WrongExpectedVersion(
        sentence,
        stream=pairs.get("stream"),
        expected=EXISTS if expected == EXISTS else _find_number(expected),
        actual=_find_number(pairs.get("actual", "")),
    )


def _find_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
