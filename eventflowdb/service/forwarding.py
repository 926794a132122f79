"""The front's side of its link to the core: what only one process may do is asked of the core.

Theory of operation. A front reads for itself. Appends it decodes and checks, and sends them to the core, which sends
back records: all that can be done by many processes is taken from the one that commits. What consumers have (their
leases must be in one place) goes to the core as the words that the client sent, and comes back as the bytes that the
client gets. What one turn of the loop has for the core leaves in one write, and the core answers in one write a commit.
In the conversation a forwarded request is a PendingReply like any other: order, weight and bounds are the same as in
one process.
"""

from collections.abc import Callable, Sequence
from itertools import count

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eventflowdb.append import Append
from eventflowdb.limits import ABANDONED_LOOK_SECONDS
from eventflowdb.service.contention import Contention
from eventflowdb.service.outbox import Outbox
from eventflowdb.service.reply import BlockedReply, LongReply, PendingReply, Reply
from eventflowdb.service.session import Session
from eventflowdb.wire import links
from eventflowdb.wire.links import Frame, FrameReader, Outcome

Words = Sequence[bytes]


class ForwardedWait(BlockedReply):
    """The reply to a request that may wait in the core for events."""

    __slots__ = ("_number", "_outbox")

    def __init__(self, number: int, outbox: Outbox) -> None:
        super().__init__()
        self._number = number
        self._outbox = outbox

    def end(self) -> None:
        """Tell the core; it answers with what there is, and where the client is gone that frees what it took."""
        self._outbox.put(links.encode_frame(links.CANCEL, self._number, b"\x01" if self.is_abandoned else b"\x00"))

    def settle(self, value: bytes | LongReply) -> None:
        """Give the reply; a client that is gone may have had two: one when it went, and what crossed that."""
        if self.value is None:
            super().settle(value)


class CoreLink:
    """A front's end of the link, on the reactor's thread.

    contention: of the streams that its clients append to; on_frame: told of what is no answer to a request; on_lost:
    told when the core is gone.
    """

    _log = Logger()

    def __init__(
        self,
        outbox: Outbox,
        clock: IReactorTime,
        contention: Contention,
        on_frame: Callable[[Frame], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.outbox = outbox
        self._clock = clock
        self._contention = contention
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._reader = FrameReader()
        self._numbers = count(1)
        self._pending: dict[int, tuple[Session, PendingReply]] = {}

    # Responders.

    def append(self, session: Session, append: Append) -> Reply:
        """ADD, ADDMANY."""
        refused = self._contention.refuse(session, append)
        if refused is not None:
            return refused
        number = next(self._numbers)
        reply = PendingReply()
        self._pending[number] = session, reply
        self.outbox.gather(links.APPENDS, number, append, append.size_bytes)
        return reply

    def settle(self, session: Session, words: Words) -> Reply:
        """What joins the appends of its connection: ACK, NACK."""
        return self._forward(session, words, PendingReply())

    def read(self, session: Session, words: Words) -> Reply:
        """What nothing behind it may overtake."""
        reply = PendingReply()
        reply.is_read = True
        return self._forward(session, words, reply)

    def long_work(self, session: Session, words: Words) -> Reply:
        """The same, which the core does not finish for a client that is gone."""
        number = next(self._numbers)
        reply = PendingReply()
        reply.is_read = True
        self._look_after(number, reply)
        return self._send(number, session, words, reply)

    def wait(self, session: Session, words: Words) -> Reply:
        """What may wait for events: FETCH."""
        number = next(self._numbers)
        return self._send(number, session, words, ForwardedWait(number, self.outbox))

    # The link.

    def opened(self, send: Callable[[bytes], None]) -> None:
        """The core is there."""
        self.outbox.open(send)

    def received(self, data: bytes) -> None:
        """Bytes have come."""
        for frame in self._reader.feed(data):
            if frame.kind == links.OUTCOMES:
                for number, outcome in links.decode_outcomes(frame.body):
                    self._tell(number, outcome)
            elif frame.kind == links.ANSWER:
                self._tell(frame.number, frame.body)
            else:
                self._on_frame(frame)

    def lost(self) -> None:
        """The core is gone: what it owes is owed for ever, and only the end of the connections can tell."""
        self.outbox.close()
        self._on_lost()

    def _forward(self, session: Session, words: Words, reply: PendingReply) -> Reply:
        return self._send(next(self._numbers), session, words, reply)

    def _send(self, number: int, session: Session, words: Words, reply: PendingReply) -> Reply:
        self._pending[number] = session, reply
        self.outbox.put(links.encode_request(number, session.protocol, words))
        return reply

    def _tell(self, number: int, outcome: Outcome) -> None:
        session, reply = self._pending.pop(number)
        try:
            self._contention.settle(session, reply, outcome)
        except Exception:
            # Or the fault of one connection would leave all others without an answer, for ever.
            self._log.failure("an answer of the core could not be told")

    def _look_after(self, number: int, reply: PendingReply) -> None:
        """Tell the core when the client is gone: nobody is told of that for a reply that does not wait for events."""

        def look() -> None:
            if reply.is_abandoned:
                self.outbox.put(links.encode_frame(links.CANCEL, number, b"\x01"))
            elif reply.value is None:
                self._clock.callLater(ABANDONED_LOOK_SECONDS, look)

        self._clock.callLater(ABANDONED_LOOK_SECONDS, look)
