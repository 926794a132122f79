"""One write transaction in the making: appends are checked against what is stored and staged, then written."""

from collections.abc import Sequence
from typing import Any, Final

from eventflowdb.append import Append, StreamAppend
from eventflowdb.consumers import Changed, ConsumerChange
from eventflowdb.errors import EventflowError, InvalidArgument, UnlessMatched, WrongExpectedVersion
from eventflowdb.events import ANY, EXISTS, CheckedEvent, Checkpoint, Unless
from eventflowdb.ids import ULID_BYTES, find_ulid_bytes, id_after, next_ids, ulid_texts
from eventflowdb.limits import STREAM_EVENTS_MAX
from eventflowdb.storage import layout
from eventflowdb.storage.changes import Changes
from eventflowdb.storage.conditions import StagedTerms, find_match
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.layout import Answer, head_of
from eventflowdb.storage.records import decode_record, make_record, rfc3339, store_record
from eventflowdb.storage.requests import AnsweredRequests, content_digest
from eventflowdb.storage.settling import ConsumerWrites
from eventflowdb.storage.tip import Tip

Write = Append | ConsumerChange
Outcome = list[bytes] | Changed | EventflowError
"""What became of one write: an append's records in order, a change to a consumer, or the refusal."""

_NO_STREAM: Final = (b"", 0)
# What every append asks for; why it is final, says decision 8.
_STREAM_EVENTS_MAX: Final = STREAM_EVENTS_MAX
_pack_entry: Final = layout.pack_index_entry


