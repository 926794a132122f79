"""Processes of this machine: how they are started and ended, what they take."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_START_SECONDS_MAX = 600.0
_STOP_SECONDS_MAX = 30.0
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@contextmanager
def running(
    command: list[str],
    folder: Path,
    is_ready: Callable[[], bool],
    settings: Mapping[str, str] | None = None,
    user: str | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server, from when it is ready until it has ended; what it says goes to a file beside its folder."""
    log = folder.with_suffix(".log")
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(settings or {})},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            user=user,
        )
    try:
        await_that(is_ready, process, log)
        yield process
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_that(is_ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when it is so; SystemExit where the process ended before, or takes too long."""
    give_up = time.monotonic() + _START_SECONDS_MAX
    while process.poll() is None and time.monotonic() < give_up:
        if is_ready():
            return
        time.sleep(0.002)
    raise SystemExit(f"{process.args!r} does not answer: {log.read_text(errors='replace')[-2000:]}")


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (fields := _fields(int(path.name))):
            children.setdefault(int(fields[1]), []).append(int(path.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def cpu_seconds(pid: int) -> float:
    """What a process, its descendants and those of them that have ended have taken."""
    ticks = 0
    for member in family(pid):
        ticks += sum(int(field) for field in _fields(member)[11:15])
    return ticks / _TICKS_A_SECOND


def anonymous_bytes(pid: int) -> int:
    """RssAnon of a process and its descendants: their own memory, without mapped files."""
    found = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/status").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            continue
        found += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
    return found


def _fields(pid: int) -> list[str]:
    """/proc/PID/stat from the state on; nothing where the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
