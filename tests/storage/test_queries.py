"""Reads with filters, backwards, in pages: against a list comprehension over the whole log."""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from eventflowdb.append import Append
from eventflowdb.errors import CorruptRecord, StorageFailed
from eventflowdb.events import CheckedEvent
from eventflowdb.ids import find_ulid_bytes, id_after
from eventflowdb.limits import SEARCH_IDS_KEPT_MAX, SEARCH_PAGE_STEPS_MAX
from eventflowdb.queries import Query
from eventflowdb.storage import layout
from eventflowdb.storage.environment import id_text
from eventflowdb.storage.id_lists import id_below
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.queries import Page, QueryRead
from eventflowdb.storage.spans import CHUNK, ReadBounds
from tests.folders import IN_MEMORY

from .samples import (
    OTHER,
    STREAM,
    THIRD,
    Clock,
    OpenDatabase,
    append_of,
    append_of_events,
    fields_of,
    has_open_reads,
    log_keys,
    lose_entry,
    read_log,
    read_to_end,
    replace_entry,
    stored,
)

STREAMS = [STREAM, OTHER, THIRD]
TYPES = ["opened", "moved", "closed"]
TAGS = ["a", "b", "c"]
RARE = ["seldom", "never"]
SMALL = ReadBounds(2, 1 << 20)
each_range = pytest.mark.parametrize("query", [Query(), Query(STREAM), Query(types=("tested",))])
each_direction = pytest.mark.parametrize("is_backwards", [False, True])
STEPS_MAX = 20_000
"""No read of these tests takes so many steps: one that does will not end."""


@cache
def facts_of(record: bytes) -> dict[str, Any]:
    """The fields of a record; read once, or a failure would take minutes to shrink."""
    return fields_of(record)


@cache
def id_of(record: bytes) -> bytes:
    """The 16 bytes of a record's id."""
    return find_ulid_bytes(facts_of(record)["id"]) or b""


def found(read: QueryRead, bounds: ReadBounds = CHUNK, steps: int = 1000) -> Page:
    """The page of a read, after as many steps as it takes."""
    pages = (read.step(bounds, steps) for _ in range(STEPS_MAX))
    return next(page for page in pages if page is not None)


def selected(
    store: LmdbStore, query: Query, limit: int | None = None, bounds: ReadBounds = CHUNK, steps: int = 1000
) -> list[bytes]:
    """All records of a read."""
    page = found(QueryRead(store, query, limit), bounds, steps)
    assert page.cursor is None
    return read_to_end(store, page.chunk, bounds)


def is_match(query: Query, record: bytes) -> bool:
    """Whether a query asks for a record, judged by its JSON alone."""
    fields, key = facts_of(record), id_of(record)
    added_at_us = _microseconds(fields["added_at"])
    return (
        (query.stream is None or (fields["stream"] == query.stream and fields["version"] >= query.version))
        and (not query.types or fields["type"] in query.types)
        and set(query.tags) <= set(fields.get("tags", []))
        and query.correlation_id in (None, fields["correlation_id"])
        and query.causation_id in (None, fields["causation_id"])
        and key >= query.start
        and (query.end is None or key < query.end)
        and added_at_us >= query.since_us
        and (query.until_us is None or added_at_us < query.until_us)
    )


def expected(query: Query, log: Sequence[bytes]) -> list[bytes]:
    """What a query should select."""
    matches = [record for record in log if is_match(query, record)]
    return matches[::-1] if query.is_backwards else matches


