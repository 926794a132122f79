"""What is left of a read, and how it is read on: chunk by chunk, each in a short transaction, and checked.

A span names what is left by key or version, not by a transaction: a long one would stop LMDB from reusing pages.

A chunk of the log is checked in parts, and where it is wanted as it is sent, rendered in parts too; so are those of a
stream. What is copied for a part is then still in the processor's cache, and its memory is free again for the next one.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol

from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import find_ulid_bytes, id_after
from eventflowdb.limits import CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX
from eventflowdb.storage import layout
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.records import ID_AT, STREAM_AT, STREAM_END, id_of, load_page, position_of
from eventflowdb.storage.searches import SearchSpan


class ReadBounds(NamedTuple):
    """How much one chunk of a read may hold; a single larger event is still read, alone."""

    events_max: int
    bytes_max: int


CHUNK = ReadBounds(CHUNK_EVENTS_MAX, CHUNK_BYTES_MAX)


class StreamSpan(NamedTuple):
    """What is left of a read of one stream: `remaining` events from `version` on."""

    number: bytes
    stream: str
    version: int
    remaining: int


class LogSpan(NamedTuple):
    """What is left of a read of the log: `remaining` events from the first id not below `start` on."""

    start: bytes
    remaining: int


Span = StreamSpan | LogSpan | SearchSpan


class Chunk(NamedTuple):
    """Records that were read, in order, and what is left of the read after them (None: nothing)."""

    records: list[bytes]
    rest: Span | None

    def total(self) -> int:
        """The number of events in this chunk and all that follow it."""
        return len(self.records) + (0 if self.rest is None else self.rest.remaining)


class Rendered(NamedTuple):
    """A chunk as it is sent: in pieces, of so many events, and what is left of the read after them.

    last_id: of the last event, 16 bytes; nothing where it was not read from the log.
    """

    pieces: list[bytes]
    event_count: int
    rest: Span | None
    last_id: bytes = b""

    def total(self) -> int:
        """The number of events in this chunk and all that follow it."""
        return self.event_count + (0 if self.rest is None else self.rest.remaining)


Render = Callable[[list[bytes]], bytes]
"""What is sent of some records, without what stands before and behind all of them."""

NOTHING = Chunk([], None)
NOTHING_RENDERED = Rendered([], 0, None)
_PART_EVENTS: Final = 16
_new_tuple: Final = tuple.__new__
_WALK_EVENTS_MIN: Final = 100
"""To find out where a walk begins takes as long as what it spares in some hundred events, once for each commit."""

# Of a long stream in a whole pass, behind LMDB's iterator.
_id_of_entry = itemgetter(slice(4, None))


class _Parts:
    """What is kept of a chunk while it is read: all records, or what is rendered of them."""

    def __init__(self, render: Render | None) -> None:
        self._render = render
        self.kept: list[bytes] = []
        self.count = 0
        self.first = b""
        self.last = b""

    def add(self, records: list[bytes]) -> None:
        """The next records; at least one."""
        if not self.count:
            self.first = records[0]
        self.last = records[-1]
        self.count += len(records)
        if self._render is None:
            self.kept += records
        else:
            self.kept.append(self._render(records))


def read_on(environment: Environment, txn: Any, span: StreamSpan | LogSpan, bounds: ReadBounds) -> Chunk:
    """The next chunk of a read."""
    if isinstance(span, LogSpan):
        parts = _Parts(None)
        last_id = _take_log(environment, txn, span, bounds, parts)
        return Chunk(parts.kept, _rest_of_log(span, parts, last_id))
    number, stream, version, remaining = span
    keys = _next_ids(environment, txn, span, bounds)
    return read_stream_page(environment, txn, number, stream, version, remaining, keys, bounds)


def render_on(
    environment: Environment, txn: Any, span: StreamSpan | LogSpan, bounds: ReadBounds, render: Render
) -> Rendered:
    """The same, rendered."""
    if isinstance(span, LogSpan):
        parts = _Parts(render)
        last_id = _take_log(environment, txn, span, bounds, parts)
        return Rendered(parts.kept, parts.count, _rest_of_log(span, parts, last_id), last_id)
    return render_stream_page(environment, txn, span, _next_ids(environment, txn, span, bounds), bounds, render)


def _next_ids(environment: Environment, txn: Any, span: StreamSpan, bounds: ReadBounds) -> list[bytes]:
    cursor = txn.cursor(environment.stream_events)
    cursor.set_range_dup(span.number, layout.pack_version(span.version))
    entries = islice(cursor.iternext_dup(), min(span.remaining, bounds.events_max))
    return list(map(_id_of_entry, entries))


def read_stream_page(
    environment: Environment,
    txn: Any,
    number: bytes,
    stream: str,
    version: int,
    remaining: int,
    keys: list[bytes],
    bounds: ReadBounds,
) -> Chunk:
    """The beginning of a span, given in its parts: the events with its first ids, as many as may be read at once.

    An index entry carries no checksum. Yet what it leads to is the right event if the record says so; and if the
    first and the last record of a page are right, and the ids between them of one stream and in order, each is.
    """
    records = load_page(environment.values_of(txn, keys, bounds.bytes_max))
    if records:
        _require_stream(stream, version, keys, records)
    # As the call of its class, which runs a function in Python: some hundredths of the most frequent read.
    return _new_tuple(Chunk, (records, _rest_of_stream(number, stream, version, remaining, len(records))))


def render_stream_page(
    environment: Environment, txn: Any, span: StreamSpan, keys: list[bytes], bounds: ReadBounds, render: Render
) -> Rendered:
    """The same of a span, rendered: part by part, each of them checked as a page."""
    number, stream, version, remaining = span
    parts = _Parts(render)
    room = bounds.bytes_max
    cursor = txn.cursor(environment.log)
    while parts.count < len(keys):
        part = keys[parts.count : parts.count + _PART_EVENTS]
        values = environment.values_at(cursor, part, room, 0 if parts.count else 1)
        if not values:
            break
        room -= sum([len(value) for value in values])
        records = load_page(values)
        _require_stream(stream, version + parts.count, part, records)
        parts.add(records)
        if len(records) < len(part):
            break
    return Rendered(parts.kept, parts.count, _rest_of_stream(number, stream, version, remaining, parts.count))


def _rest_of_stream(number: bytes, stream: str, version: int, remaining: int, count: int) -> StreamSpan | None:
    if remaining == count:
        return None
    if not count:
        raise CorruptRecord(f"the index of stream {stream} ends early; restore from a backup")
    return StreamSpan(number, stream, version + count, remaining - count)


class _LogSource(Protocol):
    """Where the records of the log come from, in order; see LogWalk."""

    bytes_left: int

    def find(self, start: bytes) -> bytes | None: ...

    def take(self, count: int, events_min: int) -> list[bytes]: ...


class _LogCursor:
    """LMDB's cursor, which does not end before the log does."""

    def __init__(self, cursor: Any, bytes_max: int) -> None:
        self._cursor = cursor
        self._values: Iterator[bytes] = iter(())
        self.bytes_left = bytes_max

    def find(self, start: bytes) -> bytes:
        """See LogWalk.find; CorruptRecord where the log ends."""
        if not self._cursor.set_range(start):
            raise _ends_early()
        self._values = self._cursor.iternext(keys=False, values=True)
        key: bytes = self._cursor.key()
        return key

    def take(self, count: int, events_min: int) -> list[bytes]:
        """See LogWalk.take; CorruptRecord where the log ends, or a record is damaged."""
        values: list[bytes] = []
        bytes_left = self.bytes_left
        # Not asked for one more than wanted, LMDB does not go to the page behind.
        for value in islice(self._values, count):
            left = bytes_left - len(value)
            if left < 0 and len(values) >= events_min:
                break
            values.append(value)
            bytes_left = left
        else:
            if len(values) < count:
                raise _ends_early()
        self.bytes_left = bytes_left
        return load_page(values)


