"""What a batch changes stands in the journal first, where it fits for certain; what cannot be made stands nowhere."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import lmdb
import pytest

from eventflowdb.errors import StorageFailed, StoreFull
from eventflowdb.limits import CHECKPOINT_COMMITS_MAX, CHECKPOINT_HURRY_BYTES
from eventflowdb.storage.changes import Changes
from eventflowdb.storage.checkpoints import Checkpoints
from eventflowdb.storage.journal import Journal
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.room import certain_map_room
from eventflowdb.storage.verify import verify

from .samples import OTHER, STREAM, OpenDatabase, append_of, read_log, stored

KIB = 1024


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to journal and transaction, in order."""
    taken: list[str] = []
    for owner, name in ((Journal, "write"), (Journal, "begin_flush"), (Changes, "complete"), (Journal, "flush")):
        _record(monkeypatch, owner, name, taken)
    return taken


def _record(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, taken: list[str]) -> None:
    original = getattr(owner, name)

    def recorded(self: object, *arguments: object) -> object:
        taken.append(name)
        return original(self, *arguments)

    monkeypatch.setattr(owner, name, recorded)


def test_the_disk_begins_with_the_record_before_the_changes_are_made(database: OpenDatabase, steps: list[str]) -> None:
    database.reopen(map_size=1 << 30)
    steps.clear()
    stored(database.store, append_of(STREAM, 0, "a"))
    assert steps == ["write", "begin_flush", "complete", "flush"]


def test_where_somebody_waits_for_this_thread_the_disk_comes_last(database: OpenDatabase, steps: list[str]) -> None:
    """The reactor's thread goes on when all is staged, and must not stand back for what the disk does."""
    database.store.append_batch([append_of(STREAM, 0, "a")], lambda: steps.append("staged"))
    assert steps == ["complete", "staged", "write", "flush"]


def test_changes_that_may_not_fit_are_made_before_the_journal_has_them(
    database: OpenDatabase, steps: list[str]
) -> None:
    """Else a crash could leave a record that no start has room for, of an append that was refused."""
    database.reopen(map_size=256 * KIB)
    steps.clear()
    with pytest.raises(StoreFull):
        database.store.append_batch([append_of(STREAM, 0, "a" * 300 * KIB)])
    assert set(steps) == {"complete"}
    stored(database.store, append_of(STREAM, 0, "a" * 50 * KIB))
    assert steps[-3:] == ["complete", "write", "flush"]


def test_a_batch_that_changes_nothing_is_staged_too(database: OpenDatabase) -> None:
    staged: list[str] = []
    database.store.append_batch([append_of(STREAM, 7, "a")], lambda: staged.append("staged"))
    assert staged == ["staged"]


