"""What other clients notice while the log is read from the disk: PING beside reads of data that is not in memory.

Before each turn the server is stopped and the kernel is told to forget the pages of its file (posix_fadvise(2)); it
does so only where nobody has them mapped. How much then came from the disk, /proc/PID/io tells. A process of its own
reads; the one that sends the PINGs does nothing else.
"""

import json
import os
import random
import time
from multiprocessing import Process
from pathlib import Path

from benchmarks import servers
from benchmarks.connections import connect, receive, receive_lines, request
from eventflowdb.storage.environment import DATA_FILE

_STREAMS_READ = 2000
_STREAM_EVENTS = 10
_PAUSE_SECONDS = 0.001


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
                    seconds, pings = _ping_beside(port, Process(target=_ask, args=(port, questions, each)))
                    _print(f"{what}, {state}", seconds, _disk_bytes(pid) - before, pings)


def _print(what: str, seconds: float, disk_bytes: int, pings: list[float]) -> None:
    p50, p99 = (1000 * pings[len(pings) * share // 100] for share in (50, 99))
    print(
        f"{what:28} {seconds:6.2f} s, {disk_bytes / 2**20:5.0f} MiB from the disk; "
        f"PING p50 {p50:.2f}, p99 {p99:.2f}, max {1000 * pings[-1]:.2f} ms",
        flush=True,
    )


def _ping_beside(port: int, work: Process) -> tuple[float, list[float]]:
    """How long some work takes, and how long PINGs take meanwhile, one after the other; the shortest first."""
    question, taken = request("PING"), []
    with connect(port) as connection:
        work.start()
        started = time.perf_counter()
        while work.is_alive():
            began = time.perf_counter()
            connection.sendall(question)
            receive_lines(connection, 1)
            taken.append(time.perf_counter() - began)
            time.sleep(_PAUSE_SECONDS)
        work.join()
        if work.exitcode:
            raise SystemExit("the reads failed")
        return time.perf_counter() - started, sorted(taken)


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