def _take_log(environment: Environment, txn: Any, span: LogSpan, bounds: ReadBounds, parts: _Parts) -> bytes:
    """Read the beginning of a span of the log; the id of the last event that was read."""
    wanted = min(span.remaining, bounds.events_max)
    start, bytes_left = span.start, bounds.bytes_max
    is_full = False
    if wanted >= _WALK_EVENTS_MIN:
        walk = environment.log_walks.begin(txn, bytes_left)
        if walk is not None:
            _take_from(walk, start, wanted, parts)
            if parts.count:
                bytes_left, is_full = walk.bytes_left, walk.is_full
    if parts.count < wanted and not is_full:
        if parts.count:
            start = id_after(_last_id(parts))
        _take_from(_LogCursor(txn.cursor(environment.log), bytes_left), start, wanted, parts)
    if position_of(parts.last) - position_of(parts.first) != parts.count - 1:
        raise CorruptRecord(f"the log has a gap before event {id_of(parts.last)}; restore from a backup")
    return _last_id(parts)


def _rest_of_log(span: LogSpan, parts: _Parts, last_id: bytes) -> LogSpan | None:
    remaining = span.remaining - parts.count
    return LogSpan(id_after(last_id), remaining) if remaining else None


def _take_from(source: _LogSource, start: bytes, wanted: int, parts: _Parts) -> None:
    """Take as much as is wanted and there is room for, or as the source has."""
    first_key = source.find(start)
    if first_key is None:
        return
    is_first = True
    while parts.count < wanted:
        asked = min(_PART_EVENTS, wanted - parts.count)
        records = source.take(asked, 0 if parts.count else 1)
        if not records:
            break
        if is_first and not records[0].startswith(id_text(first_key).encode(), ID_AT):
            raise CorruptRecord(f"the log has another event at {id_text(first_key)}; restore from a backup")
        is_first = False
        parts.add(records)
        if len(records) < asked:
            break


def _last_id(parts: _Parts) -> bytes:
    text = id_of(parts.last)
    key = find_ulid_bytes(text)
    if key is None:
        raise CorruptRecord(f"the log holds an event whose id is {text!r}; restore from a backup")
    return key


def _ends_early() -> CorruptRecord:
    return CorruptRecord("the log ends before its head says; restore from a backup")


def _require_stream(stream: str, version: int, keys: list[bytes], records: list[bytes]) -> None:
    """CorruptRecord unless the records are those of the stream from `version` on, with the ids that are given."""
    name = stream.encode()
    last = version + len(records) - 1
    is_right = _has_version(records[0], version) and _has_version(records[-1], last)
    before = b""
    for place, record in enumerate(records):
        key = keys[place]
        if not before < key or record[STREAM_AT:STREAM_END] != name:
            is_right = False
        before = key
    if not is_right:
        raise CorruptRecord(
            f"the index of stream {stream} is damaged between versions {version} and {last}; restore from a backup"
        )


def _has_version(record: bytes, version: int) -> bool:
    """Whether a record says that it has this place in its stream."""
    wanted = b'","version":%d,' % version
    # A method of bytes is called by its name, which takes longer than a piece of them.
    return record[STREAM_END : STREAM_END + len(wanted)] == wanted
