"""What was answered to a request_id: looked up before any condition, remembered with the events."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from eventflowdb.append import Append
from eventflowdb.errors import CorruptRecord, RequestConflict
from eventflowdb.events import NO_METADATA, CheckedEvent
from eventflowdb.storage import layout
from eventflowdb.storage.changes import Changes
from eventflowdb.storage.environment import Environment
from eventflowdb.storage.layout import Answer
from eventflowdb.storage.records import load_page

_encode = msgspec.json.Encoder().encode


def content_digest(append: Append) -> bytes:
    """The SHA-256 of all that an append asks for but its request_id, by value: how the JSON was written is no matter.

    Digests are stored, so this form is a part of the layout: a field that is added to it later must leave no trace
    where it is not given.
    """
    parts = [
        {"stream": part.stream, "expected_version": part.expected_version, "events": list(map(_event, part.events))}
        for part in append.parts
    ]
    content: list[object] = [parts, append.unless]
    if append.checkpoint is not None:
        content.append([append.checkpoint.consumer, append.checkpoint.member, append.checkpoint.id])
    return sha256(_encode(content)).digest()


def _event(event: CheckedEvent) -> msgspec.Raw:
    """The JSON of an event without what was not given."""
    content = event.content
    pieces = [content[: -len(NO_METADATA)] if content.endswith(NO_METADATA) else content]
    if event.causation_id is not None:
        pieces.append(b'"causation_id":' + _encode(event.causation_id))
    if event.correlation_id is not None:
        pieces.append(b'"correlation_id":' + _encode(event.correlation_id))
    if event.tags:
        pieces.append(b'"tags":' + _encode(event.tags))
    return msgspec.Raw(b"{%b}" % b",".join(pieces))


class AnsweredRequests:
    """The answered requests that one write transaction sees: those in the database, and those it stages itself."""

    def __init__(self, environment: Environment, txn: Any) -> None:
        self._environment = environment
        self._txn = txn
        self._staged: dict[str, tuple[Answer, list[bytes]]] = {}

    def find(self, request_id: str, digest: bytes) -> list[bytes] | None:
        """The records that the request was answered; None where it is new. RequestConflict: its content was another."""
        staged = self._staged.get(request_id)
        if staged is not None:
            _require_same(staged[0], digest, request_id)
            return staged[1]
        stored = self._txn.get(request_id.encode(), db=self._environment.requests)
        if stored is None:
            return None
        answer = layout.unpack_answer(stored, request_id)
        _require_same(answer, digest, request_id)
        return self._read(answer)

    def remember(self, request_id: str, answer: Answer, records: Sequence[bytes]) -> None:
        """A request is staged."""
        self._staged[request_id] = answer, list(records)

    def write(self, changes: Changes) -> bool:
        """Write what is staged; False where there is nothing."""
        entries = sorted([(key.encode(), layout.pack_answer(answer, key)) for key, (answer, _) in self._staged.items()])
        changes.put_later(self._environment.requests, entries)
        return bool(entries)

    def _read(self, answer: Answer) -> list[bytes]:
        values: list[bytes] = []
        cursor = self._txn.cursor(self._environment.log)
        if answer.event_count and cursor.set_key(answer.first_id):
            for value in cursor.iternext(keys=False, values=True):
                values.append(value)
                if len(values) == answer.event_count:
                    break
        if len(values) != answer.event_count:
            raise CorruptRecord("the events that a request was answered are not in the log; restore from a backup")
        return load_page(values)


def _require_same(answer: Answer, digest: bytes, request_id: str) -> None:
    if answer.digest != digest:
        raise RequestConflict.of(request_id)
