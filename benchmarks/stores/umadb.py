"""UmaDB: events with a tag for the stream and one for the version, and a condition that the latter is not there yet.

So it refuses a version that is taken, but not one that leaves a gap. Driven by its Python client.
"""

import importlib
import importlib.metadata
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks import python_load
from benchmarks.payload import Stored
from benchmarks.processes import running
from benchmarks.servers import HOST, free_port
from benchmarks.stores import PYTHON_LOAD, Conflict, Running


@dataclass(frozen=True, slots=True)
class UmaDB:
    """The server and the client of one Python package."""

    name: str = "UmaDB"
    durability: str = "fdatasync before the answer (there is no other setting)"
    load: str = PYTHON_LOAD
    loading_events: int = 10

    def missing(self) -> str:
        """What would install it."""
        return "" if find_spec("umadb") and _program() else "pip install umadb"

    @contextmanager
    def running(self, folder: Path) -> Iterator[Running]:
        """It, on loopback."""
        port, program = free_port(), _program()
        assert program is not None
        command = [program, "--listen", f"{HOST}:{port}", "--db-path", str(folder / "events.db")]
        address = f"http://{HOST}:{port}"
        with running(command, folder, lambda: _is_listening(port)) as process:
            version = importlib.metadata.version("umadb")
            yield Running(
                process.pid, version, lambda turn: python_load.run(__name__, address, turn, 2), UmaSession(address)
            )


class UmaSession:
    """A client."""

    def __init__(self, address: str) -> None:
        self._umadb = importlib.import_module("umadb")
        self._client = self._umadb.Client(address)
        self._position = 0
        """Of the last event that `catch_up` has seen; a client catches up with one stream."""

    def ping(self) -> None:
        """Its least question is the position of the last event."""
        self._client.head()

    def append(self, stream: str, version: int, events: list[Stored]) -> None:
        """Append where none of the versions is there."""
        tags = [[f"stream:{stream}", f"version:{stream}:{event.version}"] for event in events]
        items = [self._umadb.QueryItem(tags=both) for both in tags]
        sent = [
            self._umadb.Event(event.type, event.data.encode(), both, None, {"metadata": event.metadata})
            for event, both in zip(events, tags, strict=True)
        ]
        try:
            self._client.append(sent, self._umadb.AppendCondition(self._umadb.Query(items)))
        except self._umadb.IntegrityError as refused:
            raise Conflict(str(refused)) from None

    def read(self, stream: str, limit: int) -> list[Stored]:
        """By the stream's tag."""
        query = self._umadb.Query([self._umadb.QueryItem(tags=[f"stream:{stream}"])])
        events = []
        for found in self._client.read(query, limit=limit):
            event = found.event
            version = next(int(tag.rpartition(":")[2]) for tag in event.tags if tag.startswith("version:"))
            events.append(Stored(version, event.event_type, bytes(event.data).decode(), event.metadata["metadata"]))
        return events

    def catch_up(self, stream: str, version: int) -> int:
        """By the stream's tag, behind the last event that was seen."""
        query = self._umadb.Query([self._umadb.QueryItem(tags=[f"stream:{stream}"])])
        found = list(self._client.read(query, start=self._position + 1))
        if not found:
            return version
        self._position = found[-1].position
        last = next(tag for tag in found[-1].event.tags if tag.startswith("version:"))
        return int(last.rpartition(":")[2]) + 1

    def page(self, after: int, limit: int) -> tuple[int, int]:
        """Behind a position."""
        found = list(self._client.read(None, start=after + 1, limit=limit))
        return len(found), found[-1].position if found else after

    def count(self) -> int:
        """The position of the last event: positions have no gaps."""
        return self._client.head() or 0

    def close(self) -> None:
        """Nothing to do: the client has no such method."""


def session(address: str) -> UmaSession:
    """A client of a server that runs."""
    return UmaSession(address)


def _program() -> str | None:
    beside = Path(sys.executable).with_name("umadb")
    return str(beside) if beside.exists() else shutil.which("umadb")


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True
