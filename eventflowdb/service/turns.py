"""Whose turn it is to run Python: while a batch is staged, the reactor's thread stands back.

py-lmdb lets go of the interpreter lock at every call and every element. While the reactor's thread wants the lock,
each of these can cost the commit thread a switch to it and back, and a batch that takes 0.3 ms to stage takes 2. The
lock lets only one of them run anyway, so whoever has the next request carried out stands back before, once a batch, and
goes on while the commit is flushed to the disk.
"""

from threading import Lock

from eventflowdb.limits import STAGING_WAIT_SECONDS_MAX


class StagingTurn:
    """The commit thread's turn, from the beginning of a batch until only the flush is left to wait for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_on = False
        self.is_unnoticed = False
        """The reactor's thread has not stood back for this batch yet."""

    def begin(self) -> None:
        """On the commit thread: a batch is about to be staged."""
        self._lock.acquire()
        self._is_on = self.is_unnoticed = True

    def end(self) -> None:
        """On the commit thread: only the flush is left, or there is none. May be said twice."""
        if self._is_on:
            self._is_on = self.is_unnoticed = False
            self._lock.release()

    def stand_back(self) -> None:
        """On the reactor's thread: wait for the end, once a batch and not for long: it may have met a cold disk."""
        if self.is_unnoticed:
            self.is_unnoticed = False
            if self._lock.acquire(timeout=STAGING_WAIT_SECONDS_MAX):
                self._lock.release()
