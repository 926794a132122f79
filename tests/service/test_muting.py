"""CLIENT REPLY: which replies a connection does not get, also around appends and reads that take their time."""

import pytest

from tests.wire.resp3 import read_all

from .fakes import OTHER, PING, STREAM, Connection, SteppedServer, add, get, get_all, request

ON, OFF, SKIP = (request("CLIENT", "REPLY", how) for how in ("ON", "OFF", "SKIP"))


def ping(message: str) -> bytes:
    """A request whose reply can be told from others."""
    return request("PING", message)


@pytest.mark.parametrize(
    ("requests", "replies"),
    [
        ([OFF, PING, request("NOSUCH"), ON, PING], ["OK", "PONG"]),
        ([SKIP, ping("a"), ping("b")], [b"b"]),
        ([SKIP, SKIP, ping("a"), ping("b")], [b"b"]),
        ([SKIP, ON, ping("a")], ["OK", b"a"]),
        ([SKIP, request("NOSUCH"), ping("b")], [b"b"]),
        ([SKIP, request("CLIENT", "REPLY", "bad"), ping("b")], [b"b"]),
        ([OFF, SKIP, ping("a"), ping("b")], []),
        ([OFF, OFF, ON, ping("b")], ["OK", b"b"]),
        ([ON, ON], ["OK", "OK"]),
        ([OFF, request("RESET"), ping("b")], ["RESET", b"b"]),
        ([OFF, request("HELLO", "3"), ON, request("CLIENT", "GETNAME")], ["OK", None]),
    ],
)
@pytest.mark.parametrize("is_pipelined", [True, False])
def test_replies_that_are_muted_are_left_out(
    server: SteppedServer, requests: list[bytes], replies: list[object], is_pipelined: bool
) -> None:
    connection = server.connect()
    for piece in [b"".join(requests)] if is_pipelined else requests:
        connection.send(piece)
    assert read_all(connection.take()) == replies


def test_a_skipped_append_is_stored_and_the_next_is_answered(server: SteppedServer, connection: Connection) -> None:
    connection.send(ping("a"), SKIP, add(STREAM, 0, "x"), add(STREAM, 1, "y"), ping("b"))
    server.commit()
    first, added, last = read_all(connection.take())
    assert (first, len(added), last) == (b"a", 1, b"b")
    assert b'"version":1,' in added[0]
    assert server.store.event_count() == 2


def test_replies_owed_from_before_are_sent(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "x"), OFF, add(STREAM, 1, "y"), get(STREAM), ON, get(STREAM))
    server.finish()
    added, ok, read = read_all(connection.take())
    assert (len(added), ok, len(read)) == (1, "OK", 2)
    assert server.budget.used_bytes == 0


def test_a_refused_append_is_muted_too(server: SteppedServer, connection: Connection) -> None:
    connection.send(SKIP, add(STREAM, 7, "x"), PING)
    server.commit()
    assert read_all(connection.take()) == ["PONG"]


@pytest.mark.parametrize("count", [1, 100, 3000])
def test_a_muted_read_of_any_length_sends_nothing_and_ends(
    server: SteppedServer, connection: Connection, count: int
) -> None:
    """On the reactor's thread, on another, and in chunks."""
    server.hold(OTHER, count, "x" * 300)
    connection.send(SKIP, get_all(limit=count), PING, OFF, get(OTHER), ON, PING)
    server.finish()
    assert read_all(connection.take()) == ["PONG", "OK", "PONG"]
    assert not server.pool.reads
    assert server.budget.used_bytes == 0


def test_a_muted_quit_closes_without_a_word(connection: Connection) -> None:
    connection.send(OFF, request("QUIT"))
    assert connection.take() == b""
    assert connection.line.end == "close"


def test_one_connection_mutes_itself_only(server: SteppedServer, connection: Connection) -> None:
    connection.send(OFF)
    other = server.connect()
    other.send(PING)
    assert read_all(other.take()) == ["PONG"]
