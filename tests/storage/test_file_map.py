"""A file mapped into memory: what it holds, as it grows, and what of it is in memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eventflowdb.storage.file_map import FileMap, map_file

PAGE_BYTES = os.sysconf("SC_PAGESIZE")
SPACE_BYTES = 1 << 36


@pytest.fixture
def path(folder: Path) -> Path:
    """A file of eight pages that nobody has written or read."""
    path = folder / "file"
    path.touch()
    os.truncate(path, 8 * PAGE_BYTES)
    return path


def test_what_is_written_later_is_seen(path: Path) -> None:
    with path.open("r+b", buffering=0) as file:
        mapped = FileMap(file.fileno(), SPACE_BYTES)
        os.pwrite(file.fileno(), b"early", PAGE_BYTES)
        assert mapped.view[PAGE_BYTES : PAGE_BYTES + 5].tobytes() == b"early"
        os.pwrite(file.fileno(), b"later", 99 * PAGE_BYTES)
        assert mapped.view[99 * PAGE_BYTES : 99 * PAGE_BYTES + 5].tobytes() == b"later"
        assert len(mapped.view) == SPACE_BYTES
        assert mapped.view.readonly


def test_it_tells_which_pages_are_in_memory(path: Path) -> None:
    with path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"x", 2 * PAGE_BYTES)
        mapped = FileMap(file.fileno(), SPACE_BYTES)
        assert [told & 1 for told in mapped.resident(0, 8 * PAGE_BYTES)] == [0, 0, 1, 0, 0, 0, 0, 0]
        assert [told & 1 for told in mapped.resident(2 * PAGE_BYTES + 1, 1)] == [1]
        assert [told & 1 for told in mapped.resident(3 * PAGE_BYTES - 1, 2)] == [1, 0]


def test_what_is_not_mapped_is_an_error(path: Path) -> None:
    with path.open("rb") as file:
        mapped = FileMap(file.fileno(), 8 * PAGE_BYTES)
        with pytest.raises(OSError, match="memory"):
            mapped.resident(1 << 46, PAGE_BYTES)
    with pytest.raises(OSError, match="descriptor"):
        FileMap(-1, PAGE_BYTES)


def test_there_is_none_where_the_platform_refuses_so_much_address_space(path: Path) -> None:
    code = (
        "import resource, sys; from eventflowdb.storage.file_map import map_file;"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32));"
        "file = open(sys.argv[1], 'rb'); number = file.fileno();"
        "print(map_file(number, 1 << 36), map_file(number, 1) is not None)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, os.fspath(path)], check=True, capture_output=True, text=True
    ).stdout
    assert told == "None True\n"
    with path.open("rb") as file:
        assert map_file(file.fileno(), SPACE_BYTES) is not None


def test_there_is_none_where_all_is_said_to_be_in_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Linux says to those who may not write the file."""
    with path.open("rb") as file:
        assert map_file(file.fileno(), SPACE_BYTES) is not None
        monkeypatch.setattr(FileMap, "resident", lambda _self, _start, size: b"\1" * size)
        assert map_file(file.fileno(), SPACE_BYTES) is None


def test_there_is_none_where_the_c_library_cannot_tell(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def functions() -> None:
        raise AttributeError("undefined symbol: mincore")

    monkeypatch.setattr("eventflowdb.storage.file_map._functions", functions)
    with path.open("rb") as file:
        assert map_file(file.fileno(), SPACE_BYTES) is None
