"""Opening a database: made where there is none, opened where it is ours, refused in one line where it is not."""

import gc
import os
import stat
from pathlib import Path

import lmdb
import pytest

from eventflowdb.errors import StartRefused
from eventflowdb.storage import layout
from eventflowdb.storage.environment import DATA_FILE, NEW_FILE, Environment
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.verify import verify

from .samples import STREAM, OpenDatabase, append_of, read_log, stored

MAP_SIZE = 1 << 20
FILES = ["data.mdb", "journal-0", "journal-1", "lock.mdb"]


def require_refused(folder: Path, *words: str) -> None:
    """Opening is refused in one line that holds the words, and leaves the folder free for another try."""
    for _ in range(2):
        with pytest.raises(StartRefused) as caught:
            LmdbStore.open(folder, map_size=MAP_SIZE)
        text = str(caught.value)
        assert len(text.splitlines()) == 1
        assert text.startswith(f"DATA {folder} ")
        assert all(word in text for word in words), text


def set_format(folder: Path, stored: bytes | None) -> None:
    """Make a database and rewrite its format number; None takes it away."""
    store = LmdbStore.open(folder, map_size=MAP_SIZE)
    with store.environment.env.begin(write=True) as txn:
        if stored is None:
            txn.delete(layout.FORMAT_KEY, db=store.environment.meta)
        else:
            txn.put(layout.FORMAT_KEY, stored, db=store.environment.meta)
    store.close()


def test_a_new_database_is_empty_sound_and_its_owners_alone(tmp_path: Path) -> None:
    store = LmdbStore.open(tmp_path / "new", map_size=MAP_SIZE)
    assert (store.event_count(), store.stream_count(), store.head()) == (0, 0, layout.EMPTY_HEAD)
    assert verify(store.environment).first_problem is None
    store.close()
    modes = {name: stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) for name in os.listdir(tmp_path / "new")}
    assert modes == dict.fromkeys(FILES, 0o600)


