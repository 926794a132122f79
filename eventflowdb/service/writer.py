"""Group commit: everything that waits goes into one write transaction and one fsync.

Theory of operation. `append` runs on the reactor's thread and only queues. At the end of the reactor's turn, when all
that has come to any connection is queued, it becomes a batch. A small one is committed there and then, where that keeps
hardly anyone else waiting (inline.py); any other is taken and committed by one commit thread, which sends the outcomes
back in one hop. What has come meanwhile is next. So a batch waits for the previous commit and for the turn in which it
came, and for nothing else: there is no timer.

While nobody reads, what is on disk and answered need not be seen by reads at once, which spares most of a commit
(storage/transactions.py). A read that comes meanwhile, and is not answered with what is at hand (unseen.py), asks for
it (`freshen`), and from then on everything is seen before it is answered, for a while; and nothing stays unseen for
longer than some milliseconds. What has become much is seen as soon as it is answered: on the commit thread, while the
clients take their answers. Before batches go over to the other thread, whichever it is, everything is seen, too.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.append import Append
from eventflowdb.errors import (
    ConditionFailed,
    EventflowError,
    InvalidArgument,
    NoSuchConsumer,
    RequestConflict,
    StorageFailed,
)
from eventflowdb.limits import BATCH_BYTES_MAX, DEFERRED_SECONDS_MAX, EAGER_SECONDS
from eventflowdb.service.commits import Commits
from eventflowdb.service.faults import error_of
from eventflowdb.service.freshness import OnFresh, Visibility
from eventflowdb.service.inline import NEVER_INLINE, Inline
from eventflowdb.service.notices import Notices, streams_of
from eventflowdb.service.threads import ReactorThread, Worker
from eventflowdb.service.turns import StagingTurn
from eventflowdb.service.unseen import Unseen
from eventflowdb.storage.batch import Outcome, Write
from eventflowdb.storage.transactions import OnStaged, run_here

_BATCH_BYTES_MAX: Final = BATCH_BYTES_MAX
_REFUSALS: Final = (ConditionFailed, RequestConflict, InvalidArgument, NoSuchConsumer)
"""Of one write, for what it asks: nothing failed."""


class AppendingStore(Protocol):
    """What the writer needs of a store."""

    @property
    def has_deferred(self) -> bool:
        """Whether batches are on disk that no read sees yet."""

    @property
    def has_much_deferred(self) -> bool:
        """Whether it is so much that reads should see it as soon as it is answered."""

    def append_batch(self, writes: Sequence[Write], on_staged: OnStaged, *, may_defer: bool) -> list[Outcome]:
        """Store a batch durably; the outcome of each write, in order.

        on_staged: told when only the disk is left to wait for, None where nobody waits for that; may_defer: reads need
        not see it before `commit_deferred`.
        """

    def commit_deferred(self) -> None:
        """Let reads see everything that is on disk."""


Settle = Callable[[Outcome], None]
_Told = TypeVar("_Told")
_Waiting = tuple[Write, Settle]
"""A write, and who is told its outcome."""


class GroupCommitWriter:
    """Queues appends and settles each with its outcome, on the reactor's thread.

    worker: one thread that commits; on_failure: told once when the disk failed, after which nothing is stored
    any more, since what a failed flush left behind is not known; notices: told what was stored, when reads see it;
    deferring: the clock by which reads may see later what was stored while nobody reads, None where they see it at
    once; soon: has something called at the end of the reactor's turn; inline: says which batches are committed on the
    reactor's thread.
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
        deferring: IReactorTime | None = None,
        soon: Callable[[Callable[[], None]], object] = run_here,
        inline: Inline = NEVER_INLINE,
    ) -> None:
        self._store = store
        self._worker = worker
        self._reactor = reactor
        self._on_failure = on_failure
        self._notices = notices
        self._deferring = deferring
        self._soon = soon
        self._inline_commits = inline
        self.visibility = Visibility()
        self._others_before = 0
        self._is_here = False
        """The last batch was committed on the reactor's thread, and the transaction is there if it is open."""
        self._seconds = seconds
        self._waiting: deque[_Waiting] = deque()
        self._is_committing = False
        self._failure: StorageFailed | None = None
        self._idle_waiters: list[Deferred[None]] = []
        self.turn = StagingTurn()
        self.unseen = Unseen()
        self._eager_until = 0.0
        self._shows_under_way = 0
        """How often it was begun that reads see everything, and has not ended."""
        self._is_held = False
        """A batch waits for the end of these, to be committed on the reactor's thread."""
        self._show_later: IDelayedCall | None = None
        self._fresh_waiters: list[OnFresh] = []
        self.commits = Commits()

    @property
    def is_stale(self) -> bool:
        """Whether events were answered that reads do not see yet."""
        return self.visibility.is_stale

    def append(self, write: Write, settle: Settle) -> None:
        """Queue a write. `settle` is called once, with its outcome when it is on disk, or a refusal."""
        if self._failure is not None:
            settle(self._failure)
            return
        self._waiting.append((write, settle))
        if not self._is_committing:
            self._is_committing = True
            self._soon(self._begin)

    def freshen(self, call: OnFresh) -> None:
        """Have `call` told, soon, when reads see everything that was answered so far; they are stale now."""
        if self._failure is not None:
            self._reactor.callFromThread(call, self._failure)
            return
        self._eager_until = self._seconds() + EAGER_SECONDS
        self._fresh_waiters.append(call)
        self._show()

    def when_idle(self) -> "Deferred[None]":
        """Fires when every append queued so far is settled, and seen by reads."""
        idle: Deferred[None] = Deferred()
        self._idle_waiters.append(idle)
        self._tell_idle()
        return idle

    def _begin(self) -> None:
        """Commit a batch of all that waits: here, if it is small and nothing hinders, or else on the commit thread."""
        may_stay, was_here = self._may_stay(), self._is_here
        has_open = self.is_stale or self._shows_under_way > 0
        if may_stay and has_open and not was_here:
            # A transaction cannot go over to another thread: it is committed there, and no batch adds to it.
            self._is_held = True
            self._show()
            return
        self._is_here = may_stay
        if may_stay:
            batch = self._take_batch()
            outcomes, seconds = self._commit(batch, None)
            self._inline_commits.took(seconds)
            self._settle(batch, outcomes, seconds, self._store.has_deferred)
            return
        if was_here and has_open:
            # The same the other way round, whether it had been asked for or not.
            self._shows_under_way = 1
            self._shown(self._commit_deferred())
            if self._failure is not None:
                self._rest()
                return
        self._worker.callInThread(self._commit_elsewhere)

    def _may_stay(self) -> bool:
        """Whether the next batch may be committed on this thread."""
        others = self.visibility.others - self._others_before
        self._others_before = self.visibility.others
        return self._inline_commits.may_take([write for write, _ in self._waiting], others)

    def _commit_elsewhere(self) -> None:
        """On the commit thread."""
        batch = self._take_batch()
        self.turn.begin()
        try:
            outcomes, seconds = self._commit(batch, self.turn.end)
        finally:
            self.turn.end()
        is_shown_next = self._store.has_much_deferred
        self._reactor.callFromThread(self._settle, batch, outcomes, seconds, self._store.has_deferred, is_shown_next)
        if is_shown_next:
            self._show_elsewhere()

    def _may_defer(self, writes: list[Write], now: float) -> bool:
        """Whether nobody looks: consumers do, at what becomes of their events."""
        if self._deferring is None or self._notices.has_watchers or now < self._eager_until:
            return False
        # A loop, not all(): a generator takes as long for each write as all else that is asked of it.
        for write in writes:  # noqa: SIM110
            if not isinstance(write, Append) or write.checkpoint is not None:
                return False
        return True

    def _take_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size_bytes = 0
        while self._waiting and size_bytes < _BATCH_BYTES_MAX:
            waiting = self._waiting.popleft()
            batch.append(waiting)
            size_bytes += waiting[0].size_bytes
        return batch

    def _commit(self, batch: list[_Waiting], on_staged: OnStaged) -> tuple[list[Outcome], float]:
        """Store a batch; what became of it, and how many seconds it took."""
        began = self._seconds()
        try:
            writes = [write for write, _ in batch]
            may_defer = self._may_defer(writes, began)
            outcomes: list[Outcome] = self._store.append_batch(writes, on_staged, may_defer=may_defer)
            assert len(outcomes) == len(batch), "an outcome for each write"
        except Exception:
            outcomes = [error_of(Failure(), self._log, "a commit failed")] * len(batch)
        return outcomes, self._seconds() - began

    def _settle(
        self,
        batch: list[_Waiting],
        outcomes: list[Outcome],
        seconds: float,
        is_deferred: bool,
        is_shown_next: bool = False,
    ) -> None:
        """Tell everybody the outcome. is_shown_next: the commit thread has begun to let reads see everything."""
        self._shows_under_way += is_shown_next
        if not batch:
            # All were refused when the storage failed.
            self._rest()
            return
        has_stored = not all(isinstance(outcome, EventflowError) for outcome in outcomes)
        if has_stored or not isinstance(outcomes[0], _REFUSALS):
            self.commits.add(len(batch), seconds, is_failed=not has_stored)
        if isinstance(outcomes[0], StorageFailed):
            self._fail(outcomes[0])
        was_stale = self.is_stale
        self.visibility.is_stale = is_deferred or (was_stale and self._failure is not None)
        self._note_unseen(batch, outcomes if is_deferred else [])
        # From the end, so that a connection's first reply comes last and its replies leave in one write.
        for index in range(len(batch) - 1, -1, -1):
            # As in _tell, without a call for each; by index, since a zip costs a batch of one more than all of this.
            try:
                batch[index][1](outcomes[index])
            except Exception:
                self._log.failure("an outcome could not be told")
        self._rest()
        if self._failure is not None:
            return
        if is_deferred:
            self._see_to_show()
        elif was_stale:
            self._tell_fresh()
        elif has_stored:
            # Told even where nobody watches: what readers share of an earlier state is out of date.
            self._notices.log_grew(streams_of(outcomes) if self._notices.has_watchers else ())

    def _note_unseen(self, batch: list[_Waiting], deferred: list[Outcome]) -> None:
        for index, outcome in enumerate(deferred):
            if isinstance(outcome, list):
                write = batch[index][0]
                try:
                    self.unseen.add(write, outcome)
                except Exception:
                    # Or one record that is not like others would leave a whole batch without an answer.
                    self._log.failure("what was stored could not be kept at hand")
                    self.unseen.doubt(write)
        if not self.is_stale:
            self.unseen.clear()

    def _see_to_show(self) -> None:
        """What was deferred is to be seen soon; at once if it is much, or somebody has begun to watch."""
        if self._notices.has_watchers or (self._is_here and self._store.has_much_deferred):
            self._show()
        elif self._show_later is None and self._deferring is not None:
            self._show_later = self._deferring.callLater(DEFERRED_SECONDS_MAX, self._show_now)

    def _show_now(self) -> None:
        self._show_later = None
        if self.is_stale and self._failure is None:
            self._show()

    def _show(self) -> None:
        if self._shows_under_way:
            return
        self._shows_under_way = 1
        if self._is_here:
            self._soon(self._show_here)
        else:
            self._worker.callInThread(self._show_elsewhere)

    def _show_here(self) -> None:
        if self._shows_under_way and self._is_here:
            self._shown(self._commit_deferred())

    def _show_elsewhere(self) -> None:
        """On the commit thread."""
        self._reactor.callFromThread(self._shown, self._commit_deferred())

    def _commit_deferred(self) -> EventflowError | None:
        """Let reads see everything; why it failed."""
        try:
            if self._store.has_deferred:
                self._store.commit_deferred()
        except Exception:
            return error_of(Failure(), self._log, "a commit failed")
        return None

    def _shown(self, failure: EventflowError | None) -> None:
        self._shows_under_way -= 1
        if failure is None:
            self.visibility.is_stale = False
            self.unseen.clear()
            self._tell_fresh()
        else:
            # What was answered is on the disk, and the next start finds it; until then no read may say that it is not,
            # and none is answered but with what is at hand.
            self._fail(failure if isinstance(failure, StorageFailed) else StorageFailed(str(failure)))
        if self._is_held and not self._shows_under_way:
            self._is_held = False
            self._rest()
        else:
            self._tell_idle()

    def _tell_fresh(self) -> None:
        """Reads see everything that was answered."""
        # Whose events they are nobody has kept.
        self._notices.log_grew(None if self._notices.has_watchers else ())
        self._tell_waiters(None)

    def _tell_waiters(self, failure: StorageFailed | None) -> None:
        waiters, self._fresh_waiters = self._fresh_waiters, []
        for call in waiters:
            self._tell(call, failure)

    def _tell(self, call: Callable[[_Told], None], outcome: _Told) -> None:
        try:
            call(outcome)
        except Exception:
            # Or the fault of one connection would leave all others without an answer, for ever.
            self._log.failure("an outcome could not be told")

    def _rest(self) -> None:
        """A batch is settled: begin the next one, of what came meanwhile."""
        if self._waiting:
            self._soon(self._begin)
            return
        self._is_committing = False
        self._tell_idle()

    def _tell_idle(self) -> None:
        if self._is_committing or not self._idle_waiters:
            return
        if self.is_stale and self._failure is None:
            self._show()
            return
        if self._show_later is not None:
            self._show_later.cancel()
            self._show_later = None
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _fail(self, failure: StorageFailed) -> None:
        if self._failure is not None:
            return
        self._failure = failure
        while self._waiting:
            _, settle = self._waiting.popleft()
            self._tell(settle, failure)
        self._tell_waiters(failure)
        self._on_failure(failure)
