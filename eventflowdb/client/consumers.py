"""The commands about consumers, which remember their place in the log: CONSUMER, FETCH, ACK, NACK; and their results.

Shared by all clients: nothing here may import Twisted or a Redis library.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict
from uuid import UUID

import msgspec

from eventflowdb.client import decoding
from eventflowdb.client.exchanges import Exchange, encoded
from eventflowdb.client.filters import FilterFields, Terms, fields_of
from eventflowdb.events import RecordedEvent

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ConsumerOptions(Terms, total=False):
    """What a consumer is for, where it begins, and how long and how often its events are tried.

    stream: only of this one; after: "beginning" of the log (the default), "end", or the id of an event to begin behind;
    timeout_ms: how long a member may hold events without a word (30,000); retry_ms: after how long one that failed is
    tried again (1,000); tries_max: after so many failures it is parked (10; 0: never).
    """

    stream: str | UUID
    after: str
    timeout_ms: int
    retry_ms: int
    tries_max: int


class NackOptions(TypedDict, total=False):
    """What is to become of events that failed.

    delay_ms: after how long they are tried again (as the consumer has it); reason: why, for the list of parked events,
    up to 1,024 bytes; park: do not try them again.
    """

    delay_ms: int | None
    reason: str | None
    park: bool


class ConsumerQuery(msgspec.Struct, frozen=True):
    """Which events a consumer is for: those that meet all that is given."""

    stream: str | None = None
    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    correlation_id: str | None = None
    causation_id: str | None = None


class ConsumerSummary(msgspec.Struct, frozen=True, kw_only=True, rename={"name": "consumer"}):
    """A consumer as it was made, and how far it has come.

    checkpoint: id of the last event of the query with nothing unsettled before it; zeros at the beginning.
    """

    name: str
    query: ConsumerQuery
    timeout_ms: int
    retry_ms: int
    tries_max: int
    checkpoint: str


class ConsumerStatus(ConsumerSummary, frozen=True, kw_only=True, rename={"name": "consumer"}):
    """A consumer, and how it is getting on.

    lag: how many events are not settled; lag_is_whole: whether these are all, as they are counted only so far; lag_ms:
    for how long the oldest of them has been waiting; in_flight, members: how many events are given out, and to how
    many; parked: how many failed too often.
    """

    lag: int
    lag_is_whole: bool
    lag_ms: int
    in_flight: int
    members: int
    parked: int


class ParkedEvent(msgspec.Struct, frozen=True):
    """An event that failed too often. parked_at: RFC 3339, UTC, microseconds; reason: what its nack said, or empty."""

    event: RecordedEvent
    tries: int
    parked_at: str
    reason: str


_summary = decoding.one(ConsumerSummary)
_statuses = decoding.list_of(ConsumerStatus)
_parked_events = decoding.list_of(ParkedEvent)


def create(name: str, options: ConsumerOptions) -> Exchange[ConsumerSummary]:
    """A consumer to be made; the same once more changes nothing."""
    terms: dict[str, Any] = {**options}
    own = {field: terms.pop(field, None) for field in ("after", "timeout_ms", "retry_ms", "tries_max")}
    stream = terms.pop("stream", None)
    query = fields_of(terms, stream=None if stream is None else str(stream))  # type: ignore[arg-type]  # checks them
    given = None if query == FilterFields() else query
    return Exchange(_words("CONSUMER", create=name, query=given, **own), _summary)


def delete(name: str) -> Exchange[None]:
    """A consumer to be forgotten. Once: a second time there would be none."""
    return Exchange(_words("CONSUMER", delete=name), _nothing, is_once=True)


def reset(name: str, after: str | None = None) -> Exchange[ConsumerSummary]:
    """A consumer to begin anew. Once: what was done meanwhile would be forgotten."""
    return Exchange(_words("CONSUMER", reset=name, after=after), _summary, is_once=True)


def status_of_all() -> Exchange[list[ConsumerStatus]]:
    """All consumers."""
    return Exchange((b"CONSUMER", b"LIST"), _statuses)


def parked(name: str, *, after: str | None = None, limit: int | None = None) -> Exchange[list[ParkedEvent]]:
    """The events of a consumer that failed too often, behind one, at most `limit`."""
    return Exchange(_words("CONSUMER", parked=name, after=after, limit=limit), _parked_events)


def replay(name: str, ids: Sequence[str] | None = None) -> Exchange[int]:
    """Parked events to be given out again: of these ids, or all."""
    return Exchange(_words("CONSUMER", replay=name, ids=ids), decoding.integer)


def fetch(consumer: str, member: str, limit: int, wait_ms: int) -> Exchange[list[RecordedEvent]]:
    """The next events for a member, for which the server waits so long."""
    words = _words("FETCH", consumer=consumer, member=member, limit=limit, wait_ms=wait_ms)
    return Exchange(words, decoding.events, wait_seconds=wait_ms / 1000)


def ack(consumer: str, member: str, ids: Sequence[str]) -> Exchange[int]:
    """These are done."""
    return Exchange(_words("ACK", consumer=consumer, member=member, ids=ids), decoding.integer)


def extend(consumer: str, member: str, ids: Sequence[str]) -> Exchange[int]:
    """These are still worked at."""
    return Exchange(_words("ACK", consumer=consumer, member=member, extend=ids), decoding.integer)


def nack(consumer: str, member: str, ids: Sequence[str], **options: "Unpack[NackOptions]") -> Exchange[int]:
    """These failed."""
    unknown = options.keys() - NackOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"{min(unknown)!r} is no option of a nack; there are {', '.join(NackOptions.__annotations__)}")
    return Exchange(_words("NACK", consumer=consumer, member=member, ids=ids, **options), decoding.integer)


def release(consumer: str, member: str, ids: Sequence[str] | None = None) -> Exchange[int]:
    """Give these back, or all that the member holds."""
    return Exchange(_words("NACK", consumer=consumer, member=member, ids=ids, release=True), decoding.integer)


def _words(command: str, **fields: object) -> tuple[bytes, ...]:
    return command.encode(), encoded({name: value for name, value in fields.items() if value is not None})


def _nothing(reply: object) -> None:
    decoding.integer(reply)
