"""One connection's requests and replies: in order, and never more of them than the connection can bear.

Theory of operation. Requests are taken from the parser one by one, only when they may run: appends run together
(up to a bound), a read waits until every append before it is answered, and while a long reply goes out nothing
is taken. What cannot be taken stays in the parser, and the connection is not read. Replies that are not settled
yet keep their place in a queue; everything settled at its front leaves in one write, but long replies, in pieces.

Most requests come alone, to a connection on which nothing is under way. These take a straight road (`_is_straight`): no
queue, no parser that keeps anything, one write. Whatever is not so plain leaves it for the general one (`_advance`),
which finds out at its end whether the next request may take it again.
"""

import enum
from collections import deque
from typing import Final, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.commands.spec import Order
from eventflowdb.errors import StorageFailed, TryAgain
from eventflowdb.limits import (
    CONNECTION_APPEND_BYTES_MAX,
    CONNECTION_APPENDS_MAX,
    CONNECTION_REPLY_BYTES_MAX,
    OVERLOAD_HELD_BYTES_MAX,
)
from eventflowdb.service.budget import InflightBudget
from eventflowdb.service.dispatch import Dispatcher
from eventflowdb.service.grouping import Grouping
from eventflowdb.service.reply import BlockedReply, LongReply, PendingReply, Reply
from eventflowdb.service.session import Muting, Session
from eventflowdb.storage.spans import Rendered, Span
from eventflowdb.wire import replies
from eventflowdb.wire.requests import DroppedRequest, ForeignProtocol, ProtocolError, Request, RequestParser


class Line(Protocol):
    """The connection, as a conversation sees it."""

    def send(self, data: bytes) -> None:
        """Send bytes, or keep them until they can be sent."""

    def send_all(self, pieces: list[bytes]) -> None:
        """The same of much data, in pieces; they are not joined where that can be spared."""

    def pause_reading(self) -> None:
        """Take nothing from the socket."""

    def resume_reading(self) -> None:
        """Take from the socket again."""

    def close(self) -> None:
        """Close when everything sent is out."""

    def close_after_error(self) -> None:
        """The same, but read on for a moment, or the client would never see the last reply."""

    def abort(self) -> None:
        """Close now."""


class _Stage(enum.Enum):
    OPEN = "takes requests"
    ENDING = "takes no more, and closes when nothing is owed"
    ENDING_WITH_ERROR = "the same, after a protocol error"
    ENDED = "is closed"


_OPEN: Final = _Stage.OPEN


