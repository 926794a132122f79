"""Searches in slices: the ids that a selection holds are found some steps at a time, and their events read by them."""

from typing import Any, NamedTuple

from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import ULID_BYTES
from eventflowdb.limits import SEARCH_SLICE_STEPS_MAX
from eventflowdb.storage.environment import Environment
from eventflowdb.storage.id_lists import Scan, id_beyond, scan
from eventflowdb.storage.records import load_page
from eventflowdb.storage.selection import Selection, lists_of, read_facts, require_match


class SearchSpan(NamedTuple):
    """What is left of a read of events that were searched: `remaining` matches, the first of them `ids`, side by side.

    The others are found from `at` on.
    """

    selection: Selection
    ids: bytes
    at: bytes
    remaining: int


def search(
    environment: Environment,
    txn: Any,
    selection: Selection,
    at: bytes,
    wanted: int | None,
    steps: int = SEARCH_SLICE_STEPS_MAX,
) -> Scan:
    """One slice of a search: the next matches from `at` on."""
    lists = lists_of(environment, txn, selection)
    return scan(lists, at, selection.last, wanted, steps, is_backwards=selection.query.is_backwards)


def read_found(
    environment: Environment, span: SearchSpan, events_max: int, bytes_max: int
) -> tuple[list[bytes], SearchSpan | None]:
    """The first records of a span, at least one, and what is left of it. Each is one that the query asks for."""
    selection, ids, at, remaining = span
    if not ids:
        ids, at = _find_ids(environment, selection, at, min(remaining, events_max))
    with environment.env.begin() as txn:
        records = _read(environment, txn, selection, ids[: events_max * ULID_BYTES], bytes_max)
    remaining -= len(records)
    return records, SearchSpan(selection, ids[len(records) * ULID_BYTES :], at, remaining) if remaining else None


def _find_ids(environment: Environment, selection: Selection, at: bytes, wanted: int) -> tuple[bytes, bytes]:
    """The next ids of a span, side by side, and where those after them are found."""
    while True:
        with environment.env.begin() as txn:
            found = search(environment, txn, selection, at, wanted)
        if found.ids:
            return b"".join(found.ids), found.at or id_beyond(found.ids[-1], selection.query.is_backwards)
        if found.at is None:
            raise CorruptRecord("an index ends before it did a moment ago; restore from a backup")
        at = found.at


def _read(environment: Environment, txn: Any, selection: Selection, ids: bytes, bytes_max: int) -> list[bytes]:
    keys = [ids[place : place + ULID_BYTES] for place in range(0, len(ids), ULID_BYTES)]
    records = load_page(environment.values_of(txn, keys, bytes_max), keys)
    query = selection.query
    for place, record in enumerate(records):
        require_match(query, read_facts(record, keys[place]))
    return records
