"""A server of several processes: it is one server to its clients, and any of its processes may die."""

import contextlib
import json
import os
import re
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.system.installation import Installation
from tests.system.logs import check_log
from tests.system.resp import Connection, Refusal, encode, encode_add, records
from tests.system.server import Server, is_running, wait_until

pytestmark = pytest.mark.system

EVENT = {"type": "t", "data": "x"}
_PROCESS = re.compile(r"^process_\d+:name=(\w+),pid=(\d+),clients=(\d+)", re.MULTILINE)


@pytest.fixture(scope="module")
def pair(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two fronts, for all tests that leave it running."""
    with Server.of(installation, tmp_path_factory.mktemp("pair"), {"WORKERS": "2"}) as server:
        assert server.port
        yield server


def processes(connection: Connection) -> dict[str, int]:
    """The processes of the server by their names."""
    return {name: int(pid) for name, pid, _ in _PROCESS.findall(connection.info("processes"))}


def front_of(connection: Connection) -> int:
    """Which of two fronts a connection is with: ids are odd in the first, even in the second."""
    return (connection.count_of("CLIENT", "ID") + 1) % 2


@contextmanager
def connections_of_both(server: Server) -> Iterator[tuple[Connection, Connection]]:
    """A connection to each of two fronts."""
    with ExitStack() as opened:
        found: dict[int, Connection] = {}
        for _ in range(100):
            connection = opened.enter_context(server.connect())
            found.setdefault(front_of(connection), connection)
            if len(found) == 2:
                break
        yield found[0], found[1]


def test_what_one_front_appends_any_other_reads_at_once(pair: Server) -> None:
    with connections_of_both(pair) as (first, second):
        for _ in range(50):
            stream = str(uuid.uuid4())
            stored = first.add(stream, 0, EVENT, EVENT)
            assert second.read_stream(stream) == stored
            assert second.add(stream, 2, EVENT) == first.read_stream(stream)[2:]
        with pytest.raises(Refusal, match="expected=0 actual=3"):
            second.add(stream, 0, EVENT)
        assert first.count() == second.count() == len(check_log(first))


def test_connections_that_come_together_spread_over_the_fronts(pair: Server) -> None:
    with ExitStack() as opened:
        connections = [opened.enter_context(pair.connect()) for _ in range(64)]
        spread = Counter([front_of(connection) for connection in connections])
        ids = [connection.count_of("CLIENT", "ID") for connection in connections]
    assert len(set(ids)) == 64
    assert min(spread[0], spread[1]) >= 16


def test_replies_of_a_pipeline_keep_their_order_and_a_read_sees_the_appends_before_it(pair: Server) -> None:
    stream = str(uuid.uuid4())
    with pair.connect() as connection:
        requests = []
        for version in range(100):
            requests += [encode_add(stream, version, [EVENT]), encode("GET", json.dumps({"stream": stream}))]
            requests.append(encode("PING", str(version)))
        connection.send(b"".join(requests))
        for version in range(100):
            assert len(records(connection.read())) == 1
            assert len(records(connection.read())) == version + 1
            assert connection.read() == str(version).encode()


def test_a_large_event_passes_the_link_whole(pair: Server) -> None:
    stream, data = str(uuid.uuid4()), "x" * 5_000_000
    with connections_of_both(pair) as (first, second):
        (stored,) = first.add(stream, 0, {"type": "t", "data": data})
        assert json.loads(stored)["data"] == data
        assert second.read_stream(stream) == [stored]


def test_those_who_wait_hear_of_what_other_fronts_append(pair: Server) -> None:
    stream, other = str(uuid.uuid4()), str(uuid.uuid4())
    with connections_of_both(pair) as (first, second), pair.connect() as subscriber:
        query = json.dumps({"stream": stream}).encode()
        subscriber.send(encode("SUBSCRIBE", query))
        assert subscriber.read() == [b"subscribe", query, 1]
        second.send(encode("GET", json.dumps({"stream": stream, "wait_ms": 60_000})))
        first.add(other, 0, EVENT)
        (stored,) = first.add(stream, 0, EVENT)
        assert second.read() == [stored]
        assert subscriber.read() == [b"message", query, stored]


def test_a_consumer_is_one_over_all_fronts(pair: Server) -> None:
    stream = str(uuid.uuid4())
    with connections_of_both(pair) as (first, second):
        first.call("CONSUMER", json.dumps({"create": "one", "query": {"stream": stream}}))
        fetch = {"consumer": "one", "member": "m", "limit": 1}
        second.send(encode("FETCH", json.dumps({**fetch, "wait_ms": 60_000})))
        stored = first.add(stream, 0, EVENT, EVENT)
        assert second.read() == stored[:1]
        # What one member holds no other gets, whichever front it asks; its stream waits.
        assert first.call("FETCH", json.dumps({**fetch, "member": "n"})) == []
        event_id = json.loads(stored[0])["id"]
        assert first.call("ACK", json.dumps({"consumer": "one", "member": "m", "ids": [event_id]})) == 1
        assert first.call("FETCH", json.dumps({**fetch, "member": "n"})) == stored[1:]


def test_a_fetch_whose_client_is_gone_takes_nothing(pair: Server) -> None:
    stream = str(uuid.uuid4())
    with connections_of_both(pair) as (first, _second):
        first.call("CONSUMER", json.dumps({"create": "left", "query": {"stream": stream}}))
        with pair.connect() as gone:
            gone.send(encode("FETCH", json.dumps({"consumer": "left", "member": "m", "wait_ms": 60_000})))
            wait_until(lambda: len(clients(first, "cmd=fetch")) == 1)
        wait_until(lambda: len(clients(first, "cmd=fetch")) == 0)
        stored = first.add(stream, 0, EVENT)
        assert first.call("FETCH", json.dumps({"consumer": "left", "member": "n", "wait_ms": 60_000})) == stored


def clients(connection: Connection, word: str = "") -> list[str]:
    """The lines of CLIENT LIST that hold a word."""
    reply = connection.call("CLIENT", "LIST")
    assert isinstance(reply, bytes)
    return [line for line in reply.decode().splitlines() if word in line]


def test_the_clients_of_all_fronts_are_listed_and_killed(pair: Server) -> None:
    with connections_of_both(pair) as (first, second):
        first.call("CLIENT", "SETNAME", "one")
        second.call("CLIENT", "SETNAME", "two")
        for connection in (first, second):
            assert len(clients(connection, "name=one")) == len(clients(connection, "name=two")) == 1
            assert "connected_clients" in connection.info("clients")
        number = second.count_of("CLIENT", "ID")
        with pytest.raises(Refusal, match="No such client"):
            first.call("CLIENT", "KILL", "127.0.0.1:1")
        with pytest.raises(Refusal, match="syntax error"):
            first.call("CLIENT", "LIST", "BY", "name")
        assert first.call("CLIENT", "KILL", "ID", str(number)) == 1
        assert second.read_to_end() == b""
        assert len(clients(first, "name=two")) == 0


def test_info_speaks_for_all(pair: Server) -> None:
    with connections_of_both(pair) as (first, second):
        assert set(processes(first)) == {"supervisor", "core", "front_1", "front_2"}
        assert processes(first)["supervisor"] == pair.process.pid == int(second.figure("process_id"))
        assert first.figure("run_id") == second.figure("run_id")
        assert first.call("CONFIG", "RESETSTAT") == "OK"
        first.add(str(uuid.uuid4()), 0, EVENT)
        second.add(str(uuid.uuid4()), 0, EVENT)
        with contextlib.suppress(Refusal):
            second.call("NOSUCH")
        assert first.figure("cmdstat_add").startswith("calls=2,")
        assert first.figure("errorstat_ERR") == "count=1"
        assert second.figure("total_error_replies") == "1"
        assert second.figure("events") == first.figure("events") == str(first.count())
        assert int(second.figure("commits")) >= 2
        assert first.figure("processes_silent") == "0"
        one, two = (int(connection.figure("connected_clients")) for connection in (first, second))
        assert one == two == len(clients(first))


def test_a_monitor_sees_the_commands_of_all_fronts(pair: Server) -> None:
    with connections_of_both(pair) as (first, second):
        assert first.call("MONITOR") == "OK"
        # The other front hears of the monitor some time later.
        deadline = time.monotonic() + 60
        first.socket.settimeout(0.05)
        while time.monotonic() < deadline:
            second.call("PING", "seen?")
            with contextlib.suppress(TimeoutError):
                line = first.read()
                assert isinstance(line, str)
                assert line.endswith('"PING" "seen?"')
                return
    pytest.fail("the monitor saw nothing")


def test_as_many_clients_as_allowed_get_in_over_all_fronts(start_server: StartServer) -> None:
    server = start_server(WORKERS="2", MAX_CLIENTS="10")
    with ExitStack() as opened:
        connections = [opened.enter_context(server.connect()) for _ in range(10)]
        assert [connection.call("PING") for connection in connections] == ["PONG"] * 10
        with server.connect() as refused:
            assert refused.read_to_end() == b"-ERR max number of clients reached\r\n"
        assert connections[0].figure("rejected_connections") == "1"
        connections[3].close()
        wait_until(lambda: len(clients(connections[0])) == 9)
        assert opened.enter_context(server.connect()).call("PING") == "PONG"


def test_a_password_is_asked_for_and_shown_nowhere(start_server: StartServer) -> None:
    server = start_server(WORKERS="1", PASSWORD="open sesame")
    with Connection("127.0.0.1", server.port) as stranger, pytest.raises(Refusal, match="NOAUTH"):
        stranger.call("EVENTCOUNT")
    with server.connect() as connection:
        for name, pid in processes(connection).items():
            shown = Path(f"/proc/{pid}/cmdline").read_bytes()
            if name != "supervisor":
                shown += Path(f"/proc/{pid}/environ").read_bytes()
            assert b"sesame" not in shown


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_answers_what_was_taken_in_and_ends_every_process(start_server: StartServer, workers: str) -> None:
    server = start_server(WORKERS=workers)
    stream = str(uuid.uuid4())
    with server.connect() as connection, server.connect() as waiting:
        pids = processes(connection).values()
        waiting.call("CONSUMER", json.dumps({"create": "c"}))
        waiting.send(encode("FETCH", json.dumps({"consumer": "c", "member": "m", "wait_ms": 60_000})))
        connection.send(b"".join([encode_add(stream, version, [EVENT]) for version in range(200)]))
        replies = [connection.read()]
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionError):
            while True:
                replies.append(connection.read())
    assert server.wait() == -signal.SIGTERM
    assert time.monotonic() - began < 30
    assert not any(is_running(pid) for pid in pids)
    assert "EventflowDB has stopped" in server.output
    assert "Traceback" not in server.output
    assert len(replies) == 200
    answered = [reply for reply in replies if isinstance(reply, list)]
    assert {reply.code for reply in replies if isinstance(reply, Refusal)} <= {"TRYAGAIN"}
    with start_server().connect() as connection:
        assert [[record] for record in connection.read_stream(stream)] == answered


def test_shutdown_at_one_front_ends_every_process(start_server: StartServer) -> None:
    # On one of Twisted's own reactors in every process, as twistd was told.
    server = start_server("--reactor=epoll", WORKERS="2")
    with server.connect() as first, server.connect() as second:
        stream = str(uuid.uuid4())
        stored = first.add(stream, 0, EVENT)
        assert second.read_stream(stream) == stored
        pids = processes(first).values()
        second.send(encode("SHUTDOWN"))
        assert second.read_to_end() == b""
    assert server.wait() == 0
    assert not any(is_running(pid) for pid in pids)
    assert "EventflowDB has stopped" in server.output
    assert "Traceback" not in server.output


class Appender:
    """A client that appends one event after the other to its own stream, and connects again when it has to."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._is_over = False
        self.stream = str(uuid.uuid4())
        self.answered: list[bytes] = []
        self.breaks = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Append no more."""
        self._is_over = True
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over:
            try:
                with self._server.connect() as connection:
                    self._append_on(connection)
            except OSError:
                self.breaks += 1
            except Refusal as refusal:
                # What a front had passed on when it died may be stored after the stream was read again.
                if refusal.code != "CONCURRENCY":
                    raise

    def _append_on(self, connection: Connection) -> None:
        # What was under way when the connection broke is there or not.
        version = len(connection.read_stream(self.stream))
        while not self._is_over:
            self.answered += connection.add(self.stream, version, EVENT)
            version += 1


@pytest.mark.parametrize("victim", ["front_1", "core"])
def test_after_the_death_of_a_process_everything_answered_is_there_once(start_server: StartServer, victim: str) -> None:
    server = start_server(WORKERS="2")
    appenders = [Appender(server) for _ in range(8)]
    try:
        wait_for_more(appenders)
        with server.connect() as connection:
            before = processes(connection)
        os.kill(before[victim], signal.SIGKILL)
        wait_until(lambda: not is_running(before[victim]))
        wait_for_more(appenders)
        with server.connect() as connection:
            wait_until(lambda: len(processes(connection)) == 4)
            after = processes(connection)
    finally:
        for appender in appenders:
            appender.stop()
    assert any(appender.breaks for appender in appenders)
    with server.connect() as connection:
        check_log(connection)
        for appender in appenders:
            answered = set(appender.answered)
            stored = connection.read_stream(appender.stream)
            assert [record for record in stored if record in answered] == appender.answered
    assert after["supervisor"] == before["supervisor"]
    assert after[victim] != before[victim]
    assert (after["core"] == before["core"]) is (victim != "core")


def wait_for_more(appenders: list[Appender]) -> None:
    """Wait until each has been answered a few times more."""
    counts = [len(appender.answered) for appender in appenders]
    wait_until(lambda: all(len(one.answered) > count + 10 for one, count in zip(appenders, counts, strict=True)))


def test_the_death_of_a_front_breaks_no_connection_of_another(pair: Server) -> None:
    stream = str(uuid.uuid4())
    with connections_of_both(pair) as (first, second):
        pids = processes(second)
        second.call("CONSUMER", json.dumps({"create": "c", "query": {"stream": stream}}))
        first.send(encode("FETCH", json.dumps({"consumer": "c", "member": "m", "wait_ms": 60_000})))
        wait_until(lambda: len(clients(second, "cmd=fetch")) == 1)
        os.kill(pids["front_1"], signal.SIGKILL)
        with contextlib.suppress(ConnectionResetError):
            assert first.read_to_end() == b""
        stored = second.add(stream, 0, EVENT)
        wait_until(lambda: len(processes(second)) == 4)
        # The dead front's member took nothing, and its clients are not counted.
        assert second.call("FETCH", json.dumps({"consumer": "c", "member": "n", "wait_ms": 60_000})) == stored
        assert int(second.figure("connected_clients")) == len(clients(second))
    assert "it starts anew" in pair.output


def test_when_the_supervisor_is_killed_the_others_end_and_a_new_server_starts(start_server: StartServer) -> None:
    server = start_server(WORKERS="2")
    stream = str(uuid.uuid4())
    with server.connect() as connection:
        pids = processes(connection)
        stored = connection.add(stream, 0, EVENT)
        os.kill(pids["supervisor"], signal.SIGKILL)
        wait_until(lambda: not any(is_running(pid) for pid in pids.values()))
    with start_server(WORKERS="1").connect() as connection:
        assert connection.read_stream(stream) == stored
