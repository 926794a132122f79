"""The disk fails under load: the server ends, serves nothing that was not answered, and a restart holds all that was.

After a flush that failed nobody knows what the disk holds, and a second flush that succeeds tells nothing about the
first: the kernel has dropped what it could not write. So one failed flush is enough to end, whatever it failed of, be
it the journal's or, once it is due, the data file's; so is one failed write of the meta page.
CRASH_ROUNDS and CRASH_SEED make a longer run, or the same choices again.
"""

import contextlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from errno import EDQUOT, EIO, ENOSPC
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.crash import linearizable
from tests.crash.history import History
from tests.crash.load import PATIENCE_SECONDS, Client, rounds, run, seeded, streams_of
from tests.crash.shim import ALWAYS, ENDS_SHORT, Control, Fault, Shim
from tests.crash.test_power_loss import OFTEN
from tests.system.installation import ROOT
from tests.system.resp import Refusal
from tests.system.server import Server

pytestmark = pytest.mark.system

CLIENTS = 4
SECTOR_BYTES = 512
"""What a disk writes whole or not at all: the journal's head and mark lie in one."""


def fail_all_writes(control: Control) -> None:
    """Make every write fail from now on."""
    control.journal_write.arm(EIO)
    control.write.arm(EIO)
    control.meta.arm(EIO)


FAILURES: dict[str, Callable[[Control], None]] = {
    "a write": lambda control: control.write.arm(EIO, times=1),
    "half a write": lambda control: control.write.arm(EIO, times=1, effect=2000),
    "a short write": lambda control: control.write.arm(ENDS_SHORT, times=1, effect=2000),
    "all writes": lambda control: control.write.arm(EIO, times=ALWAYS),
    "the meta page": lambda control: control.meta.arm(EIO, times=1),
    "the meta page, written": lambda control: control.meta.arm(EIO, times=1, effect=4096),
    "the meta page, in part": lambda control: control.meta.arm(EIO, times=1, effect=60),
    "the meta page, for want of room": lambda control: control.meta.arm(ENOSPC, times=1, effect=4096),
    "a flush": lambda control: control.journal_sync.arm(EIO, times=1),
    "all flushes": lambda control: control.journal_sync.arm(EIO, times=ALWAYS),
    "a flush, for want of room": lambda control: control.journal_sync.arm(ENOSPC, times=1),
    "a flush, over quota": lambda control: control.journal_sync.arm(EDQUOT, times=1),
    "a flush of the data file": lambda control: control.sync.arm(EIO, times=1),
    "a write of the journal": lambda control: control.journal_write.arm(EIO, times=1),
    "half a write of the journal": lambda control: control.journal_write.arm(EIO, times=1, effect=SECTOR_BYTES),
    "all that is written": fail_all_writes,
}


@pytest.mark.parametrize(
    ("failure", "workers"),
    [*[(failure, "0") for failure in FAILURES], ("a flush", "2"), ("the meta page, written", "1")],
)
def test_a_disk_that_fails_ends_the_server_and_takes_nothing(
    start_server: StartServer, shim: Shim, failure: str, workers: str
) -> None:
    chance = seeded()
    shared = streams_of(chance, 2)
    history = History()
    for round_number in range(rounds(1)):
        server = start_server(MIN_FREE_BYTES="0", WORKERS=workers, PYTHONPATH=os.fspath(OFTEN), **shim.variables())
        assert server.port
        timer = threading.Timer(chance.uniform(0.02, 0.2), FAILURES[failure], (shim.control,))
        timer.start()
        numbers = range(round_number * CLIENTS, (round_number + 1) * CLIENTS)
        history += run([Client(server, number, random.Random(chance.random()), shared) for number in numbers])
        timer.join()
        require_end(server, shim.control)
        for fault in faults_of(shim.control):
            fault.disarm()
    server = start_server()
    with server.connect() as connection:
        log = connection.read_log()
        assert connection.add(streams_of(chance, 1)[0], 0, {"type": "later", "data": ""})
    linearizable.check(without_answers_of_failure(history), log)
    print(f"{len(log)} events")
    assert log


def require_end(server: Server, control: Control) -> None:
    """The server has ended by itself because of the failure, and has said so."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(PATIENCE_SECONDS)
    assert server.process.poll() == 1, f"it goes on; calls that failed: {failures_met(control)}\n{server.output}"
    assert sum(failures_met(control)) > 0
    assert "what the disk holds is not known" in server.output


def faults_of(control: Control) -> list[Fault]:
    """All that can fail."""
    return [control.write, control.sync, control.meta, control.journal_write, control.journal_sync]


def failures_met(control: Control) -> list[int]:
    """How many calls were made to fail."""
    return [fault.met for fault in faults_of(control)]


def without_answers_of_failure(history: History) -> History:
    """The history where "the storage failed" counts as no answer: what was asked may have been done or not."""
    for operation in history.operations:
        if isinstance(operation.outcome, Refusal) and "the storage failed" in str(operation.outcome):
            operation.outcome = operation.ended = None
    return history


JUDGING = """
import ctypes, errno, mmap, os, sys
from pathlib import Path
from eventflowdb.errors import StorageFailed, StoreFull
from eventflowdb.storage.lmdb_store import LmdbStore
from tests.crash.shim import Control
from tests.storage.samples import STREAM, append_of, stored

store = LmdbStore.open(Path(sys.argv[1]), map_size=1 << 30)
stored(store, append_of(STREAM, 0, "a"))
with open(os.environ["DISK_SHIM_CONTROL"], "r+b") as file:
    control = Control.from_buffer(mmap.mmap(file.fileno(), 0))
print(store.environment.has_lost_nothing())
getattr(control, sys.argv[2]).arm(errno.ENOSPC)
try:
    store.append_batch([append_of(STREAM, 1, "b")])
except (StorageFailed, StoreFull) as failure:
    print(type(failure).__name__)
"""
"""A store that has lost nothing, meets one failure for want of room, and says what it takes it for."""


@pytest.mark.parametrize(
    ("call", "verdict"),
    [
        ("write", "StoreFull"),
        ("meta", "StorageFailed"),
        ("journal_sync", "StorageFailed"),
    ],
)
def test_a_write_that_failed_is_told_from_a_flush_and_from_the_meta_page(
    shim: Shim, tmp_path: Path, call: str, verdict: str
) -> None:
    words = [sys.executable, "-c", JUDGING, os.fspath(tmp_path / "data"), call]
    ran = subprocess.run(words, cwd=ROOT, env={**os.environ, **shim.variables()}, capture_output=True, text=True)
    assert ran.stdout.split() == ["True", verdict], ran.stderr
