"""The last events of the log, read and decoded once for all subscriptions with a filter that look through them.

After a commit each such subscription looks what is new for it. Where little is new, as nearly always, it costs less to
read that once, and hold each event against each filter, than to ask the indexes for each filter.
"""

from typing import NamedTuple

from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import find_ulid_bytes, id_after
from eventflowdb.limits import INLINE_READ_EVENTS_MAX, SHARED_TAILS_MAX
from eventflowdb.queries import Query
from eventflowdb.service.notices import Notices
from eventflowdb.service.reads import INLINE, Reads
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.records import id_of
from eventflowdb.storage.selection import Facts, is_match, read_facts


class Known(NamedTuple):
    """One event: its record, what that says, and its id."""

    record: bytes
    facts: Facts
    key: bytes


class Tail(NamedTuple):
    """All events from a place on, and the place behind them."""

    events: list[Known]
    next: bytes

    def matches(self, query: Query) -> list[bytes]:
        """The records that a query asks for."""
        return [
            record
            for record, facts, key in self.events
            if is_match(query, facts) and (query.end is None or key < query.end)
        ]


class Tails:
    """Those of one store, on the reactor's thread. They are kept until the next notice. reads: how many were read."""

    def __init__(self, store: LmdbStore, reads: Reads, notices: Notices) -> None:
        self._store = store
        self._reads = reads
        self._notices = notices
        self._generation = 0
        self._tails: dict[bytes, Tail | None] = {}
        self.reads = 0

    def find(self, start: bytes) -> Tail | None:
        """What there is from the first id not below `start` on; None where that is not a small read of warm memory."""
        if self._generation != self._notices.generation or len(self._tails) >= SHARED_TAILS_MAX:
            self._generation = self._notices.generation
            self._tails.clear()
        if start not in self._tails:
            self._tails[start] = self._read(start)
        return self._tails[start]

    def _read(self, start: bytes) -> Tail | None:
        if not self._reads.is_warm():
            return None
        self.reads += 1
        chunk = self._store.open_log(start, INLINE_READ_EVENTS_MAX, INLINE)
        if chunk.rest is not None or len(chunk.records) == INLINE_READ_EVENTS_MAX:
            return None
        events = [_known(record) for record in chunk.records]
        return Tail(events, max(start, id_after(events[-1].key)) if events else start)


def _known(record: bytes) -> Known:
    text = id_of(record)
    key = find_ulid_bytes(text)
    if key is None:
        raise CorruptRecord(f"an event has the id {text!r}; restore from a backup")
    return Known(record, read_facts(record, key), key)
