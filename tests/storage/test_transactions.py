"""What a batch changes stands in the journal first, where it fits for certain; what cannot be made stands nowhere."""

import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any

import lmdb
import pytest

from eventflowdb.append import Append
from eventflowdb.errors import StorageFailed, StoreFull
from eventflowdb.limits import CHECKPOINT_COMMITS_MAX, CHECKPOINT_HURRY_BYTES, FLUSH_BESIDE_BYTES_MIN
from eventflowdb.storage.checkpoints import Checkpoints
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.room import certain_map_room
from eventflowdb.storage.transactions import OnStaged

from .samples import OTHER, STREAM, OpenDatabase, append_of, crash, read_again, read_log, records_of, stored

KIB = 1024


class Watched:
    """LMDB's environment. Its write transactions tell when something is put, or fail to put it."""

    def __init__(self, env: Any, taken: list[str]) -> None:
        self.failure: lmdb.Error | None = None
        self.on_put: Callable[[], None] = lambda: None
        self._env = env
        self._taken = taken

    def begin(self, *, write: bool = False) -> Any:
        """Begin a transaction."""
        txn = self._env.begin(write=write)
        return WatchedTransaction(self, txn) if write else txn

    def putting(self) -> None:
        """Something is about to be put."""
        take(self._taken, "put")
        self.on_put()
        if self.failure is not None:
            raise self.failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)


class WatchedTransaction:
    """One of its write transactions."""

    def __init__(self, watched: Watched, txn: Any) -> None:
        self._watched = watched
        self._txn = txn

    def put(self, *arguments: Any, **options: Any) -> Any:
        """Put a value."""
        self._watched.putting()
        return self._txn.put(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)


def take(taken: list[str], step: str) -> None:
    """A step is taken; several of a kind are one."""
    if taken[-1:] != [step]:
        taken.append(step)


class Steps:
    """What is done to the journal and to write transactions, in order, while it is watched."""

    def __init__(self, patches: pytest.MonkeyPatch) -> None:
        self.taken: list[str] = []
        for name, step in (("pwrite", "write"), ("posix_fadvise", "begin"), ("fdatasync", "flush")):
            patches.setattr(os, name, self._watched(getattr(os, name), step))

    def watch(self, store: LmdbStore) -> Watched:
        """Begin to watch a store."""
        watched = store.environment.env = Watched(store.environment.env, self.taken)
        self.taken.clear()
        return watched

    def _watched(self, call: Callable[..., object], step: str) -> Callable[..., object]:
        def watched(*arguments: object) -> object:
            take(self.taken, step)
            return call(*arguments)

        return watched


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """What is done, in order."""
    return Steps(monkeypatch)


def test_the_disk_begins_with_the_record_before_the_changes_are_made(database: OpenDatabase, steps: Steps) -> None:
    steps.watch(database.store)
    stored(database.store, append_of(STREAM, 0, "a"))
    assert steps.taken == ["write", "begin", "put", "flush"]


def test_where_somebody_waits_for_this_thread_the_disk_comes_last(database: OpenDatabase, steps: Steps) -> None:
    """The reactor's thread goes on when all is staged, and must not stand back for what the disk does."""
    steps.watch(database.store)
    database.store.append_batch([append_of(STREAM, 0, "a")], lambda: steps.taken.append("staged"))
    assert steps.taken == ["put", "staged", "write", "flush"]


LARGE = append_of(OTHER, 0, "a" * FLUSH_BESIDE_BYTES_MIN)
"""So large that the disk has it while its changes are made."""


