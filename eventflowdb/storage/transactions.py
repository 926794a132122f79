"""Write transactions: batches of appends, each on the disk before it is answered and before any read sees it.

Theory of operation. A batch is staged in LMDB's write transaction: everything it depends on is read there. Then the
journal gets what it changes, with one flush, and that makes it durable. Then the transaction is committed, without a
flush, and reads see it. What a batch changes is written into the transaction before the journal gets it; or afterwards,
where there is room for certain: while the disk begins with it if nobody waits for this thread, and while another thread
has it flushed if it is large.

While nobody reads, that last step may wait: the transaction stays open for the batches that follow, and all of them
become visible at once. That spares most of a commit's work, for the journal needs none of it. What waits so is on the
disk like everything else, and is made again should the transaction be lost. LMDB binds a write transaction to its
thread: while one is open, all of this runs there.
"""

import contextlib
import errno
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event, get_ident
from typing import Any

import lmdb

from eventflowdb.errors import StorageFailed, StoreFull
from eventflowdb.limits import (
    CHECKPOINT_HURRY_BYTES,
    CHECKPOINT_JOURNAL_BYTES_MAX,
    DEFERRED_BATCHES_MAX,
    DEFERRED_BYTES_MAX,
    DEFERRED_BYTES_OVER,
    DEFERRED_RESERVE_BYTES,
    FLUSH_BESIDE_BYTES_MIN,
)
from eventflowdb.storage.batch import Batch, Outcome, Write
from eventflowdb.storage.changes import repeat
from eventflowdb.storage.checkpoints import Checkpoints
from eventflowdb.storage.environment import DATA_FILE
from eventflowdb.storage.room import FreeSpace, Reserve, certain_map_room, is_for_want_of_room, is_full
from eventflowdb.storage.tip import Tip

_JOURNAL_PATIENCE = 4
"""So many times as large as when a checkpoint begins may the journal become before appends wait for its end."""


OnStaged = Callable[[], None] | None


def run_here(call: Callable[[], None]) -> None:
    """Run what might run elsewhere at once."""
    call()


def _await_flush(flush: "Future[None]") -> None:
    """Wait for a flush on another thread. OSError: nobody knows what is on the disk."""
    error = flush.exception()
    if error is not None:
        raise error if isinstance(error, OSError) else OSError(errno.EIO, f"a flush failed: {error!r}")


