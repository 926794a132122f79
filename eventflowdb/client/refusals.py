"""What can go wrong, as a client sees it: the server's error replies as exceptions, and a client's own conditions.

Shared by all clients: nothing here may import Twisted or a Redis library.
"""

import re

from eventflowdb.errors import (
    CommandRefused,
    CorruptRecord,
    EventflowError,
    InvalidArgument,
    NotAuthenticated,
    NotPermitted,
    StoreFull,
    TryAgain,
    WrongExpectedVersion,
    WrongPassword,
)


class ConnectionLost(EventflowError):
    """The connection went away before the reply came: the request may or may not have been carried out.

    A read can be repeated. An ADD may have been stored: repeated as it was it is not stored a second time, but
    refused with WrongExpectedVersion, so read the stream from the expected version on and decide by what is there.
    """

    @classmethod
    def because(cls, reason: str) -> "ConnectionLost":
        """The condition in words, with what it means for the request."""
        return cls(
            f"{reason}; the request may or may not have been carried out: "
            "before you repeat an ADD, read its stream and see whether it was stored"
        )


class NotConnected(ConnectionLost):
    """There was no connection to send the request on: it never left, and repeating it is safe."""

    retry_can_help = True

    @classmethod
    def because(cls, reason: str) -> "NotConnected":
        """The condition in words; here the outcome is known."""
        return cls(f"{reason}; nothing was sent")


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
        return _wrong_expected_version(sentence)
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


def _wrong_expected_version(sentence: str) -> WrongExpectedVersion:
    """`key=value ...: sentence`. A value that is no number, and a key not known here, stay in the text alone."""
    pairs: dict[str, str] = {}
    for word in sentence.partition(": ")[0].split():
        key, _, value = word.partition("=")
        if value:
            pairs[key] = value
    return WrongExpectedVersion(
        sentence,
        stream=pairs.get("stream"),
        expected=_find_number(pairs.get("expected", "")),
        actual=_find_number(pairs.get("actual", "")),
    )


def _find_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
