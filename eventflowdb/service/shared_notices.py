"""Notices across processes: the core tells the fronts of every commit, and a front tells its clients."""

from collections.abc import Collection

from twisted.internet.interfaces import IReactorTime

from eventflowdb.service.fronts import Fronts
from eventflowdb.service.notices import Notices, Watcher
from eventflowdb.service.outbox import Outbox
from eventflowdb.wire import links


class CoreNotices(Notices):
    """The notices of the core: the fronts hear of every commit, before their clients hear of their appends."""

    def __init__(self, clock: IReactorTime, fronts: Fronts) -> None:
        super().__init__(clock)
        self._fronts = fronts

    @property
    def has_watchers(self) -> bool:
        """Whether anyone needs to be told which streams grew."""
        return super().has_watchers or self._fronts.has_watchers

    def log_grew(self, streams: Collection[str] | None) -> None:
        """Events of these streams (None: nobody knows which) are on disk."""
        self._fronts.log_grew(streams)
        super().log_grew(streams)


class FrontNotices(Notices):
    """The notices of a front: fed by the core, which learns whether anyone here waits.

    Where it had not learnt that yet, it says of a commit that nobody knows which streams grew.
    """

    def __init__(self, clock: IReactorTime, outbox: Outbox) -> None:
        super().__init__(clock)
        self._outbox = outbox
        self._has_told = False

    def watch(self, stream: str | None, watcher: Watcher) -> None:
        """Tell this one when a stream (None: the log) grew, until `unwatch`."""
        super().watch(stream, watcher)
        self._tell_core()

    def unwatch(self, stream: str | None, watcher: Watcher) -> None:
        """Tell this one nothing more."""
        super().unwatch(stream, watcher)
        self._tell_core()

    def _tell_core(self) -> None:
        if self.has_watchers is not self._has_told:
            self._has_told = self.has_watchers
            self._outbox.put(links.encode_frame(links.WATCHES, int(self._has_told)))
