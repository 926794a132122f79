"""The core's side of its links to the fronts: it runs what they forward, tells them of commits, and passes on what
one of them asks of all.

Theory of operation. Appends come decoded and checked, and go straight to the writer. Every other request of a front
passes the core's own dispatcher, with a session that stands for the front's clients. What becomes of them goes into
the front's outbox when it is there; the outcomes of one commit are there together, and leave in one write, behind the
notice of that commit. A front that is gone is owed nothing.
"""

from collections.abc import Callable, Collection
from functools import partial
from itertools import count

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.append import Append
from eventflowdb.errors import EventflowError
from eventflowdb.limits import ASK_SECONDS_MAX
from eventflowdb.service.appends import Appends
from eventflowdb.service.contention import refusal_of
from eventflowdb.service.dispatch import Dispatcher
from eventflowdb.service.faults import error_of
from eventflowdb.service.outbox import Outbox
from eventflowdb.service.questions import Told
from eventflowdb.service.reply import BlockedReply, LongReply, PendingReply
from eventflowdb.service.session import Session
from eventflowdb.storage.batch import Outcome
from eventflowdb.wire import links
from eventflowdb.wire.links import Frame, FrameReader
from eventflowdb.wire.values import RESP2, RESP3

_encode = msgspec.msgpack.Encoder().encode


class RemotePeer:
    """Stands for clients in another process: only MONITOR has anything to tell them."""

    is_waiting = False
    is_blocked = False
    may_push = False

    def __init__(self, show: Callable[[bytes], None] = lambda line: None) -> None:
        self._show = show

    def push(self, data: bytes) -> None:
        """A line for MONITOR."""
        self._show(data)

    def push_messages(self, data: bytes) -> None:
        """Never: may_push is False."""

    def break_off(self, data: bytes) -> None:
        """Never: it has no subscriptions."""

    def kill(self) -> None:
        """Never: it is in no list."""


class Fronts:
    """All fronts of one core, on the reactor's thread.

    dispatcher, appends: set before the first link is opened; answer: the core's own answer to a question, None for
    none; on_shutdown: called when a client asks for the end of the server.
    """

    dispatcher: Dispatcher
    appends: Appends

    def __init__(
        self,
        clock: IReactorTime,
        seconds: Callable[[], float],
        on_shutdown: Callable[[], None],
        answer: Callable[[bytes], bytes | None],
    ) -> None:
        self.clock = clock
        self.seconds = seconds
        self.on_shutdown = on_shutdown
        self.answer = answer
        self.links: dict[FrontLink, None] = {}
        self._monitored: set[FrontLink] = set()
        self._empty_waiters: list[Deferred[None]] = []

    def when_empty(self) -> "Deferred[None]":
        """Fires when no front is left."""
        empty: Deferred[None] = Deferred()
        if self.links:
            self._empty_waiters.append(empty)
        else:
            empty.callback(None)
        return empty

    @property
    def has_watchers(self) -> bool:
        """Whether a client of any front waits for events."""
        return any(link.watches for link in self.links)

    def log_grew(self, streams: Collection[str] | None) -> None:
        """Tell all fronts of a commit, and give them what they are owed since; these streams grew (None: unknown)."""
        told = links.encode_grew(streams)
        unsaid = links.encode_grew(None)
        for link in self.links:
            link.outbox.flush_behind(told if link.watches else unsaid)

    def add(self, link: "FrontLink") -> None:
        """A front has come."""
        self.links[link] = None
        if self._monitored:
            link.outbox.put(links.encode_frame(links.MONITORS, 1))

    def remove(self, link: "FrontLink") -> None:
        """A front has gone."""
        self.links.pop(link, None)
        self.set_monitored(link, False)
        if not self.links:
            waiters, self._empty_waiters = self._empty_waiters, []
            for waiter in waiters:
                waiter.callback(None)

    def set_monitored(self, link: "FrontLink", is_monitored: bool) -> None:
        """A front has clients that see all commands, or none any more."""
        before = {other: bool(self._monitored - {other}) for other in self.links}
        (self._monitored.add if is_monitored else self._monitored.discard)(link)
        for other, had in before.items():
            if bool(self._monitored - {other}) is not had:
                other.outbox.put(links.encode_frame(links.MONITORS, int(not had)))

    def show(self, link: "FrontLink", line: bytes) -> None:
        """A command of one front, for the monitors of the others."""
        for other in self._monitored - {link}:
            other.outbox.put(links.encode_frame(links.SHOWN, 0, line))

    def ask(self, link: "FrontLink", question: Frame) -> None:
        """One front asks all: the core answers, and the other fronts; those that take too long are left out."""
        others = [other for other in self.links if other is not link]
        inquiry = _Inquiry(self.clock, len(others), lambda told: link.tell(question.number, told))
        own = self.answer(question.body)
        if own is not None:
            inquiry.answers.append(own)
        for other in others:
            other.ask(question.body, inquiry)
        inquiry.end_if_whole()


