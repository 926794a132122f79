"""The check as a program: closing line and exit status, whatever it is given."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from eventflowdb.append import Append
from eventflowdb.events import CheckedEvent
from eventflowdb.storage import layout
from eventflowdb.storage.environment import id_text
from eventflowdb.storage.folder import DataFolder
from eventflowdb.storage.lmdb_store import LmdbStore
from tests.folders import IN_MEMORY

STREAM = "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c"
PAGE_BYTES = 4096


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a closed database of 3,000 events."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        store = open_store(Path(name))
        events = [CheckedEvent.of(type="tested", data="x" * 100)] * 3000
        store.append_batch([Append.to_stream(STREAM, 0, events, 0)])
        store.close()
        yield Path(name)


def open_store(folder: Path) -> LmdbStore:
    """The database of a folder."""
    return LmdbStore.open(folder, map_size=1 << 30)


def check(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run the program to its end."""
    command = [sys.executable, "-m", "eventflowdb.verify", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def outcome(*words: str | Path) -> tuple[int, str]:
    """Exit status and closing line; nobody must see a traceback."""
    done = check(*words)
    assert "Traceback" not in done.stderr
    (line,) = done.stdout.splitlines()
    return done.returncode, line


def last_leaf_of_log(folder: Path) -> int:
    """The page that holds the last event."""
    data = (folder / "data.mdb").read_bytes()
    with lmdb.open(os.fspath(folder), readonly=True, lock=False, max_dbs=16, lib_version=0) as env:
        log = env.open_db(layout.LOG, create=False)
        with env.begin() as txn, txn.cursor(log) as cursor:
            cursor.last()
            return data.index(cursor.key() + b"\1{") // PAGE_BYTES


def damage(folder: Path, place: int, data: bytes) -> None:
    """Write bytes into the data file."""
    with (folder / "data.mdb").open("r+b") as file:
        file.seek(place)
        file.write(data)


def test_a_database_that_was_not_closed_is_not_judged_before_a_start_has_made_it_whole(folder: Path) -> None:
    store = open_store(folder)
    store.append_batch([Append.to_stream(STREAM, 3000, [CheckedEvent.of(type="tested", data="")], 0)])
    left = folder / "left"
    left.mkdir()
    for name in ("data.mdb", "journal-0", "journal-1"):
        shutil.copy(folder / name, left / name)
    store.close()
    status, line = outcome(left)
    assert status == 2
    assert "was not closed in order; start its server once" in line
    open_store(left).close()
    assert outcome(left)[0] == 0


def test_beside_the_server_that_owns_it_a_database_is_checked_though_it_is_open(folder: Path) -> None:
    owned = DataFolder.claim(folder)
    store = open_store(folder)
    status, line = outcome(folder)
    store.close()
    owned.release()
    assert (status, line[:20]) == (0, "sound: 3,000 events ")


def test_a_damaged_journal_is_damage(folder: Path) -> None:
    for name in ("journal-0", "journal-1"):
        with (folder / name).open("r+b") as file:
            file.seek(4)
            file.write(b"damaged")
    status, line = outcome(folder)
    assert status == 1
    assert "journal-0 is damaged in block 0" in line


def test_a_sound_database_ends_it_with_0_and_what_was_checked(folder: Path) -> None:
    status, line = outcome(folder)
    assert status == 0
    assert line.startswith("sound: 3,000 events in 1 streams, ")
    store = open_store(folder)
    assert store.head().checksum.hex() in line
    store.close()


def test_progress_goes_to_stderr(folder: Path) -> None:
    lines = check(folder).stderr.splitlines()
    assert all(line.endswith(" % checked") for line in lines)


def test_a_damaged_event_ends_it_with_1_and_its_name(folder: Path) -> None:
    store = open_store(folder)
    last_id = store.head().last_id
    store.close()
    place = (folder / "data.mdb").read_bytes().index(last_id + b"\1{")
    damage(folder, place + 300, b"\0")
    assert outcome(folder) == (
        1,
        f"DAMAGED: the record of event {id_text(last_id)} does not match its checksum; restore from a backup",
    )


def test_a_page_that_kills_its_reader_is_a_finding(folder: Path) -> None:
    """Its first node is said to be far outside of the file: LMDB would read there."""
    page = last_leaf_of_log(folder)
    damage(folder, page * PAGE_BYTES + 16, b"\xff\xff" * 4)
    assert outcome(folder) == (1, f"DAMAGED: page {page} is damaged: a node stands outside it")


def test_an_overflow_page_number_outside_the_file_is_a_finding(folder: Path) -> None:
    store = open_store(folder)
    store.append_batch([Append.to_stream(STREAM, 3000, [CheckedEvent.of(type="large", data="x" * 9000)], 0)])
    last_id = store.head().last_id
    store.close()
    place = (folder / "data.mdb").read_bytes().index(last_id, 2 * PAGE_BYTES) + 16
    damage(folder, place, (1 << 25).to_bytes(8, sys.byteorder))
    status, line = outcome(folder)
    assert status == 1
    assert line.startswith("DAMAGED: an entry points to page 33554432, and there are pages up to ")


def test_a_file_that_was_cut_short_is_a_finding(folder: Path) -> None:
    os.truncate(folder / "data.mdb", (folder / "data.mdb").stat().st_size // 2)
    status, line = outcome(folder)
    assert status == 1
    assert "the file is shorter" in line


@pytest.mark.parametrize("page", [0, 1])
def test_a_damaged_meta_page_is_a_finding(folder: Path, page: int) -> None:
    damage(folder, page * PAGE_BYTES + 16, b"\0\0\0\0")
    status, line = outcome(folder)
    assert status == 1
    assert line.startswith(f"DAMAGED: page {page} is damaged: ")


def test_what_is_no_database_ends_it_with_2(tmp_path: Path) -> None:
    assert outcome(tmp_path / "nowhere") == (2, f"not checked: {tmp_path / 'nowhere'} holds no database")
    assert outcome(tmp_path) == (2, f"not checked: {tmp_path} holds no database")
    (tmp_path / "data.mdb").write_bytes(b"")
    assert outcome(tmp_path) == (2, f"not checked: {tmp_path / 'data.mdb'} is empty")
    (tmp_path / "data.mdb").write_bytes(os.urandom(3 * PAGE_BYTES))
    assert outcome(tmp_path) == (2, f"not checked: {tmp_path / 'data.mdb'} is not a data file of LMDB 0.9")


def test_another_lmdb_database_ends_it_with_2(tmp_path: Path) -> None:
    with lmdb.open(os.fspath(tmp_path), max_dbs=2, lib_version=0) as env, env.begin(write=True) as txn:
        txn.put(b"a", b"b", db=env.open_db(b"other", txn))
    assert outcome(tmp_path) == (2, "not checked: the file is an LMDB database, and not one of EventflowDB")


def test_a_later_format_ends_it_with_2(folder: Path) -> None:
    store = open_store(folder)
    with store.environment.env.begin(write=True) as txn:
        txn.put(layout.FORMAT_KEY, layout.pack_format(7), db=store.environment.meta)
    store.close()
    assert outcome(folder) == (2, "not checked: the database is of format 7, and this version knows format 1")


def test_a_folder_that_must_not_be_read_ends_it_with_2(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (folder / "data.mdb").chmod(0)
    assert outcome(folder)[0] == 2


def test_it_leaves_nothing_behind(folder: Path) -> None:
    (folder / "lock.mdb").unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert outcome(folder)[0] == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_it_runs_beside_one_that_writes(folder: Path) -> None:
    owned = DataFolder.claim(folder)
    store = open_store(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "eventflowdb.verify", os.fspath(folder)], stdout=subprocess.PIPE, text=True
    )
    version = 3000
    while process.poll() is None:
        (records,) = store.append_batch([Append.to_stream(STREAM, version, [CheckedEvent.of(type="t", data="z")], 0)])
        assert isinstance(records, list)
        version += 1
    assert process.stdout is not None
    assert process.stdout.read().startswith("sound: ")
    process.stdout.close()
    store.close()
    owned.release()


def test_for_the_server_it_writes_updates_and_the_report(folder: Path) -> None:
    done = check("--lines", folder)
    updates = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [update for update in updates if "report" in update] == updates[-1:]
    report = updates[-1]["report"]
    assert report["event_count"], report["first_problem"] == (3000, None)


def test_for_the_server_it_says_why_it_cannot_check(tmp_path: Path) -> None:
    done = check("--lines", tmp_path)
    assert json.loads(done.stdout) == {"refusal": f"{tmp_path} holds no database"}


def test_it_ends_when_it_is_told_to_and_leaves_no_process(folder: Path) -> None:
    store = open_store(folder)
    for version in range(3000, 60_000, 3000):
        store.append_batch([Append.to_stream(STREAM, version, [CheckedEvent.of(type="t", data="z")] * 3000, 0)])
    store.close()
    process = subprocess.Popen(
        [sys.executable, "-m", "eventflowdb.verify", "--lines", os.fspath(folder)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    # Its two processes hold the other end of the pipe, too: that it is closed tells that they are gone.
    process.stdout.read()
    assert process.wait(60) == 2
    process.stdout.close()
