"""The journal: what each commit changed, on the disk before anyone sees it, in one small write and one flush.

LMDB's own commit costs two flushes and a dozen scattered pages. Here LMDB writes without a flush, and the journal holds
what a power loss would take from it: every commit since the last checkpoint, which is a state of the data file that is
wholly on the disk. Two files take turns. A checkpoint begins a new generation in the file whose own is no longer
needed; once the data file is flushed the generation is marked, and what is before it is not needed any more.

    DATA/journal-0, journal-1; blocks of 4,096 bytes; integers little-endian; what is not drawn is zeros or left-overs

    block 0     head: "EFJH", 4 | CRC-32C, 4, of what follows | database id, 16 | generation, 8 | number of its first
                record, 8 | the state of the data file that it begins with: transaction, 8 | both meta pages of LMDB
                as of that transaction, from their magic to their end, 136 each
    block 1     mark: "EFJM", 4 | CRC-32C, 4, of what follows | generation, 8 | 1: the data file is on the disk as the
                head says; 2: and it was closed so, with nothing behind it, 1
    from 2 on   records, each from the beginning of a block: "EFJR", 4 | CRC-32C, 4, of what follows | generation, 8
                | number, 8 | length, 8 | changes (changes.py)

A record is flushed before the next one is written, so only the last can be torn, and it was answered to nobody. One
that is not sound and has a sound one of its generation after it was damaged later, and the database is refused.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import google_crc32c

from eventflowdb.errors import CorruptRecord
from eventflowdb.limits import JOURNAL_GROWTH_BYTES
from eventflowdb.storage.folder import sync_folder
from eventflowdb.storage.room import is_full

BLOCK_BYTES: Final = 4096
META_BYTES = 136
NAMES = ("journal-0", "journal-1")

_HEAD_MAGIC, _MARK_MAGIC = b"EFJH", b"EFJM"
_RECORD_MAGIC: Final = b"EFJR"
_SEAL = struct.Struct("<4sI")
_HEAD = struct.Struct(f"<16sQQQ{META_BYTES}s{META_BYTES}s")
_MARK = struct.Struct("<QB")
_RECORD = struct.Struct("<QQQ")
_RECORD_HEAD_BYTES: Final[int] = _SEAL.size + _RECORD.size
_COMPLETE, _CLOSED = 1, 2
_NEW_BYTES = 16 * BLOCK_BYTES

_crc32c: Final = google_crc32c.extend
_pack_seal: Final = _SEAL.pack
_pack_record: Final = _RECORD.pack


class State(NamedTuple):
    """A state of the data file: its transaction, and LMDB's two meta pages as of then, without their headers."""

    transaction: int
    metas: tuple[bytes, bytes]


class Head(NamedTuple):
    """What a generation begins with."""

    database_id: bytes
    generation: int
    first_number: int
    state: State


