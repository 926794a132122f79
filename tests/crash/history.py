"""What clients asked and what they were told, with the times between which the server did it.

An operation that was never answered has no outcome and no end: it may have been done, or not, or be done later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.system.resp import Refusal

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Writes:
    """Some events for one stream, if it holds `expected` events ("any" number of them, or one that "exists").

    names: the types of the events, which no other append uses.
    """

    stream: str
    expected: int | str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Append:
    """An append to one stream or several, all or nothing.

    unless: a tag that no event may have had before, or nothing; request_id: makes it the same append as every other
    with that id.
    """

    writes: tuple[Writes, ...]
    request_id: str | None = None
    unless: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """The types of its events, in order."""
        return tuple([name for writes in self.writes for name in writes.names])


@dataclass(frozen=True, slots=True)
class StreamRead:
    """GET of a stream from a version on; limit 0: to its end."""

    stream: str
    version: int
    limit: int


@dataclass(frozen=True, slots=True)
class LogRead:
    """GETALL after an event (None: from the beginning)."""

    after: str | None
    limit: int


@dataclass(frozen=True, slots=True)
class Count:
    """EVENTCOUNT."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """CHECKSUM."""


Request = Append | StreamRead | LogRead | Count | Checksum
Outcome = list[bytes] | int | Refusal | None
"""Records, or the two values of CHECKSUM; a number; a refusal; nothing, where the answer never came."""


@dataclass(slots=True)
class Operation:
    """One request of one session (a connection) and its outcome; times from one monotonic clock."""

    session: int
    request: Request
    began: int
    ended: int | None = None
    outcome: Outcome = None
    words: Sequence[str] = ()
    """What was sent."""


@dataclass(frozen=True, slots=True)
class History:
    """All operations, in any order."""

    operations: list[Operation] = field(default_factory=list)

    def __add__(self, other: "History") -> "History":
        return History(self.operations + other.operations)
