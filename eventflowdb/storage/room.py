"""Room on the disk: kept free before a batch, and told from a failing disk after one."""

import errno
import mmap
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import lmdb

from eventflowdb.errors import StoreFull
from eventflowdb.limits import FREE_SPACE_PLENTY_BYTES, FREE_SPACE_SECONDS

_FULL_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXTS = tuple(os.strerror(number) for number in _FULL_NUMBERS)
_BATCH_GROWTH: Final = 4
"""A batch may need this many times its own size on disk: records, indexes, copied pages."""
_FIRST_PAGES: Final = 64
# Of a module that is not compiled, constants are looked up each time.
_ASKED_SECONDS: Final[float] = FREE_SPACE_SECONDS
_PLENTY_BYTES: Final[int] = FREE_SPACE_PLENTY_BYTES


class FreeSpace:
    """How much the disk has free. Asking is a system call in the way of every batch, 3 % of the time of one append, so
    while there is plenty it is asked only now and then. seconds: a monotonic clock.
    """

    def __init__(self, folder: Path, seconds: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._seconds = seconds
        self._free_bytes = 0
        """So many there were when the disk was asked, less what batches may have taken since."""
        self._asked_at = float("-inf")

    def require(self, batch_bytes: int, min_free_bytes: int) -> None:
        """StoreFull where a batch would leave less than `min_free_bytes` of the disk; 0: there is no floor. OSError."""
        if min_free_bytes == 0:
            return
        taken, now = batch_bytes * _BATCH_GROWTH, self._seconds()
        if now - self._asked_at >= _ASKED_SECONDS or self._free_bytes - taken < min_free_bytes + _PLENTY_BYTES:
            disk = os.statvfs(self._folder)
            self._free_bytes, self._asked_at = disk.f_bavail * disk.f_frsize, now
        if self._free_bytes - taken < min_free_bytes:
            raise StoreFull(
                f"the disk has {self._free_bytes} bytes free, and MIN_FREE_BYTES keeps {min_free_bytes} of them; "
                "nothing was stored; free some space and retry"
            )
        self._free_bytes -= taken


def certain_map_room(env: Any) -> int:
    """How many bytes of keys and values a transaction can put before the map could be full; it may be more.

    All pages in use may have to be copied, and to be split in two; so may those of what is put, and each database may
    get its first pages. That is more than any batch was seen to take.
    """
    info, page_bytes = env.info(), int(env.stat()["psize"])
    return (int(info["map_size"]) - 3 * used_bytes(info, page_bytes) - _FIRST_PAGES * page_bytes) // _BATCH_GROWTH


def used_bytes(info: Mapping[str, int], page_bytes: int) -> int:
    """How much of the data file the last commit left in use. info: LMDB's own."""
    return (int(info["last_pgno"]) + 1) * page_bytes


class Reserve:
    """Room of the data file that is its own already, whatever else fills the disk."""

    def __init__(self, env: Any, data_file: Path, reserve_bytes: int) -> None:
        self._env = env
        self._data_file = data_file
        self._reserve_bytes = reserve_bytes
        self._end = 0

    def extend(self) -> bool:
        """Have the file reach so many bytes beyond what is in use; False where disk or map have no room for it."""
        info = self._env.info()
        used = used_bytes(info, int(self._env.stat()["psize"]))
        wanted = used + self._reserve_bytes
        if wanted > int(info["map_size"]):
            return False
        if wanted > self._end:
            try:
                with self._data_file.open("r+b", buffering=0) as file:
                    os.posix_fallocate(file.fileno(), used, 2 * self._reserve_bytes)
            except OSError:
                return False
            self._end = used + 2 * self._reserve_bytes
        return True


def is_full(error: OSError) -> bool:
    """Whether a write failed since there is no room."""
    return error.errno in _FULL_NUMBERS


def is_for_want_of_room(error: lmdb.Error, data_file: Path) -> bool:
    """Whether a commit that failed would succeed on a larger disk.

    LMDB calls a write that the system cut short an I/O error, and that is how most disks fill up; a disk that
    fails says the same, so the file is asked whether it can still grow.
    """
    text = str(error)
    if isinstance(error, lmdb.DiskError) or any(full in text for full in _FULL_TEXTS):
        return True
    return os.strerror(errno.EIO) in text and not _can_grow(data_file)


def _can_grow(path: Path) -> bool:
    """Whether a file takes one more page. What stands behind LMDB's last page means nothing to it."""
    try:
        with path.open("r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                return file.write(bytes(mmap.PAGESIZE)) == mmap.PAGESIZE
            finally:
                file.truncate(end)
    except OSError as error:
        return error.errno not in _FULL_NUMBERS
