"""The two walks of a check (verify.py): along the log, and along the index.

A walk is taken slice by slice, each in a transaction of its own, up to the head that was read before it began.
The first thing wrong is raised as CorruptRecord, which says what and where.
"""

from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import msgspec

from eventflowdb.errors import CorruptRecord
from eventflowdb.events import RecordedEvent
from eventflowdb.ids import ULID_BYTES, find_stream_id, ulid_texts
from eventflowdb.limits import MIB
from eventflowdb.storage import layout
from eventflowdb.storage.checksum import EMPTY, extend
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.layout import Head
from eventflowdb.storage.records import EVENT_KIND, decode_record, encode_record, load_page

_SLICE_BYTES_MAX = 4 * MIB
_RANDOM_BITS = 80
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_STREAM_AT = len('\1{"id":"01KAS4NVR1SDPXY9PK3ZJ4MDGB","stream":"')
_STREAM_END = _STREAM_AT + 36


class LogWalk:
    """The walk along the log, which has checked `event_count` events so far."""

    def __init__(self, environment: Environment, head: Head) -> None:
        self._log = environment.log
        self._head = head
        self.event_count = 0
        self._key = bytes(ULID_BYTES)
        self._checksum = EMPTY
        self._added_at, self._added_at_us = "", 0

    def check_slice(self, txn: Any, events_max: int) -> bool:
        """Check the next events; False when there are no more up to the head, and the head agrees."""
        keys, values = self._read(txn, min(events_max, self._head.position - self.event_count))
        for key, value, record in zip(keys, values, load_page(values, keys), strict=True):
            number = int.from_bytes(key, "big")
            # Not id_text: most of the text is shared by neighbours, and remembered.
            (text,) = ulid_texts(number, 1)
            self._check_event(number, text, _decode(value, record, text))
            self._checksum = extend(self._checksum, record)
            self._key = key
        if self.event_count < self._head.position:
            return True
        self._check_head()
        return False

    def _read(self, txn: Any, count: int) -> tuple[list[bytes], list[bytes]]:
        cursor = txn.cursor(self._log)
        keys: list[bytes] = []
        values: list[bytes] = []
        size = 0
        is_found = cursor.set_range((int.from_bytes(self._key, "big") + 1).to_bytes(ULID_BYTES, "big"))
        for key, value in islice(cursor.iternext(), count) if is_found else ():
            keys.append(key)
            values.append(value)
            size += len(value)
            if size >= _SLICE_BYTES_MAX:
                return keys, values
        if len(keys) < count:
            raise CorruptRecord(f"the log ends after {self.event_count + len(keys)} of {self._head.position} events")
        return keys, values

    def _check_event(self, number: int, text: str, event: RecordedEvent) -> None:
        self.event_count += 1
        if event.id != text:
            raise CorruptRecord(f"the record of event {text} has the id {event.id}")
        if event.position != self.event_count:
            raise CorruptRecord(f"event {text} has position {event.position}, not {self.event_count}")
        if event.added_at != self._added_at:
            self._move_time(text, event.added_at)
        if number >> _RANDOM_BITS != self._added_at_us // 1000:
            raise CorruptRecord(f"event {text} was added at {event.added_at}, which is not the time of its id")

    def _move_time(self, text: str, added_at: str) -> None:
        us = _find_microseconds(added_at)
        if us is None:
            raise CorruptRecord(f"event {text} was added at {added_at!r}, which is not a time")
        if us < self._added_at_us:
            raise CorruptRecord(f"event {text} was added at {added_at}, before the event ahead of it")
        self._added_at, self._added_at_us = added_at, us

    def _check_head(self) -> None:
        head = self._head
        if head.last_id != self._key:
            raise CorruptRecord(f"the head names {id_text(head.last_id)} as the last event, it is {id_text(self._key)}")
        if head.checksum != self._checksum:
            raise CorruptRecord("the checksum in the head is not that of the log")
        if head.added_at_us != self._added_at_us:
            raise CorruptRecord("the time in the head is not that of the last event")


