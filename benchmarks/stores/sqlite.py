"""The recorder of the Python library `eventsourcing` on SQLite: no server and no network, threads of one process.

It refuses a version that is taken, but not one that leaves a gap.
"""

import importlib
import importlib.metadata
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import python_load
from benchmarks.payload import Stored
from benchmarks.stores import PYTHON_LOAD, Conflict, Running

_CONNECTIONS_MAX = 80


@dataclass(frozen=True, slots=True)
class EventsourcingSQLite:
    """The library, in the process of the load."""

    name: str = "eventsourcing, SQLite"
    durability: str = "fdatasync before the answer (WAL, synchronous FULL)"
    load: str = f"{PYTHON_LOAD}, in process"
    loading_events: int = 10

    def missing(self) -> str:
        """What would install it."""
        return "" if find_spec("eventsourcing") else "pip install eventsourcing"

    @contextmanager
    def running(self, folder: Path) -> Iterator[Running]:
        """Its file; each turn is a process that opens it."""
        path = str(folder / "events.db")
        version = f"{importlib.metadata.version('eventsourcing')}, SQLite {sqlite3.sqlite_version}"
        yield Running(None, version, lambda turn: python_load.run(__name__, path, turn, 1), SQLiteSession(path))
        _recorder(path).datastore.close()
        _recorder.cache_clear()


class SQLiteSession:
    """Threads share the recorder, which has a connection for each."""

    def __init__(self, path: str) -> None:
        self._recorder = _recorder(path)
        self._persistence: Any = importlib.import_module("eventsourcing.persistence")

    def ping(self) -> None:
        """There is nobody to ask."""

    def append(self, stream: str, version: int, events: list[Stored]) -> None:
        """Insert; (stream, version) is a key."""
        name = uuid.UUID(stream)
        rows = [
            self._persistence.StoredEvent(name, event.version, event.type, f"{event.data}\n{event.metadata}".encode())
            for event in events
        ]
        try:
            self._recorder.insert_events(rows)
        except self._persistence.IntegrityError as refused:
            raise Conflict(str(refused)) from None

    def read(self, stream: str, limit: int) -> list[Stored]:
        """In the order of their versions."""
        events = []
        for row in self._recorder.select_events(uuid.UUID(stream), limit=limit):
            data, metadata = row.state.decode().split("\n")
            events.append(Stored(row.originator_version, row.topic, data, metadata))
        return events

    def catch_up(self, stream: str, version: int) -> int:
        """By the versions."""
        return version + len(self._recorder.select_events(uuid.UUID(stream), gt=version - 1))

    def page(self, after: int, limit: int) -> tuple[int, int]:
        """By notifications."""
        rows = self._recorder.select_notifications(after + 1, limit)
        return len(rows), rows[-1].id if rows else after

    def count(self) -> int:
        """The last notification's number: they have no gaps."""
        return self._recorder.max_notification_id() or 0

    def close(self) -> None:
        """The recorder is everybody's."""


def session(address: str) -> SQLiteSession:
    """A thread's."""
    return SQLiteSession(address)


@cache
def _recorder(path: str) -> Any:
    library: Any = importlib.import_module("eventsourcing.sqlite")
    store = library.SQLiteDatastore(path, pool_size=_CONNECTIONS_MAX, pool_timeout=30, lock_timeout=30)
    recorder = library.SQLiteApplicationRecorder(store)
    recorder.create_table()
    return recorder
