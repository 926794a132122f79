"""GET and GETALL with `wait_ms` on a real server: followers, a thousand at a time, and the end of the server."""

import json
import os
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.system.resp import Connection, Refusal, encode, records
from tests.system.server import Server

pytestmark = pytest.mark.system

EVENT = {"type": "t", "data": "d"}
HOUR = 3_600_000


def cpu_seconds(server: Server) -> float:
    """How long its threads have run."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def follow(server: Server, count: int, seen: list[bytes]) -> None:
    """Follow the log with GETALL until so many events were seen."""
    with server.connect() as connection:
        while len(seen) < count:
            after = {"after": json.loads(seen[-1])["id"]} if seen else {}
            seen += records(connection.call("GETALL", json.dumps({**after, "wait_ms": HOUR, "limit": 7})))


def test_followers_see_every_event_once_and_in_order_while_others_append(server: Server) -> None:
    logs: list[list[bytes]] = [[] for _ in range(5)]
    followers = [threading.Thread(target=follow, args=(server, 300, log)) for log in logs]
    writers = [threading.Thread(target=append, args=(server, 100)) for _ in range(3)]
    for thread in followers + writers:
        thread.start()
    for thread in followers + writers:
        thread.join()
    with server.connect() as connection:
        expected = connection.read_log()
    assert logs == [expected] * 5


def append(server: Server, count: int) -> None:
    """Append events to a stream of one's own, each by itself."""
    stream = str(uuid.uuid4())
    with server.connect() as connection:
        for version in range(count):
            connection.add(stream, version, EVENT)


def test_a_thousand_that_wait_cost_nothing_and_are_all_answered(server: Server) -> None:
    connections = [server.connect() for _ in range(1000)]
    for connection in connections:
        connection.send(encode("GETALL", json.dumps({"wait_ms": HOUR})))
    with server.connect() as other:
        while b"blocked_clients:1000\r\n" not in bytes_of(other.call("INFO", "clients")):
            pass
        before = cpu_seconds(server)
        time.sleep(2)
        assert cpu_seconds(server) - before < 0.5, "a busy server would take some 2 s"
        (event,) = other.add(str(uuid.uuid4()), 0, EVENT)
    for connection in connections:
        assert connection.read() == [event]
        connection.close()


def bytes_of(reply: object) -> bytes:
    """A bulk string."""
    assert isinstance(reply, bytes)
    return reply


def test_those_who_wait_at_sigterm_may_try_again_and_hold_up_nothing(server: Server) -> None:
    with server.connect() as connection, server.connect() as other:
        connection.send(encode("GETALL", json.dumps({"wait_ms": HOUR})) * 3)
        while b"blocked_clients:1\r\n" not in bytes_of(other.call("INFO", "clients")):
            pass
        server.process.send_signal(signal.SIGTERM)
        for _ in range(3):
            refusal = connection.read()
            assert isinstance(refusal, Refusal)
            assert refusal.code == "TRYAGAIN"
        assert connection.read_to_end() == b""
    assert server.wait() == -signal.SIGTERM


def test_one_that_waits_is_not_idle_but_its_time_counts_from_the_answer(start_server: StartServer) -> None:
    server = start_server(IDLE_TIMEOUT="1")
    with server.connect() as connection:
        assert connection.call("GETALL", json.dumps({"wait_ms": 4000})) == []
        assert connection.call("PING") == "PONG"
        assert connection.read_to_end() == b""


def test_redis_cli_waits(server: Server) -> None:
    asking = subprocess.Popen(
        ["redis-cli", "-p", str(server.port), "GETALL", '{"wait_ms": 60000}'], stdout=subprocess.PIPE
    )
    with Connection("127.0.0.1", server.port) as connection:
        while b"blocked_clients:1\r\n" not in bytes_of(connection.call("INFO", "clients")):
            pass
        (event,) = connection.add(str(uuid.uuid4()), 0, EVENT)
    output, _ = asking.communicate(timeout=60)
    assert output.strip() == event
