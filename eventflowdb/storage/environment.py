"""The LMDB environment: opened, given its format, and looked up in by key."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lmdb

from eventflowdb.consumers import StoredConsumer
from eventflowdb.errors import CorruptRecord, NoSuchConsumer, StartRefused
from eventflowdb.ids import ulid_text
from eventflowdb.limits import MIB
from eventflowdb.storage import layout
from eventflowdb.storage.file_map import map_file
from eventflowdb.storage.folder import sync_folder
from eventflowdb.storage.layout import EMPTY_HEAD, Head
from eventflowdb.storage.log_walk import IS_FASTER, LogWalks
from eventflowdb.storage.pages import PageFile
from eventflowdb.storage.records import load_record, seal

DATA_FILE = "data.mdb"
READERS_FILE = "lock.mdb"
"""LMDB's table of readers."""
NEW_FILE = "data.mdb.new"
"""The data file while it is made."""
_MAP_SIZE_MIN = 1024 * MIB
_READERS_MAX = 127
"""LMDB's own 126, and one for the state that the last checkpoint keeps."""


class Environment:
    """An open LMDB environment of the known format, and its databases.

    Its commits are not flushed (checkpoints.py). databases: all of them in the order of their numbers (layout.py);
    numbers: the other way round; folder: where it is, its whole path. Transactions are `Any`: py-lmdb ships no types.
    """

    _witness: int = -1

    def __init__(self, env: Any) -> None:
        self.env = env
        self.folder = Path(env.path()).resolve()
        self._witness = os.open(os.path.join(env.path(), DATA_FILE), os.O_RDONLY | os.O_CLOEXEC)
        """Open for as long as the environment, to be told of flushes that fail; nothing is written through it."""
        file = PageFile(self.folder / DATA_FILE)
        self.log_walks = LogWalks(file, map_file(file.fileno(), int(env.info()["map_size"])) if IS_FASTER else None)
        self.databases = tuple([env.open_db(name, create=False) for name in layout.DATABASES])
        self.numbers = {database: number for number, database in enumerate(self.databases)}
        (
            self.meta,
            self.log,
            self.streams,
            self.terms,
            self.requests,
            self.consumers,
            self.settlements,
            self.parked,
            self.stream_events,
            self.term_events,
            self.links,
        ) = self.databases

    def __del__(self) -> None:
        # LMDB closes its own when it is forgotten, too.
        if self._witness >= 0:
            os.close(self._witness)

    @classmethod
    def create(cls, folder: Path, map_size: int) -> None:
        """Make a database in a folder, and the folder, if there is none; on the disk when this returns. OSError."""
        if not (folder / DATA_FILE).exists():
            try:
                _create(folder, map_size)
            except lmdb.Error as error:
                raise OSError(str(error)) from error

    @classmethod
    def open(cls, folder: Path, map_size: int, *, is_read_only: bool = False) -> "Environment":
        """Open the database in a folder; StartRefused where it is something else.

        is_read_only: for a process beside the one that writes.
        """
        try:
            env = _open_lmdb(folder, map_size, is_flushing=False, is_read_only=is_read_only)
            try:
                _prepare(env, folder)
                environment = cls(env)
                environment.forget_dead_readers()
            except BaseException:
                env.close()
                raise
        except (lmdb.Error, OSError) as error:
            raise StartRefused(f"DATA {folder} cannot be opened as a database: {error}") from error
        return environment

    def flush(self) -> None:
        """Have all that was committed on the disk; it may take as long as the disk does. OSError; on any thread."""
        os.fdatasync(self._witness)

    def read(self, size: int, offset: int) -> bytes:
        """Bytes of the data file, as LMDB has written them."""
        return os.pread(self._witness, size, offset)

    def has_lost_nothing(self) -> bool:
        """Whether a commit that failed has left all as it was, so that a later one can be trusted; on any thread.

        It has not where a flush failed or the meta page: what the disk holds is not known then. Linux tells of a failed
        flush once through each descriptor that was open, whoever asked for it; LMDB refuses to write after the latter.
        """
        try:
            os.fsync(self._witness)
            self.env.begin(write=True).abort()
        except (lmdb.Error, OSError):
            return False
        return True

    def forget_dead_readers(self) -> int:
        """Free the slots of processes that were killed while they read; how many. On any thread.

        Such a slot keeps every page that has been freed since from being used again, so that the file grows.
        """
        return int(self.env.reader_check())

    def head(self, txn: Any) -> Head:
        """Where the log stands in this transaction; CorruptRecord where the head is damaged."""
        stored = txn.get(layout.HEAD_KEY, db=self.meta)
        return EMPTY_HEAD if stored is None else layout.unpack_head(stored)

    def find_record(self, txn: Any, event_id: bytes) -> bytes | None:
        """The JSON of one event, or None; CorruptRecord where it is damaged."""
        stored = txn.get(event_id, db=self.log)
        return None if stored is None else load_record(stored, f"the record of event {id_text(event_id)}")

    def values_of(self, txn: Any, event_ids: Sequence[bytes], bytes_max: int) -> list[bytes]:
        """What the log holds for the first of these ids: as much as may be read at once, at least one.

        CorruptRecord where it has none for an id, which an index has named.
        """
        return self.values_at(txn.cursor(self.log), event_ids, bytes_max, 1)

    def values_at(self, cursor: Any, event_ids: Sequence[bytes], bytes_max: int, events_min: int) -> list[bytes]:
        """The same with a cursor of the log, at least `events_min` of them."""
        # A loop, not a whole pass: most streams are short, and what a pass begins with costs as much as some events.
        values: list[bytes] = []
        size = 0
        # A cursor looks for the next key on the page where it is before it goes down the tree.
        find, found = cursor.set_key, cursor.value
        for event_id in event_ids:
            if not find(event_id):
                raise CorruptRecord(f"event {id_text(event_id)} is in an index but not in the log")
            value: bytes = found()
            size += len(value)
            if size > bytes_max and len(values) >= events_min:
                break
            values.append(value)
        return values

    def find_stream(self, txn: Any, stream: str) -> tuple[bytes, int] | None:
        """A stream's number and how many events it holds; None where it holds none."""
        number = txn.get(layout.stream_key(stream), db=self.streams)
        if number is None:
            return None
        cursor = txn.cursor(self.stream_events)
        if not (cursor.set_key(number) and cursor.last_dup()):
            raise CorruptRecord(f"stream {stream} has a number but no events; restore from a backup")
        return number, layout.unpack_version(cursor.value()) + 1

    def find_consumer(self, txn: Any, name: str) -> StoredConsumer:
        """A consumer by its name; NoSuchConsumer, CorruptRecord."""
        key = name.encode()
        stored = txn.get(key, db=self.consumers)
        if stored is None:
            raise NoSuchConsumer.of(name)
        return layout.unpack_consumer(stored, key)


