"""The data file and its journal together: what is on the disk, and how a database is brought back to it.

Theory of operation. LMDB writes the data file without a flush. Each commit is on the disk when the journal has it.
From time to time a checkpoint has the data file flushed, while commits go on: the state to be flushed is pinned by a
read transaction, so that LMDB uses none of its pages again, and stays pinned until the next one is on the disk.

After a crash the data file may hold anything of what was written since that state; but the state's own pages are whole.
So its meta pages, which the journal has kept, are put back, and the journal's changes are made again. Where other
processes still read the data file, this machine has not crashed, what its files hold is whole, and LMDB's own word is
taken: a state must not be taken from under readers. Then too the changes are made again, which changes nothing.
"""

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from eventflowdb.errors import CorruptRecord, StartRefused
from eventflowdb.limits import CHECKPOINT_COMMITS_MAX, CHECKPOINT_JOURNAL_BYTES_MAX, REPEATED_BYTES_MAX
from eventflowdb.storage import layout
from eventflowdb.storage.changes import repeat
from eventflowdb.storage.environment import DATA_FILE, READERS_FILE, Environment
from eventflowdb.storage.journal import META_BYTES, Journal, State
from eventflowdb.storage.pages import HEADER_BYTES
from eventflowdb.storage.records import unseal
from eventflowdb.storage.writeback import write_back

_PAGE_BYTES_AT = 24
"""Where a meta gives the page size."""
_TRANSACTION_AT = META_BYTES - 8
_OPEN: set[Path] = set()
"""The folders that this process has open: its own locks on LMDB's table of readers would not tell."""


class Checkpoints:
    """Keeps the data file of an open environment and its journal in step.

    `begin` is called between commits by the thread that commits; `write_back` and `finish` by any thread.
    """

    def __init__(self, environment: Environment, journal: Journal) -> None:
        self._environment = environment
        self.journal = journal
        self._database_id = _database_id_of(environment)
        self._pinned: Any = environment.env.begin()
        """Keeps the state that is on the disk."""
        self._next: Any = None
        """Keeps the state that is on its way there."""
        self._commits = 0

    @classmethod
    def recover(cls, folder: Path, map_size: int) -> "Checkpoints":
        """Open a database, made if there is none, with all that was ever answered. StartRefused."""
        if folder.resolve() in _OPEN:
            raise StartRefused(f"DATA {folder} is open in this process already")
        try:
            Environment.create(folder, map_size)
            journal = Journal(folder)
        except CorruptRecord as error:
            raise StartRefused(f"DATA {folder}: {error}") from error
        except OSError as error:
            raise StartRefused(f"DATA {folder} cannot be opened as a database: {error}") from error
        try:
            if journal.base is not None and not journal.is_closed and not _is_read_by_others(folder):
                _restore(folder, journal.base.state)
            environment = Environment.open(folder, map_size)
        except BaseException:
            journal.close()
            raise
        try:
            checkpoints = cls(environment, journal)
            checkpoints._repeat(folder)
            # The generation that begins counts on the records that were found, and until it is complete it is they that
            # a power loss would have the next start begin with.
            journal.flush_found()
            # So what was made again is on the disk before the journal forgets it.
            environment.flush()
            checkpoints.begin()
            checkpoints.finish()
        except BaseException as error:
            journal.close()
            environment.env.close()
            if isinstance(error, lmdb.MapFullError):
                raise StartRefused(
                    f"DATA {folder} has more events than MAP_SIZE has room for; give a larger one"
                ) from error
            if isinstance(error, (OSError, CorruptRecord, lmdb.Error, msgspec.MsgspecError)):
                raise StartRefused(f"DATA {folder} cannot be opened as a database: {error}") from error
            raise
        _OPEN.add(environment.folder)
        return checkpoints

    @property
    def environment(self) -> Environment:
        """The data file."""
        return self._environment

    @property
    def is_due(self) -> bool:
        """Whether the next checkpoint should begin."""
        return self._commits >= CHECKPOINT_COMMITS_MAX or self.journal.size_bytes >= CHECKPOINT_JOURNAL_BYTES_MAX

    @property
    def has_commits(self) -> bool:
        """Whether LMDB has made commits since the last one began."""
        return self._commits > 0

    def committed(self) -> None:
        """LMDB has made a commit."""
        self._commits += 1

    def begin(self) -> None:
        """Begin a checkpoint of the state that LMDB's last commit left. OSError."""
        self._next = self._environment.env.begin()
        self._commits = 0
        state = _read_state(self._environment, int(self._next.id()))
        self.journal.begin(self._database_id, state)

    def write_back(self, is_hurried: Callable[[], bool]) -> None:
        """Have the disk take most of the data file little by little, so that `finish` keeps it from nobody for long."""
        write_back(self._environment.folder / DATA_FILE, is_hurried)

    def finish(self, *, is_closed: bool = False) -> None:
        """Have the state on the disk: it may take as long as the disk does. OSError."""
        self._environment.flush()
        self.journal.complete(is_closed=is_closed)
        pinned, self._pinned, self._next = self._pinned, self._next, None
        pinned.abort()

    def close(self) -> None:
        """Close all, as they are, if it is not closed yet: to close in order, checkpoint first."""
        if self._environment.folder not in _OPEN:
            return
        _OPEN.remove(self._environment.folder)
        for pinned in (self._pinned, self._next):
            if pinned is not None:
                pinned.abort()
        self.journal.close()
        self._environment.env.close()

    def _repeat(self, folder: Path) -> None:
        """Make the journal's changes again."""
        base = self.journal.base
        if base is not None and base.database_id != self._database_id:
            raise StartRefused(f"DATA {folder} holds the journal of another database")
        waiting: list[bytes] = []
        size_bytes = 0
        for changes in self.journal.records():
            waiting.append(changes)
            size_bytes += len(changes)
            if size_bytes > REPEATED_BYTES_MAX:
                self._repeat_some(waiting)
                waiting, size_bytes = [], 0
        self._repeat_some(waiting)

    def _repeat_some(self, waiting: list[bytes]) -> None:
        if waiting:
            with self._environment.env.begin(write=True) as txn:
                for changes in waiting:
                    repeat(self._environment, txn, changes)


