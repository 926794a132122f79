"""Reads of a stream and of the log: where they start, where they end, and how they are cut into chunks."""

import itertools

import pytest

from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.spans import CHUNK, NOTHING, LogSpan, ReadBounds, StreamSpan

from .samples import (
    ALL,
    FIRST,
    OTHER,
    STREAM,
    THIRD,
    Clock,
    append_of,
    has_open_reads,
    log_keys,
    read_log,
    read_stream,
    read_to_end,
    stored,
)

EVERY_BOUND = [ReadBounds(events, size) for events in (1, 2, 3, 7, 1000) for size in (1, 300, 700, 1500, 1 << 20)]


@pytest.fixture
def records(store: LmdbStore) -> list[bytes]:
    """Seven events of STREAM and three of OTHER, of very different sizes, in the order of the log."""
    sizes = itertools.cycle([1, 200, 3000, 0, 40])
    records: list[bytes] = []
    for stream, version, count in [(STREAM, 0, 3), (OTHER, 0, 2), (STREAM, 3, 4), (OTHER, 2, 1)]:
        datas = ["x" * size for size in itertools.islice(sizes, count)]
        records += stored(store, append_of(stream, version, *datas))
    return records


def of_stream(records: list[bytes], stream: str) -> list[bytes]:
    """Those of one stream."""
    return [record for record in records if f'"stream":"{stream}"'.encode() in record]


@pytest.mark.parametrize("limit", [None, 0, 1, 6, 7, 8, 2**53 - 1])
def test_a_stream_is_read_from_a_version_up_to_a_limit(
    store: LmdbStore, records: list[bytes], limit: int | None
) -> None:
    for version in (0, 1, 6, 7, 8, 2**32, 2**53 - 1):
        assert read_stream(store, STREAM, version, limit) == of_stream(records, STREAM)[version:][:limit]


def test_a_stream_that_does_not_exist_gives_nothing(store: LmdbStore, records: list[bytes]) -> None:
    assert records
    assert store.open_stream(THIRD, 0, None) is NOTHING


def test_an_empty_log_gives_nothing(store: LmdbStore) -> None:
    assert store.open_log(FIRST, ALL) is NOTHING


@pytest.mark.parametrize("limit", [0, 1, 9, 10, 11, ALL])
def test_the_log_is_read_from_an_id_on_that_id_included(store: LmdbStore, records: list[bytes], limit: int) -> None:
    for skipped, start in enumerate([*log_keys(store), b"\xff" * 16]):
        assert read_log(store, start, limit) == records[skipped:][:limit]


def test_an_id_that_was_never_given_out_starts_before_where_it_would_stand(store: LmdbStore, clock: Clock) -> None:
    records: list[bytes] = []
    for version in range(4):
        records += stored(store, append_of(STREAM, version, "a"))
        clock.us += 1000
    numbers = [int.from_bytes(key, "big") for key in log_keys(store)]
    for skipped in range(4):
        assert read_log(store, (numbers[skipped] - 1).to_bytes(16, "big")) == records[skipped:]
        assert read_log(store, (numbers[skipped] + 1).to_bytes(16, "big")) == records[skipped + 1 :]


@pytest.mark.parametrize("bounds", EVERY_BOUND, ids=str)
def test_chunks_of_any_size_join_to_the_whole_stream(
    store: LmdbStore, records: list[bytes], bounds: ReadBounds
) -> None:
    expected = of_stream(records, STREAM)
    for version, limit in itertools.product(range(8), [None, 1, 3]):
        assert read_stream(store, STREAM, version, limit, bounds) == expected[version:][:limit]


@pytest.mark.parametrize("bounds", EVERY_BOUND, ids=str)
def test_chunks_of_any_size_join_to_the_whole_log(store: LmdbStore, records: list[bytes], bounds: ReadBounds) -> None:
    for skipped, limit in itertools.product(range(10), [ALL, 1, 3]):
        assert read_log(store, log_keys(store)[skipped], limit, bounds) == records[skipped:][:limit]


