"""The store: what a database can be asked and told, each in one short LMDB transaction.

How batches are stored tells transactions.py, how long reads go on spans.py.
"""

import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import lmdb

from eventflowdb.errors import CorruptRecord, StorageFailed
from eventflowdb.storage import layout
from eventflowdb.storage.batch import Outcome, Write
from eventflowdb.storage.checkpoints import Checkpoints
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.layout import Head
from eventflowdb.storage.records import load_record, position_of
from eventflowdb.storage.room import used_bytes
from eventflowdb.storage.searches import SearchSpan, read_found
from eventflowdb.storage.spans import (
    CHUNK,
    NOTHING,
    NOTHING_RENDERED,
    Chunk,
    LogSpan,
    ReadBounds,
    Render,
    Rendered,
    Span,
    StreamSpan,
    read_on,
    read_stream_page,
    render_on,
    render_stream_page,
)
from eventflowdb.storage.stream_index import count_rows, find_rows, first_ids
from eventflowdb.storage.transactions import OnStaged, WriteTransactions, run_here

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

    @property
    def has_much_deferred(self) -> bool:
        """Whether it is so much that reads should see it as soon as it is answered."""
        return self.writing.has_much_deferred

    def commit_deferred(self) -> None:
        """Let reads see everything that is on disk; on the thread that appends. StorageFailed."""
        self.writing.commit_deferred()

    def open_stream(self, stream: str, version: int, limit: int | None, bounds: ReadBounds = CHUNK) -> Chunk:
        """Begin to read a stream from `version` on, at most `limit` events (None: all it holds now)."""
        opened = self._open_stream(stream, version, limit, bounds, None)
        assert isinstance(opened, Chunk)
        return opened

    def render_stream(
        self, stream: str, version: int, limit: int | None, bounds: ReadBounds, render: Render
    ) -> Rendered:
        """The same, rendered."""
        opened = self._open_stream(stream, version, limit, bounds, render)
        assert isinstance(opened, Rendered)
        return opened

    def _open_stream(
        self, stream: str, version: int, limit: int | None, bounds: ReadBounds, render: Render | None
    ) -> Chunk | Rendered:
        # The most frequent read, written out: each call that is spared is one of a few dozen.
        environment = self.environment
        try:
            txn = self._env.begin()
            try:
                number = txn.get(layout.stream_key(stream), None, environment.streams)
                if number is None:
                    return NOTHING if render is None else NOTHING_RENDERED
                cursor = txn.cursor(environment.stream_events)
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
                    return NOTHING if render is None else NOTHING_RENDERED
                if not rows:
                    span = StreamSpan(number, stream, version, count)
                    if render is None:
                        return read_on(environment, txn, span, bounds)
                    return render_on(environment, txn, span, bounds, render)
                keys = first_ids(rows, min(count, bounds.events_max))
                if render is None:
                    return read_stream_page(environment, txn, number, stream, 0, count, keys, bounds)
                span = StreamSpan(number, stream, 0, count)
                return render_stream_page(environment, txn, span, keys, bounds, render)
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
            span = self._find_log(txn, start, limit)
            return NOTHING if span is None else read_on(self.environment, txn, span, bounds)

    @_reading
    def render_log(self, start: bytes, limit: int, bounds: ReadBounds, render: Render) -> Rendered:
        """The same, rendered."""
        with self._env.begin() as txn:
            span = self._find_log(txn, start, limit)
            return NOTHING_RENDERED if span is None else render_on(self.environment, txn, span, bounds, render)

    def _find_log(self, txn: Any, start: bytes, limit: int) -> LogSpan | None:
        cursor = txn.cursor(self.environment.log)
        if limit == 0 or not cursor.set_range(start):
            return None
        first = load_record(cursor.value(), f"the record of event {id_text(cursor.key())}")
        count = self.environment.head(txn).position - position_of(first) + 1
        if count <= 0:
            raise CorruptRecord("the log goes on beyond its head; restore from a backup")
        return LogSpan(start, min(limit, count))

    @_reading
    def read_on(self, span: Span, bounds: ReadBounds = CHUNK) -> Chunk:
        """The next chunk of a read."""
        if isinstance(span, SearchSpan):
            return Chunk(*read_found(self.environment, span, *bounds))
        with self._env.begin() as txn:
            return read_on(self.environment, txn, span, bounds)

    @_reading
    def render_on(self, span: Span, bounds: ReadBounds, render: Render) -> Rendered:
        """The same, rendered."""
        if isinstance(span, SearchSpan):
            records, rest = read_found(self.environment, span, *bounds)
            return Rendered([render(records)], len(records), rest)
        with self._env.begin() as txn:
            return render_on(self.environment, txn, span, bounds, render)
