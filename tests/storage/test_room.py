"""A map, a disk or a floor that leaves no room: nothing is stored, reads go on, and appends work again with room."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

import eventflowdb
from eventflowdb.append import Append
from eventflowdb.errors import StoreFull
from eventflowdb.limits import FREE_SPACE_PLENTY_BYTES, FREE_SPACE_SECONDS
from eventflowdb.storage.environment import DATA_FILE
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.room import FreeSpace, is_for_want_of_room

from .samples import OTHER, STREAM, THIRD, OpenDatabase, append_of, read_log, read_stream, stored

KIB = 1024


@contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    """What a full disk looks like to this process: writes behind `size_bytes` of a file fail, earlier ones do not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def require_nothing_changed(store: LmdbStore, records: list[bytes]) -> None:
    """The store holds these records, all of STREAM, and nothing else."""
    assert read_log(store) == read_stream(store, STREAM) == records
    assert (store.event_count(), store.stream_count(), store.head().position) == (len(records), 1, len(records))


def test_a_full_map_stores_nothing_of_the_batch_and_reads_go_on(database: OpenDatabase) -> None:
    store = database.reopen(map_size=256 * KIB)
    records = stored(store, append_of(STREAM, 0, "a", "b"))
    with pytest.raises(StoreFull, match="the database has reached MAP_SIZE \\(262144 bytes\\); nothing was stored"):
        store.append_batch([append_of(OTHER, 0, "c"), append_of(STREAM, 2, "d" * 300 * KIB), append_of(THIRD, 0, "e")])
    require_nothing_changed(store, records)
    records += stored(store, append_of(STREAM, 2, "d"))
    assert read_stream(store, STREAM) == records


def fill(store: LmdbStore) -> None:
    """Append to STREAM until that raises."""
    while True:
        stored(store, append_of(STREAM, store.event_count(), "a" * 5000))


def test_a_map_fills_up_to_its_end_and_a_larger_one_takes_more(database: OpenDatabase) -> None:
    with pytest.raises(StoreFull):
        fill(database.reopen(map_size=320 * KIB))
    count = database.store.event_count()
    assert count > 20
    assert len(read_log(database.store)) == count
    stored(database.reopen(map_size=1024 * KIB), append_of(STREAM, count, "a" * 5000))
    assert len(read_log(database.store)) == count + 1


@pytest.mark.parametrize("room_bytes", [0, 100, 4 * KIB, 40 * KIB + 100], ids=str)
@pytest.mark.parametrize(("count", "size_bytes"), [(60, 3000), (1, 200_000)], ids=["many", "large"])
def test_a_file_that_cannot_grow_stores_nothing_of_the_batch_and_reads_go_on(
    database: OpenDatabase, room_bytes: int, count: int, size_bytes: int
) -> None:
    store = database.store
    records = stored(store, append_of(STREAM, 0, "a", "b"))
    batch = [append_of(OTHER, 0, "c"), append_of(STREAM, 2, *["d" * size_bytes] * count)]
    with files_no_larger_than((database.folder / DATA_FILE).stat().st_size + room_bytes):
        for _ in range(2):
            with pytest.raises(StoreFull, match="the disk is full; nothing was stored"):
                store.append_batch(batch)
            require_nothing_changed(store, records)
    # Room again: the same append, in the same process.
    records += stored(store, batch[1])
    assert read_stream(database.reopen(), STREAM) == records


ON_A_SMALL_DISK = """
import json, sys
from pathlib import Path
from eventflowdb.errors import StoreFull
from eventflowdb.append import Append
from eventflowdb.events import CheckedEvent

from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.verify import verify

def append(count):
    events = [CheckedEvent.of(type="tested", data="a" * 1000) for _ in range(count)]
    (outcome,) = store.append_batch([Append.to_stream(sys.argv[2], stored, events, 0)])
    return len(outcome)

folder, stored, refused, filler = Path(sys.argv[1]), 0, [], Path(sys.argv[1]) / "filler"
filler.write_bytes(bytes(1_000_000))
store = LmdbStore.open(folder, map_size=1 << 30)
for count in (100, 1):
    try:
        while True:
            stored += append(count)
    except StoreFull as error:
        refused.append(str(error))
read = len(store.open_stream(sys.argv[2], 0, None).records)
full = stored
filler.unlink()
stored += append(100)
problem = verify(store.environment).first_problem
print(json.dumps({"full": full, "read": read, "stored": stored, "refused": refused, "problem": problem}))
"""


def test_a_disk_that_fills_up_is_full_not_broken(tmp_path: Path) -> None:
    mounting = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=2m none '{tmp_path}'"
    if shutil.which("unshare") is None or subprocess.run([*mounting, mount], capture_output=True).returncode != 0:
        pytest.skip("no file system of 2 MiB can be mounted here; RLIMIT_FSIZE stands in for it in the other tests")
    ran = subprocess.run(
        [*mounting, f'{mount} && exec "$@"', "sh", sys.executable, "-c", ON_A_SMALL_DISK, os.fspath(tmp_path), STREAM],
        cwd=Path(eventflowdb.__file__).parents[1],
        capture_output=True,
        check=True,
    )
    seen = json.loads(ran.stdout)
    assert seen["read"] == seen["full"] > 100
    assert seen["stored"] == seen["full"] + 100
    assert seen["refused"] == ["the disk is full; nothing was stored; free some space and retry"] * 2
    assert seen["problem"] is None


