"""The Redis connection protocol over TCP: redis-cli and redis-benchmark unmodified, and bytes by hand."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time
import uuid
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.system.resp import Connection, Refusal, encode
from tests.system.server import PATIENCE_SECONDS, Server, wait_until
from tests.wire.resp3 import Verbatim, read_one

pytestmark = pytest.mark.system

STREAM = "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c"


def redis_cli(server: Server, *arguments: str, typed: str = "") -> str:
    """What redis-cli prints; `typed` is its standard input."""
    command = ["redis-cli", "-p", str(server.port), *arguments]
    ended = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    return ended.stdout + ended.stderr


def redis_benchmark(server: Server, *arguments: str) -> str:
    """What redis-benchmark prints; any error reply would end it."""
    command = ["redis-benchmark", "-p", str(server.port), "-c", "5", "-n", "500", "-q", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def add_json(stream: str, version: int, data: str = "d") -> str:
    """The argument of an ADD of one event."""
    return json.dumps({"stream": stream, "version": version, "events": [{"type": "t", "data": data}]})


def raw(server: Server, data: bytes) -> bytes:
    """Send bytes; all that comes back until the server closes."""
    with Connection("127.0.0.1", server.port) as connection:
        connection.send(data)
        return connection.read_to_end()


# redis-cli.


@pytest.mark.parametrize("protocol", [[], ["-3"]])
def test_redis_cli_explains_our_commands(server: Server, protocol: list[str]) -> None:
    """From COMMAND DOCS, which it asks for when it starts."""
    told = redis_cli(server, *protocol, typed=f"HELP ADD\nHELP getall\nADD {json.dumps(add_json(STREAM, 0))}\n")
    assert "Append events to a stream that holds `version` events." in told
    assert '{"stream","version","events",' in told
    assert "Read the log." in told
    assert json.loads(told.splitlines()[-1])["position"] == 1


def test_redis_cli_at_a_terminal_starts_and_hints(server: Server) -> None:
    terminal, its_side = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    command = ["redis-cli", "-p", str(server.port)]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdin=its_side, stdout=its_side, stderr=its_side, env=environment) as cli:
        try:
            wait_for(terminal, b"> ")
            os.write(terminal, b"add ")
            wait_for(terminal, b'{"stream","version","events",')
            os.write(terminal, b"\x15ping\r")
            wait_for(terminal, b"PONG")
            os.write(terminal, b"exit\r")
            assert cli.wait(PATIENCE_SECONDS) == 0
        finally:
            cli.kill()
            os.close(terminal)
            os.close(its_side)


def wait_for(terminal: int, text: bytes) -> None:
    """Wait until a terminal shows a text."""
    shown = b""
    while text not in shown:
        assert select.select([terminal], [], [], PATIENCE_SECONDS)[0], shown
        shown += os.read(terminal, 65536)


def test_redis_cli_speaks_resp3(server: Server) -> None:
    hello = dict(line.split(" ", 1) for line in redis_cli(server, "-3", "HELLO").splitlines() if " " in line)
    assert hello["proto"] == "3"
    assert hello["server"] == "eventflowdb"
    for arguments in (["INFO"], ["-3", "INFO"], ["-3", "INFO", "everything"]):
        told = redis_cli(server, *arguments)
        assert "redis_version:7.4.0" in told
        assert "# Eventflow" in told
    assert "maxclients" in redis_cli(server, "-3", "CONFIG", "GET", "max*")
    assert redis_cli(server, "-3", "CLIENT", "GETNAME").strip() == ""


def test_redis_cli_monitors(server: Server) -> None:
    command = ["redis-cli", "-p", str(server.port), "MONITOR"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as monitor, server.connect() as connection:
        assert monitor.stdout is not None
        assert monitor.stdout.readline() == "OK\n"
        connection.call("ECHO", 'say "hi"')
        assert monitor.stdout.readline().endswith(' "ECHO" "say \\"hi\\""\n')
        monitor.terminate()


def test_redis_cli_shuts_the_server_down(server: Server) -> None:
    with server.connect() as connection:
        connection.add(STREAM, 0, {"type": "t", "data": "d"})
    redis_cli(server, "SHUTDOWN")
    assert server.wait() == 0


# redis-benchmark.


@pytest.mark.parametrize("protocol", [[], ["-3"]])
def test_redis_benchmark_pings(server: Server, protocol: list[str]) -> None:
    told = redis_benchmark(server, *protocol, "-t", "ping")
    assert "PING_INLINE" in told
    assert "PING_MBULK" in told
    assert "Could not fetch" not in told


def test_redis_benchmark_adds_to_random_streams(server: Server) -> None:
    # Of 200 out of 2 * 10^9 streams two are the same once in 100,000 runs.
    argument = add_json("00000000-0000-4000-8000-__rand_int__", 0)
    told = redis_benchmark(server, "-n", "200", "-r", "2000000000", "-P", "10", "ADD", argument)
    assert "requests per second" in told
    with server.connect() as connection:
        assert connection.count() == 200
        assert connection.count("STREAMCOUNT") == 200


def test_redis_benchmark_authenticates(start_server: StartServer) -> None:
    server = start_server(PASSWORD="open sesame")
    assert "PING_MBULK" in redis_benchmark(server, "-a", "open sesame", "-t", "ping")


# Bytes by hand.


def test_inline_commands_take_the_quotes_of_redis(server: Server) -> None:
    stream = str(uuid.uuid4())
    typed = (
        f"ping\r\nECHO \"a\\x41\\n \\\"b\"\nECHO 'it\\'s'\r\n\r\nADD '{add_json(stream, 0)}'\r\nEVENTCOUNT\r\nQUIT\r\n"
    )
    answer = raw(server, typed.encode())
    assert answer.startswith(b"+PONG\r\n$6\r\naA\n \"b\r\n$4\r\nit's\r\n*1\r\n$")
    assert answer.endswith(b"\r\n:1\r\n+OK\r\n")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'ECHO "a\r\n', b"unbalanced quotes in request"),
        (b"ECHO 'a'b\r\n", b"unbalanced quotes in request"),
        (b"x" * (64 * 1024 + 1), b"too big inline request"),
        (b"*1" + b"1" * 64 * 1024, b"too big mbulk count string"),
        (b"*abc\r\n", b"invalid multibulk length"),
        (b"*1048577\r\n", b"invalid multibulk length"),
        (b"*1\r\nPING\r\n", b"expected '$', got 'P'"),
        (b"*1\r\n$abc\r\n", b"invalid bulk length"),
        (b"*1\r\n$-1\r\n", b"invalid bulk length"),
        (b"*1\r\n$536870913\r\n", b"invalid bulk length"),
    ],
)
def test_what_is_not_the_protocol_is_answered_behind_what_is_owed_and_ends(
    server: Server, data: bytes, sentence: bytes
) -> None:
    answer = raw(server, encode("ADD", add_json(STREAM, 0)) + data)
    added, _, error = answer.rpartition(b"\r\n-")
    assert error == b"ERR Protocol error: " + sentence + b"\r\n"
    assert added.startswith(b"*1\r\n$")


def test_a_password_is_asked_for_before_anything_else(start_server: StartServer) -> None:
    server = start_server(PASSWORD="open sesame")
    assert raw(server, b"*11\r\n") == b"-ERR Protocol error: unauthenticated multibulk length\r\n"
    assert raw(server, b"*1\r\n$16385\r\n") == b"-ERR Protocol error: unauthenticated bulk length\r\n"
    answer = raw(
        server, b"PING\r\nHELLO 3\r\nHELLO 3 AUTH default no\r\nAUTH 'open sesame'\r\nRESET\r\nPING\r\nQUIT\r\n"
    )
    replies = answer.split(b"\r\n")
    assert [reply.split(b" ")[0] for reply in replies] == [
        *[b"-NOAUTH", b"-NOAUTH", b"-WRONGPASS", b"+OK", b"+RESET", b"-NOAUTH", b"+OK", b""]
    ]


def test_more_clients_than_may_be_are_told_so_in_the_words_of_redis(start_server: StartServer) -> None:
    server = start_server(MAX_CLIENTS="2")
    with server.connect() as one, server.connect() as two:
        assert (one.call("PING"), two.call("PING")) == ("PONG", "PONG")
        assert raw(server, b"") == b"-ERR max number of clients reached\r\n"
        one.close()

        def is_let_in() -> bool:
            return raw(server, b"QUIT\r\n") == b"+OK\r\n"

        wait_until(is_let_in)
        info = two.call("INFO", "stats")
        assert isinstance(info, bytes)
        assert int(info.split(b"rejected_connections:")[1].split()[0]) >= 1


def test_idle_clients_are_closed_and_monitors_are_not(start_server: StartServer) -> None:
    server = start_server(IDLE_TIMEOUT="1")
    with server.connect() as monitor, server.connect() as idle:
        assert monitor.call("MONITOR") == "OK"
        began = time.monotonic()
        assert idle.read_to_end() == b""
        assert time.monotonic() - began >= 0.9
        with server.connect() as other:
            other.call("ECHO", "still there")
        assert str(monitor.read()).endswith('"ECHO" "still there"')


def test_one_client_kills_another_and_lists_who_is_left(server: Server) -> None:
    with server.connect() as one, server.connect() as other:
        number = other.call("CLIENT", "ID")
        assert one.call("CLIENT", "SETNAME", "killer") == "OK"
        assert one.call("CLIENT", "KILL", "ID", str(number)) == 1
        assert other.read_to_end() == b""
        wait_until(lambda: len(clients(one)) == 1)
        assert clients(one)[0]["name"] == "killer"
        ours = "{}:{}".format(*one.socket.getsockname())
        assert clients(one)[0]["addr"] == ours
        assert clients(one)[0]["laddr"] == f"127.0.0.1:{server.port}"


def clients(connection: Connection) -> list[dict[str, str]]:
    """What CLIENT LIST tells."""
    reply = connection.call("CLIENT", "LIST")
    assert isinstance(reply, bytes)
    return [dict(fact.split("=", 1) for fact in line.split()) for line in reply.decode().splitlines()]


def test_info_in_resp3_is_verbatim_and_its_figures_are_those_of_the_answered_appends(server: Server) -> None:
    with server.connect() as connection:
        for version in range(3):
            connection.add(STREAM, version, {"type": "t", "data": "d"})
    answer = raw(server, encode("HELLO", "3") + encode("INFO", "eventflow") + encode("QUIT"))
    verbatim = read_one(answer[answer.index(b"=") :].removesuffix(b"+OK\r\n"))
    assert isinstance(verbatim, Verbatim)
    title, *lines = verbatim.text.splitlines()
    told = dict(line.split(":", 1) for line in lines)
    assert title == "# Eventflow"
    assert (told["events"], told["streams"], told["commits"], told["batch_appends_max"]) == ("3", "1", "3", "1")
    assert Path(told["data"]) == server.data
    assert int(told["commit_usec_max"]) > 0


def test_replies_can_be_switched_off_for_a_load_of_appends(server: Server) -> None:
    with server.connect() as connection:
        connection.send(encode("CLIENT", "REPLY", "OFF"))
        for version in range(100):
            connection.send(encode("ADD", add_json(STREAM, version)))
        connection.send(encode("CLIENT", "REPLY", "ON") + encode("EVENTCOUNT"))
        assert connection.read() == "OK"
        assert connection.read() == 100
        assert not isinstance(connection.call("PING"), Refusal)