class WriteTransactions:
    """Stores batches, one after the other; between those that are not deferred the thread may be another.

    min_free_bytes: appends are refused where the disk has less.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        path: Path,
        clock_ns: Callable[[], int],
        min_free_bytes: int,
        elsewhere: Callable[[Callable[[], None]], object],
    ) -> None:
        self._checkpoints = checkpoints
        self.environment = checkpoints.environment
        self._path = path
        self._clock_ns = clock_ns
        self.min_free_bytes = min_free_bytes
        self._free_space = FreeSpace(path)
        self._elsewhere = elsewhere
        self._tip: Tip | None = None
        self._txn: Any = None
        self._commit = 0
        """The number of the open transaction."""
        self._thread_id = 0
        """Where it is open. (Of `_thread` mypyc would make `__thread`, which is a word of C.)"""
        self._reserve = Reserve(self.environment.env, path / DATA_FILE, DEFERRED_RESERVE_BYTES)
        self._has_reserve = False
        """Whether the disk has room for what is deferred in it, whatever else becomes of the disk."""
        self._certain_room = 0
        """So many bytes of changes fit into the open transaction for certain."""
        self._deferred: list[bytes] = []
        """The changes of batches that are on the disk, but which no read sees."""
        self._deferred_bytes = 0
        self._failure: StorageFailed | None = None
        self._flusher = ThreadPoolExecutor(1, "flush")
        """Flushes the journal beside this thread, which is faster where much is to be done meanwhile."""
        self._has_finished = Event()
        """No checkpoint is under way."""
        self._has_finished.set()
        self._is_flushing = False
        self._is_awaited = False
        """Somebody waits for the end of the checkpoint."""

    @property
    def has_deferred(self) -> bool:
        """Whether batches are on disk that no read sees yet."""
        return bool(self._deferred)

    @property
    def has_much_deferred(self) -> bool:
        """Whether it is so much that reads should see it as soon as it is answered."""
        return self._deferred_bytes >= DEFERRED_BYTES_MAX or len(self._deferred) >= DEFERRED_BATCHES_MAX

    def is_flushing(self) -> bool:
        """Whether the data file is being flushed, or is about to be: other flushes may have to wait for the disk."""
        return self._is_flushing or (self._is_hurried() and not self._has_finished.is_set())

    def append_batch(self, writes: Sequence[Write], on_staged: OnStaged, *, may_defer: bool) -> list[Outcome]:
        """Store a batch of writes; when this returns, what it stored is on disk.

        on_staged: called when only the disk is left to wait for; None where nobody waits for that, so that it matters
        less how long the disk takes to begin. may_defer: reads need not see it before `commit_deferred`, which the
        caller will see to.

        The outcome of each write, in order. StoreFull: nothing of the batch is stored. StorageFailed: the disk
        failed, what it holds is not known, and nothing must be appended until the database is opened anew.
        """
        try:
            return self._append(writes, on_staged, may_defer)
        except StoreFull:
            # A checkpoint lets LMDB use again what it has freed since the last one; then it may fit.
            if not self._checkpoint_now():
                raise
        return self._append(writes, on_staged, may_defer)

    def commit_deferred(self) -> None:
        """Let reads see everything that is on disk. StorageFailed."""
        if self._failure is not None:
            raise self._failure
        self._show()

    def let_go(self) -> None:
        """Give up what was left open on this thread when the storage failed: no other thread can, and `close` waits."""
        if self._failure is not None and self._thread_id == get_ident():
            self._let_go()

    def close(self) -> None:
        """Have everything on the disk, the data file included, and close it."""
        self._flusher.shutdown()
        self._await_checkpoint()
        # What fails now is made up for by the next start.
        with contextlib.suppress(OSError, lmdb.Error, StorageFailed):
            if self._failure is None:
                self._show()
                self._await_checkpoint()
                self._checkpoints.begin()
                self._checkpoints.finish(is_closed=True)
        self._checkpoints.close()

    def _append(self, writes: Sequence[Write], on_staged: OnStaged, may_defer: bool) -> list[Outcome]:
        if self._failure is not None:
            raise self._failure
        try:
            self._free_space.require(sum([write.size_bytes for write in writes]), self.min_free_bytes)
            outcomes = self._stage(writes, on_staged)
        except (lmdb.Error, OSError) as error:
            self._let_go()
            explained = self._explain(error)
            self._make_again()
            raise explained from error
        except BaseException:
            self._let_go()
            self._make_again()
            raise
        if not (self._deferred and may_defer and self._may_defer()):
            self._show()
        return outcomes

    def _stage(self, writes: Sequence[Write], on_staged: OnStaged) -> list[Outcome]:
        """Stage a batch, and have the journal flushed with what it changes."""
        txn = self._txn
        if txn is None:
            txn = self._begin()
        tip, self._tip = self._tip, None
        if tip is None or not (self._deferred or tip.is_seen_by(txn)):
            tip = Tip(self.environment, txn)
        batch = Batch(self.environment, txn, writes, self._clock_ns() // 1000, tip)
        outcomes = [batch.stage(write) for write in writes]
        if not batch.write():
            if on_staged is not None:
                on_staged()
            self._tip = tip
            return outcomes
        changes = batch.changes.encode()
        self._make_durable(batch, changes, on_staged)
        self._deferred.append(changes)
        self._deferred_bytes += len(changes)
        self._tip = tip
        return outcomes

    def _make_durable(self, batch: Batch, changes: bytes, on_staged: OnStaged) -> None:
        """Make the changes of a batch, and have them on the disk; in which order, says the beginning of this file."""
        is_certain = self._deferred_bytes + len(changes) <= self._certain_room
        if on_staged is not None and is_certain and len(changes) >= FLUSH_BESIDE_BYTES_MIN:
            self._write_journal(changes)
            self._flush_beside(batch, on_staged)
            return
        if on_staged is not None or not is_certain:
            # Where it may not fit it must not stand in the journal before that is known: no start could repeat it.
            batch.changes.complete()
        if on_staged is not None:
            on_staged()
        self._write_journal(changes)
        self._flush_journal(batch)

    def _flush_journal(self, batch: Batch) -> None:
        """Have the record of a batch on the disk, which begins while its changes are made, if they are not yet.

        What is done here is not done behind the flush, when clients wait for it. The tip that moves is kept only by who
        comes to the end of this.
        """
        journal = self._checkpoints.journal
        try:
            if not batch.changes.is_complete:
                journal.begin_flush()
                batch.changes.complete()
            batch.move_tip(self._commit)
        except BaseException:
            journal.take_back()
            raise
        journal.flush()

    def _flush_beside(self, batch: Batch, on_staged: Callable[[], None]) -> None:
        """Have the record of a batch on the disk while its changes are made: many, for which others stand back."""
        journal = self._checkpoints.journal
        flush: Future[None] | None = None
        try:
            try:  # noqa: SIM105 - as where the disk is told to begin (journal.py)
                flush = self._flusher.submit(journal.flush)
            except RuntimeError:
                pass  # where no thread is to be had, this one flushes
            batch.changes.complete()
            batch.move_tip(self._commit)
            on_staged()
        except BaseException:
            if flush is not None:
                _await_flush(flush)
            journal.take_back()
            raise
        if flush is None:
            journal.flush()
        else:
            _await_flush(flush)

    def _begin(self) -> Any:
        self._txn = txn = self.environment.env.begin(write=True)
        self._commit = int(txn.id())
        self._thread_id = get_ident()
        self._has_reserve = False
        self._certain_room = certain_map_room(self.environment.env)
        return txn

    def _write_journal(self, changes: bytes) -> None:
        journal = self._checkpoints.journal
        try:
            journal.write(changes)
        except OSError as error:
            if not is_full(error):
                raise
            journal.take_back()
            raise StoreFull("the disk is full; nothing was stored; free some space and retry") from error

    def _may_defer(self) -> bool:
        """Whether what is deferred can stay so until it is answered, since it has its room on the disk."""
        bytes_max = DEFERRED_BYTES_MAX + DEFERRED_BYTES_OVER
        if self._deferred_bytes > bytes_max or len(self._deferred) > DEFERRED_BATCHES_MAX:
            return False
        if not self._has_reserve:
            self._has_reserve = self._reserve.extend()
        return self._has_reserve

    def _show(self) -> None:
        """Commit the open transaction, so that reads see what is in it."""
        txn, self._txn = self._txn, None
        if txn is None:
            return
        if not self._deferred:
            txn.abort()
            return
        try:
            txn.commit()
        except lmdb.Error as error:
            self._tip = None
            raise self._give_up(error) from error
        self._deferred.clear()
        self._deferred_bytes = 0
        self._checkpoints.committed()
        self._checkpoint_if_due()

    def _give_up(self, error: lmdb.Error) -> StoreFull | StorageFailed:
        """A commit failed: the batch is not stored if it was alone, nobody was told, and the disk is only full."""
        journal = self._checkpoints.journal
        if len(self._deferred) == 1 and not self._has_reserve and self._is_full(error):
            try:
                journal.take_back()
            except OSError as failure:
                return self._fail(failure)
            self._deferred.clear()
            self._deferred_bytes = 0
            return self._explain(error)
        return self._fail(error)

    def _let_go(self) -> None:
        """Give up the open transaction."""
        txn, self._txn = self._txn, None
        self._tip = None
        if txn is not None:
            txn.abort()

    def _make_again(self) -> None:
        """Have what was deferred in a transaction that was given up in another one."""
        if not self._deferred or self._failure is not None:
            return
        has_reserve = self._has_reserve
        try:
            txn = self._begin()
            for changes in self._deferred:
                repeat(self.environment, txn, changes)
        except Exception as error:
            # Whatever it is: what comes next must not build on less than was answered.
            self._let_go()
            self._fail(error)
        self._has_reserve = has_reserve

    def _is_full(self, error: lmdb.Error) -> bool:
        if isinstance(error, lmdb.MapFullError):
            return True
        return is_for_want_of_room(error, self._path / DATA_FILE) and self.environment.has_lost_nothing()

    def _explain(self, error: lmdb.Error | OSError) -> StoreFull | StorageFailed:
        """What to raise for an error; it may be the end of all appends."""
        if isinstance(error, lmdb.MapFullError):
            map_size = self.environment.env.info()["map_size"]
            return StoreFull(
                f"the database has reached MAP_SIZE ({map_size} bytes); nothing was stored; start the server with a "
                "larger one"
            )
        if isinstance(error, lmdb.Error) and self._is_full(error):
            return StoreFull("the disk is full; nothing was stored; free some space and retry")
        return self._fail(error)

    def _fail(self, error: Exception) -> StorageFailed:
        """From now on nothing is stored."""
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        self._failure = StorageFailed(f"the storage failed: {reason}")
        return self._failure

    def _checkpoint_if_due(self) -> None:
        checkpoints = self._checkpoints
        if checkpoints.journal.size_bytes >= _JOURNAL_PATIENCE * CHECKPOINT_JOURNAL_BYTES_MAX:
            self._await_checkpoint()
        if not checkpoints.is_due or not self._has_finished.is_set():
            return
        self._has_finished.clear()
        try:
            checkpoints.begin()
        except (OSError, lmdb.Error) as error:
            self._has_finished.set()
            raise self._fail(error) from error
        self._elsewhere(self._finish)

    def _checkpoint_now(self) -> bool:
        """Checkpoint, and wait for it; False where nothing was committed since the last one."""
        self._await_checkpoint()
        if self._failure is not None or not (self._deferred or self._checkpoints.has_commits):
            return False
        try:
            self._show()
            self._await_checkpoint()
            self._checkpoints.begin()
            self._checkpoints.finish()
        except (OSError, lmdb.Error) as error:
            raise self._fail(error) from error
        return True

    def _await_checkpoint(self) -> None:
        self._is_awaited = True
        self._has_finished.wait()
        self._is_awaited = False

    def _is_hurried(self) -> bool:
        """Whether the checkpoint should be over soon, whoever has to wait for the disk."""
        return self._is_awaited or self._checkpoints.journal.size_bytes >= CHECKPOINT_HURRY_BYTES

    def _finish(self) -> None:
        """On whatever thread may wait for the disk."""
        try:
            self._checkpoints.write_back(self._is_hurried)
            self._is_flushing = True
            self._checkpoints.finish()
        except Exception as error:
            # Nothing is lost, as long as the journal is there; but a disk that failed cannot be trusted any more, and
            # the next checkpoint would take the place of what a start needs.
            self._fail(error)
        finally:
            self._is_flushing = False
            self._has_finished.set()
