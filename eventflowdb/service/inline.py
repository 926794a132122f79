"""Whether a batch is committed on the reactor's thread: that spares two switches of threads and the fight for the lock.

A small batch takes less time than it would take to have a thread do it, and the clients it is for wait in either case.
What others wait meanwhile is bounded: large batches, and all of them for a while after one that took long, go to the
commit thread. So does what comes while the data file is flushed, since then the disk may be slow.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from eventflowdb.limits import (
    INLINE_COMMIT_APPENDS_MIN,
    INLINE_COMMIT_BYTES_MAX,
    INLINE_COMMIT_OTHERS_FEW,
    INLINE_COMMIT_OTHERS_SECONDS,
    INLINE_COMMIT_PAUSE_SECONDS,
    INLINE_COMMIT_SECONDS_MAX,
)
from eventflowdb.storage.batch import Write


class Inline(Protocol):
    """Says which batches are committed on the reactor's thread."""

    def may_take(self, writes: Sequence[Write], others: int) -> bool:
        """Whether the next batch is, which begins with these writes.

        others: how many requests that are no appends came since it was asked before.
        """

    def took(self, seconds: float) -> None:
        """One that was has taken so long."""


class _Never:
    """Has all batches committed on the commit thread."""

    def may_take(self, writes: Sequence[Write], others: int) -> bool:
        return False

    def took(self, seconds: float) -> None:
        pass


NEVER_INLINE = _Never()


class InlineCommits:
    """Says of each batch whether it may be committed here. seconds: a monotonic clock."""

    def __init__(self, is_disk_busy: Callable[[], bool], seconds: Callable[[], float] = time.perf_counter) -> None:
        self._is_disk_busy = is_disk_busy
        self._seconds = seconds
        self._threads_until = float("-inf")

    def may_take(self, writes: Sequence[Write], others: int) -> bool:
        """See Inline.may_take."""
        now = self._seconds()
        if others > max(INLINE_COMMIT_OTHERS_FEW, len(writes) // INLINE_COMMIT_APPENDS_MIN):
            self._threads_until = max(self._threads_until, now + INLINE_COMMIT_OTHERS_SECONDS)
        if now < self._threads_until or self._is_disk_busy():
            return False
        return sum([write.size_bytes for write in writes]) <= INLINE_COMMIT_BYTES_MAX

    def took(self, seconds: float) -> None:
        """See Inline.took."""
        if seconds > INLINE_COMMIT_SECONDS_MAX:
            self._threads_until = self._seconds() + INLINE_COMMIT_PAUSE_SECONDS
