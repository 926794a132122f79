"""The servers that are measured: started on loopback, ended by their own process ids."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"
_START_SECONDS_MAX = 20.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def eventflowdb(data: Path) -> Iterator[tuple[int, int]]:
    """The server of this environment as anyone runs it, with its defaults: its port and process id."""
    port = free_port()
    twistd = Path(sys.executable).with_name("twistd")
    command = [str(twistd), "--nodaemon", "--pidfile=", "--logfile=/dev/null", "eventflowdb"]
    with _running(command, port, {"PORT": str(port), "DATA": str(data)}) as process:
        yield port, process.pid


@contextmanager
def redis(folder: Path) -> Iterator[int]:
    """A redis-server that also writes to disk before it answers (appendfsync always): its port."""
    port = free_port()
    folder.mkdir()
    options = {"port": port, "bind": HOST, "dir": folder, "save": "", "appendonly": "yes", "appendfsync": "always"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with _running([require("redis-server"), *words], port, {}):
        yield port


def require(program: str) -> str:
    """The path of a program that must be there; SystemExit says what to install."""
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} is missing; Debian has it in redis-tools and redis-server")
    return path


def anonymous_bytes(pid: int) -> int:
    """RssAnon: memory of the process itself, without mapped files."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


@contextmanager
def _running(command: list[str], port: int, settings: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL)
    try:
        _await_port(process, port)
        yield process
    finally:
        process.terminate()
        process.wait()


def _await_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    give_up = time.monotonic() + _START_SECONDS_MAX
    while time.monotonic() < give_up and process.poll() is None:
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{process.args!r} does not listen on port {port}")