class Conversation:
    """Between the line of one connection and the dispatcher; used on the reactor's thread."""

    _log = Logger()

    def __init__(
        self, line: Line, session: Session, dispatcher: Dispatcher, budget: InflightBudget, grouping: Grouping
    ) -> None:
        self._line = line
        self._send_bytes = line.send
        self._session = session
        self._dispatcher = dispatcher
        self._execute = dispatcher.execute
        self._order_of = dispatcher.order_of
        self._freshness = dispatcher.freshness
        self._visibility = dispatcher.freshness.visibility
        self._budget = budget
        self._grouping = grouping
        self.last_round = 0
        session.peer = self
        # What a new session is has just been followed.
        session.has_changed = False
        self._parser = RequestParser(dispatcher.request_limits(session))
        self._stage = _Stage.OPEN
        self._ready: list[bytes] = []
        """Replies that can leave, in order; sent together."""
        self._ready_bytes = 0
        self._owed: deque[bytes | PendingReply] = deque()
        """Replies from the first unsettled one on."""
        self._owed_bytes = 0
        """What the requests of unsettled replies weigh, and the replies behind them."""
        self._next: Request | None = None
        """A request that is parsed but may not run yet."""
        self._reading: PendingReply | LongReply | None = None
        """A read under way: nothing is taken until it is over."""
        self._is_starved = True
        """The parser needs more bytes."""
        self._is_writable = True
        self._untaken_bytes = 0
        """What was sent since the client ceased to take it."""
        self._is_paused = False
        self._is_advancing = False
        self._is_freshening = False
        """It was asked that reads see what was answered."""
        self._has_input_ended = False
        self._accounted_bytes = 0
        self._is_straight = False
        """It takes requests, nothing is owed, kept or held back: a request that comes alone can be answered at once."""
        self._is_lone = False
        """All that is under way is one reply that is owed to such a request."""

    def received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._is_straight:
            words = self._parser.read_alone(data)
            if (
                words is not None
                and not self._budget.is_exhausted
                and not (self._visibility.is_stale and self._dispatcher.must_freshen(self._session, words))
            ):
                self._run_alone(words)
                return
        if self._stage is _OPEN:
            self._dispatcher.touch(self._session)
            self._parser.feed(data)
            self._advance()

    def _run_alone(self, words: list[bytes]) -> None:
        """Run a request on the straight road."""
        session = self._session
        self._is_advancing = True
        session.has_read = False
        try:
            reply = self._execute(session, words)
            if not session.has_changed and self._stage is _OPEN and not self._ready:
                if isinstance(reply, bytes):
                    if session.has_read and self._grouping.is_one_of_many(self):
                        self._answer(reply)
                        self._grouping.hold(self)
                    elif reply:
                        self._send_bytes(reply)
                    return
                if isinstance(reply, PendingReply) and not self._budget.is_exhausted:
                    self._is_straight, self._is_lone = False, True
                    self._take_reply(reply, words)
                    return
            self._take_reply(reply, words)
        finally:
            self._is_advancing = False
        self._advance()

    def leave(self) -> None:
        """Send the reply that was held to leave with others; see Grouping."""
        if self._stage is not _Stage.ENDED:
            self._send_ready()

    def writable(self) -> None:
        """What was sent is out: there is room again."""
        self._is_writable = True
        self._forget_untaken()
        self._dispatcher.touch(self._session)
        self._read_on()
        self._advance()
        self._pull()

    def unwritable(self) -> None:
        """The client does not take its replies."""
        self._is_writable = self._is_straight = self._is_lone = False

    def input_ended(self) -> None:
        """Nothing more will come, or nothing more is to be read: finish what has come, then close."""
        self._has_input_ended = True
        if isinstance(self._reading, BlockedReply):
            # Nobody can tell a client that still listens from one that is gone, and would be waited for in vain.
            self._reading.end()
        self._advance()

    def lost(self) -> None:
        """The connection is gone. Appends under way are stored all the same."""
        self._stage = _Stage.ENDED
        self._is_straight = self._is_lone = False
        reading, self._reading = self._reading, None
        if isinstance(reading, PendingReply):
            reading.is_abandoned = True
        if isinstance(reading, BlockedReply):
            reading.end()
        if self._owed:
            self._hurry()
        self._budget.change(-self._accounted_bytes)
        self._accounted_bytes = 0
        self._forget_untaken()
        self._budget.forget(self)
        if self._session.subscriber is not None:
            self._session.subscriber.close()
        self._dispatcher.forget_session(self._session)
        # The session refers to this conversation: let go, or both stay until the garbage collector comes.
        self._session.peer = None

    @property
    def may_push(self) -> bool:
        """Whether the client takes what it is sent, and is in the middle of no reply."""
        return self._stage is _Stage.OPEN and self._is_writable and not isinstance(self._reading, LongReply)

    def push_messages(self, data: bytes) -> None:
        """Send messages of subscriptions now, behind the replies that are ready; only if may_push."""
        self._send_ready()
        self._send_bytes(data)

    def break_off(self, data: bytes) -> None:
        """End the connection, with a last word if it can be said between replies."""
        if self.may_push:
            self.push_messages(data)
            self._stage = _Stage.ENDING
            self._advance()
        elif self._stage is not _Stage.ENDED:
            self._line.abort()

    def push(self, data: bytes) -> None:
        """Send what no request asked for, between replies; dropped if the client does not keep up."""
        if self.may_push:
            self._ready.append(data)
            if not self._is_advancing:
                self._send_ready()

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for a commit or a read, not the server for the client."""
        return bool(self._owed) or (isinstance(self._reading, LongReply) and self._is_writable)

    @property
    def is_blocked(self) -> bool:
        """Whether it waits for events to come."""
        return isinstance(self._reading, BlockedReply)

    def kill(self) -> None:
        """Close the connection: in order where nothing is owed, else now."""
        if self._stage is not _Stage.OPEN:
            return
        if self._owed or self._reading is not None or not self._is_writable:
            self._line.abort()
        else:
            self._stage = _Stage.ENDING
            self._advance()

    def held_bytes(self) -> int:
        """How much of an unfinished request is held (asked by the budget)."""
        return self._parser.held_bytes

    def give_up_request(self, error: TryAgain) -> None:
        """Let go of the unfinished request; it is refused when its rest has come (told by the budget)."""
        held_bytes = self._parser.held_bytes
        self._parser.drop_current(error)
        if self._parser.held_bytes < held_bytes:
            self._account()
        elif held_bytes > OVERLOAD_HELD_BYTES_MAX and (self._is_starved or not self._is_writable):
            # Half a line, or requests that cannot run since the client takes no replies: neither goes away by itself.
            self._log.warn("the connection of {peer} is cut: {error}", peer=self._session.address, error=error)
            self._line.abort()
            self.lost()

    def budget_is_free(self) -> None:
        """Read on (told by the budget)."""
        self._advance()

    def _advance(self) -> None:
        """Take every request that may run, send what is settled, and read or pause the connection accordingly."""
        if self._is_advancing or self._stage is _Stage.ENDED:
            return
        self._is_advancing = True
        self._is_straight = self._is_lone = False
        try:
            self._take_requests()
            self._send_ready()
        finally:
            self._is_advancing = False
        if self._stage is _Stage.OPEN:
            self._account()
            self._steer_reading()
            self._is_straight = self._is_quiet()
        elif not self._owed and self._reading is None:
            self._close()
        if self._owed and (
            self._next is not None
            or not self._parser.is_between_requests
            or self._has_input_ended
            or self._stage is not _Stage.OPEN
        ):
            self._hurry()

    def _hurry(self) -> None:
        """Have the last reply not held for the sake of other connections; those before it are not."""
        reply = self._owed[-1]
        if isinstance(reply, PendingReply):
            reply.hurry()

    def _is_quiet(self) -> bool:
        """Whether nothing is under way, so that the straight road is open."""
        return (
            not self._owed
            and self._reading is None
            and self._is_writable
            and not self._is_paused
            and not self._has_input_ended
            and self._next is None
            and self._parser.is_between_requests
            and self._session.muting is Muting.NOTHING
        )

    def _take_requests(self) -> None:
        self._is_starved = False
        while self._may_take():
            try:
                request = self._next or self._parser.next_request()
            except ProtocolError as error:
                if isinstance(error, ForeignProtocol):
                    self._log.warn(
                        "{peer} sent HTTP, maybe a web page in somebody's browser that tries to run commands here; the "
                        "connection is closed",
                        peer=self._session.address,
                    )
                self._answer(replies.error_line(f"ERR Protocol error: {error}"))
                self._stage = _Stage.ENDING_WITH_ERROR
                return
            if request is None:
                self._is_starved = True
                if self._has_input_ended:
                    self._stage = _Stage.ENDING
                return
            if self._must_wait(request):
                self._next = request
                return
            self._next = None
            self._run(request)
            if self._ready_bytes >= CONNECTION_REPLY_BYTES_MAX:
                self._send_ready()
            if not self._parser.has_unread and not self._has_input_ended:
                # Most requests come alone: that there is no other is known without asking the parser.
                self._is_starved = True
                return

    def _must_wait(self, request: Request) -> bool:
        """Whether a read has to wait: for the appends before it, or to see what others were answered."""
        if self._owed:
            return self._order_of(self._session, request) is Order.READ
        if not self._visibility.is_stale or not self._dispatcher.must_freshen(self._session, request):
            return False
        if not self._is_freshening:
            self._is_freshening = True
            self._freshness.freshen(self._freshened)
        return True

    def _freshened(self, failure: StorageFailed | None) -> None:
        self._is_freshening = False
        if failure is not None and self._next is not None and self._stage is _OPEN:
            self._next = None
            self._answer(self._dispatcher.refuse(failure))
        self._advance()

    def _may_take(self) -> bool:
        return (
            self._reading is None
            and self._stage is _Stage.OPEN
            and (self._is_writable or self._budget.may_keep(self._untaken_bytes))
            and self._owed_bytes < CONNECTION_APPEND_BYTES_MAX
            and len(self._owed) < CONNECTION_APPENDS_MAX
        )

    def _run(self, request: Request) -> None:
        if self._owed:
            self._hurry()
        self._take_reply(self._execute(self._session, request), request)

    def _take_reply(self, reply: Reply, request: Request) -> None:
        """Put a reply where it belongs, and follow what its command has changed."""
        if self._session.muting is not Muting.NOTHING:
            reply = self._mute(reply)
        if isinstance(reply, bytes):
            self._answer(reply)
            if self._session.has_changed:
                self._follow_session()
        elif isinstance(reply, LongReply):
            self._begin_long(reply)
        else:
            if reply.is_read:
                self._reading = reply
            self._owe(reply, _weight_bytes(request))
            if self._has_input_ended and isinstance(reply, BlockedReply):
                reply.end()

    def _mute(self, reply: Reply) -> Reply:
        """What CLIENT REPLY leaves of a reply; SKIP and OFF are not answered themselves."""
        if self._session.muting is Muting.NEXT:
            self._session.muting = Muting.THIS
        elif self._session.muting is Muting.THIS:
            self._session.muting = Muting.NOTHING
        if isinstance(reply, PendingReply):
            reply.is_muted = True
            return reply
        return b""

    def _follow_session(self) -> None:
        self._session.has_changed = False
        session, dispatcher = self._session, self._dispatcher
        self._parser.limits = dispatcher.request_limits(session)
        self._execute = dispatcher.execute_limited if session.is_limited else dispatcher.execute
        if session.is_ending:
            self._stage = _Stage.ENDING
        else:
            self._pull()

    def _answer(self, reply: bytes) -> None:
        """Put a reply behind those that are still owed; SHUTDOWN's and muted ones are empty."""
        if not reply:
            return
        if self._owed:
            self._owed.append(reply)
            self._owed_bytes += len(reply)
        else:
            self._ready.append(reply)
            self._ready_bytes += len(reply)

    def _owe(self, reply: PendingReply, weight_bytes: int) -> None:
        reply.weight_bytes = weight_bytes
        self._owed_bytes += weight_bytes
        self._budget.change(weight_bytes)
        self._owed.append(reply)
        reply.when_settled(self._settled)

    def _settled(self, reply: PendingReply) -> None:
        self._owed_bytes -= reply.weight_bytes
        self._budget.change(-reply.weight_bytes)
        self._dispatcher.touch(self._session)
        if self._stage is _Stage.ENDED or self._owed[0] is not reply:
            return
        if self._is_lone and isinstance(reply.value, bytes) and not reply.is_muted:
            self._owed.popleft()
            self._reading = None
            self._is_straight, self._is_lone = True, False
            self._send_bytes(reply.value)
            return
        self._collect()
        self._advance()

    def _collect(self) -> None:
        """Move what is settled at the front of the queue to what can leave."""
        owed, ready = self._owed, self._ready
        while owed:
            reply = owed[0]
            value: bytes | LongReply | None
            if isinstance(reply, bytes):
                value = reply
                self._owed_bytes -= len(reply)
            else:
                value = reply.value
            if value is None:
                return
            owed.popleft()
            if self._reading is reply:
                self._reading = None
            if not isinstance(reply, bytes) and reply.is_muted:
                continue
            if isinstance(value, LongReply):
                # It is a read, and nothing behind it has run.
                self._begin_long(value)
                return
            ready.append(value)

    def _send_ready(self) -> None:
        ready = self._ready
        if ready:
            self._ready, self._ready_bytes = [], 0
            self._send(ready[0] if len(ready) == 1 else b"".join(ready))

    def _send(self, data: bytes) -> None:
        if not self._is_writable:
            self._count_untaken(len(data))
        self._send_bytes(data)

    def _send_all(self, pieces: list[bytes]) -> None:
        if not self._is_writable:
            self._count_untaken(sum([len(piece) for piece in pieces]))
        self._line.send_all(pieces)

    def _count_untaken(self, size_bytes: int) -> None:
        self._untaken_bytes += size_bytes
        self._budget.change(size_bytes)

    def _forget_untaken(self) -> None:
        if self._untaken_bytes:
            untaken_bytes, self._untaken_bytes = self._untaken_bytes, 0
            self._budget.change(-untaken_bytes)

    def _begin_long(self, reply: LongReply) -> None:
        self._send_ready()
        # What is sent must not be kept until the rest is.
        pieces, reply.pieces = reply.pieces, []
        if reply.rest is None:
            self._send_all([*pieces, reply.ending])
            return
        self._send_all(pieces)
        self._reading = reply
        self._ask_for_rest(reply, reply.rest)

    def _ask_for_rest(self, reply: LongReply, rest: Span) -> None:
        reply.next = self._dispatcher.render_on(rest)
        reply.next.addCallback(self._send_chunk).addErrback(self._break_off)

    def _read_on(self) -> None:
        """Ask for the next chunk of the long reply under way, if there is one and the client keeps up."""
        reply = self._reading
        if isinstance(reply, LongReply) and reply.rest is not None and reply.next is None and self._is_writable:
            self._ask_for_rest(reply, reply.rest)

    def _send_chunk(self, chunk: Rendered) -> None:
        reply = self._reading
        if not isinstance(reply, LongReply):
            return  # the connection was lost meanwhile
        self._dispatcher.touch(self._session)
        self._send_all(chunk.pieces)
        if chunk.rest is None:
            self._reading = None
            self._ready.append(reply.ending)
            self._advance()
            self._pull()
            return
        reply.rest, reply.next = chunk.rest, None
        self._read_on()

    def _pull(self) -> None:
        """Send what there is for the subscriptions."""
        if self._session.subscriber is not None:
            self._session.subscriber.pull()

    def _break_off(self, failure: Failure) -> None:
        """A fault after the reply's header: only the end of the connection can tell the client."""
        if self._stage is not _Stage.ENDED:
            self._log.failure("a long reply to {peer} broke off", failure, peer=self._session.address)
            self._line.abort()

    def _account(self) -> None:
        """Tell the budget how much of an unfinished request is held."""
        held_bytes = self._parser.held_bytes
        if self._next is not None:
            held_bytes += _weight_bytes(self._next)
        if held_bytes != self._accounted_bytes:
            change, self._accounted_bytes = held_bytes - self._accounted_bytes, held_bytes
            if held_bytes:
                self._budget.hold(self)
            else:
                self._budget.release(self)
            self._budget.change(change)

    def _steer_reading(self) -> None:
        """Read the connection only while its bytes can be used and the budget has room for them."""
        must_pause = self._next is not None or (not self._is_starved and self._parser.has_unread)
        if self._budget.is_exhausted:
            must_pause = True
            self._budget.wait(self)
        if must_pause is not self._is_paused:
            self._is_paused = must_pause
            if must_pause:
                self._line.pause_reading()
            else:
                self._line.resume_reading()

    def _close(self) -> None:
        stage, self._stage = self._stage, _Stage.ENDED
        if stage is _Stage.ENDING_WITH_ERROR:
            self._line.close_after_error()
        else:
            self._line.close()


def _weight_bytes(request: Request) -> int:
    if isinstance(request, DroppedRequest):
        return 0
    return len(request[0]) + len(request[1]) if len(request) == 2 else sum(map(len, request))