def id_text(event_id: bytes) -> str:
    """An event id as people read it."""
    return ulid_text(int.from_bytes(event_id, "big"))


def _create(folder: Path, map_size: int) -> None:
    """Make a new database under another name, and give it its own when it is whole and on the disk.

    LMDB writes its first two pages without a flush: a power loss may leave one of them, or a part, and then the file
    is no database, and none that LMDB would make anew.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    new_file, new_lock = folder / NEW_FILE, folder / f"{NEW_FILE}-lock"
    for left_over in (new_file, new_lock):
        left_over.unlink(missing_ok=True)
    env = _open_lmdb(new_file, map_size, subdir=False)
    try:
        _prepare(env, folder)
    finally:
        env.close()
    new_lock.unlink()
    new_file.rename(folder / DATA_FILE)
    sync_folder(folder)


def _open_lmdb(
    path: Path, map_size: int, *, subdir: bool = True, is_flushing: bool = True, is_read_only: bool = False
) -> Any:
    """Open LMDB; where the platform refuses so much address space, with less, down to 1 GiB."""
    while True:
        try:
            # lib_version=0: LMDB 0.9's format, whatever the environment variables of py-lmdb say. Never writemap:
            # a stray write could then reach the data, and nothing could replay what had been synced.
            return lmdb.open(
                os.fspath(path),
                subdir=subdir,
                map_size=map_size,
                max_dbs=16,
                max_readers=_READERS_MAX,
                mode=0o600,
                sync=is_flushing,
                readonly=is_read_only,
                lib_version=0,
            )
        except (lmdb.MemoryError, OverflowError):
            if map_size // 2 < _MAP_SIZE_MIN:
                raise
            map_size //= 2


def _prepare(env: Any, folder: Path) -> None:
    """Give a new environment its databases and format number; refuse an unknown number in words."""
    with env.begin() as txn:
        has_databases = txn.stat()["entries"] > 0
    if has_databases:
        _require_known_format(env, folder)
        return
    with env.begin(write=True) as txn:
        meta = env.open_db(layout.META, txn)
        for name in layout.PLAIN_DATABASES:
            env.open_db(name, txn)
        for name in layout.INDEX_DATABASES:
            env.open_db(name, txn, dupsort=True, dupfixed=True)
        txn.put(layout.FORMAT_KEY, layout.pack_format(layout.FORMAT), db=meta)
        txn.put(layout.DATABASE_ID_KEY, seal(os.urandom(layout.DATABASE_ID_BYTES)), db=meta)


def _require_known_format(env: Any, folder: Path) -> None:
    try:
        meta = env.open_db(layout.META, create=False)
        with env.begin() as txn:
            stored = txn.get(layout.FORMAT_KEY, db=meta)
    except lmdb.NotFoundError:
        stored = None
    if stored is None:
        raise StartRefused(f"DATA {folder} holds an LMDB database that is not EventflowDB's")
    number = layout.unpack_format(stored)
    if number != layout.FORMAT:
        raise StartRefused(
            f"DATA {folder} is of format {number}, and this server knows format {layout.FORMAT}; "
            "use the version of EventflowDB that wrote it, or a newer one"
        )
