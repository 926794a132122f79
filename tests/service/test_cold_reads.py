"""Reads of data that the kernel has forgotten: they come from a real disk, for which the reactor must not wait."""

import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from eventflowdb.ids import find_ulid_bytes
from eventflowdb.limits import INLINE_READ_EVENTS_MAX, INLINE_READ_PAUSE_SECONDS_MAX, INLINE_READ_SECONDS_MAX
from eventflowdb.service.reads import Reads
from eventflowdb.storage.environment import DATA_FILE
from eventflowdb.storage.lmdb_store import LmdbStore

from .fakes import STREAM, SteppedPool, hold

EVENTS = 20_000
EVENT_BYTES = 1000
_TRIES_MAX = 100
"""Pages that are being looked at elsewhere are not forgotten."""


def forget_pages(folder: Path) -> None:
    """Have the kernel forget what it keeps of a closed database; skip the test where it does not."""
    descriptor = os.open(folder / DATA_FILE, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        for _ in range(_TRIES_MAX):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.preadv(descriptor, [bytearray(1)], EVENTS * EVENT_BYTES // 2, os.RWF_NOWAIT)
    except BlockingIOError:
        return  # it would have to wait for the disk
    except OSError as error:
        pytest.skip(f"this file system cannot tell what is in memory: {error}")
    finally:
        os.close(descriptor)
    pytest.skip("this file system keeps files in memory")


@pytest.fixture
def middle(tmp_path: Path) -> bytes:
    """The id of an event far from both ends of a log that is on the disk, and not in memory."""
    store = LmdbStore.open(tmp_path / "database", map_size=1 << 30)
    records = hold(store, STREAM, EVENTS, "x" * EVENT_BYTES)
    store.close()
    forget_pages(tmp_path / "database")
    key = find_ulid_bytes(json.loads(records[EVENTS // 2])["id"])
    assert key is not None
    return key


@pytest.fixture
def store(tmp_path: Path, middle: bytes) -> Iterator[LmdbStore]:
    """The store whose data is not in memory."""
    store = LmdbStore.open(tmp_path / "database", map_size=1 << 30)
    yield store
    store.close()


def test_after_a_read_that_waited_for_the_disk_reads_leave_the_reactors_thread_until_memory_is_warm(
    store: LmdbStore, middle: bytes
) -> None:
    pool = SteppedPool()
    # Every read is slow by this clock: only the faults tell whether it was for the disk.
    ticks = count(0.0, INLINE_READ_SECONDS_MAX * 2)
    reads = Reads(store, pool, lambda call: call(), lambda: next(ticks))
    reads.read_small(lambda: store.open_log(middle, INLINE_READ_EVENTS_MAX))
    assert isinstance(reads.open_log(middle, INLINE_READ_EVENTS_MAX), Deferred)
    pool.step()
    while next(ticks) < INLINE_READ_PAUSE_SECONDS_MAX * 2:
        pass
    for _ in range(2):
        assert not isinstance(reads.open_log(middle, INLINE_READ_EVENTS_MAX), Deferred)
