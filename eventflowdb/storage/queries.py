"""Reads that ask for some events only, or backwards: found by their ids, counted, then read as they are sent.

Theory of operation. The number of events stands before them in a reply, so all ids are found before the first event
leaves: in slices, each in a short transaction, on and on until the limit is met or the range is through. The range
ends at the head of the first slice, and indexes only grow at their ends, so that all slices see the same. The first
ids that were found are kept; beyond so many the same search finds them again while the reply goes out. Where a range
has no other condition its length is known from positions or versions, and nothing is searched, but for pages with a
cursor backwards.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import lmdb

from eventflowdb.errors import StorageFailed
from eventflowdb.ids import ULID_BYTES
from eventflowdb.limits import SEARCH_IDS_KEPT_MAX, SEARCH_PAGE_STEPS_MAX, SEARCH_SLICE_STEPS_MAX
from eventflowdb.queries import Query
from eventflowdb.storage import id_lists
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.id_lists import StreamIds, id_beyond
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.records import load_record, position_of
from eventflowdb.storage.searches import SearchSpan, search
from eventflowdb.storage.selection import Selection, select
from eventflowdb.storage.spans import CHUNK, NOTHING, Chunk, LogSpan, ReadBounds, Span, StreamSpan


class Page(NamedTuple):
    """The events that a query found: the first of them, and what is left.

    cursor: the id to go on after (backwards: before) where the search stopped at a bound; None at the end of the range,
    and where nobody asked. head_id: the last event of the log when the read began.
    """

    chunk: Chunk
    cursor: bytes | None
    head_id: bytes


class _Range(NamedTuple):
    """What is to be read of a range (None: it is empty), and the id to go on after, as in Page."""

    span: Span | None
    cursor: bytes | None


_Measured = tuple[Span | None, int, Callable[[int], bytes]]
"""What is to be read of a range; how many events there are in it; and the id of the last of so many of them."""
_NOTHING_THERE: _Measured = (None, 0, lambda _events: b"")


@contextmanager
def reading(environment: Environment) -> Iterator[Any]:
    """A read transaction; LMDB's errors come out as StorageFailed."""
    try:
        with environment.env.begin() as txn:
            yield txn
    except lmdb.Error as error:
        raise StorageFailed(f"the storage failed: {error}") from error


