"""Where the events of a subscription come from: read forward, page by page, from a place.

A place says where to read on; it is a plain value, so that those who stand at the same one can share what is read
there. Each source names what it watches, and its key: sources with the same key have the same page at the same place.
A query with a filter is a source of its own: its page holds the matches of one bounded search, and its next place is
where the search ended, whether or not anything matched.
"""

from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from eventflowdb.commands.subscriptions import SubscriptionQuery
from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import ULID_BYTES, find_ulid_bytes, id_after
from eventflowdb.queries import Query
from eventflowdb.service.database import Database
from eventflowdb.service.records import version_of
from eventflowdb.storage import queries
from eventflowdb.storage.records import id_of, position_of
from eventflowdb.storage.spans import Chunk


class LogPlace(NamedTuple):
    """In the log: at the first id not below `start`, which must have this position (None: any)."""

    start: bytes
    position: int | None


class StreamPlace(NamedTuple):
    """In a stream: before this version."""

    version: int


class StreamStart(NamedTuple):
    """In a stream: at the first id not below `start`; it is not known yet which version that is."""

    start: bytes


class SearchPlace(NamedTuple):
    """In the log: what comes from `start` on has not been searched."""

    start: bytes


Place = LogPlace | StreamPlace | StreamStart | SearchPlace


class Page(NamedTuple):
    """Events from a place on, in order; where to read on; and whether there was nothing more when it was read."""

    records: list[bytes]
    next: Place
    is_end: bool


class Source(Protocol):
    """What a subscription reads."""

    @property
    def key(self) -> Hashable:
        """Equal for sources of which all pages are equal."""

    @property
    def stream(self) -> str | None:
        """What has to grow for it to have something new: a stream, or the log."""

    @property
    def has_history(self) -> bool:
        """Whether the query says where to begin."""

    def begin(self) -> Place:
        """Where the query says to begin; where it does not say, after all that is there now."""

    def read(self, place: Place, events_max: int, is_behind: bool) -> "Page | Deferred[Page]":
        """The events from a place on, at most so many. is_behind: many are expected, else few."""

    def count_left(self, place: Place) -> int:
        """How many events there are from a place on."""


def source_of(subscription: SubscriptionQuery, database: Database) -> Source:
    """The source of what a query asks for."""
    query, has_history = subscription.query, subscription.has_history
    if not query.is_a_place:
        return SearchSource(query, has_history, database)
    if query.stream is None:
        return LogSource(query, has_history, database)
    return StreamSource(query, query.stream, has_history, database)


class LogSource:
    """The whole log."""

    key = "log"
    stream = None

    def __init__(self, query: Query, has_history: bool, database: Database) -> None:
        self._query = query
        self._database = database
        self.has_history = has_history

    def begin(self) -> Place:
        """See Source."""
        if self.has_history:
            return LogPlace(self._query.start, None)
        head = self._database.head()
        return LogPlace(id_after(head.last_id), head.position + 1)

    def read(self, place: Place, events_max: int, is_behind: bool) -> "Page | Deferred[Page]":
        """See Source."""
        assert isinstance(place, LogPlace)
        open_log = self._database.open_log if is_behind else self._database.open_log_end
        return _paged(open_log(place.start, events_max), lambda chunk: _log_page(place, chunk, events_max))

    def count_left(self, place: Place) -> int:
        """See Source."""
        assert isinstance(place, LogPlace)
        return self._database.count_log(place.start)


class StreamSource:
    """One stream, which need not be there yet."""

    def __init__(self, query: Query, stream: str, has_history: bool, database: Database) -> None:
        self._query = query
        self._database = database
        self.stream = stream
        self.key = stream
        self.has_history = has_history

    def begin(self) -> Place:
        """See Source."""
        if not self.has_history:
            return StreamPlace(self._database.count_stream(self.stream, 0))
        if any(self._query.start):
            return StreamStart(self._query.start)
        return StreamPlace(self._query.version)

    def read(self, place: Place, events_max: int, is_behind: bool) -> "Page | Deferred[Page]":
        """See Source."""
        if isinstance(place, StreamStart):
            found = self._database.open_stream_from(self.stream, place.start, events_max)
            return found.addCallback(lambda found: _first_page(place, found, events_max))
        assert isinstance(place, StreamPlace)
        open_stream = self._database.open_stream if is_behind else self._database.open_stream_end
        opened = open_stream(self.stream, place.version, events_max)
        return _paged(opened, lambda chunk: _stream_page(place, chunk, events_max))

    def count_left(self, place: Place) -> int:
        """See Source. From a start that was not looked for yet, all the stream holds."""
        return self._database.count_stream(self.stream, place.version if isinstance(place, StreamPlace) else 0)


