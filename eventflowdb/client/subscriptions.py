"""A subscription that outlives its connections: which query is sent next, and when; without I/O.

Shared by all clients: nothing here may import Twisted or a Redis library.
"""

from typing import Any
from uuid import UUID

from msgspec.structs import replace

from eventflowdb.client.decoding import decode_event
from eventflowdb.client.exchanges import encoded
from eventflowdb.client.filters import FilterFields, Filters, fields_of
from eventflowdb.client.refusals import ConnectionLost, UnexpectedReply
from eventflowdb.client.retries import Reconnects
from eventflowdb.errors import EventflowError
from eventflowdb.events import RecordedEvent

SILENCE_SECONDS_MAX = 20.0
"""After so long without a message the server is asked for a sign of life, and has as long again to give one."""
PING = b"PING"


class Subscription:
    """What a program asked for, and how far it got: after each event it goes on behind that one.

    is_patient: it waits for a server also before it was ever connected.
    """

    def __init__(
        self,
        filters: Filters,
        *,
        stream: str | UUID | None,
        version: int | None,
        offset: str | None,
        after: str | None,
        is_patient: bool = False,
    ) -> None:
        self._fields: FilterFields = fields_of(
            filters, stream=None if stream is None else str(stream), offset=offset, after=after
        )
        # Here 0 is not the default: it says to begin with the first event.
        self._version = version
        self._reconnects = Reconnects(is_patient=is_patient)

    @property
    def has_place(self) -> bool:
        """Whether it says where to begin. Where it does not it has to be told, lest a broken connection lose events."""
        fields = self._fields
        return not (fields.after is None and fields.offset is None and self._version is None and fields.since is None)

    def begin_after(self, event_id: str) -> None:
        """Begin behind this event."""
        self._fields = replace(self._fields, after=event_id, offset=None)
        self._version = None

    def query(self) -> bytes:
        """What to subscribe to."""
        fields = encoded(self._fields)
        if self._version is None:
            return fields
        return b'{"version":%d,%b' % (self._version, fields[1:])  # with the stream's name behind it

    def event_of(self, reply: object) -> RecordedEvent | None:
        """The event that a message holds; None for what else comes. Raises the error that a reply is."""
        if isinstance(reply, Exception):
            raise reply
        kind, payload = _message(reply)
        if kind == b"subscribe":
            self._reconnects.connected()
        if kind != b"message":
            return None
        event = decode_event(payload)
        self.begin_after(event.id)
        return event

    def pause_after(self, error: EventflowError) -> float:
        """Seconds until it is to subscribe anew after this; raises what must end it."""
        return self._reconnects.pause_after(error)


def _message(reply: object) -> tuple[bytes, Any]:
    if isinstance(reply, list) and reply and isinstance(reply[0], bytes):
        return reply[0], reply[-1]
    raise UnexpectedReply(f"expected a message from the server, got {reply!r:.100}")


def no_sign_of_life() -> ConnectionLost:
    """The server has sent nothing for too long."""
    return ConnectionLost.because(f"the server has been silent for {2 * SILENCE_SECONDS_MAX:.0f} seconds")


def overdue(wait_seconds: float) -> ConnectionLost:
    """The server has not answered though it had no more than so long to wait."""
    seconds = wait_seconds + SILENCE_SECONDS_MAX
    return ConnectionLost.because(f"no reply within {seconds:.0f} seconds", is_overdue=True)
