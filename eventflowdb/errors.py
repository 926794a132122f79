"""The one tree of errors: each class carries its wire code and whether a retry can help.

The server raises them, the dispatcher turns them into replies `-CODE text`, and the clients turn such
replies back into the same classes. Nothing here may import the rest of the package.
"""

from typing import ClassVar


class EventflowError(Exception):
    """Anything EventflowDB refuses or fails at. `str()` is the sentence without the code."""

    code: ClassVar[str] = "ERR"
    retry_can_help: ClassVar[bool] = False


class CommandRefused(EventflowError):
    """The request is not a command as the command table has it: unknown, or with the wrong arguments."""


class InvalidArgument(EventflowError):
    """The argument does not parse, or a field of it is wrong; the text names the path."""

    code = "INVALIDARG"


class WrongExpectedVersion(EventflowError):
    """The stream does not hold as many events as the append expected.

    stream: lower-case UUID, or None where the reply did not say; expected, actual: numbers of events.
    """

    code = "CONCURRENCY"

    def __init__(
        self,
        text: str,
        *,
        stream: str | None = None,
        expected: int | None = None,
        actual: int | None = None,
    ) -> None:
        super().__init__(text)
        self.stream = stream
        self.expected = expected
        self.actual = actual

    @classmethod
    def of(cls, stream: str, expected: int, actual: int) -> "WrongExpectedVersion":
        """The refusal as the server words it: key=value pairs, then a sentence."""
        text = (
            f"stream={stream} expected={expected} actual={actual}: "
            f"the stream holds {actual} events, the append expected {expected}; read it again and decide anew"
        )
        return cls(text, stream=stream, expected=expected, actual=actual)


class NotAuthenticated(EventflowError):
    """The connection has to AUTH first."""

    code = "NOAUTH"


class WrongPassword(EventflowError):
    """AUTH named a wrong password or an unknown user."""

    code = "WRONGPASS"


class NotPermitted(EventflowError):
    """The user may not run this command."""

    code = "NOPERM"


class TryAgain(EventflowError):
    """Shutting down or overloaded: nothing was stored, and a retry is safe."""

    code = "TRYAGAIN"
    retry_can_help = True


class StoreFull(EventflowError):
    """The disk or the map is full, or free space is under the floor: nothing was stored; reads go on."""

    code = "OOM"


class CorruptRecord(EventflowError):
    """Stored bytes do not match their checksum."""

    code = "CORRUPT"


class StorageFailed(EventflowError):
    """The disk or LMDB failed in a way that no request can mend."""


class StartRefused(Exception):
    """The server cannot start as it was asked to; `str()` is the one line that says why, whatever it quotes."""

    def __init__(self, text: str) -> None:
        super().__init__("".join([c if c.isprintable() else ascii(c)[1:-1] for c in text]))
