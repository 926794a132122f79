"""An event before it is stored and after, and what an append may depend on: the shapes that all layers share."""

from typing import Final, Literal, NamedTuple

import msgspec

from eventflowdb.ids import ULID_BYTES

_encode: Final = msgspec.json.Encoder().encode
NO_METADATA: Final = b',"metadata":null'
"""The end of the content of an event without metadata; one with metadata ends with a quote."""
ANY: Final = "any"
EXISTS: Final = "exists"
ExpectedVersion = int | Literal["any", "exists"]
"""How many events a stream must hold: so many, any number, or at least one."""


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event as a writer gives it.

    type: 1 to 255 bytes; data, metadata: opaque text; causation_id, correlation_id: ULIDs; tags: up to 32, all
    different.
    """

    type: str
    data: str
    metadata: str | None = None
    causation_id: str | None = None
    correlation_id: str | None = None
    tags: tuple[str, ...] = ()


class CheckedEvent(NamedTuple):
    """An event of a checked request.

    Here, where nothing is compiled, since msgspec decodes it by its annotations, which mypyc does not keep.

    type: 1 to 255 bytes; content: the members type, data and metadata of the event's JSON as it will be stored, without
    braces: its texts are encoded once, where they are checked; causation_id, correlation_id: ULIDs; tags: up to 32, all
    different.
    """

    type: str
    content: bytes
    causation_id: str | None = None
    correlation_id: str | None = None
    tags: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        type: str,  # noqa: A002 - the field's name
        data: str,
        metadata: str | None = None,
        causation_id: str | None = None,
        correlation_id: str | None = None,
        tags: tuple[str, ...] = (),
    ) -> "CheckedEvent":
        """One of these texts."""
        content = _encode({"type": type, "data": data, "metadata": metadata})
        return cls(type, content[1:-1], causation_id, correlation_id, tags)


class RecordedEvent(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An event as it is stored and returned; the order of these fields is the order of keys in a record.

    id: ULID; stream: lower-case UUID; version: 0, 1, 2 ... in its stream; position: 1, 2, 3 ... in the log;
    added_at: RFC 3339, UTC, microseconds; tags: the one field that has a default, which is left out of the record.
    Readers ignore keys they do not know, so that later fields can follow.
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
    tags: tuple[str, ...] = ()


class Collision(msgspec.Struct, frozen=True):
    """An append was refused, since its stream holds another number of events than it expected."""

    stream: str
    expected: int | str
    actual: int


class Unless(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What must not be in the log: an event after `after` of one of the types, if given, that carries all of the tags.

    after: event id, 16 bytes; at least a type or a tag is given.
    """

    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    after: bytes = bytes(ULID_BYTES)


class Checkpoint(msgspec.Struct, frozen=True, gc=False):
    """An event that an append acks, in the same step, if this member of the consumer holds it.

    id: 16 bytes; is_held: whether it did when the append came.
    """

    consumer: str
    member: str
    id: bytes
    is_held: bool = False