class _Inquiry:
    """One question and its answers."""

    def __init__(self, clock: IReactorTime, expected: int, on_end: Callable[[bytes], None]) -> None:
        self.answers: list[bytes] = []
        self._missing = expected
        self._on_end: Callable[[bytes], None] | None = on_end
        self._timeout: IDelayedCall | None = clock.callLater(ASK_SECONDS_MAX, self._end)

    def take(self, answer: bytes) -> None:
        """One has answered."""
        self._missing -= 1
        self.answers.append(answer)
        self.end_if_whole()

    def end_if_whole(self) -> None:
        """Tell what there is if nobody else can be expected to answer."""
        if self._missing == 0 and self._timeout is not None:
            self._timeout.cancel()
            self._end()

    def _end(self) -> None:
        self._timeout = None
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(_encode(Told(self.answers, self._missing)))


class FrontLink:
    """The core's end of the link to one front. name: as logs have it."""

    _log = Logger()

    def __init__(self, fronts: Fronts, name: str, outbox: Outbox) -> None:
        self.outbox = outbox
        self.watches = False
        self._fronts = fronts
        self._name = name
        self._reader = FrameReader()
        self._sessions = {protocol: self._session(protocol) for protocol in (RESP2, RESP3)}
        self._reads: dict[int, tuple[PendingReply, Session]] = {}
        """Those that end when their clients go."""
        self._numbers = count(1)
        self._inquiries: dict[int, _Inquiry] = {}

    def opened(self, send: Callable[[bytes], None]) -> None:
        """The front is there."""
        self.outbox.open(send)
        self._fronts.add(self)

    def received(self, data: bytes) -> None:
        """Bytes have come."""
        for frame in self._reader.feed(data):
            if frame.kind == links.APPENDS:
                self._fronts.appends.stand_back()
                for number, append in links.decode_appends(frame.body):
                    self._append(number, append)
            elif frame.kind == links.REQUEST:
                self._run(frame)
            else:
                self._take(frame)

    def lost(self) -> None:
        """The front is gone, and all its clients. Appends under way are stored all the same."""
        self.outbox.close()
        self._fronts.remove(self)
        for number in list(self._reads):
            self._cancel(number, is_gone=True)

    def tell(self, number: int, told: bytes) -> None:
        """What the others answer to a question of this front."""
        self.outbox.put(links.encode_frame(links.TOLD, number, told))

    def ask(self, question: bytes, inquiry: _Inquiry) -> None:
        """Ask this front."""
        number = next(self._numbers)
        self._inquiries[number] = inquiry
        self.outbox.put(links.encode_frame(links.ASK, number, question))

    def _append(self, number: int, append: Append) -> None:
        try:
            self._fronts.appends.append(append, partial(self._appended, number))
        except Exception:
            self._appended(number, error_of(Failure(), self._log, "an append failed"))

    def _appended(self, number: int, outcome: Outcome) -> None:
        item: object = outcome
        size_bytes = 0
        if isinstance(outcome, EventflowError):
            item = refusal_of(outcome)
        elif isinstance(outcome, list):
            size_bytes = sum(map(len, outcome))
        self.outbox.gather(links.OUTCOMES, number, item, size_bytes)

    def _run(self, frame: Frame) -> None:
        protocol, words = links.decode_request(frame.body)
        session = self._sessions[protocol]
        if words[0].upper() == b"VERIFY":
            # A check ends when the peer of its session is gone.
            session = self._session(protocol)
        reply = self._fronts.dispatcher.execute(session, words)
        if isinstance(reply, bytes):
            self.outbox.put(links.encode_frame(links.ANSWER, frame.number, reply))
            return
        assert isinstance(reply, PendingReply), "only reads of the log are long, and those a front does itself"
        if reply.is_read:
            self._reads[frame.number] = reply, session
        reply.when_settled(partial(self._answer, frame.number))

    def _answer(self, number: int, reply: PendingReply) -> None:
        self._reads.pop(number, None)
        assert not isinstance(reply.value, LongReply)
        self.outbox.put(links.encode_frame(links.ANSWER, number, reply.value or b""))

    def _cancel(self, number: int, *, is_gone: bool) -> None:
        reply, session = self._reads.get(number, (None, None))
        if reply is None or session is None:
            return  # its answer is on the way
        if is_gone:
            reply.is_abandoned = True
            if session not in self._sessions.values():
                session.peer = None
        if isinstance(reply, BlockedReply):
            reply.end()

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case links.CANCEL:
                self._cancel(frame.number, is_gone=frame.body == b"\x01")
            case links.WATCHES:
                self.watches = bool(frame.number)
            case links.ASK:
                self._fronts.ask(self, frame)
            case links.TOLD:
                self._inquiries.pop(frame.number).take(frame.body)
            case links.MONITORS:
                self._fronts.set_monitored(self, bool(frame.number))
            case links.SHOWN:
                self._fronts.show(self, frame.body)
            case links.SHUTDOWN:
                self._fronts.on_shutdown()
            case _:
                self._log.error("{name} sent a frame of kind {kind}", name=self._name, kind=frame.kind)

    def _session(self, protocol: int) -> Session:
        session = Session(0, f"a client of {self._name}", "", True, self._fronts.seconds())
        session.protocol = protocol
        session.peer = RemotePeer()
        return session
