"""Walks along the log's leaf pages: the events that LMDB's cursor finds, or none, whatever the file holds."""

import os
import shutil
from pathlib import Path
from random import Random

import pytest

from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import find_ulid_bytes, id_after
from eventflowdb.storage import layout
from eventflowdb.storage.environment import DATA_FILE
from eventflowdb.storage.file_map import FileMap
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.log_walk import LogWalk, LogWalks
from eventflowdb.storage.pages import HEADER_BYTES, PageFile, branch_children
from eventflowdb.storage.records import VALUE_BYTES_MIN, id_of
from eventflowdb.storage.spans import CHUNK, ReadBounds
from eventflowdb.storage.trees import Snapshot

from .samples import ALL, FIRST, STREAM, Clock, append_of, log_keys, read_log, stored

MAP_BYTES = 1 << 30
NO_BOUND = 1 << 40
PAGE_BYTES = 4096


class Transaction:
    """A read transaction of this number, where LMDB is kept out of it."""

    def __init__(self, number: int) -> None:
        self._number = number

    def id(self) -> int:
        """As LMDB's."""
        return self._number


class ColdMap(FileMap):
    """A map of which some pages are said to be on the disk alone."""

    def __init__(self, file: int, size: int) -> None:
        super().__init__(file, size)
        self.cold: set[int] = set()

    def resident(self, start: int, size: int) -> bytes:
        """As FileMap's, for whole pages."""
        first = start // PAGE_BYTES
        return bytes([page not in self.cold for page in range(first, first + size // PAGE_BYTES)])


def fill(store: LmdbStore, *sizes: int, batch: int = 1) -> list[bytes]:
    """Events with data of so many bytes, so many of them in an append; all records of the log."""
    for begin in range(0, len(sizes), batch):
        stored(store, append_of(STREAM, begin, *["x" * size for size in sizes[begin : begin + batch]]))
    store.commit_deferred()
    return read_log(store)


def walks_of(path: Path) -> LogWalks:
    """Walks in a data file."""
    file = PageFile(path)
    return LogWalks(file, FileMap(file.fileno(), MAP_BYTES))


def walk_on(walk: LogWalk, start: bytes = FIRST, events_max: int = 16) -> list[bytes]:
    """All records from an id on that a walk finds."""
    if walk.find(start) is None:
        return []
    records: list[bytes] = []
    while True:
        taken = walk.take(events_max, 0)
        records += taken
        if len(taken) < events_max:
            return records


MIXED = tuple([Random(size).choice((1, 40, 300, 1500, 1700, 5000, 40_000)) for size in range(200)])


@pytest.mark.parametrize(
    ("sizes", "batch"),
    [((1,), 1), ((10,) * 12, 1), ((100,) * 2000, 100), ((400,) * 700, 7), (MIXED, 9), (MIXED, 1)],
    ids=["one", "a leaf", "many leaves", "deep", "long ones", "each alone"],
)
def test_a_walk_finds_all_events_in_order(store: LmdbStore, sizes: tuple[int, ...], batch: int) -> None:
    records, keys = fill(store, *sizes, batch=batch), log_keys(store)
    environment = store.environment
    walks = walks_of(environment.folder / DATA_FILE)
    with environment.env.begin() as txn:
        for events_max in (1, 16, 1000):
            walk = walks.begin(txn, NO_BOUND)
            assert walk is not None
            assert walk_on(walk, events_max=events_max) == records
        for place in {0, len(keys) // 2, len(keys) - 1, *range(0, len(keys), 37)}:
            for start in (keys[place], id_after(keys[place - 1]) if place else FIRST):
                walk = walks.begin(txn, NO_BOUND)
                assert walk is not None
                assert walk.find(start) == keys[place]
                assert walk.take(3, 0) == records[place : place + 3]
        walk = walks.begin(txn, NO_BOUND)
        assert walk is not None
        assert walk.find(id_after(keys[-1])) is None
        assert walk.take(3, 0) == []


def test_a_walk_keeps_to_its_bounds(store: LmdbStore) -> None:
    records = fill(store, *[100] * 40, batch=40)
    size = len(records[0]) + VALUE_BYTES_MIN

    def take(count: int, bytes_max: int, events_min: int) -> list[bytes]:
        with store.environment.env.begin() as txn:
            walk = walks_of(store.environment.folder / DATA_FILE).begin(txn, bytes_max)
            assert walk is not None
            assert walk.find(FIRST) is not None
            taken = walk.take(count, events_min)
            assert walk.bytes_left == bytes_max - size * len(taken)
            return taken

    assert {len(record) + VALUE_BYTES_MIN for record in records[:9]} == {size}
    assert take(9, 5 * size, 0) == records[:5]
    assert take(9, 5 * size - 1, 0) == records[:4]
    assert take(9, 1, 0) == []
    assert take(9, 1, 1) == records[:1]
    assert take(9, NO_BOUND, 0) == records[:9]


def test_a_walk_stays_in_the_state_of_its_transaction(store: LmdbStore) -> None:
    before = fill(store, *[200] * 100, batch=100)
    environment = store.environment
    walks = walks_of(environment.folder / DATA_FILE)
    with environment.env.begin() as txn:
        walk = walks.begin(txn, NO_BOUND)
        assert walk is not None
        for count in range(100, 130):
            stored(store, append_of(STREAM, count, "y" * 200))
            store.commit_deferred()
        assert walk_on(walk) == before
    assert len(read_log(store)) == 130


def test_none_begins_where_a_commit_came_between(store: LmdbStore) -> None:
    """The file tells of the newest state alone; what was known of an older one before stays true while it is read."""
    before = fill(store, *[200] * 100, batch=100)
    environment = store.environment
    asked, not_asked = (walks_of(environment.folder / DATA_FILE) for _ in range(2))
    with environment.env.begin() as txn:
        assert asked.begin(txn, NO_BOUND) is not None
        stored(store, append_of(STREAM, 100, "y"))
        store.commit_deferred()
        assert not_asked.begin(txn, NO_BOUND) is None
        walk = asked.begin(txn, NO_BOUND)
        assert walk is not None
        assert walk_on(walk) == before
    with environment.env.begin() as txn:
        walk = not_asked.begin(txn, NO_BOUND)
        assert walk is not None
        assert len(walk_on(walk)) == 101


def test_none_begins_without_a_map(store: LmdbStore) -> None:
    fill(store, 1)
    walks = LogWalks(PageFile(store.environment.folder / DATA_FILE), None)
    with store.environment.env.begin() as txn:
        assert walks.begin(txn, NO_BOUND) is None


def test_a_walk_ends_at_the_first_page_that_is_not_in_memory(store: LmdbStore) -> None:
    records = fill(store, *[300] * 30, 30_000, *[300] * 30, batch=61)
    path = store.environment.folder / DATA_FILE
    file = PageFile(path)
    file_map = ColdMap(file.fileno(), MAP_BYTES)
    ends: set[int] = set()
    with store.environment.env.begin() as txn:
        for page in range(path.stat().st_size // PAGE_BYTES):
            file_map.cold = {page}
            walk = LogWalks(file, file_map).begin(txn, NO_BOUND)
            assert walk is not None
            found = walk_on(walk, events_max=1)
            assert found == records[: len(found)]
            ends.add(len(found))
    # The root, the leaves but the first one, each page of the long one, and pages that are not of the log.
    assert {0, 30, 61} < ends
    assert len(ends) > 10


@pytest.mark.parametrize("bounds", [CHUNK, ReadBounds(150, NO_BOUND), ReadBounds(1000, 60_000)], ids=str)
def test_lmdb_goes_on_where_a_walk_ends(store: LmdbStore, bounds: ReadBounds) -> None:
    """Whichever page is not in memory: the same events, and chunks as full as they may be."""
    records = fill(store, *MIXED, batch=50)
    environment = store.environment
    path = environment.folder / DATA_FILE
    file = PageFile(path)
    file_map = ColdMap(file.fileno(), MAP_BYTES)
    for page in range(path.stat().st_size // PAGE_BYTES):
        file_map.cold = {page}
        environment.log_walks = LogWalks(file, file_map)
        found: list[bytes] = []
        chunk = store.open_log(FIRST, ALL, bounds)
        while True:
            found += chunk.records
            size = sum([len(record) + VALUE_BYTES_MIN for record in chunk.records])
            assert size <= bounds.bytes_max or len(chunk.records) == 1
            if chunk.rest is None:
                break
            is_full = size + len(records[len(found)]) + VALUE_BYTES_MIN > bounds.bytes_max
            assert is_full or len(chunk.records) == bounds.events_max
            chunk = store.read_on(chunk.rest, bounds)
        assert found == records


@pytest.mark.parametrize(
    ("damaged", "limit", "missing"),
    [(100, 150, "the log has a gap before event"), (199, 200, "the log ends before its head says")],
    ids=["in the middle", "at the end"],
)
def test_damage_behind_a_walk_is_named(damaged_store: LmdbStore, damaged: int, limit: int, missing: str) -> None:
    store, environment = damaged_store, damaged_store.environment
    fill(store, *[300] * 200, batch=200)
    environment.log_walks = walks_of(environment.folder / DATA_FILE)
    key = log_keys(store)[damaged]
    with environment.env.begin(write=True) as txn:
        value = bytearray(txn.get(key, db=environment.log))
        value[200] ^= 1
        txn.put(key, bytes(value), db=environment.log)
    with pytest.raises(CorruptRecord, match="does not match its checksum"):
        store.open_log(FIRST, limit)
    with environment.env.begin(write=True) as txn:
        txn.delete(key, db=environment.log)
    with pytest.raises(CorruptRecord, match=missing):
        store.open_log(FIRST, limit)


@pytest.fixture
def closed(folder: Path, clock: Clock) -> tuple[Path, list[bytes], int]:
    """The data file of a closed database whose log has branch pages and long events; its records, and its state."""
    store = LmdbStore.open(folder, map_size=MAP_BYTES, clock_ns=clock)
    records = fill(store, *[700] * 400, 9000, *[10] * 5, batch=50)
    store.close()
    path = folder / "copy"
    shutil.copyfile(folder / DATA_FILE, path)
    store = LmdbStore.open_beside(folder, map_size=MAP_BYTES)
    with store.environment.env.begin() as txn:
        number = txn.id()
    store.close()
    return path, records, number


def test_flipped_bits_end_a_walk_and_make_no_event(closed: tuple[Path, list[bytes], int]) -> None:
    """Of all that a walk reads of pages: their headers, where their nodes are, and the nodes' own headers and keys."""
    path, records, number = closed
    random = Random(5)
    transaction = Transaction(number)
    pages = path.read_bytes()
    shorter = 0
    with path.open("r+b") as file:
        for page in range(len(pages) // PAGE_BYTES):
            places = [*range(HEADER_BYTES + 8), *random.sample(range(PAGE_BYTES), 12)]
            for place in random.sample(places, 10):
                at = page * PAGE_BYTES + place
                os.pwrite(file.fileno(), bytes([pages[at] ^ 1 << random.randrange(8)]), at)
                walk = walks_of(path).begin(transaction, NO_BOUND)
                found = [] if walk is None else walk_on(walk)
                os.pwrite(file.fileno(), pages[at : at + 1], at)
                # An event may be missing, where a node is no longer pointed to: its neighbours' positions tell.
                assert set(found) <= set(records)
                shorter += len(found) < len(records)
    assert shorter > 50
    walk = walks_of(path).begin(transaction, NO_BOUND)
    assert walk is not None
    assert walk_on(walk) == records


def test_a_damaged_branch_sends_no_walk_past_all_events(closed: tuple[Path, list[bytes], int]) -> None:
    """A key in the root that is too large leads far to the left of what is looked for."""
    path, records, number = closed
    file = PageFile(path)
    tree = Snapshot(file, file.find_meta(), None).find_tree(layout.LOG)
    page = file.page(tree.root)
    keys, _children = branch_children(tree.root, page)
    last_key = find_ulid_bytes(id_of(records[-1]))
    assert last_key is not None
    with path.open("r+b") as damaged:
        for key in keys[1:]:
            os.pwrite(damaged.fileno(), b"\xff", tree.root * PAGE_BYTES + page.index(key))
    walk = walks_of(path).begin(Transaction(number), NO_BOUND)
    assert walk is not None
    assert walk.find(last_key) is None