class IndexWalk:
    """The walk along the index, which has checked `event_count` entries of `stream_count` streams so far."""

    def __init__(self, environment: Environment, head: Head, stream_count: int) -> None:
        self._environment = environment
        self._head = head
        self._end_key = layout.pack_stream_number(stream_count)
        self.event_count = 0
        self.stream_count = 0
        self._key, self._stream, self._next_version = b"", b"", 0
        self._last_seen: tuple[bytes, bytes] | None = None

    def check_slice(self, txn: Any, events_max: int) -> bool:
        """Check the next entries; False when there are no more, and they are as many as there are events."""
        cursor = txn.cursor(self._environment.stream_events)
        seen_count = size = 0
        for key, entry in islice(cursor.iternext(), events_max) if self._seek(cursor) else ():
            is_later = self._is_later(entry)
            if is_later and key >= self._end_key:
                break
            seen_count += 1
            self._last_seen = key, entry
            if is_later:
                cursor.last_dup()
            else:
                size += self._check_entry(txn, key, entry)
            if size >= _SLICE_BYTES_MAX:
                return True
        if seen_count == events_max:
            return True
        require_equal("sound events in the index", self.event_count, self._head.position)
        require_equal("streams in the index", self.stream_count, int.from_bytes(self._end_key, "big"))
        return False

    def _is_later(self, entry: bytes) -> bool:
        """Whether an entry came after the head was read, and with it all that follow in its stream.

        Without leaving these out, the walk might never catch up with the appends. A damaged id that only looks
        later is missed when the entries are counted.
        """
        return entry[4:] > self._head.last_id

    def _seek(self, cursor: Any) -> bool:
        """Move to the entry behind the last one seen, which is still there: entries are never removed."""
        if self._last_seen is None:
            return bool(cursor.first())
        key, entry = self._last_seen
        if self._is_later(entry):
            return bool(cursor.set_key(key) and cursor.next_nodup())
        return bool(cursor.set_key_dup(key, entry) and cursor.next())

    def _check_entry(self, txn: Any, key: bytes, entry: bytes) -> int:
        version, event_id = layout.unpack_index_entry(entry)
        value = txn.get(event_id, db=self._environment.log)
        if value is None:
            raise CorruptRecord(f"event {id_text(event_id)} is in the index but not in the log")
        if key != self._key:
            self._begin_stream(txn, key, value[_STREAM_AT:_STREAM_END])
        if version != self._next_version:
            where = f"stream {self._stream.decode()}"
            raise CorruptRecord(f"the index of {where} has version {version} where {self._next_version} belongs")
        if not value.startswith(b'%b","version":%d,' % (self._stream, version), _STREAM_AT):
            what = f"version {version} of stream {self._stream.decode()}"
            raise CorruptRecord(f"the index has event {id_text(event_id)} as {what}, which it is not")
        self._next_version += 1
        self.event_count += 1
        return len(value)

    def _begin_stream(self, txn: Any, key: bytes, stream: bytes) -> None:
        if key != layout.pack_stream_number(self.stream_count):
            raise CorruptRecord(f"the index has stream number {key.hex()} where {self.stream_count} belongs")
        name = stream.decode(errors="replace")
        if find_stream_id(name) != name:
            raise CorruptRecord(f"the events of stream number {self.stream_count} name {name!r} as their stream")
        if txn.get(layout.stream_key(name), db=self._environment.streams) != key:
            raise CorruptRecord(f"stream {name} does not have the number {self.stream_count} that its events have")
        self.stream_count += 1
        self._key, self._stream, self._next_version = key, stream, 0


def require_equal(what: str, actual: int, expected: int) -> None:
    """CorruptRecord where two counts of the same thing differ."""
    if actual != expected:
        raise CorruptRecord(f"{what}: {actual}, expected {expected}")


def _decode(value: bytes, record: bytes, text: str) -> RecordedEvent:
    if value[:1] != EVENT_KIND:
        raise CorruptRecord(f"the record of event {text} is of unknown kind {value[:1].hex()}")
    try:
        event = decode_record(record)
    except msgspec.DecodeError as error:
        raise CorruptRecord(f"the record of event {text} is not an event: {error}") from error
    if encode_record(event) != record:
        raise CorruptRecord(f"the record of event {text} is not encoded as records are")
    return event


def _find_microseconds(added_at: str) -> int | None:
    """Microseconds since 1970 of a time written exactly as records have it; None where it is not."""
    try:
        moment = datetime.fromisoformat(f"{added_at[:-1]}+00:00")
    except ValueError:
        return None
    if f"{moment.isoformat(timespec='microseconds')[:-6]}Z" != added_at:
        return None
    return (moment - _EPOCH) // _MICROSECOND
