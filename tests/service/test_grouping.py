"""Replies to reads leave together where many read at once, and in order, and none is kept."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from eventflowdb.limits import GROUP_READS
from eventflowdb.service.grouping import Grouping

from .fakes import PING, STREAM, Connection, LoggedFaults, SteppedServer, add, get, read_replies, request

PONG = b"+PONG\r\n"
_limits = count(100)


class Turn:
    """What is to be called at the end of the reactor's turn."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        """Keep the call."""
        self.calls.append(call)

    def end(self) -> None:
        """Call it."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()


@pytest.fixture
def turn(server: SteppedServer) -> Turn:
    turn = Turn()
    server.soon = turn.call_soon
    return turn


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


def read_in_turns(connections: list[Connection], records: list[bytes], turn: Turn) -> None:
    """Have all of them read once, and take what they are answered."""
    for connection in connections:
        read(connection, records)
    turn.end()
    for connection in connections:
        assert answer(connection) == records[1:]


@pytest.fixture
def many(server: SteppedServer, turn: Turn, records: list[bytes]) -> list[Connection]:
    """As many as make a group and three, who have read in turns; it is the first one's turn."""
    many = connect(server, GROUP_READS + 3)
    read_in_turns(many, records, turn)
    return many


def test_where_few_read_each_reply_leaves_at_once(server: SteppedServer, turn: Turn, records: list[bytes]) -> None:
    few = connect(server, GROUP_READS - 1)
    for _ in range(3):
        for connection in few:
            expected = read(connection, records)
            assert answer(connection) == expected
    assert turn.calls == []


def test_where_many_read_replies_leave_in_groups_and_the_rest_at_the_end_of_the_turn(
    many: list[Connection], turn: Turn, records: list[bytes]
) -> None:
    for place, connection in enumerate(many):
        expected = read(connection, records)
        came = [answer(one) for one in many[: place + 1]]
        if place == GROUP_READS - 1:
            assert came == [expected] * GROUP_READS
        else:
            assert came == [None] * (place + 1)
    assert len(turn.calls) == 1
    turn.end()
    assert [answer(one) for one in many] == [None] * GROUP_READS + [expected] * 3


def test_who_reads_now_and_then_beside_one_who_reads_all_the_time_is_answered_at_once(
    server: SteppedServer, turn: Turn, records: list[bytes]
) -> None:
    busy, other = connect(server, 2)
    for _ in range(3):
        for _ in range(3 * GROUP_READS):
            read(busy, records)
            assert answer(busy) is not None
        read(other, records)
        assert answer(other) is not None
    assert turn.calls == []


def test_when_many_have_ceased_to_read_those_who_go_on_are_answered_at_once(
    many: list[Connection], turn: Turn, records: list[bytes]
) -> None:
    few = many[:3]
    for _ in range(2):
        for connection in few:
            read(connection, records)
        turn.end()
        for connection in few:
            connection.take()
    read(few[0], records)
    assert answer(few[0]) is not None


def test_only_reads_wait_for_others(many: list[Connection], turn: Turn, records: list[bytes]) -> None:
    """Neither other commands of those who have read, nor replies that are kept."""
    first, second, third, fourth, *_ = many
    first.send(get(STREAM, version=3, limit=5))
    assert answer(first) is None
    turn.end()
    assert answer(first) == records[3:8]
    second.send(get(STREAM, version=3, limit=5))
    assert answer(second) == records[3:8]
    third.send(PING)
    assert third.take() == PONG
    read(fourth, records)
    assert answer(fourth) is None
    turn.end()
    assert answer(fourth) == records[1:]


@pytest.fixture
def held(many: list[Connection], turn: Turn, records: list[bytes]) -> Iterator[tuple[Connection, list[bytes]]]:
    """A connection whose reply is held, and what it is."""
    connection = many[0]
    expected = read(connection, records)
    assert answer(connection) is None
    assert len(turn.calls) == 1
    yield connection, expected
    turn.end()


def test_what_is_asked_next_is_answered_behind_it(held: tuple[Connection, list[bytes]]) -> None:
    connection, expected = held
    connection.send(PING)
    assert read_replies(connection.take()) == [expected, "PONG"]


def test_an_append_that_comes_next_is_answered_behind_it(
    held: tuple[Connection, list[bytes]], server: SteppedServer
) -> None:
    connection, expected = held
    connection.send(add(STREAM, 20, "x"))
    assert answer(connection) == expected
    server.commit()
    assert answer(connection) is not None


def test_what_is_pushed_comes_behind_it(held: tuple[Connection, list[bytes]]) -> None:
    connection, expected = held
    connection.conversation.push(PONG)
    assert read_replies(connection.take()) == [expected, "PONG"]


def test_messages_come_behind_it(held: tuple[Connection, list[bytes]]) -> None:
    connection, expected = held
    connection.conversation.push_messages(PONG)
    assert read_replies(connection.take()) == [expected, "PONG"]


def test_it_is_sent_before_the_connection_closes(held: tuple[Connection, list[bytes]]) -> None:
    connection, expected = held
    connection.conversation.input_ended()
    assert answer(connection) == expected
    assert connection.line.end == "close"


def test_it_is_sent_before_a_protocol_error(held: tuple[Connection, list[bytes]]) -> None:
    connection, expected = held
    connection.send(b"*1\r\n:1\r\n")
    reply, error = read_replies(connection.take())
    assert reply == expected
    assert error.text.startswith("Protocol error")


def test_it_is_sent_though_nothing_more_is_to_be_answered(held: tuple[Connection, list[bytes]], turn: Turn) -> None:
    connection, expected = held
    connection.send(request("CLIENT", "REPLY", "OFF"))
    turn.end()
    assert answer(connection) == expected


def test_it_is_dropped_with_the_connection(held: tuple[Connection, list[bytes]], turn: Turn) -> None:
    connection, _ = held
    connection.line.abort()
    connection.conversation.lost()
    turn.end()
    assert connection.take() == b""


def test_it_is_sent_once(held: tuple[Connection, list[bytes]], turn: Turn) -> None:
    connection, _ = held
    connection.send(PING)
    connection.take()
    turn.end()
    assert connection.take() == b""


class Whole:
    """One whose reply can be sent."""

    def __init__(self) -> None:
        self.last_round = 0
        self.count = 0

    def leave(self) -> None:
        """Count it."""
        self.count += 1


class Broken(Whole):
    """One whose reply cannot."""

    def leave(self) -> None:
        """Fail."""
        raise RuntimeError("nobody expected this")


def test_a_fault_of_one_keeps_no_other_from_its_reply(faults: LoggedFaults) -> None:
    turn, whole = Turn(), Whole()
    grouping = Grouping(turn.call_soon)
    grouping.hold(Broken())
    grouping.hold(whole)
    turn.end()
    assert whole.count == 1
    assert faults.take_one()["log_failure"].getErrorMessage() == "nobody expected this"


def test_nothing_is_held_while_what_takes_its_time_goes_on() -> None:
    """A commit on the reactor's thread was asked for before the reply was held."""
    turn, whole = Turn(), Whole()
    grouping = Grouping(turn.call_soon)
    left: list[int] = []
    grouping.call_soon(lambda: left.append(whole.count))
    grouping.hold(whole)
    turn.end()
    assert left == [1]
    assert whole.count == 1
