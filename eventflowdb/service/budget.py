"""MAX_INFLIGHT_BYTES: how much of requests, and of replies that nobody takes, all connections may hold in memory.

Beyond it sockets are not read. What is held are appends that wait for the disk, and requests of which a part
has come. The first go away by themselves; but if the second alone fill the budget, nobody could ever finish:
so after OVERLOAD_SECONDS_MAX the largest unfinished requests are given up, until half of the budget is free.

Replies that a client does not take yet are kept, since many libraries send a whole pipeline before they read: up to a
bound for each connection, and only while most of the budget is free, so that those who never read cannot use it up.
"""

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from eventflowdb.errors import TryAgain
from eventflowdb.limits import OVERLOAD_SECONDS_MAX

_UNTAKEN_SHARE = 4
"""Replies are kept while no more than this part of the budget is used."""


class Holder(Protocol):
    """A connection, as the budget sees it."""

    def held_bytes(self) -> int:
        """How much of an unfinished request it holds."""

    def give_up_request(self, error: TryAgain) -> None:
        """Let go of the unfinished request and refuse it; where that frees nothing, the connection may be cut."""

    def budget_is_free(self) -> None:
        """Read on."""


class InflightBudget:
    """The budget of one server, used on the reactor's thread.

    untaken_bytes_max: how much of replies one connection may leave untaken before it is not served any more.
    """

    def __init__(self, limit_bytes: int, clock: IReactorTime, untaken_bytes_max: int = 0) -> None:
        self._limit_bytes = limit_bytes
        self._untaken_bytes_max = untaken_bytes_max
        self._clock = clock
        self._holders: dict[Holder, None] = {}
        self._waiting: dict[Holder, None] = {}
        self._relief: IDelayedCall | None = None
        self.used_bytes = 0
        self.is_exhausted = False
        """Whether connections must not be read."""

    def may_keep(self, untaken_bytes: int) -> bool:
        """Whether a connection that has left so much of its replies untaken may go on."""
        return untaken_bytes < self._untaken_bytes_max and self.used_bytes < self._limit_bytes // _UNTAKEN_SHARE

    def change(self, by_bytes: int) -> None:
        """Take, or give back where negative."""
        self.used_bytes += by_bytes
        self.is_exhausted = self.used_bytes > self._limit_bytes
        if by_bytes < 0 and (self._waiting or self._relief is not None) and not self.is_exhausted:
            self._wake()

    def hold(self, holder: Holder) -> None:
        """This one holds a part of a request."""
        self._holders[holder] = None

    def release(self, holder: Holder) -> None:
        """This one holds none any more."""
        self._holders.pop(holder, None)

    def wait(self, holder: Holder) -> None:
        """Tell this one when there is room."""
        self._waiting[holder] = None
        self._see_to_relief()

    def forget(self, holder: Holder) -> None:
        """This one is gone."""
        self._holders.pop(holder, None)
        self._waiting.pop(holder, None)

    def _wake(self) -> None:
        if self._relief is not None:
            self._relief.cancel()
            self._relief = None
        waiting, self._waiting = self._waiting, {}
        for holder in waiting:
            holder.budget_is_free()

    def _relieve(self) -> None:
        self._relief = None
        error = TryAgain(
            f"the server has been overloaded for {OVERLOAD_SECONDS_MAX:.0f} s: requests under way fill "
            "MAX_INFLIGHT_BYTES; nothing was stored; retry later"
        )
        for holder in sorted(self._holders, key=lambda holder: holder.held_bytes(), reverse=True):
            if self.used_bytes <= self._limit_bytes // 2:
                break
            holder.give_up_request(error)
        # One that was woken may have filled the budget again, and waits already.
        if self._waiting:
            self._see_to_relief()

    def _see_to_relief(self) -> None:
        if self._relief is None:
            self._relief = self._clock.callLater(OVERLOAD_SECONDS_MAX, self._relieve)
