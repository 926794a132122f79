"""MONITOR: every command as it comes, without secrets, and never in the way of anything."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflowdb.service.monitoring import monitor_line

from .fakes import MIB, PING, PONG, STREAM, Connection, SteppedServer, add, get, read_replies, request

MONITOR = request("MONITOR")


@pytest.fixture
def monitor(server: SteppedServer) -> Connection:
    """A connection that monitors."""
    monitor = server.connect()
    monitor.send(MONITOR)
    assert monitor.take() == b"+OK\r\n"
    return monitor


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[SteppedServer]:
    """A server with a password."""
    server = SteppedServer(tmp_path / "guarded", password="secret")
    yield server
    server.close()


def lines(monitor: Connection) -> list[str]:
    """What it was shown, without the time."""
    found = []
    for line in monitor.take().decode().splitlines():
        shown = re.fullmatch(r"\+\d{10}\.\d{6} \[0 peer:1\] (.*)", line)
        assert shown is not None, line
        found.append(shown[1])
    return found


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        (b"", '""'),
        (b"plain ~", '"plain ~"'),
        (b'say "hi"', r'"say \"hi\""'),
        (b"a\\n", r'"a\\n"'),
        (b"\n\r\t\a\b", r'"\n\r\t\a\b"'),
        (b"\x00\x1f\x7f\xff", r'"\x00\x1f\x7f\xff"'),
        ("ä".encode(), r'"\xc3\xa4"'),
    ],
)
def test_words_are_quoted_as_redis_quotes_them(word: bytes, shown: str) -> None:
    """Held against redis-server 7.0 by hand."""
    line = monitor_line("1.2.3.4:5", [b"ECHO", word], has_secrets=False).decode()
    assert re.fullmatch(r"\+\d+\.\d{6} \[0 1\.2\.3\.4:5\] \"ECHO\" (.*)\r\n", line)[1] == shown  # type: ignore[index]


def test_a_monitor_sees_what_others_send_and_not_itself(
    server: SteppedServer, connection: Connection, monitor: Connection
) -> None:
    connection.send(PING, request("echo", "a b"), b"PING 'x'\r\n")
    assert lines(monitor) == ['"PING"', '"echo" "a b"', '"PING" "x"']
    monitor.send(PING)
    assert monitor.take() == PONG
    connection.send(add(STREAM, 0, "a"))
    (line,) = lines(monitor)
    assert line.startswith('"ADD" "{\\"stream\\": ')
    server.finish()


def test_what_is_not_a_command_is_not_shown(connection: Connection, monitor: Connection) -> None:
    """Among it a mistyped AUTH with the password."""
    connection.send(request("AUHT", "secret"), request("AUTH"), request("AUTH", "a", "b", "secret"))
    assert lines(monitor) == []


def test_secrets_are_not_shown(guarded: SteppedServer) -> None:
    monitor, stranger = guarded.connect(), guarded.connect()
    monitor.send(request("AUTH", "secret"), MONITOR)
    monitor.take()
    stranger.send(
        request("AUTH", "wrong secret"),
        request("auth", "default", "secret"),
        request("HELLO", "3", "AUTH", "default", "secret"),
    )
    assert lines(monitor) == ['"AUTH" "(redacted)"', '"auth" "(redacted)"', '"HELLO" "(redacted)"']
    stranger.send(request("SLOWLOG", "GET"))
    assert b"secret" not in monitor.take() + stranger.take()


def test_a_monitor_begins_after_its_own_ok(server: SteppedServer, connection: Connection) -> None:
    """Or redis-py, which reads one line first, would take the first command for a refusal."""
    late = server.connect()
    late.send(add(STREAM, 0, "a"), MONITOR)
    connection.send(PING)
    assert late.take() == b""
    server.commit()
    added, ok = read_replies(late.take())
    assert (len(added), ok) == (1, "OK")
    connection.send(PING)
    assert lines(late) == ['"PING"']


def test_reset_and_the_end_of_the_connection_end_it(server: SteppedServer, connection: Connection) -> None:
    first, second = server.connect(), server.connect()
    for one in (first, second):
        one.send(MONITOR)
    first.take()
    second.take()
    first.send(request("RESET"))
    assert first.take() == b"+RESET\r\n"
    assert lines(second) == ['"RESET"']
    second.conversation.lost()
    connection.send(PING)
    assert first.take() == b""
    assert not server.clients.monitors


def test_a_monitor_that_does_not_keep_up_misses_lines_and_holds_nothing_up(
    server: SteppedServer, connection: Connection, monitor: Connection
) -> None:
    connection.send(request("ECHO", "seen"))
    monitor.conversation.unwritable()
    for _ in range(1000):
        connection.send(request("ECHO", "x" * 10_000))
    assert len(connection.take()) > 1000 * 10_000
    assert server.budget.used_bytes == 0
    monitor.conversation.writable()
    connection.send(request("ECHO", "seen again"))
    assert lines(monitor) == ['"ECHO" "seen"', '"ECHO" "seen again"']


def test_no_line_comes_into_a_long_reply(server: SteppedServer, connection: Connection, monitor: Connection) -> None:
    records = server.hold(STREAM, 3000, "x" * 300)
    monitor.send(get(STREAM), PING)
    while server.pool.reads:
        connection.send(PING)
        server.pool.step()
    assert read_replies(monitor.take()) == [records, "PONG"]
    connection.send(request("ECHO", "after"))
    assert lines(monitor) == ['"ECHO" "after"']


def test_what_was_too_large_is_not_shown(tmp_path: Path) -> None:
    server = SteppedServer(tmp_path / "narrow", max_request_bytes=MIB)
    monitor, connection = server.connect(), server.connect()
    monitor.send(MONITOR)
    monitor.take()
    oversized = request("ECHO", "x" * (2 * MIB))
    for at in range(0, len(oversized), 65536):
        connection.send(oversized[at : at + 65536])
    assert connection.take().startswith(b"-INVALIDARG ")
    assert lines(monitor) == []
    server.close()
