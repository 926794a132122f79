"""One open database as the responders use it: appends through the writer, reads, counts."""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from eventflowdb.consumers import StoredConsumer
from eventflowdb.errors import StorageFailed
from eventflowdb.limits import CONSUMERS_MAX
from eventflowdb.service.commits import Commits
from eventflowdb.service.company import Company
from eventflowdb.service.estimates import Estimates
from eventflowdb.service.freshness import Freshness, OnFresh, Visibility
from eventflowdb.service.notices import Notices
from eventflowdb.service.reads import Reads
from eventflowdb.service.records import version_of
from eventflowdb.service.reply import Answer
from eventflowdb.service.searches import Searches
from eventflowdb.service.tails import Tails
from eventflowdb.service.turns import StagingTurn
from eventflowdb.service.unseen import Tail, Unseen
from eventflowdb.storage.batch import Outcome, Write
from eventflowdb.storage.consumers import (
    Lag,
    Opened,
    ParkedEvent,
    Retry,
    lag_of,
    list_consumers,
    open_consumer,
    parked_from,
    retries_from,
)
from eventflowdb.storage.layout import Head
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.spans import Chunk, Rendered, Span


class Writer(Freshness, Protocol):
    """What appends (GroupCommitWriter, or what refuses to). turn: the commit thread's, while it stages a batch."""

    commits: Commits
    turn: StagingTurn

    def append(self, write: Write, settle: Callable[[Outcome], None]) -> None:
        """Queue a write; see GroupCommitWriter.append."""


class NoWriter:
    """The writer of a process that only reads: what should be stored has to go to the core."""

    def __init__(self) -> None:
        self.commits = Commits()
        self.turn = StagingTurn()
        self.visibility = Visibility()
        self.unseen = Unseen()

    def freshen(self, call: OnFresh) -> None:
        """Nothing is answered here that reads do not see."""
        call(None)

    def append(self, write: Write, settle: Callable[[Outcome], None]) -> None:
        """Refuse."""
        settle(StorageFailed("this process only reads; nothing was stored"))


class Database:
    """A store with the threads around it; used on the reactor's thread.

    notices: tell that the log grew; searches: reads that ask for some events only; tails: the last events, for
    subscriptions with filters.
    """

    def __init__(self, store: LmdbStore, writer: Writer, reads: Reads, estimates: Estimates, notices: Notices) -> None:
        self.notices = notices
        self.searches = Searches(store, reads)
        self.tails = Tails(store, reads, notices)
        self._store = store
        self._writer = writer
        self._reads = reads
        self._estimates = estimates
        self.append = writer.append
        """Queue an append or another write; see GroupCommitWriter.append."""

    @property
    def commits(self) -> Commits:
        """How the commits have gone."""
        return self._writer.commits

    @property
    def turn(self) -> StagingTurn:
        """When whoever carries out requests has to stand back."""
        return self._writer.turn

    @property
    def company(self) -> Company:
        """Whether one client has the server to itself."""
        return self._reads.company

    @property
    def freshness(self) -> Freshness:
        """Whether reads see what was answered."""
        return self._writer

    def open_stream(self, stream: str, version: int, limit: int | None) -> "Chunk | Deferred[Chunk]":
        """Begin to read a stream; see Reads.open_stream."""
        return self._reads.open_stream(stream, version, limit)

    def answer_stream(self, stream: str, version: int, limit: int | None) -> "Answer | Deferred[Answer]":
        """The same for the reply to the request that runs; see Reads.answer_stream."""
        return self._reads.answer_stream(stream, version, limit)

    def open_log(self, start: bytes, limit: int) -> "Chunk | Deferred[Chunk]":
        """Begin to read the log; see Reads.open_log."""
        return self._reads.open_log(start, limit)

    def answer_log(self, start: bytes, limit: int) -> "Answer | Deferred[Answer]":
        """The same for a reply; see Reads.answer_log."""
        return self._reads.answer_log(start, limit)

    def find_retries(self, consumer: StoredConsumer, start: bytes, limit: int) -> "Deferred[list[Retry]]":
        """Events that failed and are to be given out again; see consumers.retries_from."""
        return self._reads.read_elsewhere(lambda: retries_from(self._store.environment, consumer, start, limit))

    def open_consumer(self, name: str) -> "Deferred[Opened]":
        """A consumer as it is stored; see consumers.open_consumer."""
        return self._reads.read_elsewhere(lambda: open_consumer(self._store.environment, name))

    def list_consumers(self, steps: int) -> "Deferred[list[tuple[StoredConsumer, Lag]]]":
        """All consumers, and how far behind they are, counted so far."""
        return self._reads.read_elsewhere(lambda: self.look_at_consumers(steps))

    def look_at_consumers(self, steps: int, consumers_max: int = CONSUMERS_MAX) -> "list[tuple[StoredConsumer, Lag]]":
        """The same at once, of the first ones."""
        consumers = list_consumers(self._store.environment)[:consumers_max]
        return [(found, lag_of(self._store, found, steps)) for found in consumers]

    def find_parked(self, name: str, start: bytes, limit: int) -> "Deferred[list[ParkedEvent]]":
        """Parked events of a consumer; see consumers.parked_from."""
        return self._reads.read_elsewhere(lambda: parked_from(self._store.environment, name, start, limit))

    def find_stream_length(self, stream: str) -> int | None:
        """How many events a stream holds, if that can be told at once; see Reads.find_stream_length."""
        seen = self._reads.find_stream_length(stream)
        tail = self.find_tail(stream)
        if tail is None:
            return seen
        # Where the store shows more already, or the answer was to an append of long ago, it is in doubt.
        return seen + len(tail) if tail and seen == version_of(tail[0]) else None

    def find_tail(self, stream: str) -> Tail | None:
        """The last events of a stream if reads do not see them yet; None if they do."""
        return self._writer.unseen.tails.get(stream)

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

    def render_on(self, span: Span) -> "Deferred[Rendered]":
        """The next chunk of a reply."""
        return self._reads.render_on(span)

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
