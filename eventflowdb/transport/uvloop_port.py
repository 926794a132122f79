"""The listening port and the connections on uvloop's own transports, behind Twisted's interfaces.

Twisted's transports cost a reply two system calls and a turn of the reactor, and a read the reactor's bookkeeping;
libuv does both in C. The protocol is the same class: UvloopConnection is to it the part of ITCPTransport that it uses.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from eventflowdb.limits import LISTEN_BACKLOG, WRITE_BUFFER_BYTES_MAX
from eventflowdb.transport.listening import keep_alive
from eventflowdb.transport.resp import RespFactory, RespProtocol

Address = IPv4Address | IPv6Address


def install_reactor() -> None:
    """Install the reactor on a loop of uvloop, unless a reactor is there or uvloop is not."""
    if "twisted.internet.reactor" in sys.modules:
        return
    try:
        from eventflowdb.transport import uvloop_reactor  # noqa: PLC0415 - uvloop may be absent
    except ImportError:
        return  # the server runs on the reactor that Twisted picks
    uvloop_reactor.install()


def find_uvloop(reactor: object) -> "asyncio.AbstractEventLoop | None":
    """The loop of uvloop under a reactor; None where it runs on another."""
    loop = getattr(reactor, "_asyncioEventloop", None)
    return loop if type(loop).__module__.startswith("uvloop") else None


class UvloopPort:
    """A listening port: the part of IListeningPort that the service uses."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, factory: RespFactory) -> None:
        """Listen on a bound socket; the loop must not run yet."""
        self._host = _address(listener.getsockname())
        # Accepted sockets inherit the listener's options.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        keep_alive(listener)
        serving = loop.create_server(lambda: UvloopConnection(factory), sock=listener.dup(), backlog=LISTEN_BACKLOG)
        self._server = loop.run_until_complete(serving)

    def getHost(self) -> Address:  # noqa: N802 - IListeningPort's name
        """Where it listens."""
        return self._host

    def stopListening(self) -> None:  # noqa: N802 - IListeningPort's name
        """Take no more connections; those that are open stay."""
        self._server.close()


class UvloopConnection(asyncio.Protocol):
    """One connection: asyncio's protocol to the loop, Twisted's transport to the RespProtocol."""

    writeSequence: Callable[[list[bytes]], None]  # noqa: N815 - ITransport's name
    """Sends pieces of data, with one system call if the socket takes them; there while the connection is."""

    def __init__(self, factory: RespFactory) -> None:
        self._factory = factory
        self._producer: IPushProducer | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport: Any = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX, low=0)  # type: ignore[attr-defined]
        self._protocol: RespProtocol = self._factory.buildProtocol(self.getPeer())
        # The loop's own methods spare every reply a call; they drop what is written to a connection that was aborted.
        self.write = transport.write  # type: ignore[attr-defined, method-assign]
        self.writeSequence = transport.writelines  # type: ignore[attr-defined]
        self._protocol.makeConnection(self)  # type: ignore[no-untyped-call]  # Twisted has not typed it
        # The same for what comes: the loop looks the method up when it is told the protocol.
        self.data_received = self._protocol.dataReceived  # type: ignore[method-assign]
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._protocol.dataReceived(data)

    def eof_received(self) -> bool:
        """The client has sent all it will; True keeps our side open."""
        self._protocol.readConnectionLost()
        return True

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume_writing(self) -> None:
        """The transport's buffer is empty again."""
        if self._producer is not None:
            self._producer.resumeProducing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        # All lead back to this object.
        del self.write, self.writeSequence, self.data_received
        self._protocol.connectionLost(connectionDone if exc is None else Failure(ConnectionLost(str(exc))))

    # What the RespProtocol calls.

    def write(self, data: bytes) -> None:
        """Send bytes, now if the socket takes them."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def loseConnection(self) -> None:  # noqa: N802 - ITransport's name
        """Close when everything written is out."""
        self._transport.close()

    def abortConnection(self) -> None:  # noqa: N802 - ITCPTransport's name
        """Close now."""
        self._transport.abort()

    def loseWriteConnection(self) -> None:  # noqa: N802 - ITCPTransport's name
        """Half-close when everything written is out."""
        if not self._transport.is_closing():
            self._transport.write_eof()

    def pauseProducing(self) -> None:
        """Take nothing from the socket."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resumeProducing(self) -> None:
        """Take from the socket again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:  # noqa: N802 - IConsumer's
        """Tell this one when to write no more, and when again."""
        self._producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802 - IConsumer's name
        """Tell nobody any more."""
        self._producer = None

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - ITCPTransport's name
        """Uvloop has done it."""

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: N802 - ITCPTransport's name
        """The listening socket has handed it down."""

    def getPeer(self) -> Address:  # noqa: N802 - ITransport's name
        """The client's address."""
        return _address(self._transport.get_extra_info("peername"))

    def getHost(self) -> Address:  # noqa: N802 - ITransport's name
        """Our address."""
        return _address(self._transport.get_extra_info("sockname"))


def _address(name: tuple[Any, ...] | None) -> Address:
    host, port = ("?", 0) if not name else name[:2]
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