class Batch:
    """The writes of one transaction. Refused ones leave nothing behind; `write` comes last.

    All events of a batch share one time, and their ids are consecutive. tip: what the transaction sees; changes: what
    the batch has done to it.
    """

    def __init__(self, environment: Environment, txn: Any, writes: Sequence[Write], now_us: int, tip: Tip) -> None:
        self._environment = environment
        self._txn = txn
        self._tip = tip
        self.changes = Changes(environment, txn)
        head = tip.head
        self._position = head.position
        event_count = sum([len(part.events) for write in writes if isinstance(write, Append) for part in write.parts])
        first_id, self._added_at_us = next_ids(
            now_us, head.added_at_us, int.from_bytes(head.last_id, "big"), event_count
        )
        self._next_id = first_id.to_bytes(ULID_BYTES, "big")
        self._added_at = rfc3339(self._added_at_us).encode()
        self._first_position = self._position + 1
        self._ids = ulid_texts(first_id, event_count)
        """The texts of the ids from this position on, one for each event of the batch, staged or not."""
        self._streams: dict[str, tuple[bytes, int]] = {}
        """Number and count of events of the streams met so far, staged events included; of a new one no number."""
        self._new_streams: list[tuple[bytes, bytes]] = []
        self._log_entries: list[tuple[bytes, bytes]] = []
        self._records: list[bytes] = []
        self._index_entries: list[tuple[bytes, bytes]] = []
        self._terms = StagedTerms()
        self._links: list[tuple[bytes, bytes]] = []
        # Most batches need neither of these.
        self._requests: AnsweredRequests | None = None
        self._consumers: ConsumerWrites | None = None
        self._correlations: dict[str, str] = {}
        """Correlation ids of the staged events that have one of their own, by event id."""

    def stage(self, write: Write) -> Outcome:
        """Check one write and stage its entries; a refusal is a value, since it hinders no other write."""
        if isinstance(write, Append):
            return self._stage_append(write)
        try:
            return self._consumer_writes().change(write)
        except EventflowError as error:
            return error

    def _stage_append(self, append: Append) -> Outcome:
        parts, request_id, checkpoint = append.parts, append.request_id, append.checkpoint
        digest, requests = b"", None
        try:
            if request_id is not None:
                digest, requests = content_digest(append), self._answered_requests()
                answered = requests.find(request_id, digest)
                if answered is not None:
                    self._ack_again(checkpoint)
                    return answered
            if checkpoint is not None:
                self._consumer_writes().require_held(checkpoint)
            for part in parts:
                self._require_version(part)
            self._require_no_match(append.unless)
            first_id = self._next_id
            correlations = self._correlate(parts)
        except EventflowError as error:
            return error
        records: list[bytes] = []
        for part in parts:
            if part.events:
                self._stage_events(part.stream, part.events, correlations, records)
        if checkpoint is not None:
            self._consumer_writes().ack(checkpoint.consumer, [checkpoint.id])
        self._records += records
        if requests is not None and request_id is not None:
            answer = Answer(digest, first_id, len(records))
            requests.remember(request_id, answer, records)
        return records

    def _require_no_match(self, conditions: Sequence[Unless]) -> None:
        for index, unless in enumerate(conditions):
            found = find_match(self._environment, self._txn, self._terms, unless)
            if found is not None:
                raise UnlessMatched.of(index, id_text(found))

    def _ack_again(self, checkpoint: Checkpoint | None) -> None:
        """The consumer was reset since the request was answered: it goes on behind what was handled then."""
        if checkpoint is not None and checkpoint.is_held:
            self._consumer_writes().ack(checkpoint.consumer, [checkpoint.id])

    def write(self) -> bool:
        """Have what is staged and the new head among the changes, which are to be completed; False if there is none."""
        changes, environment = self.changes, self._environment
        is_changed = self._requests is not None and self._requests.write(changes)
        if self._consumers is not None:
            is_changed |= self._consumers.write()
        if not self._log_entries:
            return is_changed
        changes.put_later(environment.streams, self._new_streams)
        changes.put_later(environment.log, self._log_entries, is_append=True)
        # In key order neighbours share pages; the entries of one stream stay in order, since versions grow.
        self._index_entries.sort()
        changes.put_later(environment.stream_events, self._index_entries, is_append=True)
        self._write_terms()
        self._links.sort()
        changes.put_later(environment.links, self._links, is_append=True)
        head = head_of(self._position, self._log_entries[-1][0], self._tip.head.checksum, self._added_at_us)
        changes.put_head_later(head, self._records)
        return True

    def move_tip(self, commit: int) -> None:
        """Have the tip say what the batch, which is a part of this transaction, leads to.

        It must not be used again before the batch is on the disk.
        """
        tip, head = self._tip, self.changes.head
        if head is not None:
            tip.head = head
            tip.next_stream_number += len(self._new_streams)
            tip.streams.update([(stream, known) for stream, known in self._streams.items() if known[0]])
            tip.terms.update(self._term_numbers)
            tip.next_term_number += self._new_term_count
            tip.forget_many()
        tip.commit = commit

    def _answered_requests(self) -> AnsweredRequests:
        if self._requests is None:
            self._requests = AnsweredRequests(self._environment, self._txn)
        return self._requests

    def _consumer_writes(self) -> ConsumerWrites:
        if self._consumers is None:
            self._consumers = ConsumerWrites(self._environment, self._txn, self.changes, self._tip.head.last_id)
        return self._consumers

    def _require_version(self, part: StreamAppend) -> None:
        stream, expected = part.stream, part.expected_version
        known = self._streams.get(stream)
        if known is None:
            known = self._tip.streams.get(stream) or self._environment.find_stream(self._txn, stream) or _NO_STREAM
            self._streams[stream] = known
        actual = known[1]
        if expected not in (actual, ANY) and not (expected == EXISTS and actual):
            raise WrongExpectedVersion.of(stream, expected, actual)
        if actual + len(part.events) > _STREAM_EVENTS_MAX:
            raise InvalidArgument(f"stream: {stream} would hold more than {STREAM_EVENTS_MAX} events")

    def _new_stream(self, stream: str) -> bytes:
        number = layout.pack_number(self._tip.next_stream_number + len(self._new_streams))
        self._new_streams.append((layout.stream_key(stream), number))
        return number

    def _correlate(self, parts: list[StreamAppend]) -> dict[str, str]:
        """The correlation ids of the events whose own id it is not, by event id, before any of them is staged."""
        correlations: dict[str, str] = {}
        position = self._position
        for part in parts:
            for _, _, causation_id, correlation_id, _ in part.events:
                position += 1
                if causation_id is not None or correlation_id is not None:
                    event_id = self._ids[position - self._first_position]
                    correlations[event_id] = correlation_id or self._correlation_of(causation_id or "", correlations)
        return correlations

    def _correlation_of(self, cause: str, own: dict[str, str]) -> str:
        """Where none is given: the causing event's, if that is in the log or staged for it; else the causing id."""
        staged = own.get(cause) or self._correlations.get(cause)
        if staged is not None:
            return staged
        key = find_ulid_bytes(cause)
        record = None if key is None else self._environment.find_record(self._txn, key)
        return cause if record is None else decode_record(record).correlation_id

    def _stage_events(
        self, stream: str, events: list[CheckedEvent], correlations: dict[str, str], records: list[bytes]
    ) -> None:
        """Stage the events of one part."""
        added_at, stream_bytes, position = self._added_at, stream.encode(), self._position
        number, version = self._streams[stream]
        if not number:
            number = self._new_stream(stream)
        self._streams[stream] = number, version + len(events)
        key, ids, first_position = self._next_id, self._ids, self._first_position
        types = self._terms.types
        log_entries, index_entries = self._log_entries, self._index_entries
        for kind, content, causation_id, _, tags in events:
            position += 1
            event_id = ids[position - first_position]
            correlation_id = correlations.get(event_id, event_id) if correlations else event_id
            record = make_record(
                event_id,
                stream_bytes,
                version,
                position,
                content,
                causation_id or event_id,
                correlation_id,
                added_at,
                tags,
            )
            log_entries.append((key, store_record(record)))
            index_entries.append((number, _pack_entry(version, key)))
            of_type = types.get(kind)
            if of_type is None:
                types[kind] = [key]
            else:
                of_type.append(key)
            if tags:
                self._terms.add_tags(tags, key)
            records.append(record)
            key = id_after(key)
            version += 1
        if correlations:
            self._link(events, correlations)
        self._next_id, self._position = key, position

    def _link(self, events: list[CheckedEvent], correlations: dict[str, str]) -> None:
        """Stage the links of the events of one part, which are not counted as staged yet."""
        first = self._position + 1 - self._first_position
        key = self._next_id
        for index, (_, _, causation_id, _, _) in enumerate(events):
            event_id = self._ids[first + index]
            correlation_id = correlations.get(event_id, event_id)
            if correlation_id != event_id:
                self._links.append((layout.link_key(layout.CORRELATION_KIND, correlation_id), key))
            if causation_id is not None and causation_id != event_id:
                self._links.append((layout.link_key(layout.CAUSATION_KIND, causation_id), key))
            key = id_after(key)
        self._correlations.update(correlations)

    def _write_terms(self) -> None:
        """Write the terms of the staged events; those met for the first time get the next numbers."""
        txn, environment, tip = self._txn, self._environment, self._tip
        self._term_numbers: dict[bytes, bytes] = {}
        new: list[tuple[bytes, bytes]] = []
        entries: list[tuple[bytes, bytes]] = []
        for term, ids in self._terms.items():
            number = tip.terms.get(term) or txn.get(term, db=environment.terms)
            if number is None:
                number = layout.pack_number(tip.next_term_number + len(new))
                new.append((term, number))
            self._term_numbers[term] = number
            entries.extend([(number, event_id) for event_id in ids])
        self._new_term_count = len(new)
        new.sort()
        self.changes.put_later(environment.terms, new)
        entries.sort()
        self.changes.put_later(environment.term_events, entries, is_append=True)
