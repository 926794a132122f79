"""What is left of a read, and how it is read on: chunk by chunk, each in a short transaction, and checked.

A span names what is left by key or version, not by a transaction: a long one would stop LMDB from reusing pages.
"""

from itertools import islice
from operator import itemgetter
from typing import Any, Final, NamedTuple

from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import id_after
from eventflowdb.limits import CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX
from eventflowdb.storage import layout
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.records import ID_AT, STREAM_AT, STREAM_END, load_page, position_of
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


NOTHING = Chunk([], None)
_CHECKED_AT_ONCE: Final = 64
"""Events of a page of the log: few enough that what is copied for their check is still in the processor's cache."""

# Of a long stream in a whole pass, behind LMDB's iterator.
_id_of_entry = itemgetter(slice(4, None))


def read_stream_on(environment: Environment, txn: Any, span: StreamSpan, bounds: ReadBounds) -> Chunk:
    """The next chunk of a read of a stream."""
    number, stream, version, remaining = span
    cursor = txn.cursor(environment.stream_events)
    cursor.set_range_dup(number, layout.pack_version(version))
    entries = islice(cursor.iternext_dup(), min(remaining, bounds.events_max))
    keys = list(map(_id_of_entry, entries))
    return read_stream_page(environment, txn, number, stream, version, remaining, keys, bounds)


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
    count = len(records)
    if count:
        _require_stream(stream, version, keys, records)
    if remaining == count:
        return Chunk(records, None)
    if not count:
        raise CorruptRecord(f"the index of stream {stream} ends early; restore from a backup")
    return Chunk(records, StreamSpan(number, stream, version + count, remaining - count))


def read_log_on(environment: Environment, txn: Any, span: LogSpan, bounds: ReadBounds) -> Chunk:
    """The next chunk of a read of the log."""
    cursor = txn.cursor(environment.log)
    wanted = min(span.remaining, bounds.events_max)
    bytes_max = bounds.bytes_max
    records: list[bytes] = []
    values: list[bytes] = []
    size = 0
    is_found = cursor.set_range(span.start)
    first_id = id_text(cursor.key())
    # Not asked for one more than wanted, the cursor stays where it is.
    for value in islice(cursor.iternext(keys=False, values=True), wanted) if is_found else ():
        size += len(value)
        if size > bytes_max and (values or records):
            break
        values.append(value)
        if len(values) == _CHECKED_AT_ONCE:
            records += load_page(values)
            values.clear()
    key = cursor.key()
    if not key:
        raise CorruptRecord("the log ends before its head says; restore from a backup")
    records += load_page(values)
    if not records[0].startswith(first_id.encode(), ID_AT):
        raise CorruptRecord(f"the log has another event at {first_id}; restore from a backup")
    if len(records) > 1 and position_of(records[-1]) - position_of(records[0]) != len(records) - 1:
        raise CorruptRecord(f"the log has a gap before event {id_text(key)}; restore from a backup")
    remaining = span.remaining - len(records)
    start = id_after(key) if len(records) == wanted else key
    return Chunk(records, LogSpan(start, remaining) if remaining else None)


def _require_stream(stream: str, version: int, keys: list[bytes], records: list[bytes]) -> None:
    """CorruptRecord unless the records are those of the stream from `version` on, with the ids that are given."""
    name = stream.encode()
    last = version + len(records) - 1
    is_right = _stands_at(records[0], name, version) and _stands_at(records[-1], name, last)
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


def _stands_at(record: bytes, stream: bytes, version: int) -> bool:
    """Whether a record says that it has this place."""
    return record.startswith(b'%b","version":%d,' % (stream, version), STREAM_AT)
