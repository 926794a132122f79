"""The indexes as a check (verify.py) sees them: that each holds exactly what the log says it should.

Theory of operation. For each slice of the log, what an index must hold of its events is gathered and looked up, in
one range a key. Every event has entries of its own, so that as many entries as were looked up leave none over: what
does not belong there shows in the count. So no list of ids is needed, and memory does not grow with the store.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from eventflowdb.consumers import Settlement
from eventflowdb.errors import CorruptRecord
from eventflowdb.events import RecordedEvent
from eventflowdb.ids import ULID_BYTES, find_stream_id
from eventflowdb.storage import layout
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.layout import Head
from eventflowdb.storage.records import load_record, position_of
from eventflowdb.storage.survey import require_equal


class Index(Protocol):
    """The check of one index; it is made in the transaction that reads the head."""

    def check(self, txn: Any, keys: Sequence[bytes], events: Sequence[RecordedEvent]) -> None:
        """Check what it holds of the next events of the log."""

    def check_end(self) -> None:
        """Check that it holds nothing else."""


class StreamIndex:
    """`streams` and `stream_events`: each event in its stream at its version, and versions without gaps.

    Streams have numbers in the order of their first events: as many numbers as first events leave none over, and
    none is given twice.
    """

    def __init__(self, environment: Environment, txn: Any) -> None:
        self._environment = environment
        self._streams_expected = entry_count(txn, environment.streams)
        self._entries_expected = entry_count(txn, environment.stream_events)
        self.stream_count = 0
        self._entry_count = 0

    def check(self, txn: Any, keys: Sequence[bytes], events: Sequence[RecordedEvent]) -> None:
        """See Index."""
        streams: dict[str, list[bytes]] = {}
        pack = layout.pack_index_entry
        for key, event in zip(keys, events, strict=True):
            stream = event.stream
            if stream in streams:
                streams[stream].append(pack(event.version, key))
            else:
                streams[stream] = [pack(event.version, key)]
        cursor = txn.cursor(self._environment.stream_events)
        for stream, entries in streams.items():
            self._check_stream(txn, cursor, stream, entries)
        self._entry_count += len(keys)

    def check_end(self) -> None:
        """See Index."""
        require_equal("streams in the index", self._streams_expected, self.stream_count)
        require_equal("events in the index of streams", self._entries_expected, self._entry_count)

    def _check_stream(self, txn: Any, cursor: Any, stream: str, entries: list[bytes]) -> None:
        version = layout.unpack_version(entries[0])
        if find_stream_id(stream) != stream:
            raise CorruptRecord(f"event {id_text(entries[0][4:])} names {stream!r} as its stream, which is not one")
        number = txn.get(layout.stream_key(stream), db=self._environment.streams)
        if number is None:
            raise CorruptRecord(f"stream {stream} of event {id_text(entries[0][4:])} has no number")
        if version == 0:
            if number != layout.pack_number(self.stream_count):
                raise CorruptRecord(f"stream {stream} has the number {_number(number)}, it must be {self.stream_count}")
            self.stream_count += 1
        elif number >= layout.pack_number(self.stream_count):
            raise CorruptRecord(f"stream {stream} has the number {_number(number)}, of a stream that comes later")
        self._check_entries(cursor, number, stream, entries)

    def _check_entries(self, cursor: Any, number: bytes, stream: str, entries: list[bytes]) -> None:
        """The entries of events, and before them one of the version before the first."""
        version = layout.unpack_version(entries[0])
        found = _values(cursor, number, layout.pack_version(max(0, version - 1)), len(entries) + (version > 0))
        if version > 0:
            before, found = found[:1], found[1:]
            if not before or layout.unpack_version(before[0]) != version - 1:
                raise CorruptRecord(f"the index of stream {stream} lacks version {version - 1}")
        if found != entries:
            entry, expected = _first_difference(found, entries)
            raise CorruptRecord(f"the index of stream {stream} has {_entry(entry)} where {_entry(expected)} belongs")


class TermIndex:
    """`terms` and `term_events`: each event under its type and its tags.

    Numbers are given to terms in the order of the batches that use them first. Every number from 0 on belongs to a
    term of the log, and there are as many terms as numbers; so none belongs to two.
    """

    def __init__(self, environment: Environment, txn: Any) -> None:
        self._environment = environment
        self._terms_expected = entry_count(txn, environment.terms)
        self._entries_expected = entry_count(txn, environment.term_events)
        self._term_count = self._entry_count = 0
        self._early: set[bytes] = set()
        """Numbers that were met before smaller ones: of one batch, at most."""

    def check(self, txn: Any, keys: Sequence[bytes], events: Sequence[RecordedEvent]) -> None:
        """See Index."""
        types: dict[str, list[bytes]] = {}
        tags: dict[str, list[bytes]] = {}
        for key, event in zip(keys, events, strict=True):
            if event.type in types:
                types[event.type].append(key)
            else:
                types[event.type] = [key]
            for tag in event.tags:
                tags.setdefault(tag, []).append(key)
        cursor = txn.cursor(self._environment.term_events)
        for kind, terms in ((layout.TYPE_KIND, types), (layout.TAG_KIND, tags)):
            for text, ids in terms.items():
                self._check_term(txn, cursor, kind + text.encode(), ids)

    def check_end(self) -> None:
        """See Index."""
        require_equal("terms in the index", self._terms_expected, self._term_count + len(self._early))
        require_equal("term numbers without a gap", self._term_count, self._terms_expected)
        require_equal("events in the index of terms", self._entries_expected, self._entry_count)

    def _check_term(self, txn: Any, cursor: Any, term: bytes, ids: list[bytes]) -> None:
        number = txn.get(term, db=self._environment.terms)
        if number is None:
            raise CorruptRecord(f"{_term(term)} of event {id_text(ids[0])} has no number")
        self._meet(number)
        _check_ids(cursor, number, ids, _term(term))
        self._entry_count += len(ids)

    def _meet(self, number: bytes) -> None:
        if number < layout.pack_number(self._term_count):
            return
        self._early.add(number)
        while (following := layout.pack_number(self._term_count)) in self._early:
            self._early.remove(following)
            self._term_count += 1


class LinkIndex:
    """`links`: each event under the ids that it names as its correlation and causation, but for its own."""

    def __init__(self, environment: Environment, txn: Any) -> None:
        self._environment = environment
        self._entries_expected = entry_count(txn, environment.links)
        self._entry_count = 0

    def check(self, txn: Any, keys: Sequence[bytes], events: Sequence[RecordedEvent]) -> None:
        """See Index."""
        links: dict[bytes, list[bytes]] = {}
        for key, event in zip(keys, events, strict=True):
            event_id = event.id
            if event.correlation_id != event_id:
                links.setdefault(layout.link_key(layout.CORRELATION_KIND, event.correlation_id), []).append(key)
            if event.causation_id != event_id:
                links.setdefault(layout.link_key(layout.CAUSATION_KIND, event.causation_id), []).append(key)
        cursor = txn.cursor(self._environment.links)
        for link, ids in links.items():
            _check_ids(cursor, link, ids, f"the id {id_text(link[1:])}")
            self._entry_count += len(ids)

    def check_end(self) -> None:
        """See Index."""
        require_equal("links in the index", self._entries_expected, self._entry_count)


class RequestWalk:
    """The walk along the answered requests: each names events that are there."""

    def __init__(self, environment: Environment, head: Head) -> None:
        self._environment = environment
        self._head = head
        self._key = b""
        self.request_count = 0

    def check_slice(self, txn: Any, requests_max: int) -> bool:
        """Check the next requests; False when there are no more."""
        cursor = txn.cursor(self._environment.requests)
        seen_count = 0
        for key, stored in islice(cursor.iternext(), requests_max + 1) if cursor.set_range(self._key) else ():
            if key == self._key:
                continue
            seen_count += 1
            self._check(txn, key, stored)
            self._key = key
        self.request_count += seen_count
        return seen_count > 0

    def _check(self, txn: Any, key: bytes, stored: bytes) -> None:
        name = key.decode("utf-8", "backslashreplace")
        answer = layout.unpack_answer(stored, name)
        # One that stored no events names the id that would have been next, one that came later an id after the head.
        if answer.event_count == 0 or answer.first_id > self._head.last_id:
            return
        value = txn.get(answer.first_id, db=self._environment.log)
        if value is None:
            raise CorruptRecord(
                f"the answer to request {name!r} names event {id_text(answer.first_id)}, which is not there"
            )
        first = position_of(load_record(value, f"the record of event {id_text(answer.first_id)}"))
        if first + answer.event_count - 1 > self._head.position:
            raise CorruptRecord(
                f"the answer to request {name!r} names {answer.event_count} events, beyond the last one"
            )


class SettlementWalk:
    """The walk along what was settled for consumers: each is of a consumer, and of an event, that is there."""

    def __init__(self, environment: Environment, database: Any) -> None:
        self._environment = environment
        self._database = database
        self._key = b""

    def check_slice(self, txn: Any, settlements_max: int) -> bool:
        """Check the next ones; False when there are no more."""
        consumers = txn.cursor(self._environment.consumers)
        numbers = {layout.pack_number(layout.unpack_consumer(stored, key).number) for key, stored in consumers}
        cursor = txn.cursor(self._database)
        seen_count = 0
        for key, stored in islice(cursor.iternext(), settlements_max + 1) if cursor.set_range(self._key) else ():
            if key == self._key:
                continue
            seen_count += 1
            self._check(txn, layout.unpack_settlement(key, stored), key[:-ULID_BYTES] in numbers)
            self._key = key
        return seen_count > 0

    def _check(self, txn: Any, settlement: Settlement, has_consumer: bool) -> None:
        event = id_text(settlement.id)
        if not has_consumer:
            raise CorruptRecord(f"event {event} is settled for a consumer that is not there")
        if txn.get(settlement.id, db=self._environment.log) is None:
            raise CorruptRecord(f"event {event} is settled, but not in the log")


def entry_count(txn: Any, database: Any) -> int:
    """How many entries a database says it has."""
    return int(txn.stat(database)["entries"])


def _check_ids(cursor: Any, key: bytes, ids: list[bytes], what: str) -> None:
    """The ids under a key, from the first to the last of some events in order, must be theirs."""
    found = _values(cursor, key, ids[0], len(ids))
    if found != ids:
        event, expected = _first_difference(found, ids)
        shown = "nothing" if event is None else f"event {id_text(event)}"
        raise CorruptRecord(f"the index of {what} has {shown} where event {id_text(expected)} belongs")


def _values(cursor: Any, key: bytes, start: bytes, count: int) -> list[bytes]:
    """The values of a key from the first not below `start` on, at most `count`."""
    if not cursor.set_range_dup(key, start):
        return []
    values: Iterator[bytes] = cursor.iternext_dup()
    return list(islice(values, count))


def _first_difference(found: Iterable[bytes], expected: Sequence[bytes]) -> tuple[bytes | None, bytes]:
    values = iter(found)
    for wanted in expected:
        value = next(values, None)
        if value != wanted:
            return value, wanted
    raise AssertionError("there is a difference")


def _number(stored: bytes) -> int:
    return int.from_bytes(stored, "big")


def _entry(entry: bytes | None) -> str:
    if entry is None:
        return "nothing"
    return f"version {layout.unpack_version(entry)}, event {id_text(entry[4:])},"


def _term(term: bytes) -> str:
    kind = "type" if term.startswith(layout.TYPE_KIND) else "tag"
    return f"{kind} {term[1:].decode()!r}"
