"""What other clients notice while the log is read from the disk: PING beside reads of data that is not in memory.

Before each turn the server is stopped and the kernel is told to forget the pages of its file (posix_fadvise(2)); it
does so only where nobody has them mapped. How much then came from the disk, /proc/PID/io tells. A process of its own
reads; the one that sends the PINGs does nothing else.
"""

import json
import os
import random
from multiprocessing import Process
from pathlib import Path

from benchmarks import pings, servers
from benchmarks.connections import connect, receive, request
from eventflowdb.storage.environment import DATA_FILE

_STREAMS_READ = 2000
_STREAM_EVENTS = 10


def measure(folder: Path, events: int, rounds: int) -> None:
    """Print the figures of a database that `conditions.prepare` has filled with so many events."""
    print(f"PING while {events} events are read, from a cold cache and from memory:")
    streams = random.Random(1).sample(range(events // _STREAM_EVENTS), _STREAMS_READ)

    asked = (
        ("GETALL", [request("GETALL", json.dumps({"limit": events}))], events),
        (f"GET of {len(streams)} streams", [_get(number) for number in streams], _STREAM_EVENTS),
    )
    for what, questions, each in asked:
        for _ in range(rounds):
            _forget_pages(folder)
            with servers.eventflowdb(folder) as (port, pid):
                for state in ("cold", "warm"):
                    before = _disk_bytes(pid)
                    seconds, beside = pings.beside(port, [Process(target=_ask, args=(port, questions, each))])
                    disk_mib = (_disk_bytes(pid) - before) / 2**20
                    print(
                        f"{what + ', ' + state:28} {seconds:6.2f} s, {disk_mib:5.0f} MiB from the disk; "
                        f"{pings.describe(beside)}",
                        flush=True,
                    )


def _ask(port: int, questions: list[bytes], events: int) -> None:
    """Each question when the one before was answered, with so many events."""
    with connect(port) as connection:
        for question in questions:
            connection.sendall(question)
            missing = 1 + 2 * events
            while missing > 0:
                missing -= receive(connection).count(b"\n")


def _get(number: int) -> bytes:
    return request("GET", json.dumps({"stream": f"00000000-0000-4000-8000-{number:012d}"}))


def _forget_pages(folder: Path) -> None:
    descriptor = os.open(folder / DATA_FILE, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _disk_bytes(pid: int) -> int:
    """How many bytes a process, all its threads together, has had read from a disk; see proc(5)."""
    lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))
