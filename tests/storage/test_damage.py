"""What reads and appends do when bytes on the disk have changed: say so, and serve nothing as truth."""

import re

import pytest

from eventflowdb.errors import CorruptRecord, StorageFailed
from eventflowdb.events import CheckedEvent
from eventflowdb.storage import layout
from eventflowdb.storage.environment import DATA_FILE, id_text
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.spans import CHUNK, LogSpan, ReadBounds
from eventflowdb.storage.stream_index import find_rows
from eventflowdb.storage.verify import verify

from .samples import (
    ALL,
    FIRST,
    OTHER,
    STREAM,
    append_of,
    append_of_events,
    log_keys,
    lose_entry,
    read_log,
    read_stream,
    replace_entry,
    stored,
)

SMALL = ReadBounds(2, 1 << 20)
READERS_MAX = 126


@pytest.fixture
def store(damaged_store: LmdbStore) -> LmdbStore:
    """Four events of STREAM at positions 1, 2, 3 and 5, one of OTHER at position 4."""
    stored(damaged_store, append_of(STREAM, 0, "a", "b", "c"))
    stored(damaged_store, append_of(OTHER, 0, "d"))
    stored(damaged_store, append_of(STREAM, 3, "e"))
    return damaged_store


def flip_record(store: LmdbStore, key: bytes, place: int) -> None:
    """Flip one bit of a stored record."""
    with store.environment.env.begin(write=True) as txn:
        value = bytearray(txn.get(key, db=store.environment.log))
        value[place] ^= 4
        txn.put(key, bytes(value), db=store.environment.log)


@pytest.mark.parametrize("damaged", range(5))
def test_a_flipped_bit_in_a_record_is_reported_by_every_read_of_it(store: LmdbStore, damaged: int) -> None:
    key = log_keys(store)[damaged]
    for place in (0, 1, 10, 100, -5, -4, -1):
        flip_record(store, key, place)
        with pytest.raises(CorruptRecord):
            read_log(store)
        with pytest.raises(CorruptRecord):
            read_log(store, bounds=SMALL)
        with pytest.raises(CorruptRecord):
            store.open_log(key, 1)
        with pytest.raises(CorruptRecord):
            read_stream(store, OTHER if damaged == 3 else STREAM)
        flip_record(store, key, place)
    assert len(read_log(store)) == 5


def test_events_beside_a_damaged_one_can_still_be_read(store: LmdbStore) -> None:
    flip_record(store, log_keys(store)[1], 50)
    assert len(read_stream(store, OTHER)) == 1
    assert len(read_stream(store, STREAM, 0, 1)) == 1
    assert len(read_stream(store, STREAM, 2)) == 2
    assert len(read_log(store, log_keys(store)[2])) == 3


def test_the_first_record_of_a_log_read_is_named_when_damaged(store: LmdbStore) -> None:
    key = log_keys(store)[2]
    flip_record(store, key, 50)
    with pytest.raises(CorruptRecord, match=f"the record of event {id_text(key)} does not match its checksum"):
        store.open_log(key, 10)


@pytest.mark.parametrize("place", [0, 7, 8, 24, 56, 63, 64, 67, 68])
def test_a_flipped_bit_in_the_head_is_reported_by_all_that_need_it(store: LmdbStore, place: int) -> None:
    # Places 0 to 63 are in the fields, 64 to 67 in the CRC; a byte behind them makes the head too long.
    with store.environment.env.begin(write=True) as txn:
        value = bytearray(txn.get(layout.HEAD_KEY, db=store.environment.meta))
        value = value + b"\0" * (place + 1 - len(value))
        value[place] ^= 1
        txn.put(layout.HEAD_KEY, bytes(value), db=store.environment.meta)
    with pytest.raises(CorruptRecord, match="the head of the log does not match its checksum"):
        store.head()
    with pytest.raises(CorruptRecord):
        store.open_log(FIRST, ALL)
    with pytest.raises(CorruptRecord):
        store.append_batch([append_of(OTHER, 1, "f")])


