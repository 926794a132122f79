"""The store: what a database can be asked and told, each in one short LMDB transaction.

How batches are stored tells transactions.py. A read works on a span, which names what is left to read by key or
version, not by a transaction; each chunk of it is a short read transaction, since a long one would stop LMDB from
reusing pages.
"""

import time
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

import lmdb

from eventflowdb.errors import CorruptRecord, StorageFailed
from eventflowdb.ids import id_after
from eventflowdb.limits import CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX
from eventflowdb.storage import layout
from eventflowdb.storage.batch import Outcome, Write
from eventflowdb.storage.checkpoints import Checkpoints
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.layout import Head
from eventflowdb.storage.records import ID_AT, STREAM_AT, STREAM_END, load_page, load_record, position_of
from eventflowdb.storage.room import used_bytes
from eventflowdb.storage.searches import SearchSpan, read_found
from eventflowdb.storage.stream_index import count_rows, find_rows, first_ids
from eventflowdb.storage.transactions import OnStaged, WriteTransactions, run_here


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

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _reading(read: Callable[_P, _R]) -> Callable[_P, _R]:
    """A read whose LMDB errors come out as StorageFailed."""

    @wraps(read)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return read(*args, **kwargs)
        except lmdb.Error as error:
            raise StorageFailed(f"the storage failed: {error}") from error

    return wrapped


