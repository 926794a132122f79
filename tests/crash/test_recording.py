"""What is read of the shim's log where a process was killed while it wrote to it."""

import struct
from pathlib import Path

import pytest

from tests.crash import recording
from tests.crash.recording import Kind

HEAD_BYTES = 48
PATH = b"data/journal-0"


def entry(number: int, data: bytes = b"", *, is_end: bool = False) -> bytes:
    """An entry as the shim writes it; see disk_shim.c."""
    path = b"" if is_end else PATH
    head = struct.pack("=IIIIQqqII", 0x4D494853, Kind.WRITE, is_end, 0, number, 0, len(data), len(path), len(data))
    return head + path + data


FIRST = entry(1, b"a" * 9) + entry(1, is_end=True)
CUT = entry(2, b"b" * 99)
NEXT = entry(1, b"c" * 9) + entry(1, is_end=True)


def written(tmp_path: Path, log: bytes) -> list[tuple[int, bytes, bool]]:
    """The calls in a log: process, data, and whether they had an end."""
    path = tmp_path / "log"
    path.write_bytes(log)
    return [(call.process, call.data, call.ended is not None) for call in recording.read(path).calls]


@pytest.mark.parametrize("length", [0, 1, 3, 4, 20, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 5, len(CUT) - 1])
def test_an_entry_that_was_cut_is_left_out(tmp_path: Path, length: int) -> None:
    assert len(entry(1)) == HEAD_BYTES + len(PATH)
    first = (0, b"a" * 9, True)
    assert written(tmp_path, FIRST + CUT[:length]) == [first]
    assert written(tmp_path, FIRST + CUT[:length] + NEXT) == [first, (1, b"c" * 9, True)]


def test_one_that_is_whole_is_not(tmp_path: Path) -> None:
    calls = [(0, b"a" * 9, True), (0, b"b" * 99, False), (1, b"c" * 9, True)]
    assert written(tmp_path, FIRST + CUT + NEXT) == calls


def test_where_no_entry_begins_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no entry begins at byte 0"):
        written(tmp_path, b"x" * HEAD_BYTES + FIRST)