def delete_record(store: LmdbStore, key: bytes) -> None:
    """Take one record out of the log."""
    with store.environment.env.begin(write=True) as txn:
        assert txn.delete(key, db=store.environment.log)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_record_missing_inside_the_log_is_reported(store: LmdbStore, missing: int) -> None:
    key = log_keys(store)[missing]
    delete_record(store, key)
    with pytest.raises(CorruptRecord, match="the log has a gap before event"):
        read_log(store, limit=4)
    with pytest.raises(CorruptRecord, match=f"event {id_text(key)} is in an index but not in the log"):
        read_stream(store, OTHER if missing == 3 else STREAM)


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
@pytest.mark.parametrize("bounds", [ReadBounds(events, 1 << 20) for events in (1, 2, 3, 1000)], ids=str)
def test_a_log_that_ends_early_is_reported_not_begun_anew(store: LmdbStore, missing: int, bounds: ReadBounds) -> None:
    delete_record(store, log_keys(store)[missing])
    with pytest.raises(CorruptRecord):
        read_log(store, bounds=bounds)


def test_a_log_that_goes_on_beyond_its_head_is_reported(store: LmdbStore) -> None:
    head = store.head()._replace(position=2)
    with store.environment.env.begin(write=True) as txn:
        txn.put(layout.HEAD_KEY, layout.pack_head(head), db=store.environment.meta)
    with pytest.raises(CorruptRecord, match="the log goes on beyond its head"):
        store.open_log(log_keys(store)[3], ALL)


def test_a_key_of_the_log_that_is_too_long_is_reported_as_damage(store: LmdbStore) -> None:
    with store.environment.env.begin(write=True) as txn:
        txn.put(b"\xff" * 18, b"unknown", db=store.environment.log)
    with pytest.raises(CorruptRecord, match="restore from a backup"):
        store.open_log(b"\xff" * 16, ALL)


def test_nothing_is_appended_behind_a_record_that_the_head_does_not_know(store: LmdbStore) -> None:
    with store.environment.env.begin(write=True) as txn:
        txn.put(b"\x7f" * 16, b"unknown", db=store.environment.log)
    with pytest.raises(CorruptRecord, match="the log goes on beyond its head"):
        store.append_batch([append_of(OTHER, 1, "f")])
    assert store.head().position == 5


@pytest.mark.parametrize("count", [1, 3])
def test_an_index_that_goes_on_beyond_the_log_keeps_nobody_from_appending(store: LmdbStore, count: int) -> None:
    environment, beyond = store.environment, b"\x7f" * 16
    with environment.env.begin(write=True) as txn:
        number = txn.get(layout.type_key("tested"), db=environment.terms)
        txn.put(number, beyond, db=environment.term_events)
    added = stored(store, append_of(OTHER, 1, *"fgh"[:count]))
    assert read_stream(store, OTHER, 1) == added
    with environment.env.begin() as txn:
        cursor = txn.cursor(environment.term_events)
        assert cursor.set_key(number)
        assert list(cursor.iternext_dup()) == [*log_keys(store), beyond]
    assert "term_events" in str(verify(environment).first_problem)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_gap_in_an_index_is_reported(store: LmdbStore, version: int) -> None:
    lose_entry(store, version)
    with pytest.raises(CorruptRecord, match=f"the index of stream {STREAM} is damaged"):
        read_stream(store, STREAM)
    with pytest.raises(CorruptRecord, match=f"the index of stream {STREAM} is damaged"):
        read_stream(store, STREAM, version, 1)


@pytest.mark.parametrize("counted", [0, 1, 100, 256, 257, 299, 301, 2**40])
def test_how_many_events_lmdb_counts_for_a_stream_is_not_trusted(damaged_store: LmdbStore, counted: int) -> None:
    records = stored(damaged_store, append_of(STREAM, 0, *map(str, range(300))))
    with damaged_store.environment.env.begin() as txn:
        cursor = txn.cursor(damaged_store.environment.stream_events)
        cursor.set_key(layout.pack_number(0))
        assert cursor.count() == 300
    file = damaged_store.environment.folder / DATA_FILE
    # What LMDB keeps of a key with many values: their size first, and behind three numbers of pages how many there are.
    places = list(re.finditer(b"\x14\0\0\0.{28}" + (300).to_bytes(8, "little"), file.read_bytes(), re.DOTALL))
    assert places
    with file.open("r+b") as data:
        for place in places:
            data.seek(place.end() - 8)
            data.write(counted.to_bytes(8, "little"))
    with damaged_store.environment.env.begin() as txn:
        cursor = txn.cursor(damaged_store.environment.stream_events)
        cursor.set_key(layout.pack_number(0))
        assert cursor.count() == counted
    for version in (0, 1, 150, 299, 300):
        assert read_stream(damaged_store, STREAM, version) == records[version:]


