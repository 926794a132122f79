"""The store: what a database can be asked and told, each in one short LMDB transaction.

Theory of operation. One write transaction stores a batch of appends: everything they depend on is read inside
it, the new entries are staged in memory and written at its end, together with the head, and the commit (two
flushes) makes them durable. No authority lives in memory between transactions. A read works on a span, which
names what is left to read by key or version, not by a transaction; each chunk of it is a short read transaction,
since a long one would stop LMDB from reusing pages.
"""

import time
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import islice, repeat
from operator import lt
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import lmdb

from eventflowdb.errors import CorruptRecord, StorageFailed, StoreFull
from eventflowdb.ids import id_after
from eventflowdb.limits import CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX
from eventflowdb.storage import layout
from eventflowdb.storage.batch import Batch, Outcome, Write
from eventflowdb.storage.environment import DATA_FILE, Environment, id_text
from eventflowdb.storage.layout import Head
from eventflowdb.storage.records import ID_AT, STREAM_AT, STREAM_END, load_page, load_record, position_of
from eventflowdb.storage.room import is_for_want_of_room, require_free_space
from eventflowdb.storage.searches import SearchSpan, read_found
from eventflowdb.storage.tip import Tip


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

    def __init__(self, environment: Environment, path: Path, clock_ns: Callable[[], int], min_free_bytes: int) -> None:
        self.environment = environment
        self._env = environment.env
        self._path = path
        self._clock_ns = clock_ns
        self._min_free_bytes = min_free_bytes
        self._tip: Tip | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        map_size: int = 1 << 40,
        min_free_bytes: int = 0,
        clock_ns: Callable[[], int] = time.time_ns,
        is_read_only: bool = False,
    ) -> "LmdbStore":
        """Open the database in a folder, made if there is none. The caller owns the folder (DataFolder.claim).

        map_size: address space in bytes, the bound of the database; min_free_bytes: the floor of free disk
        under which appends are refused; is_read_only: for a process beside the one that appends. StartRefused where
        the folder holds something else.
        """
        return cls(Environment.open(path, map_size, is_read_only=is_read_only), path, clock_ns, min_free_bytes)

    def close(self) -> None:
        """Give the environment back; no other call may follow or be under way."""
        self._env.close()

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
        return (int(self._env.info()["last_pgno"]) + 1) * int(self._env.stat()["psize"])

    @_reading
    def head(self) -> Head:
        """Where the log stands; O(1)."""
        with self._env.begin() as txn:
            return self.environment.head(txn)

    def append_batch(self, writes: Sequence[Write], on_staged: Callable[[], None] = lambda: None) -> list[Outcome]:
        """Store a batch of writes in one transaction; when this returns, what it stored is on disk.

        on_staged: called when all is staged, before the flush.

        The outcome of each write, in order. StoreFull: nothing of the batch is stored. StorageFailed: the disk
        failed, what it holds is not known, and nothing must be appended until the database is opened anew.
        """
        try:
            require_free_space(self._path, sum(write.size_bytes for write in writes), self._min_free_bytes)
            with self._env.begin(write=True) as txn:
                commit = txn.id()
                tip = self._tip_of(txn)
                batch = Batch(self.environment, txn, writes, self._clock_ns() // 1000, tip)
                outcomes = [batch.stage(write) for write in writes]
                is_changed = batch.write()
                if not is_changed:
                    txn.abort()
                on_staged()
            if is_changed:
                batch.committed(commit)
            self._tip = tip
            return outcomes
        except lmdb.MapFullError as error:
            raise StoreFull(
                f"the database has reached MAP_SIZE ({self._env.info()['map_size']} bytes); nothing was stored; "
                "start the server with a larger one"
            ) from error
        except lmdb.Error as error:
            if is_for_want_of_room(error, self._path / DATA_FILE) and self.environment.has_lost_nothing():
                raise StoreFull("the disk is full; nothing was stored; free some space and retry") from error
            raise StorageFailed(f"the storage failed: {error}") from error
        except OSError as error:
            raise StorageFailed(f"the storage failed: {error.strerror}") from error

    def _tip_of(self, txn: Any) -> Tip:
        """What the last commit left, if it is what a write transaction sees; it is let go until that is on disk."""
        tip, self._tip = self._tip, None
        return Tip(self.environment, txn) if tip is None or not tip.is_seen_by(txn) else tip

    def open_stream(self, stream: str, version: int, limit: int | None, bounds: ReadBounds = CHUNK) -> Chunk:
        """Begin to read a stream from `version` on, at most `limit` events (None: all it holds now)."""
        # The most frequent read, written out: each call that is spared is one of a few dozen.
        try:
            with self._env.begin() as txn:
                number = txn.get(layout.stream_key(stream), db=self.environment.streams)
                if number is None:
                    return NOTHING
                cursor = txn.cursor(self.environment.stream_events)
                if not cursor.set_key(number):
                    raise CorruptRecord(f"stream {stream} has a number but no events; restore from a backup")
                events_max = bounds.events_max
                if version == 0:
                    # Most streams end within the bound, so that their length needs no look of its own.
                    entries = list(islice(cursor.iternext_dup(), events_max + 1))
                    if len(entries) <= events_max:
                        wanted = len(entries) if limit is None or limit > len(entries) else limit
                        return self._stream_page(txn, StreamSpan(number, stream, 0, wanted), entries[:wanted], bounds)
                cursor.last_dup()
                count = layout.unpack_version(cursor.value()) + 1 - version
                if limit is not None and limit < count:
                    count = limit
                if count <= 0:
                    return NOTHING
                return self._stream_chunk(txn, StreamSpan(number, stream, version, count), bounds)
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
        cursor = txn.cursor(self.environment.stream_events)
        cursor.set_range_dup(span.number, layout.pack_version(span.version))
        entries = list(islice(cursor.iternext_dup(), min(span.remaining, bounds.events_max)))
        return self._stream_page(txn, span, entries, bounds)

    def _stream_page(self, txn: Any, span: StreamSpan, entries: list[bytes], bounds: ReadBounds) -> Chunk:
        """The beginning of a span: the events of its first index entries, as many as may be read at once.

        An index entry carries no checksum. Yet what it leads to is the right event if the record says so; and if the
        first and the last record of a page are right, and the ids between them of one stream and in order, each is.
        """
        keys = [entry[4:] for entry in entries]
        values: list[bytes] = []
        size, bytes_max = 0, bounds.bytes_max
        for value in map(txn.get, keys, repeat(None), repeat(self.environment.log)):
            if value is None:
                raise CorruptRecord(f"event {id_text(keys[len(values)])} is in an index but not in the log")
            size += len(value)
            if size > bytes_max and values:
                break
            values.append(value)
        records = load_page(values)
        count = len(records)
        if count:
            _require_stream(span, keys[:count], records)
        remaining = span.remaining - count
        if not remaining:
            return Chunk(records, None)
        if not count:
            raise CorruptRecord(f"the index of stream {span.stream} ends early; restore from a backup")
        return Chunk(records, StreamSpan(span.number, span.stream, span.version + count, remaining))

    def _log_chunk(self, txn: Any, span: LogSpan, bounds: ReadBounds) -> Chunk:
        cursor = txn.cursor(self.environment.log)
        wanted = min(span.remaining, bounds.events_max)
        bytes_max = bounds.bytes_max
        values: list[bytes] = []
        size = 0
        is_found = cursor.set_range(span.start)
        first_id = id_text(cursor.key())
        for value in cursor.iternext(keys=False, values=True) if is_found else ():
            size += len(value)
            if values and size > bytes_max:
                break
            values.append(value)
            if len(values) == wanted:
                break
        key = cursor.key()
        if not key:
            raise CorruptRecord("the log ends before its head says; restore from a backup")
        records = load_page(values)
        if not records[0].startswith(first_id.encode(), ID_AT):
            raise CorruptRecord(f"the log has another event at {first_id}; restore from a backup")
        if len(records) > 1 and position_of(records[-1]) - position_of(records[0]) != len(records) - 1:
            raise CorruptRecord(f"the log has a gap before event {id_text(key)}; restore from a backup")
        remaining = span.remaining - len(records)
        start = id_after(key) if len(values) == wanted else key
        return Chunk(records, LogSpan(start, remaining) if remaining else None)


def _require_stream(span: StreamSpan, keys: Sequence[bytes], records: Sequence[bytes]) -> None:
    """CorruptRecord unless the records are the first of the span."""
    stream = span.stream.encode()
    last = span.version + len(records) - 1
    if not (
        _stands_at(records[0], stream, span.version)
        and _stands_at(records[-1], stream, last)
        and all(map(lt, keys, keys[1:]))
        and [record[STREAM_AT:STREAM_END] for record in records] == [stream] * len(records)
    ):
        raise CorruptRecord(
            f"the index of stream {span.stream} is damaged between versions {span.version} and {last}; "
            "restore from a backup"
        )


def _stands_at(record: bytes, stream: bytes, version: int) -> bool:
    """Whether a record says that it has this place."""
    return record.startswith(b'%b","version":%d,' % (stream, version), STREAM_AT)
