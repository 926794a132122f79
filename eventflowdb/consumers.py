"""Named consumers: what is kept of them, and what may be asked for; the shapes that every layer shares."""

import msgspec

from eventflowdb.ids import ULID_BYTES
from eventflowdb.queries import Query

BEGINNING = bytes(ULID_BYTES)
"""The id before all others."""


class ConsumerOptions(msgspec.Struct, frozen=True):
    """How a consumer treats events that are not acked.

    timeout_ms: how long a member may hold events without a word; retry_ms: after how long one that failed is given out
    again; tries_max: after so many failures it is parked (0: never).
    """

    timeout_ms: int = 30_000
    retry_ms: int = 1000
    tries_max: int = 10


class StoredConsumer(msgspec.Struct, frozen=True):
    """A consumer as it is stored.

    number: of its settlements, never used again; query: which events it is for, from any start; checkpoint: the highest
    event with nothing unsettled before it, 16 bytes.
    """

    name: str
    number: int
    query: Query
    options: ConsumerOptions
    checkpoint: bytes


class Settlement(msgspec.Struct, frozen=True):
    """What became of an event that was given out, other than being acked: it failed so many times.

    at_us: when it is given out again, or was parked; reason: as its member told.
    """

    id: bytes
    tries: int
    at_us: int
    reason: str = ""


def is_ack(settlement: Settlement) -> bool:
    """Whether a settlement is an ack, which is stored like one that failed never and for ever."""
    return not (settlement.tries or settlement.at_us)


class ConsumerChange(msgspec.Struct, frozen=True):
    """A change to one consumer, stored like an append; size_bytes: what the request weighed."""

    consumer: str
    size_bytes: int


class Create(ConsumerChange, frozen=True):
    """Make a consumer; the same once more changes nothing. after: 16 bytes; None: the end of the log."""

    query: Query
    options: ConsumerOptions
    after: bytes | None


class Delete(ConsumerChange, frozen=True):
    """Forget a consumer and all that was settled for it."""


class Reset(ConsumerChange, frozen=True):
    """Let a consumer begin anew after an event; None: at the end of the log."""

    after: bytes | None


class Settle(ConsumerChange, frozen=True):
    """What became of events. acked: such as were given out; claimed: acked too, but nobody knows whether they were."""

    acked: tuple[bytes, ...] = ()
    claimed: tuple[bytes, ...] = ()
    retried: tuple[Settlement, ...] = ()
    parked: tuple[Settlement, ...] = ()


class Replay(ConsumerChange, frozen=True):
    """Give out parked events again: these, or all (None)."""

    ids: tuple[bytes, ...] | None
    now_us: int


class Changed(msgspec.Struct, frozen=True):
    """What a change has made. consumer: as it was before its checkpoint moved; count: of the events it concerned."""

    consumer: StoredConsumer
    count: int = 0
