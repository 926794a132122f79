"""Has the disk take a file little by little, so that a flush of all of it finds little left to do.

A flush gives the disk everything at once, and whoever flushes a few bytes of another file meanwhile waits behind it.
Here the file is gone through in steps; each is written and waited for, and after one that took its time the disk is
left to others for as long. It makes nothing durable: that is for the flush which follows.
"""

import ctypes
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from eventflowdb.limits import MIB

STEP_BYTES_MIN = 1 * MIB
STEPS_MIN = 256
"""A large file is gone through in so many steps at least; most of it is not changed, and costs next to nothing."""
STEP_SECONDS_WANTED = 0.001
PAUSE_SECONDS_MAX = 0.02

_WAIT_WRITE_WAIT = 1 | 2 | 4
"""What was begun, what is there, and until that is out: SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE and _WAIT_AFTER."""


def _system_call() -> Callable[[int, int, int, int], int] | None:
    """Linux's sync_file_range(2), which Python does not have; None where the C library has not either."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call


_sync_file_range = _system_call()
_FAILURES = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What says that something was not written; anything else, that the call cannot be had here."""


def write_back(path: Path, is_hurried: Callable[[], bool]) -> None:
    """Write a file back in steps, until it is through or somebody is in a hurry. OSError where the disk failed.

    Where it cannot be done at all, everything is left to the flush.
    """
    call = _sync_file_range
    if call is None:
        return
    try:
        # One of its own: Linux tells each descriptor once of a write that failed, and the flush has to hear of it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return

    def write(offset: int, length: int) -> None:
        if call(descriptor, offset, length, _WAIT_WRITE_WAIT) != 0 and ctypes.get_errno() in _FAILURES:
            # Of one that fails as it is begun the flush might not hear.
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    try:
        step_through(os.fstat(descriptor).st_size, write, is_hurried)
    finally:
        os.close(descriptor)


def step_through(
    size_bytes: int,
    write: Callable[[int, int], object],
    is_hurried: Callable[[], bool],
    seconds: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Go through a file in steps. write: has so many bytes from an offset on written, and returns when they are.

    Steps become shorter where much has changed, down to STEP_BYTES_MIN, and longer where little has.
    """
    step_max = max(STEP_BYTES_MIN, size_bytes // STEPS_MIN)
    step, offset = STEP_BYTES_MIN, 0
    while offset < size_bytes and not is_hurried():
        began = seconds()
        write(offset, step)
        taken = seconds() - began
        offset += step
        if taken < STEP_SECONDS_WANTED:
            step = min(2 * step, step_max)
        else:
            sleep(min(taken, PAUSE_SECONDS_MAX))
            step = max(step // 2, STEP_BYTES_MIN)
