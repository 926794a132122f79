"""A listening socket that several fronts accept on: who takes a connection."""

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest
import uvloop

from eventflowdb.transport.listening import bind
from eventflowdb.transport.shared_port import SharedPort
from tests.service.fakes import SteppedServer

from .fakes import Bench


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of uvloop, which the test runs."""
    loop = uvloop.new_event_loop()
    yield loop
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket."""
    with bind("127.0.0.1", 0) as listener:
        yield listener


def run_until(loop: asyncio.AbstractEventLoop, condition: Callable[[], bool]) -> None:
    """Run the loop until something has come true."""

    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.001)

    loop.run_until_complete(asyncio.wait_for(wait(), 20))


def test_it_takes_connections_until_it_is_closed(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, bench: Bench
) -> None:
    port = SharedPort(loop, listener, bench.factory, lambda coming: False)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(2)]
    run_until(loop, lambda: len(bench.factory.connections) == 2)
    port.stopListening()
    for client in clients:
        client.close()
    run_until(loop, lambda: not bench.factory.connections)


def test_what_one_leaves_another_takes(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, bench: Bench, server: SteppedServer
) -> None:
    other = Bench(server)
    standing_back = SharedPort(
        loop, listener, bench.factory, lambda coming: bool(bench.factory.connections) or coming > 0
    )
    taking = SharedPort(loop, listener, other.factory, lambda coming: False)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(2)]
    run_until(loop, lambda: len(bench.factory.connections) + len(other.factory.connections) == 2)
    assert len(other.factory.connections) >= len(bench.factory.connections)
    for port in (standing_back, taking):
        port.stopListening()
    for client in clients:
        client.close()
    run_until(loop, lambda: not bench.factory.connections and not other.factory.connections)


def test_what_nobody_else_takes_it_takes_after_a_while(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, bench: Bench
) -> None:
    port = SharedPort(loop, listener, bench.factory, lambda coming: True)
    with socket.create_connection(listener.getsockname()):
        run_until(loop, lambda: len(bench.factory.connections) == 1)
    run_until(loop, lambda: not bench.factory.connections)
    port.stopListening()
