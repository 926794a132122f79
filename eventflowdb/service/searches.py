"""Where searches run: the first steps of one that may be short on the reactor's thread, all others on threads.

A search is taken step by step, so that other reads have their turn on the threads, and that it ends soon when nobody
waits for it any more.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from eventflowdb.errors import TryAgain
from eventflowdb.limits import GETALL_LIMIT_DEFAULT, INLINE_SEARCH_STEPS_MAX, TYPES_SLICE_MAX
from eventflowdb.queries import Query, StreamSummary, TypeSummary
from eventflowdb.service.reads import INLINE, Reads
from eventflowdb.storage import catalog
from eventflowdb.storage.catalog import StreamsQuery
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.queries import Page, QueryRead

Found = TypeVar("Found")
Found_co = TypeVar("Found_co", covariant=True)


class _Steps(Protocol[Found_co]):
    """What is found step by step."""

    def step(self) -> Found_co | None:
        """None: call again."""


def always() -> bool:
    """Somebody waits for this search until it is done."""
    return True


class Searches:
    """Searches of one store, each answered at once or by a Deferred.

    is_wanted: whether somebody still waits; else the search ends, with a TryAgain that nobody sees.
    """

    def __init__(self, store: LmdbStore, reads: Reads) -> None:
        self._store = store
        self._environment = store.environment
        self._reads = reads

    def search(
        self,
        query: Query,
        limit: int | None,
        *,
        may_stop: bool = False,
        is_short: bool = False,
        is_wanted: Callable[[], bool] = always,
    ) -> "Page | Deferred[Page]":
        """Find what a query selects; see QueryRead. is_short: little is expected, whatever the limit."""
        read = QueryRead(self._store, query, limit, may_stop=may_stop)
        if is_short or (limit is not None and limit <= GETALL_LIMIT_DEFAULT):
            page = self._reads.read_small(lambda: read.step(INLINE, INLINE_SEARCH_STEPS_MAX))
            if isinstance(page, Page):
                return page
            return Deferred.fromCoroutine(self._finish(page, read, is_wanted))
        return Deferred.fromCoroutine(self._finish(None, read, is_wanted))

    def count_range(self, query: Query) -> int:
        """How many events there are between the ends of a query, whether it asks for them or not; O(log n)."""
        everything = replace(query, types=(), tags=(), correlation_id=None, causation_id=None)
        count, _ = QueryRead(self._store, everything, None).count(0)
        return count

    def list_streams(
        self, query: Query, after: str | None, limit: int, is_wanted: Callable[[], bool]
    ) -> "Deferred[list[StreamSummary]]":
        """Streams in which a query finds something; see StreamsQuery."""
        return Deferred.fromCoroutine(
            self._finish(None, StreamsQuery(self._environment, query, after, limit), is_wanted)
        )

    def find_event(self, event_id: bytes) -> "bytes | Deferred[bytes | None] | None":
        """See catalog.find_event."""
        return self._reads.read_small(lambda: catalog.find_event(self._environment, event_id))

    def find_stream(self, stream: str) -> "StreamSummary | Deferred[StreamSummary | None] | None":
        """See catalog.find_stream."""
        return self._reads.read_small(lambda: catalog.find_stream(self._environment, stream))

    def list_types(self, after: str, limit: int) -> "Deferred[list[TypeSummary]]":
        """See catalog.types_after."""
        return Deferred.fromCoroutine(self._list_types(after, limit))

    async def _list_types(self, after: str, limit: int) -> list[TypeSummary]:
        found: list[TypeSummary] = []
        while len(found) < limit:
            wanted = min(limit - len(found), TYPES_SLICE_MAX)
            page = await self._reads.read_elsewhere(partial(self._types_after, after, wanted))
            found += page
            if len(page) < wanted:
                break
            after = page[-1].type
        return found

    def _types_after(self, after: str, limit: int) -> list[TypeSummary]:
        return catalog.types_after(self._environment, after, limit)

    async def _finish(
        self, begun: "Deferred[Found | None] | None", steps: _Steps[Found], is_wanted: Callable[[], bool]
    ) -> Found:
        found = None if begun is None else await begun
        while found is None:
            if not is_wanted():
                raise TryAgain("the connection was lost")
            found = await self._reads.read_elsewhere(steps.step)
        return found