class QueryRead:
    """One read of what a query selects of the log as it stands at the first step; any thread may take the next one.

    limit: of events, None for all; may_stop: it may end at a bound of the search, and tells where to go on.
    """

    def __init__(self, store: LmdbStore, query: Query, limit: int | None, *, may_stop: bool = False) -> None:
        self._store = store
        self._environment = store.environment
        self._query = query
        self._limit = limit
        self._may_stop = may_stop
        # One more than asked for: that there is another tells that this is not the end.
        self._wanted = limit + 1 if may_stop and limit is not None else limit
        self._head_id = b""
        self._selection: Selection | None = None
        self._at = b""
        """Where the search goes on."""
        self._ids = b""
        """The first matches, side by side."""
        self._count = 0
        """How many were found."""
        self._steps_left = SEARCH_PAGE_STEPS_MAX

    def step(self, bounds: ReadBounds = CHUNK, steps: int = SEARCH_SLICE_STEPS_MAX) -> Page | None:
        """Take so many steps of the search: the page, with its first events, if that is all; None: call again."""
        if not self._head_id:
            self._begin()
        if self._selection is None:
            return self._page(NOTHING)
        if not (self._query.has_terms or (self._may_stop and self._query.is_backwards)):
            return self._range_page(self._selection, bounds)
        is_through = self._search(self._selection, steps)
        if is_through or self._count == self._wanted or (self._may_stop and self._steps_left <= 0):
            return self._end(self._selection, bounds, is_through=is_through)
        return None

    def count(self, steps: int) -> tuple[int, bool]:
        """How many events there are, and whether these are all: where they are searched, only so many are counted."""
        self._begin()
        if self._selection is None:
            return 0, True
        if not self._query.has_terms:
            span = self._measure(self._selection).span
            return 0 if span is None else span.remaining, True
        is_through = self._search(self._selection, steps)
        return self._count, is_through

    def first_id(self) -> bytes | None:
        """The first event there is, if it is found in some thousand steps."""
        self._begin()
        if self._selection is None:
            return None
        self._search(self._selection, SEARCH_PAGE_STEPS_MAX)
        return self._ids[:ULID_BYTES] or None

    def _begin(self) -> None:
        with reading(self._environment) as txn:
            self._head_id = self._environment.head(txn).last_id
            self._selection = select(self._environment, txn, self._query, self._head_id)
        if self._selection is not None:
            self._at = self._selection.first

    def _search(self, selection: Selection, steps: int) -> bool:
        """Find some matches more; whether these were all."""
        wanted = None if self._wanted is None else self._wanted - self._count
        with reading(self._environment) as txn:
            found = search(self._environment, txn, selection, self._at, wanted, steps)
        if len(self._ids) < SEARCH_IDS_KEPT_MAX * ULID_BYTES:
            self._ids += b"".join(found.ids)
        self._count += len(found.ids)
        self._steps_left -= steps
        if found.at is not None:
            self._at = found.at
        return found.at is None

    def _end(self, selection: Selection, bounds: ReadBounds, *, is_through: bool) -> Page:
        cursor = None
        ids, count = self._ids, self._count
        is_backwards = self._query.is_backwards
        if self._may_stop and not is_through:
            cursor = id_beyond(self._at, not is_backwards)
        if self._may_stop and self._limit is not None and count > self._limit:
            ids, count = ids[: self._limit * ULID_BYTES], self._limit
            cursor = ids[-ULID_BYTES:]
        if not count:
            return self._page(NOTHING, cursor)
        span = SearchSpan(selection, ids, id_beyond(ids[-ULID_BYTES:], is_backwards), count)
        return self._page(self._store.read_on(span, bounds), cursor)

    def _page(self, chunk: Chunk, cursor: bytes | None = None) -> Page:
        return Page(chunk, cursor, self._head_id)

    def _range_page(self, selection: Selection, bounds: ReadBounds) -> Page:
        """A page of a range without further conditions: what it holds is measured, not searched."""
        span, cursor = self._measure(selection)
        return self._page(NOTHING if span is None else self._store.read_on(span, bounds), cursor)

    def _measure(self, selection: Selection) -> _Range:
        """What a range without further conditions holds, as much of it as is wanted."""
        with reading(self._environment) as txn:
            if selection.query.stream is None:
                span, count, last_of = self._measure_log(txn, selection)
            else:
                span, count, last_of = self._measure_stream(txn, selection)
            if span is None:
                return _Range(None, None)
            if self._query.is_backwards:
                return _Range(SearchSpan(selection, b"", selection.first, span.remaining), None)
            return _Range(span, last_of(span.remaining) if self._may_stop and span.remaining < count else None)

    def _measure_stream(self, txn: Any, selection: Selection) -> _Measured:
        stream, number = selection.query.stream or "", selection.number
        ids = StreamIds(self._environment, txn, stream, number, selection.stream_count, is_backwards=False)
        begin = ids.version_from(selection.low)
        count = ids.version_from(id_beyond(selection.high, is_backwards=False)) - begin
        if count <= 0:
            return _NOTHING_THERE
        span = StreamSpan(number, stream, begin, self._limited(count))
        return span, count, lambda events: ids.id_at(begin + events - 1)

    def _measure_log(self, txn: Any, selection: Selection) -> _Measured:
        first = id_lists.of_log(self._environment, txn, is_backwards=False)(selection.low)
        last = id_lists.of_log(self._environment, txn, is_backwards=True)(selection.high)
        if first is None or last is None or first > last:
            return _NOTHING_THERE
        count = self._position(txn, last) - self._position(txn, first) + 1
        span = LogSpan(first, self._limited(count))
        return span, count, lambda events: id_lists.last_of_log(self._environment, txn, first, events)

    def _position(self, txn: Any, key: bytes) -> int:
        stored = txn.get(key, db=self._environment.log)
        return position_of(load_record(stored, f"the record of event {id_text(key)}"))

    def _limited(self, count: int) -> int:
        bounds = [count]
        if self._limit is not None:
            bounds.append(self._limit)
        if self._may_stop:
            bounds.append(SEARCH_PAGE_STEPS_MAX)
        return min(bounds)
