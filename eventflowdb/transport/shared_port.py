"""A listening socket that several processes accept on, on uvloop.

The kernel wakes all that listen, and one that is quick would take every connection: of clients that come together all
would be with one front, and the others idle. So a front with clearly more connections than another leaves new ones to
that for a moment; then it takes one all the same, since the other may be busy.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from eventflowdb.limits import ACCEPT_PAUSE_SECONDS, ACCEPTS_TURN_MAX
from eventflowdb.transport.listening import keep_alive
from eventflowdb.transport.resp import RespFactory
from eventflowdb.transport.uvloop_port import UvloopConnection


class SharedPort:
    """The port of one front: the part of IListeningPort that it uses. stands_back: given how many are just coming."""

    _log = Logger()

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        factory: RespFactory,
        stands_back: Callable[[int], bool],
    ) -> None:
        self._loop = loop
        self._listener = listener.dup()
        self._factory = factory
        self._stands_back = stands_back
        self._coming: set[asyncio.Task[Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        # Accepted sockets inherit the listener's options.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        keep_alive(listener)
        loop.add_reader(self._listener, self._accept)

    def stopListening(self) -> None:  # noqa: N802 - IListeningPort's name
        """Take no more connections; those that are open stay."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        """There are connections to be had, or were until another process took them."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(ACCEPTS_TURN_MAX):
                if self._stands_back(len(self._coming)):
                    self._stand_back()
                    return
                self._accept_one()

    def _accept_one(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            raise BlockingIOError from None
        except OSError as error:
            self._log.error("a connection cannot be taken: {error}", error=error)
            self._stand_back()
            raise BlockingIOError from None
        connection.setblocking(False)
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: UvloopConnection(self._factory), connection)
        )
        self._coming.add(task)
        task.add_done_callback(self._came)

    def _came(self, task: "asyncio.Task[Any]") -> None:
        self._coming.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("a connection was not taken: {error}", error=task.exception())

    def _stand_back(self) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._come_back)

    def _come_back(self) -> None:
        self._pause = None
        with contextlib.suppress(BlockingIOError):
            self._accept_one()
        if self._pause is None:
            self._loop.add_reader(self._listener, self._accept)
