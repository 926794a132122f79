"""The periodic count index: counts that are answered without touching the disk."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

Counts = tuple[int, int]
"""Events and streams."""


class Estimates:
    """The counts as of the last periodic index. A failed one is logged and leaves the older counts."""

    _log = Logger()

    def __init__(self, count: Callable[[], "Deferred[Counts]"], interval_seconds: float, clock: IReactorTime) -> None:
        self.events = 0
        self.streams = 0
        self._count = count
        self._interval_seconds = interval_seconds
        self._loop = LoopingCall(self._index)
        self._loop.clock = clock
        self._ended: Deferred[LoopingCall] | None = None

    def start(self) -> None:
        """Index now, and from now on periodically."""
        self._ended = self._loop.start(self._interval_seconds)

    async def stop(self) -> None:
        """Index no more; returns when none is under way."""
        if self._ended is not None and self._loop.running:
            self._loop.stop()
            await self._ended

    def _index(self) -> "Deferred[None]":
        return self._count().addCallbacks(self._keep, lambda failure: self._log.failure("counting failed", failure))

    def _keep(self, counts: Counts) -> None:
        self.events, self.streams = counts
