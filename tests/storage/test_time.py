"""Ids and times along the log, whatever the clock does."""

import re
from collections.abc import Iterable

import pytest

from eventflowdb.storage import layout
from eventflowdb.storage.layout import Head
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.records import rfc3339

from .samples import MOMENT_US, STREAM, Clock, OpenDatabase, append_of, fields_of, log_keys, read_log, stored

_STEPS_US = [0, 1, 999, 1000, -1, -1000, -86_400_000_000, 0, 2 * 86_400_000_000, -5, 5]


def require_order(store: LmdbStore) -> None:
    """Ids grow strictly, times never fall, and the millisecond of a time is that of its id."""
    keys = log_keys(store)
    events = [fields_of(record) for record in read_log(store)]
    assert len(keys) == len(set(keys)) == len(events)
    assert [event["id"] for event in events] == sorted({event["id"] for event in events})
    times = [event["added_at"] for event in events]
    assert times == sorted(times)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time) for time in times)
    milliseconds = [rfc3339((int.from_bytes(key, "big") >> 80) * 1000)[:23] for key in keys]
    assert [time[:23] for time in times] == milliseconds


def append_after_each(database: OpenDatabase, steps_us: Iterable[int], *, is_reopened: bool) -> None:
    """One append of two events for each step of the clock."""
    for count, step in enumerate(steps_us):
        database.clock.us += step
        store = database.reopen() if is_reopened else database.store
        stored(store, append_of(STREAM, 2 * count, "a", "b"))


@pytest.mark.parametrize("is_reopened", [False, True])
def test_ids_grow_and_times_never_fall_however_the_clock_steps(database: OpenDatabase, is_reopened: bool) -> None:
    append_after_each(database, _STEPS_US, is_reopened=is_reopened)
    require_order(database.store)


def test_the_time_of_an_append_is_the_clock_to_the_microsecond(store: LmdbStore, clock: Clock) -> None:
    stored(store, append_of(STREAM, 0, "a"))
    clock.us += 1_500_007
    (record,) = stored(store, append_of(STREAM, 1, "b"))
    assert fields_of(record)["added_at"] == "2025-11-23T19:23:15.623463Z"


def test_the_last_time_is_kept_while_the_clock_is_behind(database: OpenDatabase) -> None:
    stored(database.store, append_of(STREAM, 0, "a"))
    database.clock.us -= 3_600_000_000
    (record,) = stored(database.reopen(), append_of(STREAM, 1, "b"))
    assert fields_of(record)["added_at"] == "2025-11-23T19:23:14.123456Z"
    first, second = (int.from_bytes(key, "big") for key in log_keys(database.store))
    assert second == first + 1


def test_ids_of_a_new_millisecond_start_at_random_in_the_lower_half(store: LmdbStore, clock: Clock) -> None:
    for count in range(10):
        clock.us += 1000
        stored(store, append_of(STREAM, count, "a"))
    random_parts = [int.from_bytes(key, "big") % 2**80 for key in log_keys(store)]
    assert len(set(random_parts)) == 10
    assert all(part < 2**79 for part in random_parts)


def test_a_clock_before_1970_is_as_good_as_one_that_stands_still(store: LmdbStore, clock: Clock) -> None:
    clock.us = -5
    (record,) = stored(store, append_of(STREAM, 0, "a"))
    assert fields_of(record)["added_at"] == "1970-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("ids_left", [0, 1, 2])
def test_ids_go_on_in_the_next_millisecond_when_the_random_part_is_used_up(store: LmdbStore, ids_left: int) -> None:
    last_id = ((MOMENT_US // 1000) << 80 | (2**80 - 1)) - ids_left
    head = Head(0, last_id.to_bytes(16, "big"), bytes(32), MOMENT_US)
    with store.environment.env.begin(write=True) as txn:
        txn.put(layout.HEAD_KEY, layout.pack_head(head), db=store.environment.meta)
    stored(store, append_of(STREAM, 0, "a", "b", "c"))
    stored(store, append_of(STREAM, 3, "d"))
    assert fields_of(read_log(store)[0])["added_at"] == "2025-11-23T19:23:14.124000Z"
    require_order(store)


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (951_827_696_000_000, "2000-02-29T12:34:56.000000Z"),
        (MOMENT_US, "2025-11-23T19:23:14.123456Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_written_as_rfc_3339_to_the_microsecond(us: int, text: str) -> None:
    assert rfc3339(us) == text