@pytest.mark.parametrize("events", [63, 64, 65, 128, 129])
def test_a_page_that_is_checked_in_parts_is_whole_and_keeps_its_bounds(store: LmdbStore, events: int) -> None:
    records = stored(store, append_of(STREAM, 0, *["x" * (version % 7) for version in range(200)]))
    size = sum([len(record) + 5 for record in records[:events]])
    for bounds in (ReadBounds(events, 1 << 20), ReadBounds(1000, size)):
        assert store.open_log(FIRST, ALL, bounds).records == records[:events]
        assert read_log(store, bounds=bounds) == records


@pytest.mark.parametrize("bounds", EVERY_BOUND, ids=str)
@pytest.mark.parametrize("is_log", [True, False], ids=["log", "stream"])
def test_a_chunk_keeps_its_bounds_and_is_no_smaller_than_they_allow(
    store: LmdbStore, records: list[bytes], bounds: ReadBounds, is_log: bool
) -> None:
    expected = records if is_log else of_stream(records, STREAM)
    chunk = store.open_log(FIRST, ALL, bounds) if is_log else store.open_stream(STREAM, 0, None, bounds)
    while expected:
        count = len(chunk.records)
        # A stored record is five bytes longer than its JSON: the kind and the CRC.
        sizes = [len(record) + 5 for record in expected]
        assert 1 <= count <= bounds.events_max
        assert count == 1 or sum(sizes[:count]) <= bounds.bytes_max
        assert count in (bounds.events_max, len(expected)) or sum(sizes[: count + 1]) > bounds.bytes_max
        assert chunk.records == expected[:count]
        assert chunk.total() == len(expected)
        expected = expected[count:]
        chunk = NOTHING if chunk.rest is None else store.read_on(chunk.rest, bounds)


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 600])
def test_a_stream_of_any_length_is_read_from_any_version(store: LmdbStore, count: int) -> None:
    """Up to a length its whole index is taken at once, and LMDB keeps a long one in pages of its own."""
    records = stored(store, append_of(STREAM, 0, *map(str, range(count))))
    stored(store, append_of(OTHER, 0, "other"))
    for version in {0, 1, count // 2, count - 2, count - 1, count, count + 1} - {-1}:
        for limit, bounds in itertools.product(
            [None, 1, 100], [ReadBounds(1, 1 << 20), ReadBounds(64, 1 << 20), CHUNK]
        ):
            assert read_stream(store, STREAM, version, limit, bounds) == records[version:][:limit]


def test_an_event_larger_than_a_chunk_is_a_chunk_alone(store: LmdbStore) -> None:
    stored(store, append_of(STREAM, 0, "a", "b" * CHUNK.bytes_max, "c"))
    for chunk in (store.open_log(FIRST, ALL), store.open_stream(STREAM, 0, None)):
        assert len(chunk.records) == 1
        assert chunk.rest is not None
        large = store.read_on(chunk.rest)
        assert len(large.records) == 1
        assert len(large.records[0]) > CHUNK.bytes_max


def test_a_read_ends_where_the_log_ended_when_it_began(store: LmdbStore, records: list[bytes]) -> None:
    bounds = ReadBounds(4, 1 << 20)
    log, stream = store.open_log(FIRST, ALL, bounds), store.open_stream(STREAM, 0, None, bounds)
    stored(store, append_of(STREAM, 7, "later", "later"))
    assert read_to_end(store, log, bounds) == records
    assert read_to_end(store, stream, bounds) == of_stream(records, STREAM)


def test_a_read_names_what_is_left_of_it_by_place(store: LmdbStore, records: list[bytes]) -> None:
    bounds = ReadBounds(2, 1 << 20)
    following = (int.from_bytes(log_keys(store)[1], "big") + 1).to_bytes(16, "big")
    assert store.open_log(FIRST, 5, bounds).rest == LogSpan(following, 3)
    assert store.open_stream(STREAM, 1, None, bounds).rest == StreamSpan(bytes(8), STREAM, 3, 4)
    assert store.open_stream(STREAM, 5, None, bounds).rest is None
    assert len(records) == 10


def test_no_transaction_outlives_a_chunk(store: LmdbStore, records: list[bytes]) -> None:
    chunk = store.open_log(FIRST, ALL, ReadBounds(2, 1 << 20))
    assert chunk.rest is not None
    assert len(records) == 10
    assert not has_open_reads(store)
