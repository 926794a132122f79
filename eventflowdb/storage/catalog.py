"""What the database holds: one event, one stream, the streams, the event types."""

from typing import Any

from eventflowdb.errors import CorruptRecord, InvalidArgument
from eventflowdb.ids import id_after
from eventflowdb.limits import SEARCH_SLICE_STEPS_MAX
from eventflowdb.queries import Query, StreamSummary, TypeSummary
from eventflowdb.storage import layout
from eventflowdb.storage.conditions import first_common
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.id_lists import StreamIds
from eventflowdb.storage.queries import reading
from eventflowdb.storage.searches import search
from eventflowdb.storage.selection import Facts, Selection, lists_of, read_facts, require_match, select


def find_event(environment: Environment, event_id: bytes) -> bytes | None:
    """The record of one event; None: there is no such event."""
    with reading(environment) as txn:
        record = environment.find_record(txn, event_id)
        if record is not None:
            read_facts(record, event_id)
        return record


def find_stream(environment: Environment, stream: str) -> StreamSummary | None:
    """What there is of a stream; None where it holds no events."""
    with reading(environment) as txn:
        found = environment.find_stream(txn, stream)
        return None if found is None else _summary(environment, txn, stream, *found)


def _summary(environment: Environment, txn: Any, stream: str, number: bytes, count: int) -> StreamSummary:
    ids = StreamIds(environment, txn, stream, number, count, is_backwards=False)
    first, last = (_facts_at(environment, txn, ids.id_at(version)) for version in (0, count - 1))
    for facts, version in ((first, 0), (last, count - 1)):
        if (facts.stream, facts.version) != (stream, version):
            raise CorruptRecord(f"the index of stream {stream} leads to event {facts.id}; restore from a backup")
    return StreamSummary(stream, count, first.id, first.added_at, last.id, last.added_at)


def _facts_at(environment: Environment, txn: Any, event_id: bytes) -> Facts:
    record = environment.find_record(txn, event_id)
    if record is None:
        raise CorruptRecord(f"event {id_text(event_id)} is in an index but not in the log")
    return read_facts(record, event_id)


def types_after(environment: Environment, after: str, limit: int) -> list[TypeSummary]:
    """The event types behind one, in the order of their UTF-8 bytes, at most `limit`. A count is O(1)."""
    summaries: list[TypeSummary] = []
    with reading(environment) as txn:
        terms, events = txn.cursor(environment.terms), txn.cursor(environment.term_events)
        found = terms.set_range(layout.type_key(after) + (b"\0" if after else b""))
        while found and len(summaries) < limit and terms.key().startswith(layout.TYPE_KIND):
            name = terms.key()[1:].decode("utf-8", "replace")
            if not events.set_key(terms.value()):
                raise CorruptRecord(f"type {name!r} has a number but no events; restore from a backup")
            if _facts_at(environment, txn, events.value()).type != name:
                raise CorruptRecord(f"type {name!r} leads to an event of another; restore from a backup")
            summaries.append(TypeSummary(name, events.count()))
            found = terms.next()
    return summaries


class StreamsQuery:
    """One read of the streams that hold an event of a query, in the order of the first such event of each.

    after: the last stream of the page before, which InvalidArgument refuses where it is none.
    """

    def __init__(self, environment: Environment, query: Query, after: str | None, limit: int) -> None:
        self._environment = environment
        self._query = query
        self._after = after
        self._limit = limit
        self._selection: Selection | None = None
        self._at: bytes | None = None
        """Where the search goes on; None before it has begun."""
        self._number = 0
        """The next stream's number, where every stream is asked for."""
        self._found: list[StreamSummary] = []

    def step(self) -> list[StreamSummary] | None:
        """Take some steps: the page, if that is all; None: call again."""
        with reading(self._environment) as txn:
            is_over = self._search(txn) if self._query.has_terms else self._list(txn)
        return self._found if is_over else None

    def _list(self, txn: Any) -> bool:
        """Streams in the order of their numbers, which is that of their first events."""
        environment = self._environment
        if self._after is not None:
            number = txn.get(layout.stream_key(self._after), db=environment.streams)
            if number is None:
                raise _no_such_stream(self._after)
            self._number, self._after = int.from_bytes(number, "big") + 1, None
        cursor = txn.cursor(environment.stream_events)
        for _ in range(_SLICE_STREAMS):
            if len(self._found) == self._limit or not cursor.set_key(layout.pack_number(self._number)):
                return True
            _, event_id = layout.unpack_index_entry(cursor.value())
            self._add(txn, _facts_at(environment, txn, event_id).stream, self._number)
            self._number += 1
        return False

    def _add(self, txn: Any, stream: str, expected_number: int | None = None) -> None:
        found = self._environment.find_stream(txn, stream)
        if found is None or (expected_number is not None and found[0] != layout.pack_number(expected_number)):
            raise CorruptRecord(f"the index of stream {stream} is damaged; restore from a backup")
        self._found.append(_summary(self._environment, txn, stream, *found))

    def _search(self, txn: Any) -> bool:
        environment = self._environment
        if self._at is None and not self._begin(txn):
            return True
        selection, at = self._selection, self._at
        if selection is None or at is None:
            return True
        found = search(environment, txn, selection, at, _SLICE_STREAMS)
        for event_id in found.ids:
            facts = _facts_at(environment, txn, event_id)
            require_match(self._query, facts)
            if self._first_match(txn, facts.stream) == event_id:
                self._add(txn, facts.stream)
                if len(self._found) == self._limit:
                    return True
        self._at = found.at
        return found.at is None

    def _begin(self, txn: Any) -> bool:
        """Find where the page begins; False: the log holds nothing of it."""
        environment = self._environment
        self._selection = select(environment, txn, self._query, environment.head(txn).last_id)
        if self._selection is None:
            return False
        self._at = self._selection.first
        if self._after is not None:
            first = self._first_match(txn, self._after)
            if first is None:
                raise _no_such_stream(self._after)
            self._at = id_after(first)
        return True

    def _first_match(self, txn: Any, stream: str) -> bytes | None:
        """The first event of a stream that the query asks for."""
        found = self._environment.find_stream(txn, stream)
        if found is None or self._selection is None:
            return None
        ids = StreamIds(self._environment, txn, stream, *found, is_backwards=False)
        return first_common([ids.seek, *lists_of(self._environment, txn, self._selection)], bytes(16))


_SLICE_STREAMS = SEARCH_SLICE_STEPS_MAX // 10
"""A stream takes some ten look-ups."""


def _no_such_stream(stream: str) -> InvalidArgument:
    return InvalidArgument(f"after: {stream} is none of these streams; give the last one of the page before")