def open_files(folder: Path) -> list[str]:
    """What this process has open in a folder."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return [name for link in links if os.path.lexists(link) and (name := os.readlink(link)).startswith(str(folder))]


def test_a_database_that_was_closed_has_no_file_open(tmp_path: Path) -> None:
    store = LmdbStore.open(tmp_path, map_size=MAP_SIZE)
    stored(store, append_of(STREAM, 0, "a"))
    assert open_files(tmp_path)
    store.close()
    del store
    gc.collect()
    assert open_files(tmp_path) == []


def test_a_database_whose_data_file_is_gone_meanwhile_is_refused_in_words(tmp_path: Path) -> None:
    class Gone:
        """An environment of LMDB whose file was taken away as soon as it was open."""

        def path(self) -> str:
            return str(tmp_path)

    with pytest.raises(FileNotFoundError):
        Environment(Gone())
    gc.collect()


@pytest.mark.parametrize("left_over", [b"", bytes(4096), b"half a page"], ids=["empty", "zeros", "short"])
def test_what_a_power_loss_left_of_a_database_in_the_making_is_made_anew(tmp_path: Path, left_over: bytes) -> None:
    for name in (NEW_FILE, f"{NEW_FILE}-lock"):
        (tmp_path / name).write_bytes(left_over)
    store = LmdbStore.open(tmp_path, map_size=MAP_SIZE)
    assert verify(store.environment).first_problem is None
    store.close()
    assert sorted(os.listdir(tmp_path)) == FILES


def test_a_database_that_is_opened_again_holds_what_it_held(database: OpenDatabase) -> None:
    records = stored(database.store, append_of(STREAM, 0, "a", "b"))
    with database.store.environment.env.begin() as txn:
        database_id = txn.get(layout.DATABASE_ID_KEY, db=database.store.environment.meta)
    assert read_log(database.reopen()) == records
    with database.store.environment.env.begin() as txn:
        assert txn.get(layout.DATABASE_ID_KEY, db=database.store.environment.meta) == database_id


@pytest.mark.parametrize("number", [0, 2, 2**32 - 1])
def test_a_database_of_another_format_is_refused_with_both_numbers(tmp_path: Path, number: int) -> None:
    set_format(tmp_path, layout.pack_format(number))
    require_refused(
        tmp_path, f"is of format {number}", "knows format 1", "use the version of EventflowDB that wrote it"
    )


def test_a_database_without_a_format_is_refused(tmp_path: Path) -> None:
    set_format(tmp_path, None)
    require_refused(tmp_path, "not EventflowDB's")


def test_a_refused_database_is_left_as_it_is(tmp_path: Path) -> None:
    set_format(tmp_path, layout.pack_format(2))
    before = (tmp_path / DATA_FILE).read_bytes()
    require_refused(tmp_path)
    assert (tmp_path / DATA_FILE).read_bytes() == before


@pytest.mark.parametrize("names", [[b"theirs"], [layout.META], [layout.LOG, layout.STREAMS]], ids=str)
def test_an_lmdb_database_of_somebody_else_is_refused(tmp_path: Path, names: list[bytes]) -> None:
    env = lmdb.open(os.fspath(tmp_path), max_dbs=4, map_size=MAP_SIZE)
    with env.begin(write=True) as txn:
        for name in names:
            txn.put(b"key", b"value", db=env.open_db(name, txn))
    env.close()
    require_refused(tmp_path, "holds an LMDB database that is not EventflowDB's")


@pytest.mark.parametrize("key", [b"key", layout.META, layout.LOG])
def test_an_lmdb_database_of_plain_keys_is_refused(tmp_path: Path, key: bytes) -> None:
    env = lmdb.open(os.fspath(tmp_path), map_size=MAP_SIZE)
    with env.begin(write=True) as txn:
        txn.put(key, b"value")
    env.close()
    require_refused(tmp_path)


def test_a_database_that_lacks_an_index_is_refused(tmp_path: Path) -> None:
    store = LmdbStore.open(tmp_path, map_size=MAP_SIZE)
    with store.environment.env.begin(write=True) as txn:
        txn.drop(store.environment.streams)
    store.close()
    require_refused(tmp_path, "cannot be opened as a database: ")


@pytest.mark.parametrize(
    "content",
    [bytes(8192), b"{}", b"SQLite format 3\0" * 1024, bytes(range(256)) * 64],
    ids=["zeros", "short", "sqlite", "bytes"],
)
def test_a_data_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATA_FILE).write_bytes(content)
    require_refused(tmp_path, "cannot be opened as a database: ")
    assert (tmp_path / DATA_FILE).read_bytes() == content


def test_a_folder_in_the_place_of_the_data_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATA_FILE).mkdir()
    require_refused(tmp_path, "cannot be opened as a database: ")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    require_refused(tmp_path / "file", "cannot be opened as a database: ")


@pytest.mark.parametrize("is_made_by_lmdb", [False, True], ids=["empty file", "empty environment"])
def test_a_database_whose_making_was_cut_short_is_made_anew(tmp_path: Path, is_made_by_lmdb: bool) -> None:
    if is_made_by_lmdb:
        lmdb.open(os.fspath(tmp_path), map_size=MAP_SIZE).close()
    else:
        (tmp_path / DATA_FILE).touch()
    store = LmdbStore.open(tmp_path, map_size=MAP_SIZE)
    stored(store, append_of(STREAM, 0, "a"))
    assert verify(store.environment).first_problem is None
    store.close()


def test_a_database_is_not_opened_twice_by_one_process(database: OpenDatabase) -> None:
    with pytest.raises(StartRefused):
        LmdbStore.open(database.folder, map_size=MAP_SIZE)


def test_a_map_is_as_large_as_asked_for(tmp_path: Path) -> None:
    store = LmdbStore.open(tmp_path, map_size=1 << 40)
    assert store.environment.env.info()["map_size"] == 1 << 40
    store.close()


@pytest.mark.parametrize("map_size", [1 << 50, 1 << 62, 1 << 100], ids=["1 PiB", "4 EiB", "2^100"])
def test_a_map_is_smaller_where_the_platform_refuses_so_much(tmp_path: Path, map_size: int) -> None:
    store = LmdbStore.open(tmp_path, map_size=map_size)
    assert 1 << 30 <= store.environment.env.info()["map_size"] < map_size
    store.close()


def test_a_map_smaller_than_the_database_still_opens_it(database: OpenDatabase) -> None:
    records = stored(database.store, append_of(STREAM, 0, "a" * 2_000_000))
    assert read_log(database.reopen(map_size=MAP_SIZE)) == records
