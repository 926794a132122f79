"""One write transaction in the making: appends are checked against what is stored and staged, then written."""

import time
from collections.abc import Sequence
from typing import Any

from eventflowdb.errors import CorruptRecord, EventflowError, InvalidArgument, WrongExpectedVersion
from eventflowdb.events import Append, NewEvent, RecordedEvent
from eventflowdb.ids import ULID_BYTES, find_ulid_bytes, next_ids, ulid_texts
from eventflowdb.limits import STREAM_EVENTS_MAX
from eventflowdb.storage import layout
from eventflowdb.storage.checksum import extend
from eventflowdb.storage.environment import Environment
from eventflowdb.storage.layout import Head
from eventflowdb.storage.records import decode_record, encode_record, store_record

Outcome = list[bytes] | EventflowError
"""What became of one append: its records in order, or the refusal."""


class Batch:
    """The appends of one write transaction. Refused ones leave nothing behind; `write` comes last.

    All events of a batch share one time, and their ids are consecutive.
    """

    def __init__(self, environment: Environment, txn: Any, appends: Sequence[Append], now_us: int) -> None:
        self._environment = environment
        self._txn = txn
        head = environment.head(txn)
        self._position, self._checksum = head.position, head.checksum
        event_count = sum(len(append.events) for append in appends)
        self._next_id, self._added_at_us = next_ids(
            now_us, head.added_at_us, int.from_bytes(head.last_id, "big"), event_count
        )
        self._added_at = rfc3339(self._added_at_us)
        self._next_number = int(txn.stat(environment.streams)["entries"])
        self._known_streams: dict[str, tuple[bytes, int]] = {}
        """Number and count of events of the streams met so far, staged events included."""
        self._new_streams: list[tuple[bytes, bytes]] = []
        self._log_entries: list[tuple[bytes, bytes]] = []
        self._index_entries: list[tuple[bytes, bytes]] = []
        self._correlations: dict[str, str] = {}
        """Correlation ids of the staged events, by event id: the log does not hold them yet."""

    def stage(self, append: Append) -> Outcome:
        """Check one append and stage its entries; a refusal is a value, since it hinders no other append."""
        if not append.events:
            # It would leave a stream that has a number but no events.
            return InvalidArgument("events: expected one or more")
        try:
            known = self._known_streams.get(append.stream) or self._environment.find_stream(self._txn, append.stream)
            actual = 0 if known is None else known[1]
            if append.expected_version != actual:
                return WrongExpectedVersion.of(append.stream, append.expected_version, actual)
            if actual + len(append.events) > STREAM_EVENTS_MAX:
                return InvalidArgument(f"stream: {append.stream} would hold more than {STREAM_EVENTS_MAX} events")
            ids = ulid_texts(self._next_id, len(append.events))
            correlations = self._correlate(append.events, ids)
        except EventflowError as error:
            return error
        number = self._new_stream(append.stream) if known is None else known[0]
        self._known_streams[append.stream] = (number, actual + len(append.events))
        return self._stage_events(append, number, actual, ids, correlations)

    def write(self) -> bool:
        """Write what is staged and the new head into the transaction; False where there is nothing."""
        if not self._log_entries:
            return False
        txn, environment = self._txn, self._environment
        txn.cursor(environment.streams).putmulti(self._new_streams)
        _, added_count = txn.cursor(environment.log).putmulti(self._log_entries, append=True)
        if added_count != len(self._log_entries):
            # putmulti passes over what it cannot append, without an error.
            raise CorruptRecord("the log goes on beyond its head; restore from a backup")
        # In key order neighbours share pages; the entries of one stream stay in order, since versions grow.
        self._index_entries.sort()
        txn.cursor(environment.stream_events).putmulti(self._index_entries, dupdata=True)
        head = Head(self._position, self._log_entries[-1][0], self._checksum, self._added_at_us)
        txn.put(layout.HEAD_KEY, layout.pack_head(head), db=environment.meta)
        return True

    def _new_stream(self, stream: str) -> bytes:
        number = layout.pack_stream_number(self._next_number)
        self._next_number += 1
        self._new_streams.append((layout.stream_key(stream), number))
        return number

    def _correlate(self, events: Sequence[NewEvent], ids: Sequence[str]) -> list[str]:
        """The correlation id of each event, in order, before any of them is staged."""
        correlations: list[str] = []
        own: dict[str, str] = {}
        for event, event_id in zip(events, ids, strict=True):
            cause = event.causation_id
            correlation = event.correlation_id
            if correlation is None:
                correlation = event_id if cause is None else own.get(cause) or self._correlation_of(cause)
            own[event_id] = correlation
            correlations.append(correlation)
        return correlations

    def _correlation_of(self, cause: str) -> str:
        """The causing event's correlation id if that event is in the log or staged for it, else its own id."""
        staged = self._correlations.get(cause)
        if staged is not None:
            return staged
        key = find_ulid_bytes(cause)
        record = None if key is None else self._environment.find_record(self._txn, key)
        return cause if record is None else decode_record(record).correlation_id

    def _stage_events(
        self, append: Append, number: bytes, version: int, ids: Sequence[str], correlations: Sequence[str]
    ) -> list[bytes]:
        stream, added_at, position, checksum = append.stream, self._added_at, self._position, self._checksum
        id_number = self._next_id
        records: list[bytes] = []
        for event, event_id, correlation_id in zip(append.events, ids, correlations, strict=True):
            position += 1
            record = encode_record(
                RecordedEvent(
                    event_id,
                    stream,
                    version,
                    position,
                    event.type,
                    event.data,
                    event.metadata,
                    event.causation_id or event_id,
                    correlation_id,
                    added_at,
                )
            )
            checksum = extend(checksum, record)
            key = id_number.to_bytes(ULID_BYTES, "big")
            self._log_entries.append((key, store_record(record)))
            self._index_entries.append((number, layout.pack_index_entry(version, key)))
            records.append(record)
            id_number += 1
            version += 1
        self._correlations.update(zip(ids, correlations, strict=True))
        self._next_id, self._position, self._checksum = id_number, position, checksum
        return records


def rfc3339(us: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC, to the microsecond: 2026-11-23T19:23:14.000001Z."""
    seconds, micros = divmod(us, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{micros:06d}Z"
