"""An event before it is stored and after: the two shapes that every layer shares."""

import msgspec


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event as a writer gives it.

    type: 1 to 255 bytes; data, metadata: opaque text; causation_id, correlation_id: ULIDs.
    """

    type: str
    data: str
    metadata: str | None = None
    causation_id: str | None = None
    correlation_id: str | None = None


class RecordedEvent(msgspec.Struct, frozen=True):
    """An event as it is stored and returned; the order of these fields is the order of keys in a record.

    id: ULID; stream: lower-case UUID; version: 0, 1, 2 ... in its stream; position: 1, 2, 3 ... in the log;
    added_at: RFC 3339, UTC, microseconds. Readers ignore keys they do not know, so that later fields can follow.
    """

    id: str
    stream: str
    version: int
    position: int
    type: str
    data: str
    metadata: str | None
    causation_id: str
    correlation_id: str
    added_at: str


class Append(msgspec.Struct, frozen=True):
    """Events for one stream, to be stored together if the stream holds `expected_version` events.

    stream: canonical lower-case UUID; size_bytes: what the request weighed, for the bounds on batches.
    """

    stream: str
    expected_version: int
    events: list[NewEvent]
    size_bytes: int
