"""What the database tells of itself: one event, one stream, the streams, the event types; against the whole log."""

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from eventflowdb.append import Append
from eventflowdb.errors import CorruptRecord, InvalidArgument, StorageFailed
from eventflowdb.events import ANY, CheckedEvent
from eventflowdb.ids import find_ulid_bytes
from eventflowdb.queries import Query, StreamSummary, TypeSummary
from eventflowdb.storage import layout
from eventflowdb.storage.catalog import StreamsQuery, find_event, find_stream, types_after
from eventflowdb.storage.id_lists import id_below
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.records import load_record, store_record

from .samples import OTHER, STREAM, THIRD, Clock, append_of, fields_of, log_keys, read_log, stored

EVERYTHING = Query()
TYPES = ["b", "a", "é", "ab", "z" * 255, "\0"]
TAGS = ["x", "y"]
MANY = 350
"""Streams: more than are looked at in one step."""


def stream_of(number: int) -> str:
    """One of many streams, whose order is not that of their numbers."""
    return f"{number * 7919 % 10_000:08d}-0000-4000-8000-000000000000"


def summaries(log: Sequence[bytes]) -> dict[str, StreamSummary]:
    """What there is to tell of each stream, in the order of their first events."""
    found: dict[str, StreamSummary] = {}
    for record in log:
        fields = fields_of(record)
        stream = fields["stream"]
        first = found.get(stream)
        found[stream] = StreamSummary(
            stream,
            fields["version"] + 1,
            fields["id"] if first is None else first.first_id,
            fields["added_at"] if first is None else first.first_added_at,
            fields["id"],
            fields["added_at"],
        )
    return found


def streams_with(log: Sequence[bytes], **wanted: Any) -> list[str]:
    """The streams that hold a match, in the order of their first ones."""
    found: dict[str, None] = {}
    for record in log:
        fields = fields_of(record)
        if (
            fields["type"] in wanted.get("types", [fields["type"]])
            and set(wanted.get("tags", ())) <= set(fields.get("tags", ()))
            and wanted.get("correlation_id") in (None, fields["correlation_id"])
        ):
            found[fields["stream"]] = None
    return list(found)


def listed(store: LmdbStore, query: Query = EVERYTHING, after: str | None = None, limit: int = 1000) -> Any:
    """A page of streams, after as many steps as it takes."""
    read = StreamsQuery(store.environment, query, after, limit)
    pages = (read.step() for _ in range(10_000))
    return next(page for page in pages if page is not None)


def paged(store: LmdbStore, query: Query, limit: int) -> Iterator[StreamSummary]:
    """All streams of a query, page by page."""
    after = None
    while True:
        page = listed(store, query, after, limit)
        yield from page
        if len(page) < limit:
            return
        after = page[-1].stream


