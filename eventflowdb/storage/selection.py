"""What a query selects of a log as it stands: a range of ids, the lists that a match stands in, and the last check."""

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import ULID_BYTES, find_ulid_bytes
from eventflowdb.queries import Query
from eventflowdb.storage import id_lists, layout
from eventflowdb.storage.conditions import Seek
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.id_lists import StreamIds, id_below
from eventflowdb.storage.records import load_record, rfc3339

_MILLISECOND_BITS = 80


class Facts(msgspec.Struct, gc=False):
    """What a record says of its event, but for its contents."""

    id: str
    stream: str
    version: int
    type: str
    causation_id: str
    correlation_id: str
    added_at: str
    tags: tuple[str, ...] = ()


class Selection(NamedTuple):
    """The events of a query as of one head: those from `low` to `high`, both inclusive, that stand in its lists.

    number: of the query's stream, which then held `stream_count` events.
    """

    query: Query
    low: bytes
    high: bytes
    number: bytes
    stream_count: int

    @property
    def first(self) -> bytes:
        """Where a search begins."""
        return self.high if self.query.is_backwards else self.low

    @property
    def last(self) -> bytes:
        """Where it ends."""
        return self.low if self.query.is_backwards else self.high


_decode = msgspec.json.Decoder(Facts).decode
_moment = lru_cache(maxsize=64)(rfc3339)
"""The times that queries name are asked for with each event."""


def select(environment: Environment, txn: Any, query: Query, head_id: bytes) -> Selection | None:
    """What a query selects of the log up to its last event; None: nothing."""
    number, count = b"", 0
    if query.stream is not None:
        found = environment.find_stream(txn, query.stream)
        if found is None or found[1] <= query.version:
            return None
        number, count = found
    low, high = query.start, head_id
    if query.end is not None:
        if not any(query.end):
            return None
        high = min(high, id_below(query.end))
    if query.since_us:
        low = max(low, _first_id_at(environment, txn, query.since_us))
    if query.until_us is not None:
        if query.until_us <= 0:
            return None
        high = min(high, id_below(_first_id_at(environment, txn, query.until_us)))
    if query.version:
        ids = StreamIds(environment, txn, query.stream or "", number, count, is_backwards=False)
        low = max(low, ids.id_at(query.version))
    return Selection(query, low, high, number, count) if low <= high else None


def lists_of(environment: Environment, txn: Any, selection: Selection) -> list[Seek]:
    """The lists that every match stands in; at least one."""
    query = selection.query
    is_backwards = query.is_backwards
    lists = [id_lists.of_term(environment, txn, layout.tag_key(tag), is_backwards) for tag in query.tags]
    for kind, event_id in (
        (layout.CORRELATION_KIND, query.correlation_id),
        (layout.CAUSATION_KIND, query.causation_id),
    ):
        if event_id is not None:
            lists.append(_linked(environment, txn, kind, event_id, is_backwards))
    if query.types:
        types = [id_lists.of_term(environment, txn, layout.type_key(name), is_backwards) for name in query.types]
        lists.append(id_lists.union(types, is_backwards))
    if query.stream is not None:
        number, count = selection.number, selection.stream_count
        lists.append(StreamIds(environment, txn, query.stream, number, count, is_backwards=is_backwards).seek)
    return lists or [id_lists.of_log(environment, txn, is_backwards)]


def read_facts(record: bytes, event_id: bytes) -> Facts:
    """What a record says of its event; CorruptRecord unless it is that of this id."""
    try:
        facts = _decode(record)
    except msgspec.DecodeError as error:
        raise CorruptRecord(f"the record of event {id_text(event_id)} is not an event: {error}") from error
    if find_ulid_bytes(facts.id) != event_id:
        raise CorruptRecord(f"the record of event {id_text(event_id)} has the id {facts.id}; restore from a backup")
    return facts


def require_match(query: Query, facts: Facts) -> None:
    """CorruptRecord unless an event that an index led to is one that the query asks for."""
    if not is_match(query, facts):
        raise CorruptRecord(f"an index leads to event {facts.id}, which does not belong there; restore from a backup")


def is_match(query: Query, facts: Facts) -> bool:
    """Whether a query asks for an event, but for the range of ids."""
    stream, types, tags = query.stream, query.types, query.tags
    correlation_id, causation_id = query.correlation_id, query.causation_id
    since_us, until_us = query.since_us, query.until_us
    return (
        (stream is None or (facts.stream == stream and facts.version >= query.version))
        and (not types or facts.type in types)
        and (not tags or set(tags).issubset(facts.tags))
        and (correlation_id is None or facts.correlation_id == correlation_id)
        and (causation_id is None or facts.causation_id == causation_id)
        and (not since_us or facts.added_at >= _moment(since_us))
        and (until_us is None or facts.added_at < _moment(until_us))
    )


def _linked(environment: Environment, txn: Any, kind: bytes, event_id: str, is_backwards: bool) -> Seek:
    """The events that name an id as their correlation or causation id; links leave out an event that names itself."""
    linked = id_lists.of_link(environment, txn, layout.link_key(kind, event_id), is_backwards)
    key = find_ulid_bytes(event_id) or b""
    record = environment.find_record(txn, key)
    if record is None:
        return linked
    facts = read_facts(record, key)
    named = facts.correlation_id if kind == layout.CORRELATION_KIND else facts.causation_id
    return id_lists.union([linked, id_lists.single(key, is_backwards)], is_backwards) if named == event_id else linked


def _first_id_at(environment: Environment, txn: Any, us: int) -> bytes:
    """The first id that an event added at this time, or later, may have.

    An id's first 48 bits are the millisecond; which of the events of one millisecond are meant their records say.
    They are in the order of time, so that a few of them are read, however many there are.
    """
    low = us // 1000 << _MILLISECOND_BITS
    if us % 1000:
        high = (us // 1000 + 1) << _MILLISECOND_BITS
        cursor = txn.cursor(environment.log)
        moment = rfc3339(us)
        while low < high:
            middle = (low + high) // 2
            key = cursor.key() if cursor.set_range(middle.to_bytes(ULID_BYTES, "big")) else b""
            number = int.from_bytes(key, "big")
            if not key or number >= high or _added_at(cursor.value(), key) >= moment:
                high = middle
            else:
                low = number + 1
    return low.to_bytes(ULID_BYTES, "big")


def _added_at(stored: bytes, key: bytes) -> str:
    return read_facts(load_record(stored, f"the record of event {id_text(key)}"), key).added_at
