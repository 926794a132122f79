"""Streams that appends collide on: one that cannot succeed any more is refused without a commit.

Where many write to one stream, most have seen a version that is past, and each of their appends would take its place in
a batch to hear that. A stream never shrinks; so an append that expects fewer events than it is known to have had is
refused, whatever comes meanwhile. What the refusal says is read from the index, as any read would. It is a short cut:
where anything is in doubt the append is tried.
"""

from eventflowdb.errors import EventflowError, WrongExpectedVersion
from eventflowdb.events import Append, Collision
from eventflowdb.limits import CONTENDED_STREAMS_MAX
from eventflowdb.service.database import Database
from eventflowdb.service.records import stream_of, version_of
from eventflowdb.service.session import Session
from eventflowdb.storage.batch import Outcome


def find_collision(outcome: Outcome) -> Collision | None:
    """The collision that an append's outcome tells of, if it does."""
    if not isinstance(outcome, WrongExpectedVersion):
        return None
    stream, expected, actual = outcome.stream, outcome.expected, outcome.actual
    return None if stream is None or expected is None or actual is None else Collision(stream, expected, actual)


class Contention:
    """What one process that talks to clients knows of it, on the reactor's thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lengths: dict[str, int] = {}
        """By stream that an append was refused on lately: so many events it holds at least."""

    def require_possible(self, session: Session, append: Append) -> None:
        """WrongExpectedVersion where it is known, and seen by reads, that an append cannot succeed."""
        if not self._lengths or append.request_id is not None or append.checkpoint is not None:
            return
        # Of several parts the first that fails is told of, and most have one.
        part = append.parts[0]
        stream, expected = part.stream, part.expected_version
        known = self._lengths.get(stream)
        if known is None or isinstance(expected, str) or expected >= known:
            return
        freshness = self._database.freshness
        # Behind an append of its own that is under way it is tried, since it may have to see that.
        if freshness.is_stale or (session.peer is not None and session.peer.is_waiting):
            return
        actual = self._find_length(stream)
        if actual is not None and actual > expected:
            # It waits for nothing, as a read does not.
            freshness.others += 1
            raise WrongExpectedVersion.of(stream, expected, actual)

    def learn_stored(self, records: list[bytes]) -> None:
        """These were stored."""
        if self._lengths and records:
            stream = stream_of(records[-1])
            if stream in self._lengths:
                self._lengths[stream] = max(self._lengths[stream], version_of(records[-1]) + 1)

    def learn_refused(self, collision: Collision) -> None:
        """An append was refused."""
        lengths, stream = self._lengths, collision.stream
        lengths[stream] = max(lengths.pop(stream, 0), collision.actual)
        if len(lengths) > CONTENDED_STREAMS_MAX:
            del lengths[next(iter(lengths))]

    def _find_length(self, stream: str) -> int | None:
        try:
            return self._database.find_stream_length(stream)
        except EventflowError:
            return None
