"""Who may use a folder: one server at a time, and what a killed process held of it is free again.

CRASH_ROUNDS and CRASH_SEED make a longer run, or the same choices again.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

from tests.conftest import StartServer
from tests.crash.load import rounds, seeded
from tests.system.installation import ROOT
from tests.system.server import Server, find_port, wait_until

pytestmark = pytest.mark.system

READING = """
import sys
from pathlib import Path
from eventflowdb.storage.lmdb_store import LmdbStore

environment = LmdbStore.open(Path(sys.argv[1])).environment
with environment.env.begin() as txn:
    print(environment.head(txn).position, flush=True)
    sys.stdin.read()
"""
"""A process that holds a read transaction until it is ended."""


def test_of_servers_started_at_once_on_one_folder_one_serves_and_the_others_say_why_not(
    start_server: StartServer,
) -> None:
    chance = seeded()
    stream, count = str(uuid.uuid4()), 0
    for _ in range(rounds(3)):
        servers = [start_server() for _ in range(chance.choice((2, 2, 3)))]
        (serving,) = the_serving(servers)
        for server in servers:
            if server is not serving:
                require_refused(server)
        with serving.connect() as connection:
            assert connection.count() == count
            connection.add(stream, count, {"type": "tested", "data": ""})
            count += 1
        serving.kill()


def the_serving(servers: list[Server]) -> list[Server]:
    """Those that serve, when each has come to serve or to end."""
    for server in servers:
        wait_until(lambda: find_port(server.output) is not None or server.process.poll() is not None)  # noqa: B023
    return [server for server in servers if find_port(server.output) is not None]


def require_refused(server: Server) -> None:
    """It has ended with one line that says what to do."""
    assert server.wait() == 1
    (line,) = server.output.splitlines()
    assert line.startswith("eventflowdb: DATA ")
    assert line.endswith("is in use by another server; stop that one, or give this one a folder of its own")


@contextmanager
def reader(data: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that reads, and is killed with its transaction open."""
    words = [sys.executable, "-c", READING, os.fspath(data)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def reading_processes(data: Path) -> set[int]:
    """The processes that LMDB's table of readers names."""
    env = lmdb.open(os.fspath(data), readonly=True)
    table = env.readers()
    env.close()
    return {int(line.split()[0]) for line in table.splitlines() if line.split()[0].isdigit()}


def kill_reader(data: Path) -> int:
    """Let a process begin to read, and kill it; gives its number, which stays in the table of readers."""
    with reader(data) as process:
        assert process.pid in reading_processes(data)
    return process.pid


def test_a_running_server_forgets_readers_that_were_killed(start_server: StartServer) -> None:
    server = start_server(COUNT_INTERVAL="0.1")
    assert server.port
    killed = kill_reader(server.data)
    wait_until(lambda: killed not in reading_processes(server.data))


def test_a_server_that_starts_forgets_readers_that_were_killed_and_none_that_live(start_server: StartServer) -> None:
    server = start_server()
    assert server.port
    server.kill()
    with reader(server.data) as living:
        killed = kill_reader(server.data)
        # While no server runs: one might have forgotten it by now.
        assert killed in reading_processes(server.data)
        server = start_server(COUNT_INTERVAL="1000")
        assert server.port
        wait_until(lambda: killed not in reading_processes(server.data))
        assert living.pid in reading_processes(server.data)
