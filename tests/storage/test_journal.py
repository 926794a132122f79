"""The journal: what it keeps, what a crash may leave of it, and what it must not take for sound."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from eventflowdb.errors import CorruptRecord
from eventflowdb.storage.journal import BLOCK_BYTES, META_BYTES, NAMES, Journal, State

DATABASE = bytes(range(16))


def state(transaction: int) -> State:
    """A state that can be told from others."""
    return State(transaction, (bytes([transaction]) * META_BYTES, bytes([transaction + 1]) * META_BYTES))


def begun(folder: Path, transaction: int = 1) -> Journal:
    """A journal with a generation that is complete."""
    journal = Journal(folder)
    journal.begin(DATABASE, state(transaction))
    journal.complete()
    return journal


def add(journal: Journal, *changes: bytes) -> None:
    """Add records."""
    for one in changes:
        journal.write(one)
        journal.flush()


def reread(folder: Path) -> tuple[Journal, list[bytes]]:
    """The journal as a start finds it, and all its changes."""
    journal = Journal(folder)
    return journal, list(journal.records())


def flip(path: Path, offset: int) -> None:
    """Damage a byte."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def offset_of(path: Path, changes: bytes) -> int:
    """Where changes stand in a file."""
    return path.read_bytes().index(changes)


def test_a_new_journal_has_no_base_and_holds_nothing(folder: Path) -> None:
    journal, records = reread(folder)
    assert (journal.base, records) == (None, [])


def test_what_was_flushed_is_found_in_its_order(folder: Path) -> None:
    changes = [b"first", b"", b"x" * 3 * BLOCK_BYTES, b"last"]
    add(begun(folder), *changes)
    journal, records = reread(folder)
    assert records == changes
    assert journal.base is not None
    assert (journal.base.database_id, journal.base.state) == (DATABASE, state(1))
    assert not journal.is_closed


def test_records_of_a_generation_that_is_not_complete_follow_those_of_the_base(folder: Path) -> None:
    journal = begun(folder)
    add(journal, b"a", b"b")
    journal.begin(DATABASE, state(7))
    add(journal, b"c")
    found, records = reread(folder)
    assert records == [b"a", b"b", b"c"]
    assert found.base is not None
    assert found.base.state == state(1)


def test_what_is_before_a_complete_generation_is_not_needed(folder: Path) -> None:
    journal = begun(folder)
    add(journal, b"a")
    journal.begin(DATABASE, state(7))
    add(journal, b"b")
    journal.complete()
    found, records = reread(folder)
    assert records == [b"b"]
    assert found.base is not None
    assert found.base.state == state(7)


def test_left_overs_of_a_generation_before_are_no_records(folder: Path) -> None:
    journal = begun(folder)
    add(journal, b"old 1", b"old 2", b"old 3")
    for number in (7, 8):
        journal.begin(DATABASE, state(number))
        journal.complete()
    add(journal, b"new")
    assert reread(folder)[1] == [b"new"]


def test_a_start_after_a_crash_in_a_checkpoint_begins_anew_and_needs_neither_file(folder: Path) -> None:
    journal = begun(folder)
    add(journal, b"a")
    journal.begin(DATABASE, state(7))
    add(journal, b"b")
    found, records = reread(folder)
    assert records == [b"a", b"b"]
    # The data file is on the disk by now.
    found.begin(DATABASE, state(9))
    assert Journal(folder).base is None, "until it is complete, the data file stands for itself"
    found.complete()
    add(found, b"c")
    assert reread(folder)[1] == [b"c"]


def test_a_database_that_was_closed_in_order_says_so(folder: Path) -> None:
    journal = begun(folder)
    add(journal, b"a")
    journal.begin(DATABASE, state(7))
    journal.complete(is_closed=True)
    found, records = reread(folder)
    assert found.is_closed
    assert records == []


@pytest.mark.parametrize("length", [0, 1, 20, 31, 32, 33, 4000, BLOCK_BYTES - 1])
def test_a_torn_last_record_is_none(folder: Path, length: int) -> None:
    journal = begun(folder)
    add(journal, b"a", b"b" * 5000)
    journal.close()
    path = folder / NAMES[1]
    begin = offset_of(path, b"b" * 5000) - 32
    path.write_bytes(path.read_bytes()[: begin + length].ljust(begin + 3 * BLOCK_BYTES, b"\0"))
    assert reread(folder)[1] == [b"a"]


