"""Stores for the tests, each verified when its test ends."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflowdb.storage.lmdb_store import LmdbStore
from tests.folders import IN_MEMORY

from .samples import Clock, OpenDatabase


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is as good as a disk, but for power loss, and much faster."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        yield Path(name)


@pytest.fixture
def crashed(folder: Path) -> Iterator[Path]:
    """Where a database goes that a crash has left."""
    with_crash = folder.with_name(f"{folder.name}-crashed")
    yield with_crash
    shutil.rmtree(with_crash, ignore_errors=True)


@pytest.fixture
def clock() -> Clock:
    """The clock of the store under test."""
    return Clock()


@pytest.fixture
def database(folder: Path, clock: Clock) -> Iterator[OpenDatabase]:
    """A database that may be opened anew, and must be sound at the end."""
    database = OpenDatabase(folder, clock)
    yield database
    database.verify_and_close()


@pytest.fixture
def store(database: OpenDatabase) -> LmdbStore:
    """An empty store, which must be sound at the end."""
    return database.store


@pytest.fixture
def damaged_store(folder: Path, clock: Clock) -> Iterator[LmdbStore]:
    """A store that the test damages: it is not verified."""
    store = LmdbStore.open(folder, map_size=1 << 30, clock_ns=clock)
    yield store
    store.close()
