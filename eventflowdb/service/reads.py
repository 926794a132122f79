"""Where a read runs: on the reactor's thread while memory is warm, if it is small or nobody else waits; else on others.

A read through a thread costs two switches, three times the read of a short stream. A read of a few events that
are in memory does not block, so it runs where it is; but only a try shows whether they are in memory. When a try
took milliseconds and the kernel counted page faults that went to the disk, reads go to threads for a while. Time
alone would not do: on a busy machine any call may take milliseconds.

That while is in proportion to what was lost. Of a log that is larger than memory one read in thousands goes to the
disk, and must not make all others dear; where nothing is in memory each try fails, and the tries become rare.

A page of a thousand events takes a millisecond or two. On a thread it takes longer, since it and the reactor take the
interpreter's lock from each other. So one page a turn is read here for a client who is alone (company.py): whoever
comes now waits for one page. It is read step by step, and goes on on a thread if a step had to come from the disk.
Subscriptions, whose pages nobody has just asked for, have theirs read on threads.
"""

import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from eventflowdb.limits import (
    CHUNK_BYTES_MAX,
    CHUNK_EVENTS_MAX,
    INLINE_PAGE_STEPS,
    INLINE_READ_BYTES_MAX,
    INLINE_READ_EVENTS_MAX,
    INLINE_READ_PAUSE_SECONDS_MAX,
    INLINE_READ_PAUSE_TIMES,
    INLINE_READ_SECONDS_MAX,
    INTEGER_MAX,
)
from eventflowdb.service.company import Company
from eventflowdb.service.read_ahead import ReadAhead
from eventflowdb.service.reply import Answer
from eventflowdb.storage.environment import id_text
from eventflowdb.storage.layout import Head
from eventflowdb.storage.records import id_of
from eventflowdb.storage.spans import CHUNK, NOTHING, Chunk, ReadBounds, Render, Rendered, Span
from eventflowdb.wire.replies import array_items

INLINE = ReadBounds(INLINE_READ_EVENTS_MAX, INLINE_READ_BYTES_MAX)
STEP = ReadBounds(
    (CHUNK_EVENTS_MAX - INLINE_READ_EVENTS_MAX) // INLINE_PAGE_STEPS,
    (CHUNK_BYTES_MAX - INLINE_READ_BYTES_MAX) // INLINE_PAGE_STEPS,
)
"""What a page goes on by, after a first step like any small read; all of them together are a chunk."""

ONE = ReadBounds(1, 1)
Found = TypeVar("Found")


class ReadableStore(Protocol):
    """What is read of a store; see LmdbStore."""

    def head(self) -> Head: ...

    def stream_length(self, stream: str) -> int: ...

    def open_stream(self, stream: str, version: int, limit: int | None, bounds: ReadBounds) -> Chunk: ...

    def open_log(self, start: bytes, limit: int, bounds: ReadBounds) -> Chunk: ...

    def render_stream(
        self, stream: str, version: int, limit: int | None, bounds: ReadBounds, render: Render
    ) -> Rendered: ...

    def render_log(self, start: bytes, limit: int, bounds: ReadBounds, render: Render) -> Rendered: ...

    def render_on(self, span: Span, bounds: ReadBounds, render: Render) -> Rendered: ...


NextTurn = Callable[[Callable[[], None]], object]
"""Calls in the reactor's next turn."""

OffThread = Callable[[Callable[[], Any]], "Deferred[Any]"]
"""Runs a read on some other thread."""


def off_thread(reactor: IReactorFromThreads, pool: ThreadPool) -> OffThread:
    """Reads on the threads of a pool."""
    return lambda read: deferToThreadPool(reactor, pool, read)


def next_turn_of(reactor: IReactorTime) -> NextTurn:
    """Calls in the next turn of a reactor."""
    return lambda call: reactor.callLater(0, call)