class _File:
    """One of the two files."""

    def __init__(self, path: Path) -> None:
        is_new = not path.exists()
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if is_new:
            # So head and mark always have their room.
            os.pwrite(self.descriptor, bytes(_NEW_BYTES), 0)
            os.fdatasync(self.descriptor)
            sync_folder(path.parent)
        self._mark_descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        """Of its own: Linux tells each once of a write that failed, and both marks and records have to hear of it."""
        self.size = os.fstat(self.descriptor).st_size
        self.head = self._read_head()
        self.mark = self._read_mark()

    def write(self, offset: int, data: bytes) -> None:
        """Write all of it."""
        written = os.pwrite(self.descriptor, data, offset)
        while written < len(data):
            written += os.pwrite(self.descriptor, memoryview(data)[written:], offset + written)
        self.size = max(self.size, offset + len(data))

    def begin_flush(self, offset: int, length: int) -> None:
        """Have the disk begin with what was written there, without waiting for it; where that cannot be, nothing."""
        # Linux begins to write back what it is told that nobody needs in memory (generic_fadvise in mm/fadvise.c).
        try:  # noqa: SIM105 - a context of Python's own would cost as much as the call
            os.posix_fadvise(self.descriptor, offset, length, os.POSIX_FADV_DONTNEED)
        except OSError:
            pass

    def flush(self) -> None:
        """Have all that was written on the disk."""
        os.fdatasync(self.descriptor)

    def flush_mark(self) -> None:
        """The same for whoever has written the mark."""
        os.fdatasync(self._mark_descriptor)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._mark_descriptor)
        os.close(self.descriptor)

    def records(self, first_number: int) -> Iterator[bytes]:
        """The changes of each record of the generation, in order; CorruptRecord where one is damaged."""
        assert self.head is not None
        number, offset = first_number, 2 * BLOCK_BYTES
        while True:
            found = self._read_record(offset, self.head.generation)
            if found is None or found[0] != number:
                break
            yield found[1]
            number += 1
            offset = _after(offset, len(found[1]))
        self._require_end(offset, number)

    def _require_end(self, offset: int, number: int) -> None:
        assert self.head is not None
        damaged = offset
        for later in range(offset, self.size, BLOCK_BYTES):
            found = self._read_record(later, self.head.generation)
            if found is not None and found[0] >= number:
                raise CorruptRecord(
                    f"{self.path.name} is damaged at byte {damaged}: record {number} is not sound, and record "
                    f"{found[0]} after it is; restore from a backup"
                )

    def _read_head(self) -> Head | None:
        body = self._read_block(0, _HEAD_MAGIC, _HEAD.size)
        if body is None:
            return None
        database_id, generation, first_number, transaction, first, second = _HEAD.unpack(body)
        return Head(database_id, generation, first_number, State(transaction, (first, second)))

    def _read_mark(self) -> int:
        body = self._read_block(1, _MARK_MAGIC, _MARK.size)
        if body is None or self.head is None:
            return 0
        generation, mark = _MARK.unpack(body)
        return int(mark) if generation == self.head.generation else 0

    def _read_block(self, number: int, magic: bytes, length: int) -> bytes | None:
        """What a block holds; None where it was never written. It lies in one sector, so it cannot be torn."""
        block = os.pread(self.descriptor, _SEAL.size + length, number * BLOCK_BYTES)
        if not block.strip(b"\0"):
            return None
        if len(block) == _SEAL.size + length:
            found, crc = _SEAL.unpack_from(block)
            body = block[_SEAL.size :]
            if found == magic and _crc32c(0, body) == crc:
                return body
        raise CorruptRecord(f"{self.path.name} is damaged in block {number}; restore from a backup")

    def _read_record(self, offset: int, generation: int) -> tuple[int, bytes] | None:
        """Number and changes of the record that begins there; None where there is none, or it is not sound."""
        head = os.pread(self.descriptor, _RECORD_HEAD_BYTES, offset)
        if len(head) < _RECORD_HEAD_BYTES:
            return None
        magic, crc = _SEAL.unpack_from(head)
        of_generation, number, length = _RECORD.unpack_from(head, _SEAL.size)
        at = offset + _RECORD_HEAD_BYTES
        if magic != _RECORD_MAGIC or of_generation != generation or length > self.size - at:
            return None
        changes = os.pread(self.descriptor, length, at)
        if len(changes) != length or _crc32c(_crc32c(0, head[_SEAL.size :]), changes) != crc:
            return None
        return number, changes


