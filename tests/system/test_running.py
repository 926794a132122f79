"""Under every reactor, as a daemon, and on the address that was asked for."""

import os
import signal
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.system.installation import Installation
from tests.system.logs import check_log
from tests.system.resp import Connection
from tests.system.server import Server, find_port, is_running, wait_until

pytestmark = pytest.mark.system

EVENT = {"type": "t", "data": "d"}


@pytest.mark.parametrize("reactor", ["epoll", "poll", "select", "asyncio", "uvloop"])
def test_server_runs_under_every_reactor(start_server: StartServer, reactor: str) -> None:
    server = start_server(f"--reactor={reactor}")
    stream = str(uuid.uuid4())
    with server.connect() as connection:
        added = connection.add(stream, 0, *[{**EVENT, "data": "x" * 10_000}] * 500)
        assert connection.read_stream(stream) == added
        check_log(connection)
        assert server.terminate() == -signal.SIGTERM
    place = "eventflowdb.transport" if reactor == "uvloop" else "twisted.internet"
    assert f"reactor class: {place}.{reactor}" in server.output
    assert "Traceback" not in server.output


@pytest.fixture
def without_uvloop(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine where uvloop cannot be had."""
    folder = tmp_path / "absent"
    folder.mkdir()
    (folder / "uvloop.py").write_text("raise ImportError('there is none')\n", encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


def test_server_runs_without_uvloop(start_server: StartServer, without_uvloop: dict[str, str]) -> None:
    server = start_server(**without_uvloop)
    with server.connect() as connection:
        assert connection.call("PING") == "PONG"
    assert server.terminate() == -signal.SIGTERM
    assert "uvloop" not in server.output


TELL_FREEZES = """
import gc, os

freeze = gc.freeze

def freeze_and_tell():
    freeze()
    with open(os.environ["FROZEN"], "a", encoding="ascii") as file:
        file.write(f"{os.getpid()} {gc.get_freeze_count()}\\n")

gc.freeze = freeze_and_tell
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_no_garbage_collection_looks_at_what_the_start_has_made(
    start_server: StartServer, tmp_path: Path, workers: int
) -> None:
    """Each process that serves has put it apart, once; or every client waits whenever all of it is looked at."""
    (tmp_path / "sitecustomize.py").write_text(TELL_FREEZES, encoding="ascii")
    told = tmp_path / "frozen"
    told.touch()
    start_server(WORKERS=str(workers), PYTHONPATH=str(tmp_path), FROZEN=str(told))
    wait_until(lambda: len(told.read_text(encoding="ascii").splitlines()) == (workers + 1 if workers else 1))
    frozen = {pid: int(count) for pid, count in map(str.split, told.read_text(encoding="ascii").splitlines())}
    assert len(frozen) == (workers + 1 if workers else 1)
    assert all(count > 10_000 for count in frozen.values())


def test_uvloop_is_refused_where_it_is_absent(start_server: StartServer, without_uvloop: dict[str, str]) -> None:
    server = start_server("--reactor=uvloop", **without_uvloop)
    assert server.wait() == 1
    assert "The specified reactor cannot be used, failed with error: there is none" in server.output


def test_server_runs_as_a_daemon(installation: Installation, tmp_path: Path) -> None:
    pid_file, log_file = tmp_path / "pid", tmp_path / "log"
    # DATA is given relative to the folder of the start; the daemon works in another one.
    (tmp_path / "elsewhere").mkdir()
    subprocess.run(
        ["twistd", f"--pidfile={pid_file}", f"--logfile={log_file}", "--rundir=elsewhere", "eventflowdb"],
        cwd=tmp_path,
        env=installation.environment(PORT="0", DATA="data"),
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    pid = int(pid_file.read_text())
    try:
        wait_until(lambda: find_port(log_file.read_text()) is not None)
        port = find_port(log_file.read_text())
        assert port is not None
        with Connection("127.0.0.1", port) as connection:
            connection.add(str(uuid.uuid4()), 0, EVENT)
            assert len(check_log(connection)) == 1
        assert (tmp_path / "data" / "data.mdb").exists()
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_running(pid))
    finally:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
    assert not pid_file.exists()
    assert "EventflowDB has stopped" in log_file.read_text()
    assert "Traceback" not in log_file.read_text()


def test_files_are_the_owners_alone(server: Server) -> None:
    assert server.port
    assert server.data.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in server.data.iterdir()} == {
        "data.mdb",
        "journal-0",
        "journal-1",
        "lock",
        "lock.mdb",
    }
    assert {path.stat().st_mode & 0o777 for path in server.data.iterdir()} == {0o600}


def test_server_listens_on_ipv6(start_server: StartServer) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    server = start_server(INTERFACE="::1")
    with Connection("::1", server.port) as connection:
        assert connection.call("PING") == "PONG"


def has_ipv6() -> bool:
    """Whether ::1 can be listened on here."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