def disk_faults() -> int:
    """How many page faults of this thread have gone to the disk (getrusage(2), major faults)."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt


class _Warmth:
    """Whether reads of one kind are thought to find memory warm."""

    def __init__(self) -> None:
        self.cold_until = float("-inf")
        self._pause_seconds = 0.0

    def failed(self, began: float, ended: float) -> None:
        """One that was tried has met the disk."""
        pause = INLINE_READ_PAUSE_TIMES * (ended - began)
        if began - self.cold_until < pause:
            pause = max(pause, 2 * self._pause_seconds)
        self._pause_seconds = min(pause, INLINE_READ_PAUSE_SECONDS_MAX)
        self.cold_until = ended + self._pause_seconds


class Reads:
    """Reads of one store, each answered at once or by a Deferred.

    next_turn: calls in the reactor's next turn; seconds: a monotonic clock; faults: counts the page
    faults of this thread that went to the disk.
    """

    def __init__(
        self,
        store: ReadableStore,
        run: OffThread,
        next_turn: NextTurn,
        seconds: Callable[[], float] = time.perf_counter,
        faults: Callable[[], int] = disk_faults,
    ) -> None:
        self._store = store
        self._run = run
        self._next_turn = next_turn
        self.company = Company()
        self._seconds = seconds
        self._faults = faults
        self._faults_before = faults()
        self._small = _Warmth()
        self._pages = _Warmth()
        self._has_paged = False
        """Whether a page was read here in this turn."""
        self._ahead = ReadAhead(self._read_log_page, self._may_page, next_turn)

    def open_stream(self, stream: str, version: int, limit: int | None) -> "Chunk | Deferred[Chunk]":
        """Begin to read a stream; see LmdbStore.open_stream."""
        if limit is not None and limit > INLINE_READ_EVENTS_MAX:
            return self._run(lambda: self._store.open_stream(stream, version, limit, CHUNK))
        return self.read_small(lambda: self._store.open_stream(stream, version, limit, INLINE))

    def answer_stream(self, stream: str, version: int, limit: int | None) -> "Answer | Deferred[Answer]":
        """The same for the reply to the request that runs: more than a few events are rendered."""
        if limit is not None and limit > INLINE_READ_EVENTS_MAX:
            return self._answer_page(
                lambda bounds: self._store.render_stream(stream, version, limit, bounds, array_items)
            )
        return self.read_small(lambda: self._store.open_stream(stream, version, limit, INLINE))

    def find_stream_length(self, stream: str) -> int | None:
        """How many events a stream holds; None while small reads do not run on this thread."""
        return self._store.stream_length(stream) if self.is_warm() else None

    def open_log(self, start: bytes, limit: int) -> "Chunk | Deferred[Chunk]":
        """Begin to read the log; see LmdbStore.open_log."""
        if limit > INLINE_READ_EVENTS_MAX:
            return self._run(lambda: self._store.open_log(start, limit, CHUNK))
        return self.read_small(lambda: self._store.open_log(start, limit, INLINE))

    def answer_log(self, start: bytes, limit: int) -> "Answer | Deferred[Answer]":
        """The same for a reply, as in `answer_stream`."""
        if limit <= INLINE_READ_EVENTS_MAX:
            return self.read_small(lambda: self._store.open_log(start, limit, INLINE))
        page = self._ahead.take(start, limit) or self._read_log_page(start, limit)
        if isinstance(page, Rendered):
            self._ahead.answered(start, limit, page)
        return page

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

    def render_on(self, span: Span) -> "Deferred[Rendered]":
        """The next chunk of a reply; it has turned out to be a long one."""
        return self._run(lambda: self._store.render_on(span, CHUNK, array_items))

    def read_elsewhere(self, read: Callable[[], Found]) -> "Deferred[Found]":
        """Any read, on some thread."""
        return self._run(read)

    def is_warm(self) -> bool:
        """Whether small reads run on this thread at the moment."""
        return self._seconds() >= self._small.cold_until

    def read_small(self, read: Callable[[], Found]) -> "Found | Deferred[Found]":
        """A read of few events, of little data."""
        began = self._seconds()
        if began < self._small.cold_until:
            return self._run(read)
        found = read()
        ended = self._seconds()
        if ended - began > INLINE_READ_SECONDS_MAX:
            faults = self._faults()
            if faults > self._faults_before:
                self._small.failed(began, ended)
            self._faults_before = faults
        return found

    def _read_log_page(self, start: bytes, limit: int) -> "Answer | Deferred[Answer]":
        return self._answer_page(lambda bounds: self._store.render_log(start, limit, bounds, array_items))

    def _may_page(self) -> bool:
        """Whether a page may be read on this thread now."""
        cold_until = max(self._pages.cold_until, self._small.cold_until)
        return not self._has_paged and self.company.is_alone and self._seconds() >= cold_until

    def _answer_page(self, read: Callable[[ReadBounds], Rendered]) -> "Answer | Deferred[Answer]":
        """A read of many events that a client waits for: its first chunk, which may be one large event more."""
        if not self._may_page():
            return self._run(lambda: read(CHUNK))
        began = self._seconds()
        self._has_paged = True
        self._next_turn(self._begin_turn)
        faults = self._faults()
        pieces, event_count, rest, last_id = read(INLINE)
        size_bytes = sum(map(len, pieces))
        self._faults_before = self._faults()
        while (
            rest is not None
            and self._faults_before == faults
            and event_count + STEP.events_max <= CHUNK.events_max
            and size_bytes + STEP.bytes_max <= CHUNK.bytes_max
        ):
            more, more_events, rest, last_id = self._store.render_on(rest, STEP, array_items)
            pieces += more
            event_count += more_events
            size_bytes += sum(map(len, more))
            self._faults_before = self._faults()
        page = Rendered(pieces, event_count, rest, last_id)
        if self._faults_before > faults:
            self._pages.failed(began, self._seconds())
            if rest is not None:
                return self._run(partial(self._fill, page, size_bytes, rest))
        return page

    def _fill(self, page: Rendered, size_bytes: int, rest: Span) -> Rendered:
        """On a thread: a chunk that begins with this one."""
        room = ReadBounds(max(1, CHUNK.events_max - page.event_count), max(1, CHUNK.bytes_max - size_bytes))
        more, more_events, rest_of_all, last_id = self._store.render_on(rest, room, array_items)
        return Rendered(page.pieces + more, page.event_count + more_events, rest_of_all, last_id)

    def _begin_turn(self) -> None:
        self._has_paged = False


def _open_stream_from(store: ReadableStore, stream: str, start: bytes, limit: int) -> tuple[int | None, Chunk]:
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
