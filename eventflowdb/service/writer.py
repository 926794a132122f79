"""Group commit: everything that waits goes into one write transaction and one fsync.

Theory of operation. `append` runs on the reactor's thread and only queues. One commit thread takes all that
waits, commits it, sends the outcomes back in one hop, and takes what has come meanwhile; so a batch waits for
the previous commit and for nothing else, there is no timer. When nothing waits the thread is given back, and
the next append asks for it again.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.errors import (
    ConditionFailed,
    EventflowError,
    InvalidArgument,
    NoSuchConsumer,
    RequestConflict,
    StorageFailed,
)
from eventflowdb.limits import BATCH_BYTES_MAX
from eventflowdb.service.commits import Commits
from eventflowdb.service.faults import error_of
from eventflowdb.service.notices import Notices, streams_of
from eventflowdb.service.threads import ReactorThread, Worker
from eventflowdb.service.turns import StagingTurn
from eventflowdb.storage.batch import Outcome, Write

_REFUSALS = (ConditionFailed, RequestConflict, InvalidArgument, NoSuchConsumer)
"""Of one write, for what it asks: nothing failed."""


class AppendingStore(Protocol):
    """What the writer needs of a store."""

    def append_batch(self, writes: Sequence[Write], on_staged: Callable[[], None]) -> Sequence[Outcome]:
        """Store a batch durably; the outcome of each write, in order. on_staged: told when only the flush is left."""


class _Waiting(NamedTuple):
    write: Write
    settle: Callable[[Outcome], None]


class GroupCommitWriter:
    """Queues appends and settles each with its outcome, on the reactor's thread.

    worker: one thread that commits; on_failure: told once when the disk failed, after which nothing is stored
    any more, since what a failed flush left behind is not known; notices: told what was stored, after the commit.
    """

    _log = Logger()

    def __init__(
        self,
        store: AppendingStore,
        worker: Worker,
        reactor: ReactorThread,
        on_failure: Callable[[StorageFailed], None],
        notices: Notices,
        seconds: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._worker = worker
        self._reactor = reactor
        self._on_failure = on_failure
        self._notices = notices
        self._seconds = seconds
        self._waiting: deque[_Waiting] = deque()
        self._is_committing = False
        self._failure: StorageFailed | None = None
        self._idle_waiters: list[Deferred[None]] = []
        self._turn = StagingTurn()
        self.commits = Commits()

    def append(self, write: Write, settle: Callable[[Outcome], None]) -> None:
        """Queue a write. `settle` is called once, with its outcome when it is on disk, or a refusal."""
        if self._failure is not None:
            settle(self._failure)
            return
        self._waiting.append(_Waiting(write, settle))
        self._turn.stand_back()
        if not self._is_committing:
            self._is_committing = True
            self._worker.callInThread(self._commit_waiting)

    def when_idle(self) -> "Deferred[None]":
        """Fires when every append queued so far is settled."""
        idle: Deferred[None] = Deferred()
        if self._is_committing:
            self._idle_waiters.append(idle)
        else:
            idle.callback(None)
        return idle

    def _commit_waiting(self) -> None:
        """On the commit thread: batch after batch until nothing waits."""
        while True:
            batch = self._take_batch()
            began = self._seconds()
            outcomes = self._commit(batch)
            seconds = self._seconds() - began
            is_last = not self._waiting or isinstance(outcomes[0], StorageFailed)
            self._reactor.callFromThread(self._settle, batch, outcomes, seconds, is_last)
            if is_last:
                return

    def _take_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size_bytes = 0
        while self._waiting and size_bytes < BATCH_BYTES_MAX:
            waiting = self._waiting.popleft()
            batch.append(waiting)
            size_bytes += waiting.write.size_bytes
        return batch

    def _commit(self, batch: Sequence[_Waiting]) -> Sequence[Outcome]:
        try:
            self._turn.begin()
            return self._store.append_batch([waiting.write for waiting in batch], self._turn.end)
        except Exception:
            return [error_of(Failure(), self._log, "a commit failed")] * len(batch)
        finally:
            self._turn.end()

    def _settle(self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome], seconds: float, is_last: bool) -> None:
        has_stored = not all(isinstance(outcome, EventflowError) for outcome in outcomes)
        if has_stored or not isinstance(outcomes[0], _REFUSALS):
            self.commits.add(len(batch), seconds, is_failed=not has_stored)
        if isinstance(outcomes[0], StorageFailed):
            self._fail(outcomes[0])
        # From the end, so that a connection's first reply comes last and its replies leave in one write.
        for waiting, outcome in zip(reversed(batch), reversed(outcomes), strict=True):
            self._tell(waiting, outcome)
        if is_last:
            self._rest()
        if has_stored:
            # Told even where nobody watches: what readers share of an earlier state is out of date.
            self._notices.log_grew(streams_of(outcomes) if self._notices.has_watchers else ())

    def _tell(self, waiting: _Waiting, outcome: Outcome) -> None:
        try:
            waiting.settle(outcome)
        except Exception:
            # Or the fault of one connection would leave all others without an answer, for ever.
            self._log.failure("an outcome could not be told")

    def _rest(self) -> None:
        """The commit thread has come back: send it again for what came meanwhile."""
        if self._waiting:
            self._worker.callInThread(self._commit_waiting)
            return
        self._is_committing = False
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _fail(self, failure: StorageFailed) -> None:
        self._failure = failure
        while self._waiting:
            self._tell(self._waiting.popleft(), failure)
        self._on_failure(failure)