@pytest.mark.parametrize("version", [0, 1, 2, 3])
@pytest.mark.parametrize("bounds", [CHUNK, ReadBounds(1, 1 << 20), ReadBounds(2, 1 << 20)])
def test_no_event_is_served_in_the_place_of_another(store: LmdbStore, version: int, bounds: ReadBounds) -> None:
    """An index entry that leads to a sound record, but not to its own: of the same stream or another."""
    keys = log_keys(store)
    entry = layout.pack_index_entry(version, of_stream_keys(store)[version])
    for key in keys:
        wrong = layout.pack_index_entry(version, key)
        if wrong == entry:
            continue
        exchange(store, entry, wrong)
        with pytest.raises(CorruptRecord, match=f"the index of stream {STREAM} is damaged"):
            read_stream(store, STREAM, 0, None, bounds)
        exchange(store, wrong, entry)
    assert len(read_stream(store, STREAM, 0, None, bounds)) == 4


def of_stream_keys(store: LmdbStore) -> list[bytes]:
    """The ids that the index of STREAM holds."""
    with store.environment.env.begin() as txn:
        cursor = txn.cursor(store.environment.stream_events)
        cursor.set_key(layout.pack_number(0))
        return [entry[4:] for entry in cursor.iternext_dup()]


def exchange(store: LmdbStore, old: bytes, new: bytes) -> None:
    """Put one entry of STREAM's index in the place of another."""
    replace_entry(store, store.environment.stream_events, layout.pack_number(0), old, new)


class ShortIndex:
    """A cursor on a stream's index, of which LMDB finds less than an entry: a bit of its size is flipped."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    def count(self) -> int:
        return 1

    def getmulti(self, *_asked: object) -> memoryview:
        return memoryview(bytes(self._size_bytes))


@pytest.mark.parametrize("size_bytes", [0, 3, 19])
def test_an_index_of_less_than_an_entry_is_reported(size_bytes: int) -> None:
    with pytest.raises(CorruptRecord, match=f"the index of stream {STREAM} is damaged"):
        find_rows(ShortIndex(size_bytes), bytes(8), STREAM)


def test_a_stream_without_an_index_is_reported_and_takes_no_events(store: LmdbStore) -> None:
    with store.environment.env.begin(write=True) as txn:
        assert txn.delete(layout.pack_number(1), db=store.environment.stream_events)
    with pytest.raises(CorruptRecord, match=f"stream {OTHER} has a number but no events"):
        store.open_stream(OTHER, 0, None)
    refusal, outcome = store.append_batch([append_of(OTHER, 1, "f"), append_of(STREAM, 4, "g")])
    assert isinstance(refusal, CorruptRecord)
    assert isinstance(outcome, list)


def test_a_damaged_cause_refuses_the_append_and_no_other(store: LmdbStore) -> None:
    key = log_keys(store)[0]
    flip_record(store, key, 50)
    effect = CheckedEvent.of(type="tested", data="", causation_id=id_text(key))
    refusal, outcome = store.append_batch([append_of_events(STREAM, 4, effect), append_of(OTHER, 1, "g")])
    assert isinstance(refusal, CorruptRecord)
    assert isinstance(outcome, list)


def test_errors_of_lmdb_come_out_as_failures_of_the_storage(store: LmdbStore) -> None:
    env = store.environment.env
    readers = [env.begin() for _ in range(READERS_MAX)]
    for read in (
        store.event_count,
        store.stream_count,
        store.head,
        lambda: store.open_log(FIRST, ALL),
        lambda: store.open_stream(STREAM, 0, None),
        lambda: store.render_log(FIRST, ALL, CHUNK, b"".join),
        lambda: store.render_stream(STREAM, 0, None, CHUNK, b"".join),
        lambda: store.render_on(LogSpan(FIRST, 1), CHUNK, b"".join),
    ):
        with pytest.raises(StorageFailed, match=r"the storage failed: .*MDB_READERS_FULL"):
            read()
    while readers:
        readers.pop().abort()
    assert store.event_count() == 5


def test_an_append_that_lmdb_cannot_take_is_a_failure_of_the_storage(store: LmdbStore) -> None:
    store.close()
    with pytest.raises(StorageFailed):
        store.append_batch([append_of(OTHER, 1, "f")])
