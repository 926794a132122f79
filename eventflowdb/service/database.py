"""One open database as the responders use it: appends through the writer, reads, counts."""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from eventflowdb.service.commits import Commits
from eventflowdb.service.estimates import Estimates
from eventflowdb.service.notices import Notices
from eventflowdb.service.reads import Reads
from eventflowdb.service.searches import Searches
from eventflowdb.service.writer import GroupCommitWriter
from eventflowdb.storage.batch import Outcome, Write
from eventflowdb.storage.layout import Head
from eventflowdb.storage.lmdb_store import Chunk, LmdbStore, Span


class Database:
    """A store with the threads around it; used on the reactor's thread.

    notices: tell that the log grew; searches: reads that ask for some events only.
    """

    def __init__(
        self, store: LmdbStore, writer: GroupCommitWriter, reads: Reads, estimates: Estimates, notices: Notices
    ) -> None:
        self.notices = notices
        self.searches = Searches(store, reads)
        self._store = store
        self._writer = writer
        self._reads = reads
        self._estimates = estimates

    @property
    def commits(self) -> Commits:
        """How the commits have gone."""
        return self._writer.commits

    def append(self, write: Write, settle: Callable[[Outcome], None]) -> None:
        """Queue an append or another write; see GroupCommitWriter.append."""
        self._writer.append(write, settle)

    def open_stream(self, stream: str, version: int, limit: int | None) -> "Chunk | Deferred[Chunk]":
        """Begin to read a stream; see Reads.open_stream."""
        return self._reads.open_stream(stream, version, limit)

    def open_log(self, start: bytes, limit: int) -> "Chunk | Deferred[Chunk]":
        """Begin to read the log; see Reads.open_log."""
        return self._reads.open_log(start, limit)

    def open_stream_end(self, stream: str, version: int, limit: int | None) -> "Chunk | Deferred[Chunk]":
        """Begin to read a stream where few events are expected; see Reads.open_stream_end."""
        return self._reads.open_stream_end(stream, version, limit)

    def open_log_end(self, start: bytes, limit: int) -> "Chunk | Deferred[Chunk]":
        """Begin to read the log where few events are expected; see Reads.open_log_end."""
        return self._reads.open_log_end(start, limit)

    def open_stream_from(self, stream: str, start: bytes, limit: int) -> "Deferred[tuple[int | None, Chunk]]":
        """Begin to read a stream from an id on; see Reads.open_stream_from."""
        return self._reads.open_stream_from(stream, start, limit)

    def count_log(self, start: bytes) -> int:
        """How many events there are from the first id not below `start` on."""
        return self._reads.count_log(start)

    def count_stream(self, stream: str, version: int) -> int:
        """How many events a stream holds from `version` on."""
        return self._reads.count_stream(stream, version)

    def read_on(self, span: Span) -> "Deferred[Chunk]":
        """The next chunk of a read."""
        return self._reads.read_on(span)

    def head(self) -> Head:
        """Where the log stands."""
        return self._store.head()

    def size_bytes(self) -> int:
        """Pages in use x page size."""
        return self._store.size_bytes()

    def event_count(self) -> int:
        """The exact number of events."""
        return self._store.event_count()

    def stream_count(self) -> int:
        """The exact number of streams."""
        return self._store.stream_count()

    def event_count_estimate(self) -> int:
        """The number of events as of the last periodic index."""
        return self._estimates.events

    def stream_count_estimate(self) -> int:
        """The number of streams as of the last periodic index."""
        return self._estimates.streams
