"""A file that is written back in steps: all of it, in steps that fit what has changed, until somebody is in a hurry."""

import ctypes
import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from eventflowdb.limits import MIB
from eventflowdb.storage import writeback
from eventflowdb.storage.writeback import (
    PAUSE_SECONDS_MAX,
    STEP_BYTES_MIN,
    STEP_SECONDS_WANTED,
    STEPS_MIN,
    step_through,
    write_back,
)


class SlowDisk:
    """Takes some seconds for each changed MiB, by a clock of its own."""

    def __init__(self, seconds_of: Callable[[int], float]) -> None:
        self.now = 0.0
        self.steps: list[tuple[int, int]] = []
        self.pauses: list[float] = []
        self._seconds_of = seconds_of

    def write(self, offset: int, length: int) -> None:
        """Take a step."""
        self.steps.append((offset, length))
        self.now += sum(self._seconds_of(at // MIB) for at in range(offset, offset + length, MIB))

    def pause(self, seconds: float) -> None:
        """Be left to others."""
        self.pauses.append(seconds)
        self.now += seconds

    def go_through(self, size_bytes: int, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """Have a file of this size written back."""
        step_through(size_bytes, self.write, is_hurried, lambda: self.now, self.pause)


@pytest.mark.parametrize("size_bytes", [0, 1, STEP_BYTES_MIN, STEP_BYTES_MIN + 1, 3000 * MIB + 17])
def test_steps_follow_each_other_to_the_end(size_bytes: int) -> None:
    disk = SlowDisk(lambda mib: 0.005 if mib % 7 == 3 else 0.0)
    disk.go_through(size_bytes)
    ends = [offset + length for offset, length in disk.steps]
    assert [0, *ends][: len(disk.steps)] == [offset for offset, _ in disk.steps]
    assert [0, *ends][-1] >= size_bytes
    assert all(end < size_bytes for end in ends[:-1])


def test_the_disk_is_left_to_others_for_as_long_as_a_step_took() -> None:
    disk = SlowDisk(lambda mib: 0.004)
    disk.go_through(5 * MIB)
    assert disk.steps == [(mib * MIB, MIB) for mib in range(5)]
    assert disk.pauses == pytest.approx([0.004] * 5)


def test_no_pause_is_long() -> None:
    disk = SlowDisk(lambda mib: 3.0)
    disk.go_through(2 * MIB)
    assert disk.pauses == [PAUSE_SECONDS_MAX] * 2


def test_what_has_not_changed_is_passed_in_long_steps_without_a_pause() -> None:
    disk = SlowDisk(lambda mib: 0.0)
    disk.go_through(STEPS_MIN * 64 * MIB)
    assert max(length for _, length in disk.steps) == 64 * MIB
    assert len(disk.steps) <= STEPS_MIN + 7
    assert disk.pauses == []


def test_steps_become_short_where_much_has_changed() -> None:
    disk = SlowDisk(lambda mib: 0.0 if mib < 4000 else 2 * STEP_SECONDS_WANTED)
    disk.go_through(8000 * MIB)
    lengths = [length for offset, length in disk.steps if offset >= 4100 * MIB]
    assert set(lengths) == {STEP_BYTES_MIN}


def test_who_is_in_a_hurry_ends_it() -> None:
    disk = SlowDisk(lambda mib: 0.004)
    is_hurried = itertools.chain([False, False], itertools.repeat(True))
    disk.go_through(100 * MIB, lambda: next(is_hurried))
    assert len(disk.steps) == 2


def test_a_real_file_is_written_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3 * MIB))
    call = writeback._sync_file_range
    assert call is not None, "the C library of Linux has it"
    results: list[int] = []

    def recorded(*arguments: int) -> int:
        results.append(call(*arguments))
        return results[-1]

    monkeypatch.setattr(writeback, "_sync_file_range", recorded)
    write_back(path, lambda: False)
    assert results
    assert set(results) == {0}


def failing(number: int) -> Callable[..., int]:
    """A system call that fails so."""

    def call(*_arguments: int) -> int:
        ctypes.set_errno(number)
        return -1

    return call


def test_what_cannot_be_opened_or_done_is_left_to_the_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_back(tmp_path / "absent", lambda: False)
    path = tmp_path / "file"
    path.write_bytes(b"a")
    monkeypatch.setattr(writeback, "_sync_file_range", None)
    write_back(path, lambda: False)
    monkeypatch.setattr(writeback, "_sync_file_range", failing(errno.ENOSYS))
    write_back(path, lambda: False)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_what_was_not_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a")
    monkeypatch.setattr(writeback, "_sync_file_range", failing(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        write_back(path, lambda: False)
