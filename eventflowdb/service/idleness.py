"""Connections that nobody uses: closed after IDLE_TIMEOUT, where that is set."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from eventflowdb.limits import IDLENESS_CHECK_SECONDS
from eventflowdb.service.clients import Clients


class IdleTimeout:
    """Looks at every connection about once a second.

    Those that only listen (MONITOR, SUBSCRIBE) are never idle, nor are those that wait for the server.
    """

    def __init__(
        self, clients: Clients, timeout_seconds: float, clock: IReactorTime, seconds: Callable[[], float]
    ) -> None:
        self._clients = clients
        self._timeout_seconds = timeout_seconds
        self._seconds = seconds
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to look, unless the timeout is off."""
        if self._timeout_seconds > 0:
            self._loop.start(IDLENESS_CHECK_SECONDS, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        oldest = self._seconds() - self._timeout_seconds
        for session in self._clients:
            peer = session.peer
            if session.last_used_at >= oldest or session.is_monitor or session.subscriber is not None:
                continue
            if peer is not None and not peer.is_waiting:
                peer.kill()
