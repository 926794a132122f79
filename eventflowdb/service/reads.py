"""Where a read runs: small ones on the reactor's thread while memory is warm, all others on threads.

A read through a thread costs two switches, three times the read of a short stream. A read of a few events that
are in memory does not block, so it runs where it is; but only a try shows whether they are in memory. When a try
took milliseconds and the kernel counted page faults that went to the disk, reads go to threads for a while. Time
alone would not do: on a busy machine any call may take milliseconds.

That while is in proportion to what was lost. Of a log that is larger than memory one read in thousands goes to the
disk, and must not make all others dear; where nothing is in memory each try fails, and the tries become rare.
"""

import resource
import time
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from eventflowdb.limits import (
    INLINE_READ_BYTES_MAX,
    INLINE_READ_EVENTS_MAX,
    INLINE_READ_PAUSE_SECONDS_MAX,
    INLINE_READ_PAUSE_TIMES,
    INLINE_READ_SECONDS_MAX,
    INTEGER_MAX,
)
from eventflowdb.service.records import id_of
from eventflowdb.storage.environment import id_text
from eventflowdb.storage.lmdb_store import CHUNK, NOTHING, Chunk, LmdbStore, ReadBounds, Span

INLINE = ReadBounds(INLINE_READ_EVENTS_MAX, INLINE_READ_BYTES_MAX)

ONE = ReadBounds(1, 1)
Found = TypeVar("Found")

OffThread = Callable[[Callable[[], Any]], "Deferred[Any]"]
"""Runs a read on some other thread."""


def off_thread(reactor: IReactorFromThreads, pool: ThreadPool) -> OffThread:
    """Reads on the threads of a pool."""
    return lambda read: deferToThreadPool(reactor, pool, read)


def disk_faults() -> int:
    """How many page faults of this thread have gone to the disk (getrusage(2), major faults)."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt


class Reads:
    """Reads of one store, each answered at once or by a Deferred.

    seconds: a monotonic clock; faults: counts the page faults of this thread that went to the disk.
    """

    def __init__(
        self,
        store: LmdbStore,
        run: OffThread,
        seconds: Callable[[], float] = time.perf_counter,
        faults: Callable[[], int] = disk_faults,
    ) -> None:
        self._store = store
        self._run = run
        self._seconds = seconds
        self._faults = faults
        self._faults_before = faults()
        self._threads_until = float("-inf")
        self._pause_seconds = 0.0

    def open_stream(self, stream: str, version: int, limit: int | None) -> "Chunk | Deferred[Chunk]":
        """Begin to read a stream; see LmdbStore.open_stream."""
        if limit is not None and limit > INLINE_READ_EVENTS_MAX:
            return self._run(lambda: self._store.open_stream(stream, version, limit, CHUNK))
        return self.read_small(lambda: self._store.open_stream(stream, version, limit, INLINE))

    def find_stream_length(self, stream: str) -> int | None:
        """How many events a stream holds; None while small reads do not run on this thread."""
        return self._store.stream_length(stream) if self.is_warm() else None

    def open_log(self, start: bytes, limit: int) -> "Chunk | Deferred[Chunk]":
        """Begin to read the log; see LmdbStore.open_log."""
        if limit > INLINE_READ_EVENTS_MAX:
            return self._run(lambda: self._store.open_log(start, limit, CHUNK))
        return self.read_small(lambda: self._store.open_log(start, limit, INLINE))

    def open_stream_end(self, stream: str, version: int, limit: int | None) -> "Chunk | Deferred[Chunk]":
        """The same where few events are expected, whatever the limit: the first of them, and what is left."""
        return self.read_small(lambda: self._store.open_stream(stream, version, limit, INLINE))

    def open_log_end(self, start: bytes, limit: int) -> "Chunk | Deferred[Chunk]":
        """The same of the log."""
        return self.read_small(lambda: self._store.open_log(start, limit, INLINE))

    def open_stream_from(self, stream: str, start: bytes, limit: int) -> "Deferred[tuple[int | None, Chunk]]":
        """Begin to read a stream from the first id not below `start` on; its version, which is found by bisection.

        None where events to come may have smaller ids.
        """
        return self._run(lambda: _open_stream_from(self._store, stream, start, limit))

    def count_log(self, start: bytes) -> int:
        """How many events there are from the first id not below `start` on."""
        return self._store.open_log(start, INTEGER_MAX, ONE).total()

    def count_stream(self, stream: str, version: int) -> int:
        """How many events a stream holds from `version` on."""
        return self._store.open_stream(stream, version, None, ONE).total()

    def read_on(self, span: Span) -> "Deferred[Chunk]":
        """The next chunk of a read; it has turned out to be a long one."""
        return self._run(lambda: self._store.read_on(span, CHUNK))

    def read_elsewhere(self, read: Callable[[], Found]) -> "Deferred[Found]":
        """Any read, on some thread."""
        return self._run(read)

    def is_warm(self) -> bool:
        """Whether small reads run on this thread at the moment."""
        return self._seconds() >= self._threads_until

    def read_small(self, read: Callable[[], Found]) -> "Found | Deferred[Found]":
        """A read of few events, of little data."""
        began = self._seconds()
        if began < self._threads_until:
            return self._run(read)
        found = read()
        ended = self._seconds()
        if ended - began > INLINE_READ_SECONDS_MAX:
            self._judge_slow_read(began, ended)
        return found

    def _judge_slow_read(self, began: float, ended: float) -> None:
        faults = self._faults()
        if faults > self._faults_before:
            pause = INLINE_READ_PAUSE_TIMES * (ended - began)
            if began - self._threads_until < pause:
                pause = max(pause, 2 * self._pause_seconds)
            self._pause_seconds = min(pause, INLINE_READ_PAUSE_SECONDS_MAX)
            self._threads_until = ended + self._pause_seconds
        self._faults_before = faults


def _open_stream_from(store: LmdbStore, stream: str, start: bytes, limit: int) -> tuple[int | None, Chunk]:
    if int.from_bytes(start, "big") > int.from_bytes(store.head().last_id, "big") + 1:
        return None, NOTHING
    first, end = 0, store.open_stream(stream, 0, None, ONE).total()
    start_text = id_text(start)
    while first < end:
        middle = (first + end) // 2
        (record,) = store.open_stream(stream, middle, 1, ONE).records
        if id_of(record) < start_text:
            first = middle + 1
        else:
            end = middle
    return first, store.open_stream(stream, first, limit, CHUNK)