class SearchSource:
    """What a query with a filter finds, in the log or in one stream."""

    def __init__(self, query: Query, has_history: bool, database: Database) -> None:
        self._query = query
        self._database = database
        self.stream = query.stream
        self.key = replace(query, start=bytes(ULID_BYTES))
        self.has_history = has_history

    def begin(self) -> Place:
        """See Source."""
        return SearchPlace(self._query.start if self.has_history else id_after(self._database.head().last_id))

    def read(self, place: Place, events_max: int, is_behind: bool) -> "Page | Deferred[Page]":
        """See Source. It has searched as far as the page ends, or up to the head of the log as of its beginning."""
        assert isinstance(place, SearchPlace)
        tail = None if is_behind else self._database.tails.find(place.start)
        if tail is not None:
            return Page(tail.matches(self._query), SearchPlace(tail.next), True)
        found = self._database.searches.search(
            replace(self._query, start=place.start), events_max, may_stop=True, is_short=not is_behind
        )
        if isinstance(found, Deferred):
            return found.addCallback(lambda found: _search_page(place, found))
        return _search_page(place, found)

    def count_left(self, place: Place) -> int:
        """See Source: those that it has yet to look through, whether or not they match."""
        assert isinstance(place, SearchPlace)
        return self._database.searches.count_range(replace(self._query, start=place.start))


def _search_page(place: SearchPlace, found: queries.Page) -> Page:
    records = found.chunk.records
    if found.chunk.rest is not None:
        return Page(records, SearchPlace(_id_after_last(records)), False)
    if found.cursor is not None:
        return Page(records, SearchPlace(id_after(found.cursor)), False)
    return Page(records, SearchPlace(max(place.start, id_after(found.head_id))), True)


def _paged(opened: "Chunk | Deferred[Chunk]", page: Callable[[Chunk], Page]) -> "Page | Deferred[Page]":
    return page(opened) if isinstance(opened, Chunk) else opened.addCallback(page)


def _log_page(place: LogPlace, chunk: Chunk, events_max: int) -> Page:
    records = chunk.records
    if not records:
        return Page([], place, True)
    if place.position is not None and position_of(records[0]) != place.position:
        raise CorruptRecord(f"the log has a gap before position {position_of(records[0])}; restore from a backup")
    place = LogPlace(_id_after_last(records), position_of(records[-1]) + 1)
    return Page(records, place, _is_end(chunk, events_max))


def _first_page(place: StreamStart, found: tuple[int | None, Chunk], events_max: int) -> Page:
    version, chunk = found
    return Page([], place, True) if version is None else _stream_page(StreamPlace(version), chunk, events_max)


def _stream_page(place: StreamPlace, chunk: Chunk, events_max: int) -> Page:
    records = chunk.records
    if records and version_of(records[0]) != place.version:
        raise CorruptRecord(f"a stream has a gap before version {version_of(records[0])}; restore from a backup")
    return Page(records, StreamPlace(place.version + len(records)), _is_end(chunk, events_max))


def _is_end(chunk: Chunk, events_max: int) -> bool:
    return chunk.rest is None and len(chunk.records) < events_max


def _id_after_last(records: list[bytes]) -> bytes:
    """The smallest id above that of the last record."""
    last_id = id_of(records[-1])
    key = find_ulid_bytes(last_id)
    if key is None:
        raise CorruptRecord(f"an event has the id {last_id!r}; restore from a backup")
    return id_after(key)
