"""The walk of a check (verify.py) along the log: each event sound by itself, in its place, and in every index.

It is taken slice by slice, each in a transaction of its own, up to the head that was read before it began.
The first thing wrong is raised as CorruptRecord, which says what and where.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import msgspec

from eventflowdb.errors import CorruptRecord
from eventflowdb.events import RecordedEvent
from eventflowdb.ids import ULID_BYTES, id_after, ulid_text
from eventflowdb.limits import MIB
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.indexes import Index
from eventflowdb.storage.layout import Head
from eventflowdb.storage.records import EVENT_KIND, decode_record, encode_record, load_page

_SLICE_BYTES_MAX = 4 * MIB
_TIME_BYTES = 6
_ENDINGS = [ulid_text(number)[-2:] for number in range(1024)]
"""The last two characters of an id, by its last ten bits."""
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)

_decode_all = msgspec.json.Decoder(list[RecordedEvent]).decode
_encode_all = msgspec.json.Encoder().encode


class LogWalk:
    """The walk along the log, which has checked `event_count` events so far, each also in the indexes."""

    def __init__(self, environment: Environment, head: Head, indexes: Sequence[Index]) -> None:
        self._log = environment.log
        self._head = head
        self._indexes = indexes
        self.event_count = 0
        self._key = bytes(ULID_BYTES)
        self._added_at, self._added_at_us, self._time_key = "", 0, b""

    def check_slice(self, txn: Any, events_max: int) -> bool:
        """Check the next events; False when there are no more up to the head, and the head agrees."""
        keys, values = self._read(txn, min(events_max, self._head.position - self.event_count))
        if keys:
            self._check_events(txn, keys, values)
        if self.event_count < self._head.position:
            return True
        self._check_end()
        return False

    def _read(self, txn: Any, count: int) -> tuple[list[bytes], list[bytes]]:
        """The next events, at most `count`: fewer only where they are large."""
        cursor = txn.cursor(self._log)
        keys: list[bytes] = []
        values: list[bytes] = []
        size = 0
        for key, value in islice(cursor.iternext(), count) if cursor.set_range(id_after(self._key)) else ():
            keys.append(key)
            values.append(value)
            size += len(value)
            if size >= _SLICE_BYTES_MAX:
                return keys, values
        if len(keys) < count:
            raise CorruptRecord(f"the log ends after {self.event_count + len(keys)} of {self._head.position} events")
        return keys, values

    def _check_events(self, txn: Any, keys: Sequence[bytes], values: list[bytes]) -> None:
        records = load_page(values, keys)
        texts = _id_texts(keys)
        events = _decode(values, records, texts)
        self._check_order(keys, texts, events)
        for index in self._indexes:
            index.check(txn, keys, events)
        self._key = keys[-1]

    def _check_order(self, keys: Sequence[bytes], texts: Sequence[str], events: Sequence[RecordedEvent]) -> None:
        position, added_at, time_key = self.event_count, self._added_at, self._time_key
        for key, text, event in zip(keys, texts, events, strict=True):
            position += 1
            if len(key) != ULID_BYTES:
                raise CorruptRecord(f"the log has the key {key.hex()}, which is no event id")
            if event.id != text:
                raise CorruptRecord(f"the record of event {text} has the id {event.id}")
            if event.position != position:
                raise CorruptRecord(f"event {text} has position {event.position}, not {position}")
            if event.added_at != added_at:
                added_at, time_key = event.added_at, self._move_time(text, event.added_at)
            if not key.startswith(time_key):
                raise CorruptRecord(f"event {text} was added at {added_at}, which is not the time of its id")
        self.event_count, self._added_at, self._time_key = position, added_at, time_key

    def _move_time(self, text: str, added_at: str) -> bytes:
        """What the ids of a time begin with, which must not be before the last one."""
        us = _find_microseconds(added_at)
        if us is None:
            raise CorruptRecord(f"event {text} was added at {added_at!r}, which is not a time")
        if us < self._added_at_us:
            raise CorruptRecord(f"event {text} was added at {added_at}, before the event ahead of it")
        self._added_at_us = us
        return (us // 1000).to_bytes(_TIME_BYTES, "big")

    def _check_end(self) -> None:
        head = self._head
        if head.last_id != self._key:
            raise CorruptRecord(f"the head names {id_text(head.last_id)} as the last event, it is {id_text(self._key)}")
        if head.added_at_us != self._added_at_us:
            raise CorruptRecord("the time in the head is not that of the last event")
        for index in self._indexes:
            index.check_end()


def _id_texts(keys: Sequence[bytes]) -> list[str]:
    """The texts of ids; neighbours share all but the last two characters."""
    texts: list[str] = []
    last, beginning = -1, ""
    for key in keys:
        number = int.from_bytes(key, "big")
        if number >> 10 != last:
            last = number >> 10
            beginning = ulid_text(number)[:-2]
        texts.append(beginning + _ENDINGS[number & 1023])
    return texts


def _decode(values: Sequence[bytes], records: Sequence[bytes], texts: Sequence[str]) -> list[RecordedEvent]:
    """The events of records, which must be encoded as records are: with two calls for all of them."""
    joined = b"[%b]" % b",".join(records)
    try:
        events = _decode_all(joined)
        if _encode_all(events) == joined and {value[:1] for value in values} == {EVENT_KIND}:
            return events
    except msgspec.DecodeError:
        pass
    for value, record, text in zip(values, records, texts, strict=True):
        _decode_one(value, record, text)
    raise CorruptRecord(f"the records from event {texts[0]} on are not encoded as records are")


def _decode_one(value: bytes, record: bytes, text: str) -> None:
    if not value.startswith(EVENT_KIND):
        raise CorruptRecord(f"the record of event {text} is of unknown kind {value[:1].hex()}")
    try:
        event = decode_record(record)
    except msgspec.DecodeError as error:
        raise CorruptRecord(f"the record of event {text} is not an event: {error}") from error
    if encode_record(event) != record:
        raise CorruptRecord(f"the record of event {text} is not encoded as records are")


def _find_microseconds(added_at: str) -> int | None:
    """Microseconds since 1970 of a time written exactly as records have it; None where it is not."""
    try:
        moment = datetime.fromisoformat(f"{added_at[:-1]}+00:00")
    except ValueError:
        return None
    if f"{moment.isoformat(timespec='microseconds')[:-6]}Z" != added_at:
        return None
    return (moment - _EPOCH) // _MICROSECOND
