"""Each command as an exchange: the words a client sends, and how it reads the reply.

Shared by all clients: nothing here may import Twisted or a Redis library.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

import msgspec
from ulid import ULID

from eventflowdb.client import decoding
from eventflowdb.client.appends import FRESH, Checkpoint, RequestId, StreamAppend, Unless
from eventflowdb.client.decoding import Checksum, Page, Size
from eventflowdb.client.filters import FilterFields, Filters, Terms, fields_of
from eventflowdb.errors import InvalidArgument
from eventflowdb.events import ExpectedVersion, NewEvent, RecordedEvent
from eventflowdb.queries import StreamSummary, TypeSummary

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Exchange(Generic[T]):
    """One request and its reply.

    words: the command and its argument; decode: the typed value of a reply, raises UnexpectedReply, or what
    error the reply holds; wait_seconds: how long the server may wait before it replies; request_id: of an append;
    is_once: what a second time would undo, or be refused, though the first was carried out.
    """

    words: tuple[bytes, ...]
    decode: Callable[[object], T]
    wait_seconds: float = 0.0
    is_append: bool = False
    request_id: str | None = None
    is_once: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again when nobody knows whether it was carried out."""
        return self.request_id is not None if self.is_append else not self.is_once


UnlessGiven = Unless | Sequence[Unless] | None


class _Event(msgspec.Struct):
    id: str


class _Add(msgspec.Struct, omit_defaults=True):
    stream: str
    version: ExpectedVersion
    events: Sequence[NewEvent]
    unless: UnlessGiven = None
    request_id: str | None = None
    checkpoint: Checkpoint | None = None


class _AddMany(msgspec.Struct, omit_defaults=True):
    appends: Sequence[StreamAppend]
    unless: UnlessGiven = None
    request_id: str | None = None
    checkpoint: Checkpoint | None = None


def ping(message: str | None = None) -> Exchange[str]:
    """The message, or PONG."""
    return Exchange((b"PING",) if message is None else (b"PING", _utf8(message)), decoding.text)


def version() -> Exchange[str]:
    """The server's version, SemVer."""
    return Exchange((b"VERSION",), decoding.text)


def uptime() -> Exchange[str]:
    """How long the server has been running, in words."""
    return Exchange((b"UPTIME",), decoding.text)


def size() -> Exchange[Size]:
    """The size of the database."""
    return Exchange((b"SIZE",), decoding.size)


def event_count() -> Exchange[int]:
    """How many events the log holds."""
    return Exchange((b"EVENTCOUNT",), decoding.integer)


def stream_count() -> Exchange[int]:
    """How many streams there are."""
    return Exchange((b"STREAMCOUNT",), decoding.integer)


def event_count_estimate() -> Exchange[int]:
    """How many events the log held when the server last looked."""
    return Exchange((b"EVENTCOUNTEST",), decoding.integer)


def stream_count_estimate() -> Exchange[int]:
    """How many streams there were when the server last looked."""
    return Exchange((b"STREAMCOUNTEST",), decoding.integer)


def checksum() -> Exchange[Checksum]:
    """The latest event's id and the checksum of the log up to it."""
    return Exchange((b"CHECKSUM",), decoding.checksum)


def add(
    stream: str | UUID,
    version: ExpectedVersion,
    events: Sequence[NewEvent],
    *,
    unless: UnlessGiven = None,
    request_id: RequestId = FRESH,
    checkpoint: Checkpoint | None = None,
) -> Exchange[list[RecordedEvent]]:
    """Events to be stored together at the end of a stream that is as expected."""
    _require_text(events, "")
    given_id = _request_id(request_id)
    argument = _Add(str(stream), version, events, unless, given_id, checkpoint)
    return Exchange((b"ADD", encoded(argument)), decoding.events, is_append=True, request_id=given_id)


def add_many(
    appends: Sequence[StreamAppend],
    *,
    unless: UnlessGiven = None,
    request_id: RequestId = FRESH,
    checkpoint: Checkpoint | None = None,
) -> Exchange[list[RecordedEvent]]:
    """Events to be stored together at the ends of several streams, each as expected."""
    for index, append in enumerate(appends):
        _require_text(append.events, f"appends[{index}].")
    given_id = _request_id(request_id)
    argument = _AddMany(appends, unless, given_id, checkpoint)
    return Exchange((b"ADDMANY", encoded(argument)), decoding.events, is_append=True, request_id=given_id)