def test_room_is_what_is_left_beside_the_batches_that_no_read_sees(database: OpenDatabase, steps: list[str]) -> None:
    store = database.reopen(map_size=6144 * KIB)
    room = certain_map_room(store.environment.env)
    steps.clear()
    store.append_batch([append_of(STREAM, 0, "a" * (room * 6 // 10))], may_defer=True)
    assert steps == ["write", "begin_flush", "complete", "flush"]
    assert store.has_deferred
    steps.clear()
    store.append_batch([append_of(STREAM, 1, "a" * (room * 6 // 10))], may_defer=True)
    assert steps == ["complete", "write", "flush"]


def test_where_the_disk_cannot_be_told_to_begin_appends_go_on(
    database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    records = stored(database.store, append_of(STREAM, 0, "a"))
    assert read_log(database.reopen()) == records


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "failed"), MemoryError()])
def test_a_checkpoint_that_ends_in_a_fault_is_the_end_of_appends(
    database: OpenDatabase, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Else the next one would take the place of the one that a start needs."""
    checkpoints: list[Callable[[], None]] = []
    store = database.reopen(elsewhere=checkpoints.append)

    def fail(of: Checkpoints, is_hurried: Callable[[], bool]) -> None:
        raise fault

    commit_until_due(store)
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "write_back", fail)
        checkpoints[0]()
    with pytest.raises(StorageFailed):
        store.append_batch([append_of(OTHER, 0, "b")])
    assert len(read_log(database.reopen())) == CHECKPOINT_COMMITS_MAX


@pytest.mark.parametrize("is_deferred", [False, True], ids=["alone", "behind one that no read sees"])
@pytest.mark.parametrize(("failure", "refusal"), [(lmdb.MapFullError, StoreFull), (lmdb.Error, StorageFailed)])
def test_a_batch_that_could_not_be_made_is_in_the_journal_no_more(
    database: OpenDatabase,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    is_deferred: bool,
    failure: type[lmdb.Error],
    refusal: type[Exception],
) -> None:
    store = database.store
    records = stored(store, append_of(STREAM, 0, "a"))
    if is_deferred:
        (outcome,) = store.append_batch([append_of(STREAM, 1, "b")], may_defer=True)
        assert isinstance(outcome, list)
        records += outcome
        assert store.has_deferred

    def fail(changes: Changes) -> None:
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(Changes, "complete", fail)
        with pytest.raises(refusal):
            store.append_batch([append_of(OTHER, 0, "c")])
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("data.mdb", "journal-0", "journal-1"):
        shutil.copy(database.folder / name, crashed / name)
    again = LmdbStore.open(crashed, map_size=1 << 30)
    assert read_log(again) == records
    assert verify(again.environment).first_problem is None
    again.close()
    if refusal is StoreFull:
        stored(store, append_of(OTHER, 0, "d"))


def commit_until_due(store: LmdbStore) -> None:
    """Commit as often as it takes for the data file to be flushed."""
    for version in range(CHECKPOINT_COMMITS_MAX):
        stored(store, append_of(STREAM, version, "a"))


def test_a_checkpoint_is_written_back_before_it_is_flushed(
    database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    checkpoints: list[Callable[[], None]] = []
    store = database.reopen(elsewhere=checkpoints.append)
    write_back, finish = Checkpoints.write_back, Checkpoints.finish

    def written_back(of: Checkpoints, is_hurried: Callable[[], bool]) -> None:
        seen.append(("write back", store.writing.is_flushing()))
        write_back(of, is_hurried)

    def finished(of: Checkpoints, *, is_closed: bool = False) -> None:
        seen.append(("finish", store.writing.is_flushing()))
        finish(of, is_closed=is_closed)

    monkeypatch.setattr(Checkpoints, "write_back", written_back)
    monkeypatch.setattr(Checkpoints, "finish", finished)
    commit_until_due(store)
    (checkpoint,) = checkpoints
    checkpoint()
    assert seen == [("write back", False), ("finish", True)]
    assert not store.writing.is_flushing()


def append_much(database: OpenDatabase) -> None:
    """Who does that wants it to be over."""
    stored(database.store, append_of(OTHER, 0, "a" * CHECKPOINT_HURRY_BYTES))


def close(database: OpenDatabase) -> None:
    """The end waits for it."""
    database.reopen()
    assert len(read_log(database.store)) == CHECKPOINT_COMMITS_MAX


@pytest.mark.parametrize("hurry", [append_much, close])
def test_a_checkpoint_is_hurried(
    database: OpenDatabase, monkeypatch: pytest.MonkeyPatch, hurry: Callable[[OpenDatabase], None]
) -> None:
    asked: Queue[Callable[[], bool]] = Queue()
    answers: Queue[bool] = Queue()

    def wait(of: Checkpoints, is_hurried: Callable[[], bool]) -> None:
        asked.put(is_hurried)
        until = time.monotonic() + 10
        while not is_hurried() and time.monotonic() < until:
            time.sleep(0.001)
        answers.put(is_hurried())

    monkeypatch.setattr(Checkpoints, "write_back", wait)
    with ThreadPoolExecutor(1) as pool:
        store = database.reopen(elsewhere=pool.submit)
        commit_until_due(store)
        is_hurried = asked.get(timeout=10)
        assert not is_hurried()
        hurry(database)
        assert answers.get(timeout=10)
