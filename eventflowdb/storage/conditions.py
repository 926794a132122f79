"""Whether the log holds an event that an append's `unless` rules out.

Each term (an event type, or a tag) has its ids in order: those in the log, then those staged in the batch. An event
carries several terms if its id stands in all of their lists; the search leaps from list to list, always to the
furthest id found, so that its steps are bounded by the shortest of them, and types are one list joined of many.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from eventflowdb.events import Unless
from eventflowdb.ids import id_after
from eventflowdb.storage import layout
from eventflowdb.storage.environment import Environment

Seek = Callable[[bytes], bytes | None]
"""The first id of a list that is not below the given one."""


class StagedTerms:
    """The ids of the events that a batch has staged, in order, by event type and by tag."""

    __slots__ = ("tags", "types")

    def __init__(self) -> None:
        self.types: dict[str, list[bytes]] = {}
        self.tags: dict[str, list[bytes]] = {}

    def add_tags(self, tags: Sequence[str], event_id: bytes) -> None:
        """An event with these tags is staged."""
        for tag in tags:
            self.tags.setdefault(tag, []).append(event_id)

    def items(self) -> list[tuple[bytes, list[bytes]]]:
        """Every term's key in `terms`, with its ids."""
        return [(layout.type_key(name), ids) for name, ids in self.types.items()] + [
            (layout.tag_key(tag), ids) for tag, ids in self.tags.items()
        ]


def find_match(environment: Environment, txn: Any, staged: StagedTerms, unless: Unless) -> bytes | None:
    """The id of the first event that `unless` rules out, of those in the log and those staged; None: there is none."""
    lists = [_seek(environment, txn, layout.tag_key(tag), staged.tags.get(tag, ())) for tag in unless.tags]
    types = [_seek(environment, txn, layout.type_key(name), staged.types.get(name, ())) for name in unless.types]
    if types:
        lists.append(types[0] if len(types) == 1 else _union(types))
    return first_common(lists, id_after(unless.after))


def first_common(lists: Sequence[Seek], start: bytes) -> bytes | None:
    """The first id, not below `start`, that stands in all of the lists."""
    candidate, agreeing = start, 0
    while True:
        for seek in lists:
            found = seek(candidate)
            if found is None:
                return None
            agreeing = agreeing + 1 if found == candidate else 1
            candidate = found
            if agreeing == len(lists):
                return candidate


def _seek(environment: Environment, txn: Any, key: bytes, staged: Sequence[bytes]) -> Seek:
    """The list of one term."""
    number = txn.get(key, db=environment.terms)
    cursor = None if number is None else txn.cursor(environment.term_events)

    def seek(start: bytes) -> bytes | None:
        if cursor is not None and cursor.set_range_dup(number, start):
            return bytes(cursor.value())
        index = bisect_left(staged, start)
        return staged[index] if index < len(staged) else None

    return seek


def _union(lists: Sequence[Seek]) -> Seek:
    """What stands in any of the lists."""

    def seek(start: bytes) -> bytes | None:
        return min([found for one in lists if (found := one(start)) is not None], default=None)

    return seek
