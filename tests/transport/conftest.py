"""A server whose threads move by hand, and a watch on what is logged."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import globalLogPublisher

from tests.service.fakes import LoggedFaults, SteppedServer

from .fakes import CLIENTS_MAX, Bench, HandReactor, SocketClient


@pytest.fixture(autouse=True)
def faults() -> Iterator[LoggedFaults]:
    """The faults that are logged: at the end there must be none that the test did not take."""
    faults = LoggedFaults()
    globalLogPublisher.addObserver(faults)
    yield faults
    gc.collect(1)  # a Deferred tells of its unhandled error when it is collected
    globalLogPublisher.removeObserver(faults)
    assert not faults.events


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SteppedServer]:
    """A server without a password."""
    server = SteppedServer(tmp_path / "database", clients_max=CLIENTS_MAX)
    yield server
    server.close()


@pytest.fixture
def bench(server: SteppedServer) -> Bench:
    """A factory of connections to it."""
    return Bench(server)


@pytest.fixture
def reactor() -> HandReactor:
    """A reactor for real sockets, turned by hand."""
    return HandReactor()


@pytest.fixture
def client(bench: Bench, reactor: HandReactor) -> Iterator[SocketClient]:
    """A client at the other end of real sockets."""
    client = SocketClient(bench, reactor)
    yield client
    client.close()
    if client.is_connected:
        client.transport.abortConnection()
        reactor.turn()
