"""GET and GETALL with `wait_ms`: reads that find nothing, and are answered as soon as there is something.

Theory of operation. Such a read watches its stream, or the log (notices.py), and looks again when that grew. Those
that ask for the same after the same notice share one look and one encoded reply: ten thousand that wait at the end of
the log cost one read a commit, and a write each. Between commits a wait is a timer and an entry in a table. A read
with a filter looks only at what came after its last look.
"""

from typing import NamedTuple

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.commands.filters import FilteredRead
from eventflowdb.commands.shapes import LogRead, StreamRead
from eventflowdb.errors import TryAgain
from eventflowdb.ids import id_after
from eventflowdb.limits import SHARED_LOOKS_MAX
from eventflowdb.service.database import Database
from eventflowdb.service.faults import error_of
from eventflowdb.service.reply import BlockedReply, LongReply, Reply, chunk_reply
from eventflowdb.storage.queries import Page
from eventflowdb.storage.spans import Chunk
from eventflowdb.wire import replies

Read = StreamRead | LogRead | FilteredRead
_EMPTY = replies.bulk_array([])


class _Answer(NamedTuple):
    """What a look has found: a reply, which many may get, or nothing yet, up to the event `seen` if that is known."""

    reply: bytes | LongReply | None
    seen: bytes | None = None

    def for_one(self) -> bytes | LongReply | None:
        """The reply for one client: of a long one each needs its own."""
        shared = self.reply
        return LongReply(shared.pieces, shared.rest) if isinstance(shared, LongReply) else shared


class _Look:
    """One look for all who ask the same after the same notice; asking: those that its answer is still owed to."""

    __slots__ = ("answer", "asking")

    def __init__(self) -> None:
        self.answer: _Answer | None = None
        self.asking: list[WaitingReply] = []


class Waits:
    """The waiting reads of one server, on the reactor's thread. count: how many wait."""

    _log = Logger()

    def __init__(self, database: Database, clock: IReactorTime) -> None:
        self._database = database
        self._clock = clock
        self._generation = 0
        self._looks: dict[Read, _Look] = {}
        self.count = 0

    def reply(self, read: Read) -> Reply:
        """The reply to a read that may wait: at once if there is something."""
        opened = self._open(read)
        if isinstance(opened, Chunk) and opened.records:
            return chunk_reply(opened)
        if isinstance(opened, Page) and opened.chunk.records:
            return chunk_reply(opened.chunk)
        reply = WaitingReply(self, read)
        reply.watch(self._clock, read.wait_ms)
        look = _Look()
        look.asking.append(reply)
        self._take(look, opened)
        return reply

    def look(self, read: Read, asking: "WaitingReply") -> None:
        """Look what a read finds now, and tell the one that asks: at once, or when it is known."""
        if self._generation != self._database.notices.generation or len(self._looks) >= SHARED_LOOKS_MAX:
            self._generation = self._database.notices.generation
            self._looks.clear()
        look = self._looks.get(read)
        if look is None:
            look = self._looks[read] = _Look()
            look.asking.append(asking)
            self._take(look, self._open(read))
        elif look.answer is None:
            look.asking.append(asking)
        else:
            asking.looked(look.answer.for_one(), look.answer.seen)

    def watch(self, read: Read, reply: "WaitingReply") -> None:
        """Tell a reply of every notice that concerns its read."""
        self.count += 1
        self._database.notices.watch(_stream_of(read), reply)

    def unwatch(self, read: Read, reply: "WaitingReply") -> None:
        """Tell it no more."""
        self.count -= 1
        self._database.notices.unwatch(_stream_of(read), reply)

    def _open(self, read: Read) -> "Chunk | Deferred[Chunk] | Page | Deferred[Page] | Failure":
        try:
            if isinstance(read, FilteredRead):
                return self._database.searches.search(read.query, read.limit, is_short=True)
            if isinstance(read, StreamRead):
                return self._database.open_stream_end(read.stream, read.version, read.limit)
            return self._database.open_log_end(read.start, read.limit)
        except Exception:
            return Failure()

    def _take(self, look: _Look, opened: "Chunk | Deferred[Chunk] | Page | Deferred[Page] | Failure") -> None:
        if isinstance(opened, Deferred):
            opened.addBoth(lambda outcome: self._take(look, outcome))
            return
        look.answer = self._answer(opened)
        asking, look.asking = look.asking, []
        for reply in asking:
            reply.looked(look.answer.for_one(), look.answer.seen)

    def _answer(self, opened: Chunk | Page | Failure) -> _Answer:
        if isinstance(opened, Page):
            return _Answer(chunk_reply(opened.chunk) if opened.chunk.records else None, opened.head_id)
        if isinstance(opened, Chunk):
            return _Answer(chunk_reply(opened) if opened.records else None)
        return _Answer(replies.error(error_of(opened, self._log, "a read failed")))


class WaitingReply(BlockedReply):
    """The reply to one read that waits."""

    __slots__ = ("_is_looking", "_is_stale", "_must_end", "_read", "_timeout", "_waits")

    def __init__(self, waits: Waits, read: Read) -> None:
        super().__init__()
        self._waits = waits
        self._read = replace(read, wait_ms=0)
        """What it asks for; how long it waits is its own affair."""
        self._is_looking = True
        self._is_stale = False
        """A notice came while a look was under way, which may have been too early."""
        self._must_end = False
        self._timeout: IDelayedCall | None = None

    def watch(self, clock: IReactorTime, wait_ms: int) -> None:
        """Begin to wait."""
        self._timeout = clock.callLater(wait_ms / 1000, self.end)
        self._waits.watch(self._read, self)

    def end(self) -> None:
        """Wait no longer: answer with what a look under way finds, else that there is nothing."""
        self._must_end = True
        if not self._is_looking:
            self.settle(_EMPTY)

    def log_closes(self) -> None:
        """Told by the notices."""
        self._must_end = True
        if not self._is_looking:
            self.settle(replies.error(TryAgain("the server is shutting down, and nothing has come yet; read on later")))

    def log_grew(self) -> None:
        """Told by the notices."""
        if self._is_looking:
            self._is_stale = True
        else:
            self._look()

    def looked(self, found: bytes | LongReply | None, seen: bytes | None) -> None:
        """What a look has found, or that there is nothing, up to the event `seen` if that is known."""
        self._is_looking = False
        if seen is not None and isinstance(self._read, FilteredRead):
            query = self._read.query
            self._read = replace(self._read, query=replace(query, start=max(query.start, id_after(seen))))
        if found is not None:
            self.settle(found)
        elif self._must_end:
            self.settle(_EMPTY)
        elif self._is_stale:
            self._look()

    def settle(self, value: bytes | LongReply) -> None:
        """Give the reply, and wait no more."""
        if self.value is not None:
            return
        self._waits.unwatch(self._read, self)
        # Let go of the timeout: it refers to this reply.
        timeout, self._timeout = self._timeout, None
        if timeout is not None and timeout.active():
            timeout.cancel()
        super().settle(value)

    def _look(self) -> None:
        self._is_looking, self._is_stale = True, False
        self._waits.look(self._read, self)


def _stream_of(read: Read) -> str | None:
    if isinstance(read, FilteredRead):
        return read.query.stream
    return read.stream if isinstance(read, StreamRead) else None