def get(
    stream: str | UUID,
    version: int = 0,
    limit: int = 0,
    *,
    after: str | None = None,
    backwards: bool = False,
    wait_ms: int = 0,
    filters: Filters | None = None,
) -> Exchange[list[RecordedEvent]]:
    """The events of a stream after its first `version`, at most `limit` unless that is 0; waits for them."""
    argument = fields_of(
        filters or {},
        stream=str(stream),
        version=version,
        limit=limit or None,
        after=after,
        backwards=backwards,
        wait_ms=wait_ms,
    )
    return Exchange((b"GET", encoded(argument)), decoding.events, wait_seconds=wait_ms / 1000)


def get_all(
    *,
    offset: str | None = None,
    after: str | None = None,
    limit: int | None = None,
    backwards: bool = False,
    wait_ms: int = 0,
    filters: Filters | None = None,
) -> Exchange[list[RecordedEvent]]:
    """The events of the log from the id `offset` on, or past the id `after`; limit None: as many as the server says.

    wait_ms: how long the server is to wait where there are none.
    """
    argument = fields_of(filters or {}, offset=offset, after=after, limit=limit, backwards=backwards, wait_ms=wait_ms)
    return Exchange(_words(b"GETALL", argument), decoding.events, wait_seconds=wait_ms / 1000)


def page(argument: FilterFields) -> Exchange[Page]:
    """One page of a read, with or without a cursor."""
    limit = argument.limit or 0
    words = (b"GETALL" if argument.stream is None else b"GET", encoded(argument))
    return Exchange(words, decoding.page if argument.cursor else lambda reply: decoding.full_or_last(reply, limit))


def event(event_id: str) -> Exchange[RecordedEvent | None]:
    """One event, None where there is none of this id."""
    return Exchange((b"EVENT", encoded(_Event(event_id))), decoding.optional(RecordedEvent))


def stream(stream: str | UUID) -> Exchange[StreamSummary | None]:
    """What there is to tell of a stream, None where it holds nothing."""
    return Exchange((b"STREAM", encoded(FilterFields(stream=str(stream)))), decoding.optional(StreamSummary))


def streams(
    *, after: str | UUID | None = None, limit: int | None = None, terms: Terms | None = None
) -> Exchange[list[StreamSummary]]:
    """The streams behind one, at most `limit`; with terms those that hold such an event."""
    argument = fields_of(terms or {}, after=None if after is None else str(after), limit=limit)
    return Exchange(_words(b"STREAMS", argument), decoding.list_of(StreamSummary))


def types(*, after: str | None = None, limit: int | None = None) -> Exchange[list[TypeSummary]]:
    """The event types behind one, at most `limit`, and how many events there are of each."""
    return Exchange(_words(b"TYPES", FilterFields(after=after, limit=limit)), decoding.list_of(TypeSummary))


def _words(command: bytes, argument: FilterFields) -> tuple[bytes, ...]:
    return (command,) if argument == FilterFields() else (command, encoded(argument))


def check_page_events(page_events: int) -> None:
    """Refuse pages that would never end the log."""
    if page_events < 1:
        raise InvalidArgument(f"page_events: expected at least 1, got {page_events}")


def check_follow_wait(wait_ms: int) -> None:
    """Refuse to follow without waiting: that would ask without pause."""
    if wait_ms < 1:
        raise InvalidArgument(f"wait_ms: expected at least 1 to follow the log, got {wait_ms}")


def _require_text(events: Sequence[NewEvent], path: str) -> None:
    """Refuse bytes, such as a JSON library may give: they would be stored in base64, and nobody told."""
    for index, event in enumerate(events):
        for name, text in (("type", event.type), ("data", event.data), ("metadata", event.metadata)):
            if isinstance(text, (bytes, bytearray, memoryview)):
                kind = type(text).__name__
                raise InvalidArgument(f"{path}events[{index}].{name}: expected a string, got {kind}; decode it")


def _request_id(given: RequestId) -> str | None:
    """A ULID for FRESH, so that ids grow and the server adds to its index at the end."""
    return str(ULID()) if given is FRESH else given or None


def encoded(argument: msgspec.Struct | dict[str, object]) -> bytes:
    """The JSON of an argument; InvalidArgument where UTF-8 cannot carry it."""
    try:
        return msgspec.json.encode(argument)
    except UnicodeEncodeError as error:
        raise _not_unicode(error) from None


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _not_unicode(error) from None


def _not_unicode(error: UnicodeEncodeError) -> InvalidArgument:
    half = error.object[error.start : error.end]
    return InvalidArgument(f"a string holds half of a surrogate pair, {half!a}, which UTF-8 cannot carry")