class Journal:
    """The journal of a database whose folder is owned. Records are added by one thread, which may have another
    flush them while it does nothing else to the journal; marks may be set by a third.

    base: the head of the last marked generation; None where there is none, and the data file stands for itself.
    is_closed: the data file was closed in order: it is as the base says, and nothing came after.
    """

    def __init__(self, folder: Path) -> None:
        """Open it, made if there is none. OSError, CorruptRecord."""
        self._files = [_File(folder / name) for name in NAMES]
        marked = max([file for file in self._files if file.mark], key=_generation, default=None)
        self._active = marked or self._files[0]
        self.base = None if marked is None else marked.head
        self.is_closed = marked is not None and marked.mark == _CLOSED
        self._generation = max(map(_generation, self._files))
        self._number = 1
        """Of the next record."""
        self._offset = self._last_offset = 2 * BLOCK_BYTES

    @property
    def size_bytes(self) -> int:
        """How much this generation holds."""
        return self._offset

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()

    def records(self) -> Iterator[bytes]:
        """The changes of all commits since the base, in order; CorruptRecord where they are not all there."""
        if self.base is None:
            return
        number = self.base.first_number
        for changes in self._active.records(number):
            number += 1
            yield changes
        other = self._other()
        if other.head is not None and other.head.generation > self.base.generation:
            if other.head.first_number != number:
                raise CorruptRecord(
                    f"{self._active.path.name} ends before record {number}, and {other.path.name} goes on with "
                    f"record {other.head.first_number}; restore from a backup"
                )
            for changes in other.records(number):
                number += 1
                yield changes
        self._number = number

    def begin(self, database_id: bytes, state: State) -> None:
        """Begin a generation: the records that follow lead on from this state.

        The one before it has been completed; or a crash has left it incomplete, its records have been read, and the
        data file is on the disk in this state. Then the base gives up its place: without a base the data file stands
        for itself, as it can, until this generation is completed too.
        """
        file, other = self._active, self._other()
        if _generation(other) <= _generation(file):
            file = other
        self._generation += 1
        file.head = Head(database_id, self._generation, self._number, state)
        packed = _HEAD.pack(database_id, self._generation, self._number, state.transaction, *state.metas)
        file.write(0, _seal(_HEAD_MAGIC, packed))
        self._active, self._offset = file, 2 * BLOCK_BYTES

    def complete(self, *, is_closed: bool = False) -> None:
        """The data file is on the disk in the state that this generation began with. OSError."""
        file = self._active
        mark = _CLOSED if is_closed else _COMPLETE
        file.write(BLOCK_BYTES, _seal(_MARK_MAGIC, _MARK.pack(_generation(file), mark)))
        file.flush_mark()

    def write(self, changes: bytes) -> None:
        """Write the changes of one commit; they count when they are flushed. OSError: they must be taken back."""
        file, offset = self._active, self._offset
        body = _pack_record(_generation(file), self._number, len(changes))
        crc = _crc32c(_crc32c(0, body), changes)
        end = _after(offset, len(changes))
        self._last_offset = offset
        if end > file.size:
            self._grow(file, end)
        # To the end of its last block: of a block that is not in memory the rest would have to be read from the disk.
        rest = bytes(end - offset - _RECORD_HEAD_BYTES - len(changes))
        file.write(offset, b"".join((_pack_seal(_RECORD_MAGIC, crc), body, changes, rest)))
        self._number += 1
        self._offset = end

    def begin_flush(self) -> None:
        """Have the disk begin with the record that was written last, so that its flush will have less to wait for."""
        self._active.begin_flush(self._last_offset, self._offset - self._last_offset)

    def flush(self) -> None:
        """Have what was written on the disk. OSError: nobody knows whether it is."""
        self._active.flush()

    def flush_found(self) -> None:
        """Have on the disk what `records` gave: whoever wrote it may have been killed before the flush. OSError."""
        for file in self._files:
            file.flush()

    def take_back(self) -> None:
        """Undo the last `write`, whether it failed or not, so that its record does not count. OSError: it may."""
        file, offset = self._active, self._last_offset
        if offset < os.fstat(file.descriptor).st_size:
            file.write(offset, bytes(_RECORD_HEAD_BYTES))
            file.flush()
        if self._offset != offset:
            self._number -= 1
            self._offset = offset

    def _grow(self, file: _File, end: int) -> None:
        """Zeros beyond what is needed now: a flush is dearest where a file has to become longer."""
        wanted = end + min(file.size, JOURNAL_GROWTH_BYTES)
        try:
            file.write(file.size, bytes(wanted - file.size))
        except OSError as error:
            if not is_full(error):
                raise
            # There may still be room for the record alone.
            file.size = os.fstat(file.descriptor).st_size

    def _other(self) -> _File:
        return self._files[1] if self._active is self._files[0] else self._files[0]


def was_closed(folder: Path) -> bool:
    """Whether the data file in a folder stands for itself, since it was closed in order. OSError, CorruptRecord."""
    if not all((folder / name).exists() for name in NAMES):
        return True
    journal = Journal(folder)
    journal.close()
    return journal.base is None or journal.is_closed


def _generation(file: _File) -> int:
    return 0 if file.head is None else file.head.generation


def _after(offset: int, length: int) -> int:
    """Where the record after one that begins at `offset` begins."""
    return -(-(offset + _RECORD_HEAD_BYTES + length) // BLOCK_BYTES) * BLOCK_BYTES


def _seal(magic: bytes, body: bytes) -> bytes:
    return _SEAL.pack(magic, _crc32c(0, body)) + body