def _database_id_of(environment: Environment) -> bytes:
    with environment.env.begin() as txn:
        return unseal(txn.get(layout.DATABASE_ID_KEY, b"", db=environment.meta), "the id of the database")


def _read_state(environment: Environment, transaction: int) -> State:
    """The state that the last commit left, whose transaction this was."""
    page_bytes = int(environment.env.stat()["psize"])
    first = environment.read(META_BYTES, HEADER_BYTES)
    second = environment.read(META_BYTES, page_bytes + HEADER_BYTES)
    if max(_transaction_of(first), _transaction_of(second)) != transaction:
        raise CorruptRecord(f"the meta pages are not those of transaction {transaction}")
    return State(transaction, (first, second))


def _restore(folder: Path, state: State) -> None:
    """Put the meta pages of a state back. StartRefused where the data file is older than the state."""
    (page_bytes,) = struct.unpack_from("=I", state.metas[0], _PAGE_BYTES_AT)
    with (folder / DATA_FILE).open("r+b", buffering=0) as file:
        offsets = HEADER_BYTES, page_bytes + HEADER_BYTES
        stored = [os.pread(file.fileno(), META_BYTES, offset) for offset in offsets]
        if max(map(_transaction_of, stored)) < state.transaction:
            raise StartRefused(
                f"DATA {folder} holds a data file that is older than its journal; put the journal of the same backup "
                "beside it"
            )
        for offset, meta in zip(offsets, state.metas, strict=True):
            os.pwrite(file.fileno(), meta, offset)
        os.fsync(file.fileno())


def _transaction_of(meta: bytes) -> int:
    return int.from_bytes(meta[_TRANSACTION_AT:META_BYTES], "little") if len(meta) == META_BYTES else 0


def _is_read_by_others(folder: Path) -> bool:
    """Whether another process has the database open: each holds a lock on the first byte of LMDB's table of readers."""
    path = folder / READERS_FILE
    if not path.exists():
        return False
    with path.open("r+b") as table:
        try:
            fcntl.lockf(table, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except OSError:
            return True
        return False
