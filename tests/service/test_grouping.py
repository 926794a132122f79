"""Replies to reads leave together where many read at once, and in order, and none is kept."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from eventflowdb.limits import GROUP_READS
from eventflowdb.service.grouping import Grouping

from .fakes import PING, STREAM, Connection, LoggedFaults, SteppedServer, get, read_replies

PONG = b"+PONG\r\n"


@pytest.fixture
def turn(server: SteppedServer) -> list[Callable[[], None]]:
    """What is to be called at the end of the reactor's turn."""
    calls: list[Callable[[], None]] = []
    server.soon = calls.append
    return calls


@pytest.fixture
def records(server: SteppedServer) -> list[bytes]:
    return server.hold(STREAM, 20)


def connect(server: SteppedServer, how_many: int) -> list[Connection]:
    """So many connections, whose requests come alone from now on."""
    connections = [server.connect() for _ in range(how_many)]
    for connection in connections:
        connection.send(PING)
        connection.take()
    return connections


_limits = count(100)


def read(connection: Connection, records: list[bytes]) -> list[bytes]:
    """Have a connection read what nobody has asked for in these words, so that it is read; what it is answered."""
    connection.send(get(STREAM, version=1, limit=next(_limits)))
    return records[1:]


def answer(connection: Connection) -> list[bytes] | None:
    """What came, if anything did."""
    data = connection.take()
    if not data:
        return None
    (reply,) = read_replies(data)
    assert isinstance(reply, list)
    return reply


def test_where_few_read_each_reply_leaves_at_once(
    server: SteppedServer, turn: list[Callable[[], None]], records: list[bytes]
) -> None:
    few = connect(server, GROUP_READS - 1)
    for _ in range(3):
        for connection in few:
            expected = read(connection, records)
            assert answer(connection) == expected
    assert turn == []


def test_where_many_read_replies_leave_in_groups_and_the_rest_at_the_end_of_the_turn(
    server: SteppedServer, turn: list[Callable[[], None]], records: list[bytes]
) -> None:
    many = connect(server, GROUP_READS + 3)
    for connection in many:
        read(connection, records)
    end_turn(turn)
    for connection in many:
        assert answer(connection) is not None
    for place, connection in enumerate(many):
        expected = read(connection, records)
        came = [answer(one) for one in many[: place + 1]]
        if place == GROUP_READS - 1:
            assert came == [expected] * GROUP_READS
        else:
            assert came == [None] * (place + 1)
    assert len(turn) == 1
    end_turn(turn)
    assert [answer(one) for one in many] == [None] * GROUP_READS + [expected] * 3


def end_turn(turn: list[Callable[[], None]]) -> None:
    """Let happen what the end of the turn brings."""
    calls = turn[:]
    turn.clear()
    for call in calls:
        call()


@pytest.fixture
def held(
    server: SteppedServer, turn: list[Callable[[], None]], records: list[bytes]
) -> Iterator[tuple[Connection, list[bytes]]]:
    """A connection whose reply is held, and what it is."""
    connection, *rest = connect(server, GROUP_READS)
    for one in (connection, *rest):
        read(one, records)
    end_turn(turn)
    connection.take()
    expected = read(connection, records)
    assert answer(connection) is None
    assert len(turn) == 1
    yield connection, expected
    end_turn(turn)


def test_what_is_asked_next_is_answered_behind_it(held: tuple[Connection, list[bytes]]) -> None:
    connection, expected = held
    connection.send(PING)
    assert read_replies(connection.take()) == [expected, "PONG"]


def test_what_is_pushed_comes_behind_it(held: tuple[Connection, list[bytes]]) -> None:
    connection, expected = held
    connection.conversation.push(PONG)
    assert read_replies(connection.take()) == [expected, "PONG"]


def test_it_is_sent_before_the_connection_closes(held: tuple[Connection, list[bytes]]) -> None:
    connection, expected = held
    connection.conversation.input_ended()
    assert answer(connection) == expected
    assert connection.line.end == "close"


def test_it_is_dropped_with_the_connection(
    held: tuple[Connection, list[bytes]], turn: list[Callable[[], None]]
) -> None:
    connection, _ = held
    connection.line.abort()
    connection.conversation.lost()
    end_turn(turn)
    assert connection.take() == b""


def test_it_is_sent_once(held: tuple[Connection, list[bytes]], turn: list[Callable[[], None]]) -> None:
    connection, _ = held
    connection.send(PING)
    connection.take()
    end_turn(turn)
    assert connection.take() == b""


class Broken:
    """One whose reply cannot be sent."""

    def leave(self) -> None:
        """Fail."""
        raise RuntimeError("nobody expected this")


class Whole:
    """One whose reply can."""

    def __init__(self) -> None:
        self.count = 0

    def leave(self) -> None:
        """Count it."""
        self.count += 1


def test_a_fault_of_one_keeps_no_other_from_its_reply(faults: LoggedFaults) -> None:
    calls: list[Callable[[], None]] = []
    grouping, whole = Grouping(calls.append), Whole()
    grouping.hold(Broken())
    grouping.hold(whole)
    end_turn(calls)
    assert whole.count == 1
    assert faults.take_one()["log_failure"].getErrorMessage() == "nobody expected this"
