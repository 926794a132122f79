"""What a program hands to `add` and `add_many` besides events: conditions, several streams, ids, checkpoints.

Shared by all clients. These are a writer's own shapes: `eventflowdb.append` and
`eventflowdb.events` have the server's, of checked values.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final
from uuid import UUID

import msgspec

from eventflowdb.events import ExpectedVersion, NewEvent


class Unless(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What must not be in the log: an event of one of `types`, if given, that carries all of `tags`, if given.

    At least a type or a tag is given. after: the id (ULID) of the last event you had seen when you decided, only
    events past it count; None: the whole log.
    """

    types: Sequence[str] = ()
    tags: Sequence[str] = ()
    after: str | None = None


class StreamAppend(msgspec.Struct, frozen=True):
    """One stream's part of `add_many`: events, if the stream is as expected; without events it is a check alone.

    version: how many events the stream holds already; "any", or "exists" for at least one.
    """

    stream: str | UUID
    version: ExpectedVersion
    events: Sequence[NewEvent] = ()


class Checkpoint(msgspec.Struct, frozen=True):
    """An event that an append acks in the same step, if the member of a consumer holds it; see `Consumer.checkpoint`.

    id: of the event (ULID).
    """

    consumer: str
    member: str
    id: str


class FreshRequestId(Enum):
    """Stands for a ULID that the client makes for one call."""

    FRESH = "a fresh ULID"


FRESH: Final = FreshRequestId.FRESH
RequestId = str | FreshRequestId | None
"""1 to 128 bytes; FRESH; None or "" for no request id, and so no retries."""
