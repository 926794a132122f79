"""Streams that appends collide on: one that cannot succeed any more is refused without a commit.

Where many write to one stream, most have seen a version that is past, and each of their appends would take its place in
a batch to hear that. A stream never shrinks; so an append that expects fewer events than it is known to have had is
refused, whatever comes meanwhile. What the refusal says is read from the index, as any read would.
"""

from eventflowdb.errors import WrongExpectedVersion
from eventflowdb.events import Append
from eventflowdb.limits import CONTENDED_STREAMS_MAX
from eventflowdb.service.database import Database
from eventflowdb.service.records import stream_of, version_of
from eventflowdb.storage.batch import Outcome


class Contention:
    """What one server knows of it, on the reactor's thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lengths: dict[str, int] = {}
        """By stream that an append was refused on lately: so many events it holds at least."""

    def find_refusal(self, append: Append) -> WrongExpectedVersion | None:
        """Why an append cannot succeed, where that is known and seen by reads; else None, and it has to be tried."""
        if not self._lengths or append.request_id is not None or append.checkpoint is not None:
            return None
        # Of several parts the first that fails is told of, and most have one.
        part = append.parts[0]
        stream, expected = part.stream, part.expected_version
        known = self._lengths.get(stream)
        if known is None or isinstance(expected, str) or expected >= known or self._database.freshness.is_stale:
            return None
        actual = self._database.find_stream_length(stream)
        return None if actual is None or actual <= expected else WrongExpectedVersion.of(stream, expected, actual)

    def learn(self, outcome: Outcome) -> None:
        """Learn from what became of an append."""
        lengths = self._lengths
        if isinstance(outcome, list):
            if lengths and outcome:
                stream = stream_of(outcome[-1])
                if stream in lengths:
                    lengths[stream] = max(lengths[stream], version_of(outcome[-1]) + 1)
        elif isinstance(outcome, WrongExpectedVersion) and outcome.stream is not None and outcome.actual is not None:
            lengths[outcome.stream] = max(lengths.pop(outcome.stream, 0), outcome.actual)
            if len(lengths) > CONTENDED_STREAMS_MAX:
                del lengths[next(iter(lengths))]