@pytest.mark.parametrize("at", [-32, -25, -20, -8, 0, 2])
def test_damage_before_a_sound_record_is_reported(folder: Path, at: int) -> None:
    add(begun(folder), b"a" * 100, b"b" * 100)
    path = folder / NAMES[1]
    flip(path, offset_of(path, b"a" * 100) + at)
    journal = Journal(folder)
    with pytest.raises(CorruptRecord, match="is damaged at byte"):
        list(journal.records())


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("at", [0, 4, 8, 16])
def test_a_damaged_head_or_mark_is_reported(folder: Path, block: int, at: int) -> None:
    begun(folder)
    flip(folder / NAMES[1], block * BLOCK_BYTES + at)
    with pytest.raises(CorruptRecord, match=f"damaged in block {block}"):
        Journal(folder)


def test_records_that_are_gone_between_two_generations_are_reported(folder: Path) -> None:
    journal = begun(folder)
    add(journal, b"a", b"b")
    journal.begin(DATABASE, state(7))
    add(journal, b"c")
    path = folder / NAMES[1]
    flip(path, offset_of(path, b"EFJR") + BLOCK_BYTES)
    with pytest.raises(CorruptRecord, match="ends before record 2"):
        list(Journal(folder).records())


def test_what_is_taken_back_was_never_there(folder: Path) -> None:
    journal = begun(folder)
    add(journal, b"a", b"b")
    journal.take_back()
    assert reread(folder)[1] == [b"a"]
    add(journal, b"c")
    assert reread(folder)[1] == [b"a", b"c"]


def test_the_bytes_of_a_journal_are_those_that_are_drawn(folder: Path) -> None:
    add(begun(folder), b"changes")
    content = (folder / NAMES[1]).read_bytes()
    head, mark, record = content[:320], content[BLOCK_BYTES : BLOCK_BYTES + 17], content[2 * BLOCK_BYTES :][:39]
    assert head[:4] + head[8:48] == b"EFJH" + DATABASE + b"".join(number.to_bytes(8, "little") for number in (1, 1, 1))
    assert head[48:] == bytes([1]) * META_BYTES + bytes([2]) * META_BYTES
    assert mark[:4] + mark[8:] == b"EFJM" + (1).to_bytes(8, "little") + b"\1"
    assert (
        record[:4] + record[8:] == b"EFJR" + b"".join(number.to_bytes(8, "little") for number in (1, 1, 7)) + b"changes"
    )


def journal_on_a_disk_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> Journal:
    """A journal whose file has to grow for the next record, on a disk where growing fails."""
    journal = begun(folder)
    write = os.pwrite
    size = max((folder / name).stat().st_size for name in NAMES)

    def fail_beyond(descriptor: int, data: Any, offset: int) -> int:
        if offset + len(data) > size + BLOCK_BYTES:
            raise OSError(number, os.strerror(number))
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", fail_beyond)
    return journal


def test_a_record_for_which_there_is_just_room_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = journal_on_a_disk_that_fails(folder, monkeypatch, errno.ENOSPC)
    changes = b"x" * 14 * BLOCK_BYTES
    add(journal, changes)
    assert reread(folder)[1] == [changes]


def test_a_disk_that_fails_as_the_journal_grows_has_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = journal_on_a_disk_that_fails(folder, monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        journal.write(b"x" * 14 * BLOCK_BYTES)


def test_marks_and_records_are_flushed_through_descriptors_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux tells each descriptor once of a write that failed: what one flush is told another may not be."""
    flushed: list[tuple[int, str]] = []

    def flush(descriptor: int) -> None:
        flushed.append((descriptor, os.readlink(f"/proc/self/fd/{descriptor}")))

    journal = begun(folder)
    monkeypatch.setattr(os, "fdatasync", flush)
    journal.complete()
    add(journal, b"changes")
    (mark, mark_file), (record, record_file) = flushed
    assert mark_file == record_file
    assert mark != record