@pytest.fixture
def crowd(store: LmdbStore, clock: Clock) -> list[bytes]:
    """The log of a store with many streams, most with few events."""
    random = Random(7)
    for _ in range(4):
        appends = []
        for _ in range(MANY // 2):
            events = [
                CheckedEvent.of(
                    type=random.choice(TYPES), data="", tags=tuple(random.sample(TAGS, random.choice([0, 0, 1, 2])))
                )
                for _ in range(random.randint(1, 2))
            ]
            appends.append(Append.to_stream(stream_of(random.randrange(MANY)), ANY, events, 0))
        assert all(isinstance(outcome, list) for outcome in store.append_batch(appends))
        clock.us += 1_000_003
    return read_log(store)


# One event.


def test_an_event_is_found_by_its_id(store: LmdbStore) -> None:
    records = stored(store, append_of(STREAM, 0, "a", "b"))
    for record, key in zip(records, log_keys(store), strict=True):
        assert find_event(store.environment, key) == record
        assert find_event(store.environment, id_below(id_below(key))) is None


def test_in_an_empty_log_nothing_is_found(store: LmdbStore) -> None:
    assert find_event(store.environment, bytes(16)) is None
    assert find_stream(store.environment, STREAM) is None
    assert types_after(store.environment, "", 10) == []
    assert listed(store) == listed(store, Query(types=("a",))) == []


# Streams.


def test_a_stream_is_told_by_its_first_and_last_events(store: LmdbStore, crowd: list[bytes]) -> None:
    expected = summaries(crowd)
    for stream in (*list(expected)[:20], list(expected)[-1]):
        assert find_stream(store.environment, stream) == expected[stream]
    assert find_stream(store.environment, STREAM) is None


@pytest.mark.parametrize("limit", [1, 7, 100, 101, 1000])
def test_streams_are_paged_through_in_the_order_of_their_first_events(
    store: LmdbStore, crowd: list[bytes], limit: int
) -> None:
    assert list(paged(store, EVERYTHING, limit)) == list(summaries(crowd).values())


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize(
    "wanted",
    [
        {"types": ("a",)},
        {"types": ("a", "é", "nothing")},
        {"types": ("b",), "tags": ("x",)},
        {"tags": ("x", "y")},
        {"tags": ("none",)},
    ],
)
def test_streams_with_a_filter_are_those_that_hold_a_match(
    store: LmdbStore, crowd: list[bytes], wanted: dict[str, Any], limit: int
) -> None:
    expected = summaries(crowd)
    found = list(paged(store, Query(**wanted), limit))
    assert found == [expected[stream] for stream in streams_with(crowd, **wanted)]
    assert bool(found) == (wanted != {"tags": ("none",)})


def test_streams_that_took_part_in_something_are_found_by_its_correlation_id(store: LmdbStore) -> None:
    (cause,) = stored(store, append_of(OTHER, 0, "cause"))
    cause_id = fields_of(cause)["id"]
    for stream in (THIRD, STREAM, OTHER):
        stored(store, Append.to_stream(stream, ANY, [CheckedEvent.of(type="t", data="", correlation_id=cause_id)], 0))
    query = Query(correlation_id=cause_id)
    assert [found.stream for found in paged(store, query, 2)] == [OTHER, THIRD, STREAM]
    assert streams_with(read_log(store), correlation_id=cause_id) == [OTHER, THIRD, STREAM]


def test_a_page_after_a_stream_that_is_none_of_them_is_refused(store: LmdbStore) -> None:
    stored(store, append_of(STREAM, 0, "a"))
    for query, after in ((EVERYTHING, OTHER), (Query(types=("tested",)), OTHER), (Query(types=("tested",)), THIRD)):
        with pytest.raises(InvalidArgument, match=f"after: {after} is none of these streams"):
            listed(store, query, after)
    stored(store, Append.to_stream(OTHER, 0, [CheckedEvent.of(type="else", data="")], 0))
    with pytest.raises(InvalidArgument, match="is none of these streams"):
        listed(store, Query(types=("tested",)), OTHER)


# Types.


def test_types_are_told_in_the_order_of_their_bytes_and_counted(store: LmdbStore, crowd: list[bytes]) -> None:
    counts = Counter(fields_of(record)["type"] for record in crowd)
    expected = [TypeSummary(name, counts[name]) for name in sorted(TYPES, key=str.encode)]
    assert types_after(store.environment, "", 100) == expected
    for limit in (1, 4):
        found: list[TypeSummary] = []
        while page := types_after(store.environment, found[-1].type if found else "", limit):
            assert len(page) <= limit
            found += page
        assert found == expected
    assert types_after(store.environment, "aa", 1) == [TypeSummary("ab", counts["ab"])]


def test_a_tag_is_no_type(store: LmdbStore) -> None:
    stored(store, Append.to_stream(STREAM, 0, [CheckedEvent.of(type="t", data="", tags=("a", "z"))], 0))
    assert types_after(store.environment, "", 10) == [TypeSummary("t", 1)]


# Damage.


@pytest.fixture
def two_streams(damaged_store: LmdbStore) -> LmdbStore:
    """Two streams with an event each, of the types `first` and `second`."""
    for stream, name in ((STREAM, "first"), (OTHER, "second")):
        stored(damaged_store, Append.to_stream(stream, 0, [CheckedEvent.of(type=name, data="")], 0))
    return damaged_store


def exchange(store: LmdbStore, database: Any, key: bytes, old: bytes, new: bytes) -> None:
    """Have another value in an index."""
    with store.environment.env.begin(write=True) as txn:
        assert txn.delete(key, old, db=database)
        assert txn.put(key, new, db=database)


def test_a_stream_that_leads_to_an_event_of_another_is_reported(two_streams: LmdbStore) -> None:
    first, second = log_keys(two_streams)
    old, new = (layout.pack_index_entry(0, key) for key in (first, second))
    exchange(two_streams, two_streams.environment.stream_events, layout.pack_number(0), old, new)
    with pytest.raises(CorruptRecord, match=f"the index of stream {STREAM} leads to event"):
        find_stream(two_streams.environment, STREAM)
    with pytest.raises(CorruptRecord, match=f"the index of stream {OTHER} is damaged"):
        listed(two_streams)


def test_a_stream_that_leads_nowhere_is_reported(two_streams: LmdbStore) -> None:
    first, _ = log_keys(two_streams)
    old, new = (layout.pack_index_entry(0, key) for key in (first, id_below(first)))
    exchange(two_streams, two_streams.environment.stream_events, layout.pack_number(0), old, new)
    for look in (lambda: find_stream(two_streams.environment, STREAM), lambda: listed(two_streams)):
        with pytest.raises(CorruptRecord, match="is in an index but not in the log"):
            look()


def test_a_type_that_leads_to_an_event_of_another_is_reported(two_streams: LmdbStore) -> None:
    environment = two_streams.environment
    first, second = log_keys(two_streams)
    with environment.env.begin() as txn:
        number = txn.get(layout.type_key("first"), db=environment.terms)
    exchange(two_streams, environment.term_events, number, first, second)
    with pytest.raises(CorruptRecord, match="type 'first' leads to an event of another"):
        types_after(environment, "", 10)


def test_a_type_without_events_is_reported(two_streams: LmdbStore) -> None:
    environment = two_streams.environment
    with environment.env.begin(write=True) as txn:
        number = txn.get(layout.type_key("second"), db=environment.terms)
        assert txn.delete(number, db=environment.term_events)
    with pytest.raises(CorruptRecord, match="type 'second' has a number but no events"):
        types_after(environment, "", 10)


@pytest.mark.parametrize("name", ["", "abc", "00000000-0000-0000-0000-000000000000", STREAM.replace("-", "_")])
def test_an_event_that_names_no_stream_is_reported(two_streams: LmdbStore, name: str) -> None:
    environment = two_streams.environment
    key = log_keys(two_streams)[0]
    with environment.env.begin(write=True) as txn:
        record = load_record(txn.get(key, db=environment.log), "it").replace(STREAM.encode(), name.encode())
        txn.put(key, store_record(record), db=environment.log)
    with pytest.raises(CorruptRecord, match=f"'{name}', which a record names as its stream, is not one"):
        listed(two_streams)


def test_a_flipped_bit_in_an_event_is_reported(two_streams: LmdbStore) -> None:
    environment = two_streams.environment
    key = log_keys(two_streams)[0]
    with environment.env.begin(write=True) as txn:
        value = bytearray(txn.get(key, db=environment.log))
        value[100] ^= 4
        txn.put(key, bytes(value), db=environment.log)
    for look in (lambda: find_event(environment, key), lambda: find_stream(environment, STREAM)):
        with pytest.raises(CorruptRecord, match="does not match its checksum"):
            look()


def test_errors_of_lmdb_come_out_as_failures_of_the_storage(damaged_store: LmdbStore) -> None:
    (record,) = stored(damaged_store, append_of(STREAM, 0, "x"))
    key = find_ulid_bytes(fields_of(record)["id"]) or b""
    environment = damaged_store.environment
    readers = [environment.env.begin() for _ in range(126)]
    looks = (
        lambda: find_event(environment, key),
        lambda: find_stream(environment, STREAM),
        lambda: types_after(environment, "", 1),
        lambda: listed(damaged_store),
    )
    for look in looks:
        with pytest.raises(StorageFailed, match="MDB_READERS_FULL"):
            look()
    for reader in readers:
        reader.abort()
