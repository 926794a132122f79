"""Answers to reads with a filter, backwards or in pages, and to EVENT, STREAM, STREAMS and TYPES."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.commands.filters import EVERY_STREAM, EVERY_TYPE, FilteredRead, StreamsRead, TypesRead
from eventflowdb.service.faults import error_of
from eventflowdb.service.reply import LongReply, PendingReply, Reply, chunk_reply
from eventflowdb.service.searches import Searches
from eventflowdb.service.session import Session
from eventflowdb.service.waits import Waits
from eventflowdb.storage.environment import id_text
from eventflowdb.storage.queries import Page
from eventflowdb.wire import replies
from eventflowdb.wire.values import encode

Words = Sequence[bytes]
Found = TypeVar("Found")
_json = msgspec.json.Encoder().encode


class QueryResponders:
    """The server's answers to questions about what it holds."""

    _log = Logger()

    def __init__(self, searches: Searches, waits: Waits) -> None:
        self._searches = searches
        self._waits = waits

    def read(self, session: Session, read: FilteredRead) -> Reply:
        """GET and GETALL with more than a place to begin."""
        if read.wait_ms:
            return self._waits.reply(read)
        reply = PendingReply()
        found = self._searches.search(
            read.query, read.limit, may_stop=read.has_cursor, is_wanted=lambda: not reply.is_abandoned
        )
        if not read.has_cursor:
            return self._later(reply, found, lambda page: chunk_reply(page.chunk))
        protocol = session.protocol
        return self._later(reply, found, lambda page: _page_reply(page, protocol))

    def event(self, session: Session, event_id: bytes) -> Reply:
        """EVENT."""
        protocol = session.protocol
        return self._later(PendingReply(), self._searches.find_event(event_id), lambda record: encode(record, protocol))

    def stream(self, session: Session, stream: str) -> Reply:
        """STREAM."""
        protocol = session.protocol
        return self._later(
            PendingReply(),
            self._searches.find_stream(stream),
            lambda summary: encode(None if summary is None else _json(summary), protocol),
        )

    def streams(self, _session: Session, read: StreamsRead | Words) -> Reply:
        """STREAMS."""
        if not isinstance(read, StreamsRead):
            read = EVERY_STREAM
        reply = PendingReply()
        found = self._searches.list_streams(read.query, read.after, read.limit, lambda: not reply.is_abandoned)
        return self._later(reply, found, _json_array)

    def types(self, _session: Session, read: TypesRead | Words) -> Reply:
        """TYPES."""
        if not isinstance(read, TypesRead):
            read = EVERY_TYPE
        return self._later(PendingReply(), self._searches.list_types(read.after, read.limit), _json_array)

    def _later(
        self, reply: PendingReply, found: "Found | Deferred[Found]", encoded: Callable[[Found], bytes | LongReply]
    ) -> Reply:
        """The reply to a read, now or when it is done."""
        if not isinstance(found, Deferred):
            return encoded(found)
        reply.is_read = True
        found.addCallbacks(
            lambda value: reply.settle(encoded(value)), lambda failure: reply.settle(self._failure_reply(failure))
        )
        return reply

    def _failure_reply(self, failure: Failure) -> bytes:
        return replies.error(error_of(failure, self._log, "a read failed"))


def _page_reply(page: Page, protocol: int) -> bytes | LongReply:
    """The events, and the id to go on after."""
    ending = encode(None if page.cursor is None else id_text(page.cursor), protocol)
    events = chunk_reply(page.chunk)
    if isinstance(events, bytes):
        return b"*2\r\n" + events + ending
    return LongReply([b"*2\r\n", *events.pieces], events.rest, events.ending + ending)


def _json_array(summaries: list[Any]) -> bytes:
    return replies.bulk_array([_json(summary) for summary in summaries])
