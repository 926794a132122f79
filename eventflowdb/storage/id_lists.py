"""Lists of event ids in the order of the log, forwards or backwards, and the events that stand in all of some lists.

A list is a function: of an id it gives the first of its own ids that is not before it; backwards, the last that is
not above it. Nothing is loaded: each asks an index. As in conditions.py the search leaps from list to list, always to
the furthest id found, so that its steps are bounded by the shortest list; here it also stops after so many steps, and
can go on where it stopped in another transaction.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple

from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import ULID_BYTES, id_after
from eventflowdb.storage import layout
from eventflowdb.storage.conditions import Seek
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.stream_index import find_rows, id_in

_INVERTED = bytes(range(255, -1, -1))


class Scan(NamedTuple):
    """What some steps of a search have found, and where it goes on (None: it is through)."""

    ids: list[bytes]
    at: bytes | None


def scan(lists: Sequence[Seek], at: bytes, last: bytes, wanted: int | None, steps: int, *, is_backwards: bool) -> Scan:
    """The ids from `at` to `last`, both inclusive, that stand in all lists: at most `wanted`, in so many steps.

    Every list is asked at least once, so that the search gets on.
    """
    ids: list[bytes] = []
    agreeing = 0
    for seek in islice(cycle(lists), max(steps, len(lists))):
        found = seek(at)
        if found is None or is_before(last, found, is_backwards):
            return Scan(ids, None)
        if len(found) != ULID_BYTES:
            raise CorruptRecord(f"an index holds {found.hex()}, which is no event's id; restore from a backup")
        if found == at:
            agreeing += 1
        elif is_before(at, found, is_backwards):
            agreeing = 1
        else:
            raise CorruptRecord(f"an index is out of order at event {id_text(found)}; restore from a backup")
        at = found
        if agreeing == len(lists):
            ids.append(found)
            if found == last:
                return Scan(ids, None)
            at, agreeing = id_beyond(found, is_backwards), 0
            if len(ids) == wanted:
                break
    return Scan(ids, at)


def is_before(one: bytes, other: bytes, is_backwards: bool) -> bool:
    """Whether an id comes before another in this direction."""
    return one > other if is_backwards else one < other


def id_beyond(event_id: bytes, is_backwards: bool) -> bytes:
    """The next id that may be in this direction."""
    return id_below(event_id) if is_backwards else id_after(event_id)


def id_below(event_id: bytes) -> bytes:
    """The largest id below one; the zero id has none, and is returned."""
    return max(int.from_bytes(event_id, "big") - 1, 0).to_bytes(ULID_BYTES, "big")


def nothing(_at: bytes) -> bytes | None:
    """The list without ids."""
    return None


def single(event_id: bytes, is_backwards: bool) -> Seek:
    """The list of one id."""
    return lambda at: None if is_before(event_id, at, is_backwards) else event_id


def of_log(environment: Environment, txn: Any, is_backwards: bool) -> Seek:
    """Every event."""
    cursor = txn.cursor(environment.log)

    def first_from(at: bytes) -> bytes | None:
        if not cursor.set_range(at):
            return None
        found: bytes = cursor.key()
        return found

    def last_to(at: bytes) -> bytes | None:
        if cursor.set_range(at):
            if cursor.key() == at:
                return at
            found = cursor.prev()
        else:
            found = cursor.last()
        return bytes(cursor.key()) if found else None

    return last_to if is_backwards else first_from


def last_of_log(environment: Environment, txn: Any, first: bytes, count: int) -> bytes:
    """The id of the last of so many events from the event `first` on; only keys are walked over."""
    cursor = txn.cursor(environment.log)
    keys = cursor.iternext(keys=True, values=False) if cursor.set_key(first) else ()
    for key in islice(keys, count - 1, None):
        return bytes(key)
    raise CorruptRecord("the log ends before its head says; restore from a backup")


def of_term(environment: Environment, txn: Any, term: bytes, is_backwards: bool) -> Seek:
    """The events of a type or tag, given as its key in `terms`."""
    number = txn.get(term, db=environment.terms)
    return nothing if number is None else _of_key(txn.cursor(environment.term_events), number, is_backwards)


def of_link(environment: Environment, txn: Any, link: bytes, is_backwards: bool) -> Seek:
    """The events that a link leads to, given as its key in `links`."""
    return _of_key(txn.cursor(environment.links), link, is_backwards)


def _of_key(cursor: Any, key: bytes, is_backwards: bool) -> Seek:
    def first_from(at: bytes) -> bytes | None:
        if not cursor.set_range_dup(key, at):
            return None
        found: bytes = cursor.value()
        return found

    def last_to(at: bytes) -> bytes | None:
        if cursor.set_range_dup(key, at):
            if cursor.value() == at:
                return at
            found = cursor.prev_dup()
        else:
            found = cursor.set_key(key) and cursor.last_dup()
        return bytes(cursor.value()) if found else None

    return last_to if is_backwards else first_from


class StreamIds:
    """The events of one stream, of which it held `count`.

    Its index is in the order of versions, and so of ids: an id is sought in ever larger steps from the last one found.
    """

    def __init__(
        self, environment: Environment, txn: Any, stream: str, number: bytes, count: int, *, is_backwards: bool
    ) -> None:
        self._cursor = txn.cursor(environment.stream_events)
        self._rows = find_rows(self._cursor, number, stream) if self._cursor.set_key(number) else b""
        """The whole index of a short stream."""
        self._number = number
        self._count = count
        self._at = count - 1 if is_backwards else 0
        self.seek: Seek = self._last_to if is_backwards else self._first_from

    def id_at(self, version: int) -> bytes:
        """The id of the event of a version that the stream holds."""
        cursor = self._cursor
        if self._rows:
            event_id = id_in(self._rows, version)
            if event_id:
                return event_id
        elif cursor.set_range_dup(self._number, layout.pack_version(version)):
            found, event_id = layout.unpack_index_entry(cursor.value())
            if found == version:
                return event_id
        raise CorruptRecord(f"the index of a stream has a gap at version {version}; restore from a backup")

    def version_from(self, event_id: bytes) -> int:
        """How many events of the stream come before an id, those before the last one sought included."""
        low = at = self._at
        step = 1
        while at < self._count and self.id_at(at) < event_id:
            low = at + 1
            at += step
            step *= 2
        high = min(at, self._count)
        self._at = low + bisect_left(range(low, high), event_id, key=self.id_at)
        return self._at

    def _first_from(self, at: bytes) -> bytes | None:
        version = self.version_from(at)
        return self.id_at(version) if version < self._count else None

    def _last_to(self, event_id: bytes) -> bytes | None:
        high = at = self._at
        step = 1
        while at >= 0 and self.id_at(at) > event_id:
            high = at - 1
            at -= step
            step *= 2
        low = max(at, -1) + 1
        self._at = low - 1 + bisect_right(range(low, high + 1), event_id, key=self.id_at)
        return self.id_at(self._at) if self._at >= 0 else None


class _Union:
    """What stands in any of some lists: of each it keeps the first id, in a heap, and asks only those left behind."""

    def __init__(self, lists: Sequence[Seek], is_backwards: bool) -> None:
        self._lists = lists
        self._is_backwards = is_backwards
        self._heads: list[tuple[bytes, int, bytes]] | None = None
        """Rank, list and id."""

    def seek(self, at: bytes) -> bytes | None:
        """The first id that is not before `at`, which never turns back."""
        if self._heads is None:
            self._heads = list(self._ask(range(len(self._lists)), at))
            heapq.heapify(self._heads)
        heads, rank = self._heads, self._rank(at)
        while heads and heads[0][0] < rank:
            _, index, _ = heapq.heappop(heads)
            for head in self._ask([index], at):
                heapq.heappush(heads, head)
        return heads[0][2] if heads else None

    def _ask(self, indexes: Iterable[int], at: bytes) -> Iterable[tuple[bytes, int, bytes]]:
        for index in indexes:
            found = self._lists[index](at)
            if found is not None:
                yield self._rank(found), index, found

    def _rank(self, event_id: bytes) -> bytes:
        return event_id.translate(_INVERTED) if self._is_backwards else event_id


def union(lists: Sequence[Seek], is_backwards: bool) -> Seek:
    """What stands in any of some lists."""
    return lists[0] if len(lists) == 1 else _Union(lists, is_backwards).seek