@each_direction
@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
def test_events_of_a_stream_of_any_length_are_found(store: LmdbStore, count: int, is_backwards: bool) -> None:
    """Up to a length its whole index is taken at once."""
    tags: list[tuple[str, ...]] = [("seventh",) if version % 7 == 0 else () for version in range(count)]
    events = [CheckedEvent.of(type="t", data="", tags=each) for each in tags]
    log = stored(store, append_of_events(STREAM, 0, *events))
    log += stored(store, append_of_events(OTHER, 0, CheckedEvent.of(type="t", data="", tags=("seventh",))))
    for version, tagged in itertools.product({0, 1, count // 2, count - 1, count}, [(), ("seventh",)]):
        query = Query(STREAM, version, tags=tagged, is_backwards=is_backwards)
        assert selected(store, query) == expected(query, log)


# A model: a log with everything in it, at random, and queries for all of it.


@pytest.fixture(scope="module")
def crowd() -> Iterator[tuple[OpenDatabase, list[bytes]]]:
    """A database with some hundred events, and its log."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        random = Random(7)
        clock = Clock()
        database = OpenDatabase(Path(name), clock)
        log: list[bytes] = []
        for _ in range(150):
            clock.us += random.choice([0, 0, 1, 37, 400, 900, 5000, 3_000_000, -2000])
            for outcome in database.store.append_batch([_random_append(random, log) for _ in range(2)]):
                assert isinstance(outcome, list), outcome
                log += outcome
        assert len(log) > 300
        yield database, log
        database.verify_and_close()


def _random_append(random: Random, log: Sequence[bytes]) -> Append:
    known = [fields_of(record)["id"] for record in random.sample(log, min(3, len(log)))]
    events = [
        CheckedEvent.of(
            type=random.choice(TYPES) if random.random() < 0.95 else RARE[0],
            data="x" * random.choice([0, 5, 3000]),
            tags=tuple(random.sample(TAGS, random.choice([0, 0, 1, 2, 3]))),
            causation_id=random.choice([None, None, *known]),
            correlation_id=random.choice([None, None, None, *known]),
        )
        for _ in range(random.randint(1, 3))
    ]
    return Append.to_stream(random.choice(STREAMS), "any", events, 0)


@st.composite
def queries(draw: Any, log: Sequence[bytes]) -> Query:
    """A query, each of whose conditions has a chance to be there."""
    record = facts_of(draw(st.sampled_from(log)))
    keys = st.sampled_from(log).map(id_of)
    near = keys | keys.map(id_after) | keys.map(id_below) | st.binary(min_size=16, max_size=16)
    times = st.sampled_from(log).map(lambda one: _microseconds(facts_of(one)["added_at"]))
    moments = st.tuples(times, st.sampled_from([0, 1, -1, 499, -10_000])).map(sum)
    stream = draw(st.none() | st.sampled_from(STREAMS))
    return Query(
        stream=stream,
        version=0 if stream is None else draw(st.sampled_from([0, 0, 1, 50, 10_000])),
        types=tuple(draw(st.just([]) | st.lists(st.sampled_from(TYPES + RARE), unique=True))),
        tags=tuple(draw(st.just([]) | st.lists(st.sampled_from([*TAGS, "none"]), unique=True))),
        correlation_id=draw(st.sampled_from([None, None, None, record["id"], record["correlation_id"]])),
        causation_id=draw(st.sampled_from([None, None, None, None, record["id"], record["causation_id"]])),
        start=draw(st.just(bytes(16)) | near),
        end=draw(st.none() | near | st.just(bytes(16))),
        since_us=draw(st.just(0) | moments),
        until_us=draw(st.none() | moments | st.just(0)),
        is_backwards=draw(st.booleans()),
    )


@cache
def _microseconds(added_at: str) -> int:
    """The inverse of rfc3339."""
    moment = datetime.strptime(added_at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)


UNHURRIED = settings(
    max_examples=150,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],  # to explain a failure would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
limits = st.none() | st.integers(1, 30)
bounds_ = st.builds(ReadBounds, st.integers(1, 50), st.integers(1, 4000))


@UNHURRIED
@given(data=st.data(), limit=limits, bounds=bounds_, steps=st.integers(1, 40))
def test_a_query_selects_what_a_list_comprehension_would(
    crowd: tuple[OpenDatabase, list[bytes]], data: st.DataObject, limit: int | None, bounds: ReadBounds, steps: int
) -> None:
    database, log = crowd
    query = data.draw(queries(log))
    assert selected(database.store, query, limit, bounds, steps) == expected(query, log)[:limit]


@UNHURRIED
@given(data=st.data(), limit=limits, bounds=bounds_, steps=st.integers(1, 4000))
def test_pages_that_follow_their_cursors_are_the_whole(
    crowd: tuple[OpenDatabase, list[bytes]], data: st.DataObject, limit: int | None, bounds: ReadBounds, steps: int
) -> None:
    database, log = crowd
    query = data.draw(queries(log))
    whole = expected(query, log)
    for _ in range(len(log) + STEPS_MAX):
        page = found(QueryRead(database.store, query, limit, may_stop=True), bounds, steps)
        records = read_to_end(database.store, page.chunk, bounds)
        assert records == whole[: len(records)]
        assert limit is None or len(records) <= limit
        whole = whole[len(records) :]
        if page.cursor is None:
            break
        query = _beyond(query, page.cursor)
    assert whole == []


def _beyond(query: Query, cursor: bytes) -> Query:
    """The query for the next page, as a client asks for it: `after` the cursor, or `before` it."""
    changed = {"end": cursor} if query.is_backwards else {"start": id_after(cursor)}
    return Query(**{**{name: getattr(query, name) for name in query.__struct_fields__}, **changed})


def test_after_a_reopening_the_same_is_found(crowd: tuple[OpenDatabase, list[bytes]]) -> None:
    database, log = crowd
    database.reopen()
    for query in (Query(types=("moved",), tags=("a",)), Query(stream=OTHER, types=("opened",), is_backwards=True)):
        assert selected(database.store, query) == expected(query, log) != []


# Edges.


def test_in_an_empty_log_nothing_is_found(store: LmdbStore) -> None:
    for query in (Query(), Query(is_backwards=True), Query(types=("t",)), Query(stream=STREAM), Query(since_us=1)):
        for may_stop in (False, True):
            assert found(QueryRead(store, query, None, may_stop=may_stop)) == Page(
                found(QueryRead(store, query, 1)).chunk, None, bytes(16)
            )
        assert selected(store, query) == []


def test_an_event_that_names_itself_is_found_by_its_own_id(store: LmdbStore) -> None:
    (cause,) = stored(store, append_of(STREAM, 0, "cause"))
    cause_id = fields_of(cause)["id"]
    (effect,) = stored(store, append_of_events(OTHER, 0, CheckedEvent.of(type="t", data="", causation_id=cause_id)))
    for is_backwards in (False, True):
        for query in (
            Query(correlation_id=cause_id, is_backwards=is_backwards),
            Query(causation_id=cause_id, is_backwards=is_backwards),
        ):
            assert selected(store, query) == ([effect, cause] if is_backwards else [cause, effect])
    assert selected(store, Query(correlation_id=fields_of(effect)["id"])) == []


def test_an_id_that_no_event_has_can_link_events(store: LmdbStore) -> None:
    link = id_text(b"\x01" * 16)
    (linked,) = stored(store, append_of_events(STREAM, 0, CheckedEvent.of(type="t", data="", correlation_id=link)))
    assert selected(store, Query(correlation_id=link)) == [linked]


def test_a_search_that_goes_on_finds_nothing_that_came_meanwhile(store: LmdbStore) -> None:
    before = stored(store, append_of(STREAM, 0, *"abcdefgh"))
    for query in (Query(types=("tested",)), Query(types=("tested",), is_backwards=True), Query(is_backwards=True)):
        read = QueryRead(store, query, None)
        page = read.step(SMALL, 3)
        later = stored(store, append_of(OTHER, "any", "later"))  # type: ignore[arg-type]
        page = page or found(read, SMALL, 3)
        records = read_to_end(store, page.chunk, SMALL)
        assert records == (before[::-1] if query.is_backwards else before)
        before = read_log(store)
        assert before[-1:] == later


def test_more_matches_than_are_kept_are_found_again(store: LmdbStore) -> None:
    count = SEARCH_IDS_KEPT_MAX + 2500
    records = stored(store, append_of(STREAM, 0, *["x"] * count))
    for is_backwards in (False, True):
        query = Query(types=("tested",), is_backwards=is_backwards)
        wanted = records[::-1] if is_backwards else records
        assert selected(store, query, bounds=ReadBounds(999, 1 << 20)) == wanted
        assert selected(store, query, count - 1) == wanted[:-1]


def test_a_page_ends_at_the_bound_of_its_search(store: LmdbStore) -> None:
    # Two types that never meet: the search leaps from one to the other without a match.
    events = [CheckedEvent.of(type="t", data="", tags=("even" if number % 2 else "odd",)) for number in range(12_000)]
    records = stored(
        store, append_of_events(STREAM, 0, *events, CheckedEvent.of(type="t", data="", tags=("odd", "even")))
    )
    query = Query(tags=("odd", "even"))
    page = found(QueryRead(store, query, 10, may_stop=True))
    assert page.chunk.records == []
    assert page.cursor is not None
    assert log_keys(store)[SEARCH_PAGE_STEPS_MAX - 2] <= page.cursor < id_of(records[-1])
    page = found(QueryRead(store, _beyond(query, page.cursor), 10, may_stop=True))
    assert (page.chunk.records, page.cursor) == (records[-1:], None)
    assert selected(store, query, 10) == records[-1:]


@each_range
@each_direction
def test_a_limit_that_is_met_by_the_last_match_is_the_end(store: LmdbStore, query: Query, is_backwards: bool) -> None:
    stored(store, append_of(STREAM, 0, "a", "b"))
    query = replace(query, is_backwards=is_backwards)
    assert found(QueryRead(store, query, 2, may_stop=True)).cursor is None
    assert found(QueryRead(store, query, 1, may_stop=True)).cursor == log_keys(store)[is_backwards]


@each_range
@each_direction
def test_a_page_without_a_limit_ends_at_the_same_bound_whatever_is_asked_for(
    store: LmdbStore, query: Query, is_backwards: bool
) -> None:
    records = stored(store, append_of(STREAM, 0, *["x"] * (SEARCH_PAGE_STEPS_MAX + 2)))
    page = found(QueryRead(store, replace(query, is_backwards=is_backwards), None, may_stop=True))
    whole = records[::-1] if is_backwards else records
    assert read_to_end(store, page.chunk, CHUNK) == whole[:SEARCH_PAGE_STEPS_MAX]
    assert page.cursor == id_of(whole[SEARCH_PAGE_STEPS_MAX - 1])


def test_many_events_of_one_millisecond_are_told_apart_by_their_records(store: LmdbStore, clock: Clock) -> None:
    clock.us = 1_763_925_794_123_000
    for version in range(200):
        stored(store, append_of(STREAM, version, "x"))
        clock.us += 4
    log = read_log(store)
    for us in range(1_763_925_794_122_999, 1_763_925_794_123_805, 3):
        assert selected(store, Query(since_us=us)) == expected(Query(since_us=us), log)
        assert selected(store, Query(until_us=us)) == expected(Query(until_us=us), log)


def test_no_read_transaction_is_left_open(store: LmdbStore) -> None:
    stored(store, append_of(STREAM, 0, *"abc"))
    for query in (Query(types=("tested",)), Query(is_backwards=True), Query(stream=STREAM, since_us=1)):
        read = QueryRead(store, query, None)
        assert read.step(SMALL, 1) is None or not query.types
        assert not has_open_reads(store)


# Damage.


@pytest.fixture
def tagged_store(damaged_store: LmdbStore, clock: Clock) -> LmdbStore:
    """Ten events of STREAM, far apart; every second one has the tag "even"; each was caused by the first."""
    (first,) = stored(damaged_store, append_of(STREAM, 0, "x"))
    cause = fields_of(first)["id"]
    for version in range(1, 10):
        tags = () if version % 2 else ("even",)
        clock.us += 5000
        stored(
            damaged_store,
            append_of_events(STREAM, version, CheckedEvent.of(type="t", data="", tags=tags, causation_id=cause)),
        )
    return damaged_store


@pytest.mark.parametrize("is_backwards", [False, True])
def test_an_entry_that_leads_nowhere_is_reported(tagged_store: LmdbStore, is_backwards: bool) -> None:
    keys, environment = log_keys(tagged_store), tagged_store.environment
    with environment.env.begin() as txn:
        number = txn.get(layout.tag_key("even"), db=environment.terms)
    replace_entry(tagged_store, environment.term_events, number, keys[4], id_below(keys[4]))
    with pytest.raises(CorruptRecord, match="is in an index but not in the log"):
        selected(tagged_store, Query(tags=("even",), is_backwards=is_backwards))


@pytest.mark.parametrize("is_backwards", [False, True])
def test_an_entry_that_leads_to_another_event_is_reported(tagged_store: LmdbStore, is_backwards: bool) -> None:
    keys, environment = log_keys(tagged_store), tagged_store.environment
    with environment.env.begin() as txn:
        number = txn.get(layout.tag_key("even"), db=environment.terms)
    replace_entry(tagged_store, environment.term_events, number, keys[4], keys[5])
    with pytest.raises(CorruptRecord, match=f"an index leads to event {id_text(keys[5])}, which does not belong there"):
        selected(tagged_store, Query(tags=("even",), is_backwards=is_backwards))


def test_a_link_that_leads_to_another_event_is_reported(tagged_store: LmdbStore) -> None:
    stored(tagged_store, append_of(OTHER, 0, "x"))
    keys, environment = log_keys(tagged_store), tagged_store.environment
    link = layout.CAUSATION_KIND + keys[0]
    replace_entry(tagged_store, environment.links, link, keys[4], keys[10])
    with pytest.raises(CorruptRecord, match="does not belong there"):
        selected(tagged_store, Query(causation_id=id_text(keys[0])))


def test_an_entry_of_a_stream_that_leads_elsewhere_is_reported(tagged_store: LmdbStore) -> None:
    stored(tagged_store, append_of(OTHER, 0, "x"))
    keys, environment = log_keys(tagged_store), tagged_store.environment
    old, new = (layout.pack_index_entry(9, key) for key in (keys[9], keys[10]))
    replace_entry(tagged_store, environment.stream_events, layout.pack_number(0), old, new)
    with pytest.raises(CorruptRecord, match="does not belong there"):
        selected(tagged_store, Query(stream=STREAM, is_backwards=True))


def test_a_gap_in_the_index_of_a_stream_is_reported(tagged_store: LmdbStore) -> None:
    lose_entry(tagged_store, 5)
    with pytest.raises(CorruptRecord, match="damaged: the last of its 9 entries is of version 9"):
        selected(tagged_store, Query(stream=STREAM, is_backwards=True))


def test_an_entry_under_the_version_of_one_that_is_lost_is_reported(tagged_store: LmdbStore) -> None:
    keys, environment = log_keys(tagged_store), tagged_store.environment
    lose_entry(tagged_store, 7)
    old, new = layout.pack_index_entry(3, keys[3]), layout.pack_index_entry(7, keys[3])
    replace_entry(tagged_store, environment.stream_events, layout.pack_number(0), old, new)
    entry = layout.pack_index_entry(8, id_after(keys[8]))
    with environment.env.begin(write=True) as txn:
        txn.put(layout.pack_number(0), entry, db=environment.stream_events)
    for is_backwards in (False, True):
        with pytest.raises(CorruptRecord, match="has a gap at version"):
            selected(tagged_store, Query(stream=STREAM, tags=("even",), is_backwards=is_backwards))


@each_direction
@pytest.mark.parametrize("size", [8, 15, 17])
def test_what_is_no_id_in_an_index_is_reported(tagged_store: LmdbStore, size: int, is_backwards: bool) -> None:
    # LMDB lets nobody mix sizes under one key, but does not look at those that it reads.
    environment = tagged_store.environment
    with environment.env.begin(write=True) as txn:
        txn.put(layout.type_key("odd"), layout.pack_number(99), db=environment.terms)
        txn.put(layout.pack_number(99), log_keys(tagged_store)[3].ljust(size, b"\0")[:size], db=environment.term_events)
    with pytest.raises(CorruptRecord, match="no event's id"):
        selected(tagged_store, Query(types=("odd",), is_backwards=is_backwards))


def test_a_gap_in_the_index_of_a_long_stream_is_reported(damaged_store: LmdbStore) -> None:
    stored(damaged_store, append_of(STREAM, 0, *["x"] * 300))
    lose_entry(damaged_store, 295)
    with pytest.raises(CorruptRecord, match="has a gap at version 295"):
        selected(damaged_store, Query(stream=STREAM, is_backwards=True))


@pytest.mark.parametrize("query", [Query(types=("t",)), Query(is_backwards=True), Query(stream=STREAM, types=("t",))])
def test_a_flipped_bit_in_a_record_is_reported(tagged_store: LmdbStore, query: Query) -> None:
    key, environment = log_keys(tagged_store)[6], tagged_store.environment
    with environment.env.begin(write=True) as txn:
        value = bytearray(txn.get(key, db=environment.log))
        value[100] ^= 4
        txn.put(key, bytes(value), db=environment.log)
    with pytest.raises(CorruptRecord, match=f"the record of event {id_text(key)} does not match its checksum"):
        selected(tagged_store, query)


def test_errors_of_lmdb_come_out_as_failures_of_the_storage(damaged_store: LmdbStore) -> None:
    stored(damaged_store, append_of(STREAM, 0, "x"))
    readers = [damaged_store.environment.env.begin() for _ in range(126)]
    with pytest.raises(StorageFailed, match="MDB_READERS_FULL"):
        found(QueryRead(damaged_store, Query(types=("t",)), None))
    for reader in readers:
        reader.abort()
