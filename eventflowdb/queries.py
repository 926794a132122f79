"""What a reader may ask for, and what it is told of streams and types: the shapes that all layers share."""

import msgspec

from eventflowdb.ids import ULID_BYTES


class Query(msgspec.Struct, frozen=True):
    """Which events are wanted: those that meet all that is given, in the order of the log, or backwards.

    stream: canonical UUID (None: any), from `version` on; types: one of them; tags: all of them; correlation_id,
    causation_id: ULIDs, upper case; start: the first id that may be, 16 bytes; end: the first that may not (None:
    there is none); since_us, until_us: added_at, microseconds since 1970, not before the one and before the other.
    """

    stream: str | None = None
    version: int = 0
    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    correlation_id: str | None = None
    causation_id: str | None = None
    start: bytes = bytes(ULID_BYTES)
    end: bytes | None = None
    since_us: int = 0
    until_us: int | None = None
    is_backwards: bool = False

    @property
    def has_terms(self) -> bool:
        """Whether it asks for more than a part of a stream or of the log."""
        return bool(self.types or self.tags or self.correlation_id or self.causation_id)

    @property
    def is_a_place(self) -> bool:
        """Whether it asks for all of a stream, or of the log, from a place on."""
        return not (self.has_terms or self.end is not None or self.since_us or self.until_us is not None)


class StreamSummary(msgspec.Struct, frozen=True):
    """A stream from outside; version: the number of its events, which is what the next append expects."""

    stream: str
    version: int
    first_id: str
    first_added_at: str
    last_id: str
    last_added_at: str


class TypeSummary(msgspec.Struct, frozen=True):
    """An event type, and how many events there are of it."""

    type: str
    count: int
