"""What each command of the database does: one method a command, from a checked argument to a reply."""

from collections.abc import Callable, Sequence

import humanize
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb import __version__
from eventflowdb.append import Append
from eventflowdb.commands.arguments import EVERYTHING
from eventflowdb.commands.filters import GET, FilteredRead
from eventflowdb.commands.shapes import LogRead, StreamRead
from eventflowdb.errors import InvalidArgument
from eventflowdb.service.appends import Appends
from eventflowdb.service.contention import Contention, Settling
from eventflowdb.service.database import Database
from eventflowdb.service.faults import error_of
from eventflowdb.service.queries import QueryResponders
from eventflowdb.service.recent import ReadCache
from eventflowdb.service.records import version_of
from eventflowdb.service.reply import Answer, LongReply, PendingReply, Reply, chunk_reply
from eventflowdb.service.session import Session
from eventflowdb.service.unseen import Tail
from eventflowdb.service.waits import Waits
from eventflowdb.storage.environment import id_text
from eventflowdb.storage.spans import Chunk, Rendered
from eventflowdb.wire import replies

Words = Sequence[bytes]


class Responders:
    """The server's answers. appends: where they go; waits: reads that wait; queries: those with filters; contention: of
    the streams that clients append to; seconds: a clock for UPTIME.

    A command with a JSON argument gets it decoded and checked, but for GET; the others get the request's words.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        appends: Appends,
        waits: Waits,
        queries: QueryResponders,
        contention: Contention,
        cache: ReadCache,
        seconds: Callable[[], float],
    ) -> None:
        self._database = database
        self._appends = appends
        self._waits = waits
        self._queries = queries
        self._contention = contention
        self._cache = cache
        self._seconds = seconds
        self._started = seconds()

    def version(self, _session: Session, _words: Words) -> Reply:
        """VERSION."""
        return replies.bulk(__version__.encode())

    def uptime(self, _session: Session, _words: Words) -> Reply:
        """UPTIME, in words."""
        seconds = int(self._seconds() - self._started)
        return replies.bulk(humanize.precisedelta(seconds, format="%d").encode())

    def size(self, _session: Session, _words: Words) -> Reply:
        """SIZE, in bytes and in words."""
        size_bytes = self._database.size_bytes()
        words = humanize.naturalsize(size_bytes).encode()
        return replies.array([replies.integer(size_bytes), replies.bulk(words)])

    def event_count(self, _session: Session, _words: Words) -> Reply:
        """EVENTCOUNT."""
        return replies.integer(self._database.event_count())

    def stream_count(self, _session: Session, _words: Words) -> Reply:
        """STREAMCOUNT."""
        return replies.integer(self._database.stream_count())

    def event_count_estimate(self, _session: Session, _words: Words) -> Reply:
        """EVENTCOUNTEST."""
        return replies.integer(self._database.event_count_estimate())

    def stream_count_estimate(self, _session: Session, _words: Words) -> Reply:
        """STREAMCOUNTEST."""
        return replies.integer(self._database.stream_count_estimate())

    def checksum(self, _session: Session, _words: Words) -> Reply:
        """CHECKSUM: of an empty log it is the zero ULID and zeros."""
        head = self._database.head()
        return replies.bulk_array([id_text(head.last_id).encode(), head.checksum.hex().encode()])

    def add(self, session: Session, append: Append) -> Reply:
        """ADD and ADDMANY: the stored events, when they are on disk."""
        refused = self._contention.refuse(session, append)
        if refused is not None:
            return refused
        reply = PendingReply()
        self._appends.append(append, Settling(self._contention, session, reply))
        return reply

    def get(self, session: Session, words: Words) -> Reply:
        """GET, which looks among what is kept before it decodes its argument. InvalidArgument."""
        text = words[1]
        kept = self._cache.take(text)
        if kept is not None:
            return kept
        read: StreamRead | FilteredRead = GET.decode(text)
        # By its type, since a struct answers isinstance with a search of its own.
        if type(read) is not StreamRead:
            return self._queries.read(session, read)
        if read.wait_ms:
            return self._waits.reply(read)
        session.has_read = True
        self._cache.missed()
        stream, version, limit = read.stream, read.version, read.limit
        tail = self._database.find_tail(stream)
        if tail:
            return self._get_with_tail(read, tail)
        opened: Chunk | Rendered | Deferred[Chunk] | Deferred[Answer]
        # One that comes again wants the few events that are new. It may be one of many who lost a race for the stream.
        if version:
            opened = self._database.open_stream_end(stream, version, limit)
        else:
            opened = self._database.answer_stream(stream, 0, limit)
        # Not whether it is a Deferred: that is an abstract class, for which Python runs a function.
        if isinstance(opened, Chunk):
            records, rest = opened
            event_count = len(records)
        elif isinstance(opened, Rendered):
            _, event_count, rest, _ = opened
        else:
            return self._reply_later(opened)
        reply = chunk_reply(opened)
        if event_count and rest is None and self._cache.wants(text, read):
            if isinstance(reply, LongReply):
                reply = reply.join()
            assert isinstance(reply, bytes)
            self._cache.keep(text, read, event_count, reply)
        return reply

    def is_seen(self, words: Words) -> bool:
        """Whether a GET can be answered while reads do not see all that was answered."""
        if len(words) != 2:
            return False
        text = words[1]
        if self._cache.has(text):
            return True
        try:
            read: StreamRead | FilteredRead = GET.decode(text)
        except InvalidArgument:
            return True
        if isinstance(read, FilteredRead) or read.wait_ms:
            return False
        stream = read.stream
        return self._database.find_tail(stream) is None or self._database.find_stream_length(stream) is not None

    def _get_with_tail(self, read: StreamRead, tail: Tail) -> Reply:
        """GET of a stream whose last events are at hand, and not seen by reads."""
        limit, older = read.limit, version_of(tail[0]) - read.version
        if older <= 0:
            return replies.bulk_array(tail[-older:][:limit])
        seen = older if limit is None else min(limit, older)
        opened = self._database.open_stream_end(read.stream, read.version, seen)
        return self._read_reply(opened, tail[: None if limit is None else limit - seen])

    def get_all(self, session: Session, read: LogRead | FilteredRead | Words) -> Reply:
        """GETALL; without an argument from the beginning."""
        if not isinstance(read, LogRead):
            if isinstance(read, FilteredRead):
                return self._queries.read(session, read)
            read = EVERYTHING
        if read.wait_ms:
            return self._waits.reply(read)
        return self._read_reply(self._database.answer_log(read.start, read.limit))

    def _read_reply(
        self,
        opened: "Chunk | Rendered | Deferred[Chunk] | Deferred[Answer]",
        behind: Sequence[bytes] = (),
    ) -> Reply:
        if isinstance(opened, Chunk) or isinstance(opened, Rendered):  # noqa: SIM101 - for both at once it makes a tuple
            return chunk_reply(opened, behind)
        return self._reply_later(opened, behind)

    def _reply_later(self, opened: "Deferred[Chunk] | Deferred[Answer]", behind: Sequence[bytes] = ()) -> PendingReply:
        reply = PendingReply()
        reply.is_read = True
        opened.addCallbacks(
            lambda chunk: reply.settle(chunk_reply(chunk, behind)),
            lambda failure: reply.settle(self._failure_reply(failure)),
        )
        return reply

    def _failure_reply(self, failure: Failure) -> bytes:
        return replies.error(error_of(failure, self._log, "a read failed"))
