"""Transports for the tests: one that only notes what it is told, and Twisted's own over a pair of real sockets."""

import select
import socket
from collections.abc import Callable
from io import BytesIO
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.posixbase import _DisconnectSelectableMixin
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from eventflowdb.transport.resp import RespFactory, RespProtocol
from tests.service.fakes import SteppedServer

PEER = IPv4Address("TCP", "192.0.2.7", 50123)
CLIENTS_MAX = 3


class NotedTransport(StringTransport):
    """A TCP transport that keeps what is written, and does nothing by itself."""

    is_no_delay = False
    is_keep_alive = False
    is_half_closed = False

    def __init__(self, protocol: RespProtocol) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sequences: list[list[bytes]] = []
        """What was written in pieces."""
        self.protocol: Any = protocol
        protocol.makeConnection(self)  # type: ignore[no-untyped-call]

    def writeSequence(self, pieces: list[bytes]) -> None:  # noqa: N802
        self.sequences.append(pieces)
        super().writeSequence(pieces)  # type: ignore[no-untyped-call]

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        self.is_no_delay = enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: N802
        self.is_keep_alive = enabled

    def loseWriteConnection(self) -> None:  # noqa: N802
        self.is_half_closed = True

    def take(self) -> bytes:
        """What was written since the last time."""
        written, self.io = self.io, BytesIO()
        return written.getvalue()

    @property
    def is_paused(self) -> bool:
        return bool(self.producerState == "paused")

    def lose(self) -> None:
        """The connection is gone."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Bench:
    """A factory over a server whose threads move by hand, and connections to it."""

    def __init__(self, server: SteppedServer) -> None:
        self.server = server
        self.factory = RespFactory(server.dispatcher, server.budget, server.grouping, server.clock)

    def connect(self) -> NotedTransport:
        """A new connection over a transport that only notes."""
        return NotedTransport(self.factory.buildProtocol(PEER))


class HandReactor(_DisconnectSelectableMixin, MemoryReactorClock):
    """A reactor over real sockets that makes a round when the test says so."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def turn(self) -> bool:
        """Tell every descriptor that is ready, as a reactor does; False where none is."""
        self.advance(0)
        readable, writable, _ = select.select(list(self.readers), list(self.writers), [], 0)
        for descriptor in readable:
            if descriptor in self.readers:
                self._tell(descriptor, descriptor.doRead, is_read=True)
        for descriptor in writable:
            if descriptor in self.writers:
                self._tell(descriptor, descriptor.doWrite, is_read=False)
        return bool(readable or writable)

    def turn_until_idle(self) -> None:
        """Make rounds until nothing is ready."""
        while self.turn():
            pass

    def _tell(self, descriptor: Any, do: Callable[[], Any], *, is_read: bool) -> None:
        why = do()
        if why is not None:
            reactor: Any = self  # half of Twisted is not typed
            reactor._disconnectSelectable(descriptor, why, is_read)


class SocketTransport(Connection):
    """Twisted's TCP transport over one end of a socket pair, which delivers at once."""

    def __init__(self, end: socket.socket, protocol: RespProtocol, reactor: HandReactor) -> None:
        super().__init__(end, protocol, reactor)
        self.connected = 1
        reactor.addReader(self)  # type: ignore[no-untyped-call]

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """There is no such option here."""


class SocketClient:
    """The other end of a connection to a server, read and written without blocking."""

    def __init__(self, bench: Bench, reactor: HandReactor) -> None:
        self.reactor = reactor
        self.socket, end = socket.socketpair()
        # The kernel doubles it: small enough to be full soon, whatever the machine's defaults are.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        self.socket.setblocking(False)
        self.protocol: Any = bench.factory.buildProtocol(PEER)
        self.transport: Any = SocketTransport(end, self.protocol, reactor)
        self.protocol.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self.taken = b""
        self.has_seen_end = False

    @property
    def is_connected(self) -> bool:
        """Whether the server still holds the connection."""
        return bool(self.transport.connected)

    def send(self, data: bytes) -> None:
        """Send all of it, and let the server do what it can."""
        while data:
            data = data[self.socket.send(data[:65536]) :]
            self.reactor.turn_until_idle()

    def take(self, size: int) -> bool:
        """Take some of the replies; False where there are none."""
        try:
            taken = self.socket.recv(size)
        except BlockingIOError:
            return False
        self.taken += taken
        self.has_seen_end = not taken
        return bool(taken)

    def take_all(self, size: int = 65536) -> bytes:
        """Take replies, and let the server go on, until nothing more comes; all that was ever taken."""
        self.reactor.turn_until_idle()
        while self.take(size):
            self.reactor.turn_until_idle()
        return self.taken

    def close(self) -> None:
        """Hang up, and let the server see it."""
        self.socket.close()
        self.reactor.turn_until_idle()
