"""The stores under comparison, a module each: how one is started, so that it is durable, driven and asked."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.jobs import Outcome, Turn
from benchmarks.payload import Stored

C_LOAD = "C"
PYTHON_LOAD = "Python client"


class Conflict(Exception):
    """An append said another version than the stream has."""


class Holdings(Protocol):
    """What a store says that it holds."""

    def count(self) -> int:
        """How many events there are."""

    def read(self, stream: str, limit: int) -> list[Stored]:
        """The first events of a stream."""


class Session(Holdings, Protocol):
    """One client of a store that is driven from Python; used by one thread."""

    def ping(self) -> None:
        """Ask the least that there is to ask."""

    def append(self, stream: str, version: int, events: list[Stored]) -> None:
        """Append to a stream that holds so many events; Conflict where it holds others."""

    def catch_up(self, stream: str, version: int) -> int:
        """Read what a stream has beyond a version; gives the version after it."""

    def page(self, after: int, limit: int) -> tuple[int, int]:
        """Read the log behind a place: how many events came, and where the next page begins."""

    def close(self) -> None:
        """End it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A store that was started."""

    pid: int | None
    """None: it runs in the process of the load."""
    version: str
    run: Callable[[Turn], Outcome]
    holdings: Holdings
    keeps_bytes: bool = True
    """False: data and metadata come back as the same JSON in other words."""


class Store(Protocol):
    """A kind of store."""

    @property
    def name(self) -> str:
        """Its name in the tables."""

    @property
    def durability(self) -> str:
        """What is on disk when an append is answered, and by which setting."""

    @property
    def load(self) -> str:
        """What drives it: C_LOAD or PYTHON_LOAD."""

    @property
    def loading_events(self) -> int:
        """Events of an append while streams are made before the work: as many as the store takes well."""

    def missing(self) -> str:
        """What would install it; empty where it is there."""

    def running(self, folder: Path) -> AbstractContextManager[Running]:
        """The store, with its database in a folder that exists and is empty, or that it has filled before."""