class LmdbStore:
    """An open database. All methods are synchronous; any thread may read, one at a time appends.

    environment: what it stands on, for a check (verify.py).
    """

    def __init__(self, environment: Environment, writing: WriteTransactions | None) -> None:
        self.environment = environment
        self._env = environment.env
        self._writing = writing

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        map_size: int = 1 << 40,
        min_free_bytes: int = 0,
        clock_ns: Callable[[], int] = time.time_ns,
        elsewhere: Callable[[Callable[[], None]], object] = run_here,
    ) -> "LmdbStore":
        """Open the database in a folder, made if there is none. The caller owns the folder (DataFolder.claim).

        map_size: address space in bytes, the bound of the database; min_free_bytes: the floor of free disk
        under which appends are refused; elsewhere: runs on another thread what waits for the disk while appends go on.
        StartRefused where the folder holds something else, or is damaged.
        """
        writing = WriteTransactions(Checkpoints.recover(path, map_size), path, clock_ns, min_free_bytes, elsewhere)
        return cls(writing.environment, writing)

    @classmethod
    def open_beside(cls, path: Path, *, map_size: int = 1 << 40) -> "LmdbStore":
        """Open the database for reads alone, beside the process that appends. StartRefused."""
        return cls(Environment.open(path, map_size, is_read_only=True), None)

    @property
    def writing(self) -> WriteTransactions:
        """How it stores; of one that is not for reads alone."""
        assert self._writing is not None, "opened for reads alone"
        return self._writing

    def close(self) -> None:
        """Give the environment back, with all of it on the disk; no other call may follow or be under way."""
        if self._writing is None:
            self._env.close()
        else:
            self._writing.close()

    @_reading
    def event_count(self) -> int:
        """The number of events in the log; O(1)."""
        with self._env.begin() as txn:
            return int(txn.stat(self.environment.log)["entries"])

    @_reading
    def stream_count(self) -> int:
        """The number of streams that hold events; O(1)."""
        with self._env.begin() as txn:
            return int(txn.stat(self.environment.streams)["entries"])

    @_reading
    def size_bytes(self) -> int:
        """Pages in use x page size; O(1)."""
        return used_bytes(self._env.info(), int(self._env.stat()["psize"]))

    @_reading
    def head(self) -> Head:
        """Where the log stands; O(1)."""
        with self._env.begin() as txn:
            return self.environment.head(txn)

    def append_batch(
        self,
        writes: Sequence[Write],
        on_staged: OnStaged = None,
        *,
        may_defer: bool = False,
    ) -> list[Outcome]:
        """Store a batch of writes; when this returns, what it stored is on disk. See WriteTransactions.append_batch."""
        return self.writing.append_batch(writes, on_staged, may_defer=may_defer)

    @property
    def has_deferred(self) -> bool:
        """Whether batches are on disk that no read sees yet."""
        return self.writing.has_deferred

    def commit_deferred(self) -> None:
        """Let reads see everything that is on disk; on the thread that appends. StorageFailed."""
        self.writing.commit_deferred()

    def open_stream(self, stream: str, version: int, limit: int | None, bounds: ReadBounds = CHUNK) -> Chunk:
        """Begin to read a stream from `version` on, at most `limit` events (None: all it holds now)."""
        # The most frequent read, written out: each call that is spared is one of a few dozen.
        try:
            txn = self._env.begin()
            try:
                number = txn.get(layout.stream_key(stream), None, self.environment.streams)
                if number is None:
                    return NOTHING
                cursor = txn.cursor(self.environment.stream_events)
                if not cursor.set_key(number):
                    raise CorruptRecord(f"stream {stream} has a number but no events; restore from a backup")
                rows = find_rows(cursor, number, stream) if version == 0 else b""
                if rows:
                    count = count_rows(rows)
                else:
                    cursor.last_dup()
                    count = layout.unpack_version(cursor.value()) + 1 - version
                if limit is not None and limit < count:
                    count = limit
                if count <= 0:
                    return NOTHING
                if rows:
                    keys = first_ids(rows, min(count, bounds.events_max))
                    return self._stream_page(txn, number, stream, 0, count, keys, bounds)
                return self._stream_chunk(txn, StreamSpan(number, stream, version, count), bounds)
            finally:
                txn.abort()
        except lmdb.Error as error:
            raise StorageFailed(f"the storage failed: {error}") from error

    def stream_length(self, stream: str) -> int:
        """How many events a stream holds, as its index says; open_stream tells if that is damaged."""
        try:
            txn = self._env.begin()
            try:
                number = txn.get(layout.stream_key(stream), None, self.environment.streams)
                cursor = txn.cursor(self.environment.stream_events)
                if number is None or not cursor.set_key(number):
                    return 0
                cursor.last_dup()
                return layout.unpack_version(cursor.value()) + 1
            finally:
                txn.abort()
        except lmdb.Error as error:
            raise StorageFailed(f"the storage failed: {error}") from error

    @_reading
    def open_log(self, start: bytes, limit: int, bounds: ReadBounds = CHUNK) -> Chunk:
        """Begin to read the log from the first id not below `start` on, at most `limit` events."""
        with self._env.begin() as txn:
            cursor = txn.cursor(self.environment.log)
            if limit == 0 or not cursor.set_range(start):
                return NOTHING
            first = load_record(cursor.value(), f"the record of event {id_text(cursor.key())}")
            count = self.environment.head(txn).position - position_of(first) + 1
            if count <= 0:
                raise CorruptRecord("the log goes on beyond its head; restore from a backup")
            return self._log_chunk(txn, LogSpan(start, min(limit, count)), bounds)

    @_reading
    def read_on(self, span: Span, bounds: ReadBounds = CHUNK) -> Chunk:
        """The next chunk of a read."""
        if isinstance(span, SearchSpan):
            return Chunk(*read_found(self.environment, span, *bounds))
        with self._env.begin() as txn:
            if isinstance(span, StreamSpan):
                return self._stream_chunk(txn, span, bounds)
            return self._log_chunk(txn, span, bounds)

    def _stream_chunk(self, txn: Any, span: StreamSpan, bounds: ReadBounds) -> Chunk:
        number, stream, version, remaining = span
        cursor = txn.cursor(self.environment.stream_events)
        cursor.set_range_dup(number, layout.pack_version(version))
        entries = islice(cursor.iternext_dup(), min(remaining, bounds.events_max))
        return self._stream_page(txn, number, stream, version, remaining, list(map(_id_of_entry, entries)), bounds)

    def _stream_page(
        self, txn: Any, number: bytes, stream: str, version: int, remaining: int, keys: list[bytes], bounds: ReadBounds
    ) -> Chunk:
        """The beginning of a span, given in its parts: the events with its first ids, as many as may be read at once.

        An index entry carries no checksum. Yet what it leads to is the right event if the record says so; and if the
        first and the last record of a page are right, and the ids between them of one stream and in order, each is.
        """
        records = load_page(self.environment.values_of(txn, keys, bounds.bytes_max))
        count = len(records)
        if count:
            _require_stream(stream, version, keys, records)
        if remaining == count:
            return Chunk(records, None)
        if not count:
            raise CorruptRecord(f"the index of stream {stream} ends early; restore from a backup")
        return Chunk(records, StreamSpan(number, stream, version + count, remaining - count))

    def _log_chunk(self, txn: Any, span: LogSpan, bounds: ReadBounds) -> Chunk:
        cursor = txn.cursor(self.environment.log)
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
