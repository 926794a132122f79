"""What the tests of the store put in, and how they look at what came out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventflowdb.append import Append
from eventflowdb.events import CheckedEvent
from eventflowdb.storage import layout
from eventflowdb.storage.journal import NAMES
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.spans import CHUNK, Chunk, ReadBounds
from eventflowdb.storage.transactions import run_here
from eventflowdb.storage.verify import verify

STREAM = "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c"
OTHER = "1f0e2d4b-6c5a-4384-9b8f-3ed9a07384c3"
THIRD = "9b8f3ed9-a073-4c34-8b1f-0e2d4b6c5a38"
MOMENT_US = 1_763_925_794_123_456
"""2025-11-23T19:23:14.123456Z"""
FIRST = bytes(16)
"""No id is below it: reading the log starts at its beginning."""
ALL = 2**53
MAP_SIZE = 1 << 30


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self, us: int = MOMENT_US) -> None:
        self.us = us

    def __call__(self) -> int:
        """Nanoseconds since 1970."""
        return self.us * 1000


class OpenDatabase:
    """A store under test, in a folder of its own, that can be opened anew and is verified when it closes."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.clock = clock
        self.store = self._open()

    def _open(
        self,
        map_size: int = MAP_SIZE,
        min_free_bytes: int = 0,
        elsewhere: Callable[[Callable[[], None]], object] = run_here,
    ) -> LmdbStore:
        return LmdbStore.open(
            self.folder,
            map_size=map_size,
            min_free_bytes=min_free_bytes,
            clock_ns=self.clock,
            elsewhere=elsewhere,
        )

    def reopen(self, **options: Any) -> LmdbStore:
        """Close the store, open it again, and return it. options: see LmdbStore.open."""
        self.store.close()
        self.store = self._open(**options)
        return self.store

    def verify_and_close(self) -> None:
        """The end of every test: the store must be sound, whatever the test did."""
        report = verify(self.store.environment)
        self.store.close()
        assert report.first_problem is None, report.first_problem


def append_of(stream: str, expected_version: int, *datas: str) -> Append:
    """An append of one event for each of `datas`."""
    return append_of_events(stream, expected_version, *[CheckedEvent.of(type="tested", data=data) for data in datas])


def append_of_events(stream: str, expected_version: int, *events: CheckedEvent) -> Append:
    """An append of these events."""
    size_bytes = sum(len(event.content) for event in events)
    return Append.to_stream(stream, expected_version, list(events), size_bytes)


def stored(store: LmdbStore, append: Append) -> list[bytes]:
    """The records of an append that is alone in its batch and must not be refused."""
    (outcome,) = store.append_batch([append])
    return records_of(outcome)


def records_of(outcome: Any) -> list[bytes]:
    """The records of an append that must not have been refused."""
    assert isinstance(outcome, list), outcome
    return outcome


def fields_of(record: bytes) -> dict[str, Any]:
    """A record as any client would see it."""
    fields = json.loads(record)
    assert isinstance(fields, dict)
    return fields


def read_to_end(store: LmdbStore, chunk: Chunk, bounds: ReadBounds = CHUNK) -> list[bytes]:
    """All records of a read, which must be as many as it promised when it began."""
    total = chunk.total()
    records = list(chunk.records)
    while chunk.rest is not None:
        chunk = store.read_on(chunk.rest, bounds)
        assert chunk.records, "a chunk without records makes no progress"
        records += chunk.records
        assert len(records) + (chunk.total() - len(chunk.records)) == total
    assert len(records) == total
    return records


def read_log(store: LmdbStore, start: bytes = FIRST, limit: int = ALL, bounds: ReadBounds = CHUNK) -> list[bytes]:
    """The log from an id on."""
    return read_to_end(store, store.open_log(start, limit, bounds), bounds)


def crash(database: OpenDatabase, crashed: Path, *, data_file: bytes | None = None) -> Path:
    """What a process that ends now leaves; data_file: and of it no more than this, as after a power loss."""
    crashed.mkdir()
    for name in ("data.mdb", *NAMES):
        shutil.copy(database.folder / name, crashed / name)
    if data_file is not None:
        (crashed / "data.mdb").write_bytes(data_file)
    return crashed


def read_again(folder: Path) -> list[bytes]:
    """The log that a start finds, which must be sound and good to build on."""
    store = LmdbStore.open(folder, map_size=MAP_SIZE)
    records = read_log(store)
    more = stored(store, append_of("5eed5eed-0000-4000-8000-000000000000", 0, "more"))
    assert verify(store.environment).first_problem is None
    assert read_log(store) == records + more
    store.close()
    return records


def read_stream(
    store: LmdbStore, stream: str, version: int = 0, limit: int | None = None, bounds: ReadBounds = CHUNK
) -> list[bytes]:
    """A stream from a version on."""
    return read_to_end(store, store.open_stream(stream, version, limit, bounds), bounds)


def log_keys(store: LmdbStore) -> list[bytes]:
    """The ids of all events, in order."""
    with store.environment.env.begin() as txn:
        return list(txn.cursor(store.environment.log).iternext(values=False))


def replace_entry(store: LmdbStore, database: Any, key: bytes, old: bytes, new: bytes) -> None:
    """Have another id in an index."""
    with store.environment.env.begin(write=True) as txn:
        assert txn.delete(key, old, db=database)
        assert txn.put(key, new, db=database)


def lose_entry(store: LmdbStore, version: int) -> None:
    """Take an event out of the index of the first stream, whose events are the first ones of the log."""
    entry = layout.pack_index_entry(version, log_keys(store)[version])
    with store.environment.env.begin(write=True) as txn:
        assert txn.delete(layout.pack_number(0), entry, db=store.environment.stream_events)


def has_open_reads(store: LmdbStore) -> bool:
    """Whether any read transaction is open, but for the one of the last checkpoint; a slot without one shows "-"."""
    table = store.environment.env.readers().splitlines()[1:]
    return len([line for line in table if line.split()[-1] != "-"]) > 1