def test_appends_are_refused_while_the_disk_has_less_than_the_floor(database: OpenDatabase) -> None:
    records = stored(database.store, append_of(STREAM, 0, "a"))
    store = database.reopen(min_free_bytes=1 << 60)
    with pytest.raises(StoreFull, match="MIN_FREE_BYTES keeps 1152921504606846976 of them; nothing was stored"):
        store.append_batch([append_of(STREAM, 1, "b")])
    require_nothing_changed(store, records)
    stored(database.reopen(min_free_bytes=1), append_of(STREAM, 1, "b"))


def test_a_batch_is_refused_if_it_would_take_the_disk_below_the_floor(database: OpenDatabase) -> None:
    store = database.reopen(min_free_bytes=1)
    events = append_of(STREAM, 0, "a").parts[0].events
    with pytest.raises(StoreFull):
        store.append_batch([Append.to_stream(STREAM, 0, events, 1 << 60)])
    stored(store, append_of(STREAM, 0, "a"))


def test_without_a_floor_the_disk_is_not_asked(tmp_path: Path) -> None:
    space = FreeSpace(tmp_path / "absent")
    space.require(1 << 60, 0)
    with pytest.raises(FileNotFoundError):
        space.require(1, 1)


class FakeDisk:
    """A disk with so much free, which counts how often it is asked, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self.asked = 0
        self.now = 0.0
        monkeypatch.setattr(os, "statvfs", self._statvfs)
        self.space = FreeSpace(Path("/"), lambda: self.now)

    def _statvfs(self, _path: Path) -> os.statvfs_result:
        self.asked += 1
        bsize = frsize = 1
        return os.statvfs_result((bsize, frsize, 0, 0, self.free_bytes, 0, 0, 0, 0, 0))


FLOOR = 1 << 30


def test_a_disk_with_plenty_free_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeDisk(monkeypatch, 10 * FLOOR)
    for _ in range(3):
        disk.space.require(1, FLOOR)
    assert disk.asked == 1
    disk.now += FREE_SPACE_SECONDS
    disk.free_bytes = FLOOR
    with pytest.raises(StoreFull, match=f"has {FLOOR} bytes free"):
        disk.space.require(1, FLOOR)


def test_a_disk_near_its_floor_is_asked_before_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeDisk(monkeypatch, FLOOR + FREE_SPACE_PLENTY_BYTES)
    for count in range(1, 4):
        disk.space.require(1, FLOOR)
        assert disk.asked == count
    disk.free_bytes = FLOOR
    with pytest.raises(StoreFull):
        disk.space.require(1, FLOOR)
    disk.free_bytes = 10 * FLOOR
    disk.space.require(1, FLOOR)


def test_what_batches_may_take_is_no_longer_free(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeDisk(monkeypatch, FLOOR + 2 * FREE_SPACE_PLENTY_BYTES)
    batch_bytes = FREE_SPACE_PLENTY_BYTES // 8
    disk.space.require(batch_bytes, FLOOR)
    disk.space.require(batch_bytes, FLOOR)
    assert disk.asked == 1
    disk.space.require(batch_bytes, FLOOR)
    assert disk.asked == 2


def test_a_higher_floor_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeDisk(monkeypatch, 10 * FLOOR)
    disk.space.require(1, FLOOR)
    with pytest.raises(StoreFull):
        disk.space.require(1, 10 * FLOOR)
    assert disk.asked == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_what_the_system_says_of_want_of_room_is_understood(tmp_path: Path, number: int) -> None:
    assert is_for_want_of_room(lmdb.Error(f"mdb_txn_commit: {os.strerror(number)}"), tmp_path)
    assert is_for_want_of_room(lmdb.DiskError("mdb_txn_commit"), tmp_path)


def test_an_io_error_is_want_of_room_only_if_the_file_cannot_grow(tmp_path: Path) -> None:
    error = lmdb.Error(f"mdb_txn_commit: {os.strerror(errno.EIO)}")
    file = tmp_path / DATA_FILE
    file.write_bytes(b"a" * 100_000)
    assert not is_for_want_of_room(error, file)
    for room_bytes in (0, 1, 4095):
        with files_no_larger_than(100_000 + room_bytes):
            assert is_for_want_of_room(error, file)
    assert file.read_bytes() == b"a" * 100_000


def test_other_errors_are_not_want_of_room(tmp_path: Path) -> None:
    assert not is_for_want_of_room(lmdb.Error("mdb_txn_commit: Permission denied"), tmp_path)
    assert not is_for_want_of_room(lmdb.Error(f"mdb_txn_commit: {os.strerror(errno.EIO)}"), tmp_path / "absent")