def test_the_disk_has_a_large_batch_while_its_changes_are_made(
    database: OpenDatabase, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_flushing, is_staged = Event(), Event()
    flush = os.fdatasync

    def flush_until_staged(descriptor: int) -> None:
        is_flushing.set()
        assert is_staged.wait(10)
        flush(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", flush_until_staged)
        steps.watch(database.store).on_put = lambda: take(steps.taken, "flushing" if is_flushing.wait(10) else "")

        def staged() -> None:
            take(steps.taken, "staged")
            is_staged.set()

        (outcome,) = database.store.append_batch([LARGE], staged)
    assert steps.taken[0] == "write"
    assert steps.taken[-3:] == ["flushing", "staged", "flush"]
    assert read_log(database.reopen()) == records_of(outcome)


def test_where_no_thread_is_to_be_had_a_large_batch_is_flushed_on_this_one(
    database: OpenDatabase, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    steps.watch(database.store)
    monkeypatch.setattr(Thread, "start", refuse)
    (outcome,) = database.store.append_batch([LARGE], lambda: take(steps.taken, "staged"))
    assert steps.taken == ["write", "put", "staged", "flush"]
    assert read_log(database.store) == records_of(outcome)


def test_a_large_batch_that_nobody_is_told_of_is_in_the_journal_no_more(database: OpenDatabase, crashed: Path) -> None:
    def fail() -> None:
        raise MemoryError

    store = database.store
    records = stored(store, append_of(STREAM, 0, "a"))
    with pytest.raises(MemoryError):
        store.append_batch([LARGE], fail)
    records += stored(store, append_of(STREAM, 1, "b"))
    assert read_again(crash(database, crashed)) == records
    assert read_log(store) == records


def test_a_large_batch_that_may_not_fit_is_flushed_when_it_is_known_to(database: OpenDatabase, steps: Steps) -> None:
    store = database.reopen(map_size=512 * KIB)
    steps.watch(store)
    store.append_batch([LARGE], lambda: steps.taken.append("staged"))
    assert steps.taken == ["put", "staged", "write", "flush"]


@pytest.mark.parametrize("put_failure", [None, lmdb.MapFullError("it cannot be put")], ids=["made", "not made either"])
@pytest.mark.parametrize("failure", [OSError(errno.EIO, "failed"), MemoryError()])
def test_a_large_batch_that_cannot_be_flushed_is_the_end_of_appends(
    database: OpenDatabase,
    steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    put_failure: lmdb.Error | None,
) -> None:
    def fail(descriptor: int) -> None:
        raise failure

    watched = steps.watch(database.store)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        watched.failure = put_failure
        with pytest.raises(StorageFailed):
            database.store.append_batch([LARGE], lambda: None)
    watched.failure = None
    with pytest.raises(StorageFailed):
        database.store.append_batch([append_of(STREAM, 0, "a")])
    assert read_log(database.store) == []


def test_changes_that_may_not_fit_are_made_before_the_journal_has_them(database: OpenDatabase, steps: Steps) -> None:
    """Else a crash could leave a record that no start has room for, of an append that was refused."""
    store = database.reopen(map_size=256 * KIB)
    steps.watch(store)
    with pytest.raises(StoreFull):
        store.append_batch([append_of(STREAM, 0, "a" * 300 * KIB)])
    assert steps.taken == ["put"]
    steps.taken.clear()
    stored(store, append_of(STREAM, 0, "a" * 50 * KIB))
    assert steps.taken == ["put", "write", "flush"]


def test_a_batch_that_changes_nothing_is_staged_too(database: OpenDatabase) -> None:
    staged: list[str] = []
    database.store.append_batch([append_of(STREAM, 7, "a")], lambda: staged.append("staged"))
    assert staged == ["staged"]


def test_room_is_what_is_left_beside_the_batches_that_no_read_sees(database: OpenDatabase, steps: Steps) -> None:
    store = database.reopen(map_size=6144 * KIB)
    data = "a" * (certain_map_room(store.environment.env) * 6 // 10)
    steps.watch(store)
    store.append_batch([append_of(STREAM, 0, data)], may_defer=True)
    assert steps.taken == ["write", "begin", "put", "flush"]
    assert store.has_deferred
    steps.taken.clear()
    store.append_batch([append_of(STREAM, 1, data)], may_defer=True)
    assert steps.taken == ["put", "write", "flush"]
    store.commit_deferred()


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


@pytest.mark.parametrize(
    ("append", "on_staged", "first_steps"),
    [(append_of(OTHER, 0, "d"), None, {"write", "begin", "put"}), (LARGE, lambda: None, {"write", "flush", "put"})],
    ids=["small", "large"],
)
@pytest.mark.parametrize("is_deferred", [False, True], ids=["alone", "behind one that no read sees"])
@pytest.mark.parametrize(("failure", "refusal"), [(lmdb.MapFullError, StoreFull), (lmdb.Error, StorageFailed)])
def test_a_batch_that_could_not_be_made_is_in_the_journal_no_more(
    database: OpenDatabase,
    steps: Steps,
    crashed: Path,
    append: Append,
    on_staged: OnStaged,
    first_steps: set[str],
    is_deferred: bool,
    failure: type[lmdb.Error],
    refusal: type[Exception],
) -> None:
    store = database.store
    watched = steps.watch(store)
    records = stored(store, append_of(STREAM, 0, "a"))
    if is_deferred:
        (outcome,) = store.append_batch([append_of(STREAM, 1, "b")], may_defer=True)
        assert isinstance(outcome, list)
        records += outcome
        assert store.has_deferred
    steps.taken.clear()
    watched.failure = failure("it cannot be put")
    with pytest.raises(refusal):
        store.append_batch([append], on_staged)
    assert steps.taken[0] == "write"
    assert set(steps.taken[:3]) == first_steps
    watched.failure = None
    assert read_again(crash(database, crashed)) == records
    if refusal is StoreFull:
        stored(store, append_of(OTHER, 0, "e"))


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


def test_what_a_thread_left_open_when_the_storage_failed_hinders_no_close(
    database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints: list[Callable[[], None]] = []
    store = database.reopen(elsewhere=checkpoints.append)

    def fail(of: Checkpoints, is_hurried: Callable[[], bool]) -> None:
        raise OSError(errno.EIO, "failed")

    monkeypatch.setattr(Checkpoints, "write_back", fail)
    with ThreadPoolExecutor(1) as committing, ThreadPoolExecutor(1) as closing:
        committing.submit(commit_until_due, store).result()
        append = append_of(STREAM, CHECKPOINT_COMMITS_MAX, "a")
        committing.submit(store.append_batch, [append], may_defer=True).result()
        assert store.has_deferred
        checkpoints[0]()
        committing.submit(store.writing.let_go).result()
        closing.submit(store.close).result(timeout=10)
    assert len(read_log(database.reopen())) == CHECKPOINT_COMMITS_MAX + 1


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
