"""The two ends of a link between processes on a local stream: on uvloop's own transports, else on Twisted's."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from eventflowdb.service.outbox import Soon
from eventflowdb.transport.uvloop_port import find_uvloop


class LinkEnd(Protocol):
    """What uses a link."""

    def opened(self, send: Callable[[bytes], None]) -> None:
        """It is there; `send` never blocks, and keeps what the other end does not take yet."""

    def received(self, data: bytes) -> None:
        """Bytes have come."""

    def lost(self) -> None:
        """It is gone."""


def soon_of(reactor: Any) -> Soon:
    """How something is called at the end of this turn of a reactor."""
    loop = find_uvloop(reactor)
    if loop is not None:
        return loop.call_soon
    return lambda call: reactor.callLater(0, call)


def attach(reactor: Any, link: socket.socket, end: LinkEnd) -> None:
    """Have a connected local stream used from now on."""
    link.setblocking(False)
    loop = find_uvloop(reactor)
    if loop is not None:
        # The loop keeps only a weak reference to a task: its end refers to the task, and the task to its end.
        task = loop.create_task(loop.create_unix_connection(lambda: _UvloopLink(end), sock=link))
        _connecting.add(task)
        task.add_done_callback(_connecting.discard)
    else:
        reactor.adoptStreamConnection(link.fileno(), socket.AF_UNIX, _LinkFactory(end))
        link.close()


_connecting: "set[asyncio.Task[Any]]" = set()


class _UvloopLink(asyncio.Protocol):
    def __init__(self, end: LinkEnd) -> None:
        self._end = end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._end.opened(transport.write)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._end.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.lost()


class _TwistedLink(TwistedProtocol):
    transport: Any

    def __init__(self, end: LinkEnd) -> None:
        self._end = end

    def connectionMade(self) -> None:
        self._end.opened(self.transport.write)

    def dataReceived(self, data: bytes) -> None:
        self._end.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end.lost()


class _LinkFactory(Factory):
    noisy = False

    def __init__(self, end: LinkEnd) -> None:
        self._end = end

    def buildProtocol(self, addr: IAddress | None) -> TwistedProtocol:
        return _TwistedLink(self._end)
