"""Who is told when the log grew: readers that wait at its end.

Theory of operation. After a commit the writer names the streams that grew. Whoever watches one of them, or the
whole log, is told, once a commit at most, and looks for itself: a notice carries no event, so nothing queues up for
those that are slow. Many are told over several turns of the reactor, or a commit that concerns thousands would keep
every other connection waiting. Who watches costs nothing until then.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eventflowdb.limits import NOTICES_TURN_MAX
from eventflowdb.service.records import stream_of


def streams_of(outcomes: Iterable[object]) -> set[str]:
    """The streams of the records among the outcomes of appends, found without reading the rest of each."""
    return {stream_of(record) for outcome in outcomes if isinstance(outcome, list) for record in outcome}


class Watcher(Protocol):
    """One that waits for events."""

    def log_grew(self) -> None:
        """There may be something new."""

    def log_closes(self) -> None:
        """The server shuts down: nothing more will come."""


class Notices:
    """The notices of one server, on the reactor's thread.

    generation: the number of notices so far. What was found missing when it had this value is still missing as far
    as any notice has told.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._watchers: dict[str | None, dict[Watcher, None]] = {}
        self._told: OrderedDict[Watcher, None] = OrderedDict()
        """Those that have yet to hear of a commit, in the order in which they will."""
        self.generation = 0

    @property
    def has_watchers(self) -> bool:
        """Whether anyone needs to be told."""
        return bool(self._watchers)

    def watch(self, stream: str | None, watcher: Watcher) -> None:
        """Tell this one when a stream (None: the log) grew, until `unwatch`."""
        self._watchers.setdefault(stream, {})[watcher] = None

    def unwatch(self, stream: str | None, watcher: Watcher) -> None:
        """Tell this one nothing more."""
        watchers = self._watchers.get(stream, {})
        watchers.pop(watcher, None)
        if not watchers:
            self._watchers.pop(stream, None)
        self._told.pop(watcher, None)

    def log_grew(self, streams: Collection[str] | None) -> None:
        """Events of these streams (None: nobody knows which) are on disk."""
        self.generation += 1
        is_under_way = bool(self._told)
        for stream in self._watchers if streams is None else (None, *streams):
            self._told.update(self._watchers.get(stream, {}))
        if self._told and not is_under_way:
            self._tell_some()

    def close(self) -> None:
        """Tell everyone that the server shuts down."""
        for watcher in [watcher for watchers in self._watchers.values() for watcher in watchers]:
            watcher.log_closes()

    def _tell_some(self) -> None:
        """Tell as many as one turn may; the others in turns of their own."""
        told = self._told
        for _ in range(min(len(told), NOTICES_TURN_MAX)):
            if not told:
                return  # one that was told has let others go
            self._tell(told.popitem(last=False)[0])
        if told:
            self._clock.callLater(0, self._tell_some)

    def _tell(self, watcher: Watcher) -> None:
        try:
            watcher.log_grew()
        except Exception:
            # Or the fault of one would leave all others waiting.
            self._log.failure("a notice of new events could not be told")
