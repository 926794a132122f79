"""What a start brings back: everything that was answered, from whatever a crash has left."""

import shutil
import subprocess
import sys
from os import fdatasync
from pathlib import Path

import pytest

from eventflowdb.errors import StartRefused, StoreFull
from eventflowdb.limits import (
    CHECKPOINT_COMMITS_MAX,
    DEFERRED_BATCHES_MAX,
    DEFERRED_BYTES_MAX,
    DEFERRED_BYTES_OVER,
)
from eventflowdb.storage.checksum import of_records
from eventflowdb.storage.journal import NAMES, Journal
from eventflowdb.storage.lmdb_store import LmdbStore

from .samples import MAP_SIZE, OTHER, STREAM, OpenDatabase, append_of, crash, read_again, read_log, records_of, stored


def test_a_process_that_is_killed_loses_nothing(database: OpenDatabase, crashed: Path) -> None:
    records = stored(database.store, append_of(STREAM, 0, "a", "b")) + stored(database.store, append_of(OTHER, 0, "c"))
    assert read_again(crash(database, crashed)) == records


class PowerFailed(Exception):
    """Nothing more happens."""


def test_a_power_loss_during_the_start_after_a_kill_leaves_a_database(
    database: OpenDatabase, crashed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed process wrote and never flushed is read by the next start, and may be gone after a power loss."""
    records = stored(database.store, append_of(STREAM, 0, "a"))
    flushed = [(database.folder / name).read_bytes() for name in NAMES]
    records += stored(database.store, append_of(STREAM, 1, "b"))
    crash(database, crashed)
    [(name, content)] = [
        pair for pair in zip(NAMES, flushed, strict=True) if (crashed / pair[0]).read_bytes() != pair[1]
    ]
    flushes: list[str] = []

    def flush(descriptor: int) -> None:
        flushes.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fdatasync(descriptor)

    def fail(journal: Journal, *, is_closed: bool = False) -> None:
        raise PowerFailed

    with monkeypatch.context() as patches:
        patches.setattr("os.fdatasync", flush)
        patches.setattr(Journal, "complete", fail)
        with pytest.raises(PowerFailed):
            LmdbStore.open(crashed, map_size=MAP_SIZE)
    if name not in flushes:
        (crashed / name).write_bytes(content)
    assert read_again(crashed) in (records, records[:1])


def test_what_no_read_saw_yet_is_there_after_a_crash(database: OpenDatabase, crashed: Path) -> None:
    store = database.store
    (outcome,) = store.append_batch([append_of(STREAM, 0, "a")], may_defer=True)
    records = records_of(outcome)
    assert store.has_deferred
    assert read_log(store) == []
    assert read_again(crash(database, crashed)) == records
    store.commit_deferred()
    assert read_log(store) == records


def test_what_is_made_again_is_in_the_checksum(database: OpenDatabase, crashed: Path) -> None:
    """The journal has that of before each batch, and the events."""
    on_the_disk = (database.folder / "data.mdb").read_bytes()
    for version in range(0, 6, 2):
        database.store.append_batch([append_of(STREAM, version, *"ab"), append_of(OTHER, version // 2, "c")])
    again = LmdbStore.open(crash(database, crashed, data_file=on_the_disk), map_size=MAP_SIZE)
    assert again.event_count() == 9
    assert again.head() == database.store.head()
    assert again.head().checksum == of_records(read_log(again))
    again.close()


def test_a_data_file_as_of_the_last_checkpoint_is_enough(database: OpenDatabase, crashed: Path) -> None:
    first = stored(database.store, append_of(STREAM, 0, *"ab"))
    database.reopen()
    on_the_disk = (database.folder / "data.mdb").read_bytes()
    later = [record for n in range(30) for record in stored(database.store, append_of(STREAM, 2 + n, "x" * 3000))]
    assert read_again(crash(database, crashed, data_file=on_the_disk)) == first + later


def test_any_mixture_of_pages_written_since_the_last_checkpoint_will_do(database: OpenDatabase, crashed: Path) -> None:
    records = stored(database.store, append_of(STREAM, 0, *"ab"))
    database.reopen()
    before = (database.folder / "data.mdb").read_bytes()
    for n in range(30):
        records += stored(database.store, append_of(STREAM, 2 + n, "x" * 3000))
    after = (database.folder / "data.mdb").read_bytes()
    before = before.ljust(len(after), b"\0")
    pages = range(0, len(after), 4096)
    mixed = b"".join((after if at // 4096 % 3 else before)[at : at + 4096] for at in pages)
    assert read_again(crash(database, crashed, data_file=mixed)) == records


def test_deferred_batches_build_on_one_another_and_become_visible_together(database: OpenDatabase) -> None:
    store = database.store
    for version in range(5):
        (outcome,) = store.append_batch([append_of(STREAM, version, "a")], may_defer=True)
        assert isinstance(outcome, list)
    (refusal,) = store.append_batch([append_of(STREAM, 2, "late")], may_defer=True)
    assert "holds 5 events" in str(refusal)
    assert store.event_count() == 0
    stored(store, append_of(STREAM, 5, "seen at once"))
    assert store.event_count() == 6
    assert not store.has_deferred


def test_only_so_many_batches_are_deferred(database: OpenDatabase) -> None:
    store = database.store
    for version in range(DEFERRED_BATCHES_MAX):
        assert not store.has_much_deferred
        store.append_batch([append_of(STREAM, version, "a")], may_defer=True)
    assert store.has_much_deferred, "to be seen as soon as it is answered"
    assert store.event_count() == 0
    store.append_batch([append_of(STREAM, DEFERRED_BATCHES_MAX, "a")], may_defer=True)
    assert not store.has_deferred
    assert not store.has_much_deferred
    assert store.event_count() == DEFERRED_BATCHES_MAX + 1


def test_only_so_many_bytes_are_deferred(database: OpenDatabase) -> None:
    store = database.store
    store.append_batch([append_of(STREAM, 0, "a" * DEFERRED_BYTES_MAX)], may_defer=True)
    assert store.has_much_deferred
    assert store.event_count() == 0
    store.append_batch([append_of(STREAM, 1, "a" * DEFERRED_BYTES_OVER)], may_defer=True)
    assert not store.has_deferred
    assert store.event_count() == 2


def test_a_batch_that_does_not_fit_takes_nothing_of_what_was_deferred(database: OpenDatabase) -> None:
    store = database.reopen(map_size=16 << 20)
    store.append_batch([append_of(STREAM, 0, "a")], may_defer=True)
    assert store.has_deferred
    with pytest.raises(StoreFull):
        store.append_batch([append_of(OTHER, 0, *["x" * 1_000_000] * 20)], may_defer=True)
    assert [b'"data":"a"' in record for record in read_log(store)] == [True]
    stored(store, append_of(STREAM, 1, "b"))


def test_after_many_commits_the_journal_begins_anew(database: OpenDatabase) -> None:
    generations = set()
    for version in range(2 * CHECKPOINT_COMMITS_MAX + 10):
        stored(database.store, append_of(STREAM, version, "a"))
        if version % 100 == 0 or version > 2 * CHECKPOINT_COMMITS_MAX:
            journal = Journal(database.folder)
            assert journal.base is not None
            generations.add(journal.base.generation)
            journal.close()
    assert len(generations) == 3


def test_a_database_closed_in_order_needs_no_journal(database: OpenDatabase, crashed: Path) -> None:
    records = stored(database.store, append_of(STREAM, 0, "a"))
    database.reopen()
    database.store.close()
    crashed.mkdir()
    shutil.copy(database.folder / "data.mdb", crashed / "data.mdb")
    assert read_again(crashed) == records
    database.reopen()


def test_a_data_file_of_an_older_backup_beside_the_journal_is_refused(database: OpenDatabase, crashed: Path) -> None:
    database.store.close()
    older = (database.folder / "data.mdb").read_bytes()
    store = database.reopen()
    for version in range(5):
        stored(store, append_of(STREAM, version, "a"))
    store = database.reopen()
    stored(store, append_of(STREAM, 5, "a"))
    folder = crash(database, crashed, data_file=older)
    with pytest.raises(StartRefused, match="older than its journal"):
        LmdbStore.open(folder, map_size=MAP_SIZE)
    assert (folder / "data.mdb").read_bytes() == older


def test_a_damaged_journal_is_refused_in_words(database: OpenDatabase, crashed: Path) -> None:
    for version in range(2):
        stored(database.store, append_of(STREAM, version, "a"))
    folder = crash(database, crashed)
    for name in NAMES:
        path = folder / name
        content = bytearray(path.read_bytes())
        at = content.find(b"EFJR")
        if at >= 0:
            content[at + 60] ^= 1
            path.write_bytes(content)
    with pytest.raises(StartRefused, match=r"journal-.* is damaged at byte .*restore from a backup"):
        LmdbStore.open(folder, map_size=MAP_SIZE)


READING = """
import sys, lmdb
env = lmdb.open(sys.argv[1], readonly=True, max_dbs=16, map_size=1 << 30, lib_version=0)
with env.begin() as txn:
    print("reads", flush=True)
    sys.stdin.read()
"""


def test_a_state_is_not_taken_from_under_those_who_read(database: OpenDatabase, crashed: Path) -> None:
    records = stored(database.store, append_of(STREAM, 0, "a"))
    folder = crash(database, crashed)
    (folder / "lock.mdb").touch()
    with subprocess.Popen(
        [sys.executable, "-c", READING, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reads\n"
        assert read_again(folder) == records
        assert reader.stdin is not None
        reader.stdin.close()
        assert reader.wait() == 0


def test_one_process_does_not_open_a_database_twice(database: OpenDatabase) -> None:
    with pytest.raises(StartRefused, match="open in this process already"):
        LmdbStore.open(database.folder, map_size=MAP_SIZE)
    stored(database.store, append_of(STREAM, 0, "a"))
