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


class ConditionFailed(EventflowError):
    """A condition of an append does not hold; nothing of it was stored."""

    code = "CONCURRENCY"


class WrongExpectedVersion(ConditionFailed):
    """The stream does not hold as many events as the append expected.

    stream: lower-case UUID, or None where the reply did not say; expected: a number of events, or "exists" for at
    least one; actual: the number of events.
    """

    def __init__(
        self,
        text: str,
        *,
        stream: str | None = None,
        expected: int | str | None = None,
        actual: int | None = None,
    ) -> None:
        super().__init__(text)
        self.stream = stream
        self.expected = expected
        self.actual = actual

    @classmethod
    def of(cls, stream: str, expected: int | str, actual: int) -> "WrongExpectedVersion":
        """The refusal as the server words it: key=value pairs, then a sentence."""
        wish = "that it exists" if isinstance(expected, str) else str(expected)
        text = (
            f"stream={stream} expected={expected} actual={actual}: "
            f"the stream holds {actual} events, the append expected {wish}; read it again and decide anew"
        )
        return cls(text, stream=stream, expected=expected, actual=actual)


class UnlessMatched(ConditionFailed):
    """The log holds an event that the append's `unless` rules out.

    unless: the index of the item that matches; event: the id of the first such event; None where the reply did not say.
    """

    def __init__(self, text: str, *, unless: int | None = None, event: str | None = None) -> None:
        super().__init__(text)
        self.unless = unless
        self.event = event

    @classmethod
    def of(cls, unless: int, event: str) -> "UnlessMatched":
        """The refusal as the server words it: key=value pairs, then a sentence."""
        text = f"unless={unless} event={event}: such an event is in the log; read what has come and decide anew"
        return cls(text, unless=unless, event=event)


class NotHeld(ConditionFailed):
    """The member of a consumer does not hold the event that it would ack, or not any more; nothing was stored.

    consumer: its name; event: the event's id; None where the reply did not say.
    """

    def __init__(self, text: str, *, consumer: str | None = None, event: str | None = None) -> None:
        super().__init__(text)
        self.consumer = consumer
        self.event = event

    @classmethod
    def of(cls, consumer: str, event: str) -> "NotHeld":
        """The refusal as the server words it: key=value pairs, then a sentence."""
        text = (
            f"consumer={consumer} event={event}: this member does not hold the event; "
            "it was acked, or is given to another; FETCH what is next"
        )
        return cls(text, consumer=consumer, event=event)


class NoSuchConsumer(EventflowError):
    """There is no consumer of this name."""

    code = "NOCONSUMER"

    @classmethod
    def of(cls, consumer: str) -> "NoSuchConsumer":
        """The refusal as the server words it."""
        return cls(f'there is no consumer {consumer}; make it with CONSUMER {{"create":"{consumer}"}}')


class RequestConflict(EventflowError):
    """The request_id was used before, for an append with other content; nothing was stored."""

    code = "CONFLICT"

    @classmethod
    def of(cls, request_id: str) -> "RequestConflict":
        """The refusal as the server words it."""
        return cls(f"request_id {request_id!r} was used for an append with other content; give each append its own")


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
