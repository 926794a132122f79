"""The check of a whole store: that log, head, streams and index are each sound, and tell the same story.

Theory of operation. The head is read once; all up to it is checked, and what is appended meanwhile is left alone,
so that a store can be checked while it is used. Two walks, each in slices of one short read transaction:

1. the log in order: seals, encoding, ids, positions, times, and the checksum chain up to the head;
2. the index in order of stream numbers: versions without gaps, each pointing to a record that names the same stream
   and version, and `streams` giving that stream that number.

As many sound index entries as events, no two of which can point to one record, make the index complete; as many
streams as numbers, each stream found by its records, make `streams` complete. So no list of ids is needed: memory
does not grow with the store.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lmdb

from eventflowdb.errors import CorruptRecord
from eventflowdb.storage import layout
from eventflowdb.storage.environment import Environment
from eventflowdb.storage.walks import IndexWalk, LogWalk, require_equal

SLICE_EVENTS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Report:
    """What a check covered, and the first thing it found wrong (None: all is sound)."""

    event_count: int
    stream_count: int
    first_problem: str | None


def verify(environment: Environment) -> Report:
    """Check a whole store at once; for a store in use, see Verification."""
    verification = Verification(environment)
    for _ in verification.slices():
        pass
    return verification.report()


class Verification:
    """One check of a store, which covers what the log holds when it begins."""

    def __init__(self, environment: Environment, slice_events_max: int = SLICE_EVENTS_MAX) -> None:
        self._environment = environment
        self._slice_events_max = slice_events_max
        self._head = layout.EMPTY_HEAD
        self._stream_count = 0
        self._first_problem: str | None = None

    def slices(self) -> Iterator[float]:
        """Check one slice a step, on whichever thread takes it; yields how much is done, from 0 to 1.

        Between steps no transaction is open. The steps end at the first problem, which `report` names.
        """
        try:
            self._begin()
            yield from self._walk()
        except CorruptRecord as problem:
            self._first_problem = str(problem)
        except lmdb.Error as problem:
            self._first_problem = f"LMDB cannot read the database: {problem}"

    def report(self) -> Report:
        """What was found; final when `slices` has ended."""
        return Report(self._head.position, self._stream_count, self._first_problem)

    def _begin(self) -> None:
        environment = self._environment
        with environment.env.begin() as txn:
            _require_format(environment, txn)
            self._head = environment.head(txn)
            self._stream_count = _entries(txn, environment.streams)
            require_equal("events in the log", _entries(txn, environment.log), self._head.position)
            require_equal("events in the index", _entries(txn, environment.stream_events), self._head.position)

    def _walk(self) -> Iterator[float]:
        log = LogWalk(self._environment, self._head)
        index = IndexWalk(self._environment, self._head, self._stream_count)
        all_checked = max(1, 2 * self._head.position)
        for walk in (log, index):
            has_more = True
            while has_more:
                with self._environment.env.begin() as txn:
                    has_more = walk.check_slice(txn, self._slice_events_max)
                yield (log.event_count + index.event_count) / all_checked


def _require_format(environment: Environment, txn: Any) -> None:
    if txn.get(layout.FORMAT_KEY, db=environment.meta) != layout.pack_format(layout.FORMAT):
        raise CorruptRecord(f"the format is not {layout.FORMAT}")
    if len(txn.get(layout.DATABASE_ID_KEY, b"", db=environment.meta)) != layout.DATABASE_ID_BYTES:
        raise CorruptRecord("the id of the database is missing or damaged")


def _entries(txn: Any, database: Any) -> int:
    return int(txn.stat(database)["entries"])
