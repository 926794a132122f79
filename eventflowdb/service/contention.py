"""Streams that appends collide on: who came too late is refused without a commit where that is known, and in turn.

Where many write to one stream, most have seen a version that is past, and each of their appends would take its place in
a batch to hear that. A stream never shrinks; so an append that expects fewer events than it is known to have had is
refused, whatever comes meanwhile. What the refusal says is read from the index, as any read would. It is a short cut:
where anything is in doubt the append is tried. When they are told says pacing.py.
"""

from eventflowdb.append import Append
from eventflowdb.errors import EventflowError, WrongExpectedVersion
from eventflowdb.events import Collision
from eventflowdb.limits import CONTENDED_STREAMS_MAX
from eventflowdb.service.database import Database
from eventflowdb.service.notices import streams_of
from eventflowdb.service.pacing import Pacing
from eventflowdb.service.records import stream_of, version_of
from eventflowdb.service.reply import PendingReply
from eventflowdb.service.session import Session
from eventflowdb.storage.batch import Outcome as StoreOutcome
from eventflowdb.wire import replies
from eventflowdb.wire.links import Outcome


def refusal_of(error: EventflowError) -> Collision | bytes:
    """What is told of an append that was not stored: its collision, or the reply as it goes out."""
    if isinstance(error, WrongExpectedVersion):
        stream, expected, actual = error.stream, error.expected, error.actual
        if stream is not None and expected is not None and actual is not None:
            return Collision(stream, expected, actual)
    return replies.error(error)


class Contention:
    """What one process that talks to clients knows of it, on the reactor's thread. pacing: when who lost is told."""

    def __init__(self, database: Database, pacing: Pacing) -> None:
        self._database = database
        self._pacing = pacing
        self._lengths: dict[str, int] = {}
        """By stream that an append was refused on lately: so many events it holds at least."""

    def refuse(self, session: Session, append: Append) -> PendingReply | None:
        """The reply to an append that, as is known and seen by reads, cannot succeed; None: try it."""
        if not self._lengths:
            return None
        collision = self._find_collision(session, append)
        if collision is None:
            return None
        # It waits for nothing, as a read does not.
        self._database.freshness.visibility.others += 1
        reply = PendingReply()
        self._refuse(session, reply, collision)
        return reply

    def settle(self, session: Session, reply: PendingReply, outcome: Outcome | StoreOutcome) -> None:
        """Have an append answered: with its records, with why it was refused, or by another reply as it goes out."""
        if isinstance(outcome, list):
            if self._lengths:
                self._learn_stored(outcome)
            reply.settle(replies.bulk_array(outcome))
            if self._pacing.has_lines:
                self._pacing.stored(streams_of([outcome]))
            return
        if isinstance(outcome, EventflowError):
            outcome = refusal_of(outcome)
        if isinstance(outcome, bytes):
            reply.settle(outcome)
        else:
            assert isinstance(outcome, Collision), outcome
            self._learn_refused(outcome)
            self._refuse(session, reply, outcome)

    def _refuse(self, session: Session, reply: PendingReply, collision: Collision) -> None:
        stream, expected, actual = collision.stream, collision.expected, collision.actual
        if isinstance(expected, int) and expected < actual:
            self._pacing.refuse(stream, session.id, reply, lambda: self._refusal(stream, expected, actual))
        else:
            # It has not lost a race, so that its next try need not be kept apart from others.
            reply.settle(replies.error(WrongExpectedVersion.of(stream, expected, actual)))

    def _refusal(self, stream: str, expected: int, actual: int) -> bytes:
        """What is said to one that came too late now, when the stream may have grown again."""
        return replies.error(WrongExpectedVersion.of(stream, expected, max(actual, self._lengths.get(stream, 0))))

    def _find_collision(self, session: Session, append: Append) -> Collision | None:
        if append.request_id is not None or append.checkpoint is not None:
            return None
        # Of several parts the first that fails is told of, and most have one.
        part = append.parts[0]
        stream, expected = part.stream, part.expected_version
        known = self._lengths.get(stream)
        if known is None or isinstance(expected, str) or expected >= known:
            return None
        # Behind an append of its own that is under way it is tried, since it may have to see that.
        if session.peer is not None and session.peer.is_waiting:
            return None
        actual = self._find_length(stream)
        return Collision(stream, expected, actual) if actual is not None and actual > expected else None

    def _learn_stored(self, records: list[bytes]) -> None:
        if records:
            stream = stream_of(records[-1])
            if stream in self._lengths:
                self._lengths[stream] = max(self._lengths[stream], version_of(records[-1]) + 1)

    def _learn_refused(self, collision: Collision) -> None:
        lengths, stream = self._lengths, collision.stream
        lengths[stream] = max(lengths.pop(stream, 0), collision.actual)
        if len(lengths) > CONTENDED_STREAMS_MAX:
            del lengths[next(iter(lengths))]

    def _find_length(self, stream: str) -> int | None:
        try:
            return self._database.find_stream_length(stream)
        except EventflowError:
            return None


class Settling:
    """What waits for the outcome of an append. (A closure would be two objects where this is one.)"""

    __slots__ = ("_contention", "_reply", "_session")

    def __init__(self, contention: Contention, session: Session, reply: PendingReply) -> None:
        self._contention = contention
        self._session = session
        self._reply = reply

    def __call__(self, outcome: Outcome | StoreOutcome) -> None:
        self._contention.settle(self._session, self._reply, outcome)
