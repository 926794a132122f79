"""A server whose threads move by hand, and a watch on what is logged."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import globalLogPublisher

from .fakes import Connection, LoggedFaults, SteppedServer
from .members import Members


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
    server = SteppedServer(tmp_path / "database")
    yield server
    server.close()


@pytest.fixture
def connection(server: SteppedServer) -> Connection:
    """A connection to it."""
    return server.connect()


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    """The members of a consumer of events of type `t`."""
    members = Members(tmp_path / "database")
    members.make()
    yield members
    members.close()
