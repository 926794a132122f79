"""A process that opens databases as a disk left them, and says what is wrong: a bad page may kill it, not the test."""

import multiprocessing
import os
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from eventflowdb.errors import EventflowError, StartRefused
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.verify import verify
from tests.folders import IN_MEMORY
from tests.storage.samples import append_of, read_log, stored

_PATIENCE_SECONDS = 60
_STREAM = "5eed5eed-0000-4000-8000-000000000000"


class Examined(NamedTuple):
    """What was found: how many events, and what is wrong (None: nothing)."""

    event_count: int
    problem: str | None


class Examiner:
    """Opens databases in a process of its own. log: what the database held at last, of which each is a beginning."""

    def __init__(self, log: Sequence[bytes]) -> None:
        self._log = log
        self._start()

    def __enter__(self) -> "Examiner":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end()

    def examine(self, files: Mapping[str, bytes]) -> Examined:
        """Open the database with these files, by their names, and check it, also by appending to it."""
        try:
            self._connection.send(dict(files))
            if not self._connection.poll(_PATIENCE_SECONDS):
                raise EOFError
            found: Examined = self._connection.recv()
        except (EOFError, ConnectionError):
            self._end()
            status = self._process.exitcode
            self._start()
            return Examined(0, f"whoever opens it ends with status {status}")
        return found

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_examine_all, args=(other, self._log), daemon=True)
        self._process.start()
        other.close()

    def _end(self) -> None:
        self._connection.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _examine_all(connection: "Connection[Examined, dict[str, bytes]]", log: Sequence[bytes]) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        for number in range(1 << 62):
            try:
                files = connection.recv()
            except EOFError:
                return
            connection.send(_examine(Path(folder) / str(number), files, log))


def _examine(folder: Path, files: Mapping[str, bytes], log: Sequence[bytes]) -> Examined:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        store = LmdbStore.open(folder, map_size=1 << 30)
    except StartRefused as refusal:
        return Examined(0, f"it does not open: {refusal}")
    try:
        return _check(store, log)
    except EventflowError as error:
        return Examined(0, f"{type(error).__name__}: {error}")
    finally:
        store.close()
        for name in os.listdir(folder):
            (folder / name).unlink()
        folder.rmdir()


def _check(store: LmdbStore, log: Sequence[bytes]) -> Examined:
    records = read_log(store)
    if records != log[: len(records)]:
        return Examined(len(records), "its log is no beginning of the log that was")
    count, problem = len(records), verify(store.environment).first_problem
    if problem is None:
        # What the crash left must also be good to build on: pages that only look free would be overwritten now.
        for version in (0, 3):
            stored(store, append_of(_STREAM, version, *["y" * size for size in (1, 3000, 9000)]))
        problem = verify(store.environment).first_problem
        if store.event_count() != count + 6:
            problem = f"it holds {store.event_count()} events after 6 more than {count}"
    return Examined(count, problem)
