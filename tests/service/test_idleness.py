"""IDLE_TIMEOUT: who is closed, who is not, by a clock that the test moves."""

from collections.abc import Iterator

import pytest

from eventflowdb.service.idleness import IdleTimeout

from .fakes import OTHER, PING, STREAM, Connection, SteppedServer, add, get, read_replies, request

TIMEOUT = 60


@pytest.fixture
def timeout(server: SteppedServer) -> Iterator[IdleTimeout]:
    """A timeout of a minute that runs."""
    timeout = IdleTimeout(server.clients, TIMEOUT, server.clock, server.clock.seconds)
    timeout.start()
    yield timeout
    timeout.stop()
    assert not server.clock.getDelayedCalls()


def pass_time(server: SteppedServer, seconds: int) -> None:
    """Let seconds pass, one by one."""
    server.clock.pump([1] * seconds)


pytestmark = pytest.mark.usefixtures("timeout")


def test_a_connection_that_nobody_uses_is_closed_and_its_neighbour_is_not(
    server: SteppedServer, connection: Connection
) -> None:
    other = server.connect()
    pass_time(server, TIMEOUT - 10)
    other.send(PING)
    pass_time(server, 10)
    assert connection.line.end is None
    pass_time(server, 1)
    assert connection.line.end == "close"
    pass_time(server, TIMEOUT - 11)
    assert other.line.end is None
    pass_time(server, 2)
    assert other.line.end == "close"


def test_one_that_is_killed_is_not_killed_again(server: SteppedServer, connection: Connection) -> None:
    pass_time(server, 3 * TIMEOUT)
    assert connection.line.end == "close"


def test_a_monitor_is_never_idle_until_it_is_none_any_more(server: SteppedServer, connection: Connection) -> None:
    connection.send(request("MONITOR"))
    pass_time(server, 3 * TIMEOUT)
    assert connection.line.end is None
    connection.send(request("RESET"))
    pass_time(server, TIMEOUT + 1)
    assert connection.line.end == "close"


def test_one_that_sends_a_long_request_slowly_is_not_idle(server: SteppedServer, connection: Connection) -> None:
    whole = add(STREAM, 0, "x" * 200)
    for byte in whole:
        connection.send(bytes([byte]))
        pass_time(server, 1)
    server.commit()
    assert len(read_replies(connection.take())) == 1
    assert connection.line.end is None


def test_one_that_has_begun_a_request_and_sends_no_more_is_closed(
    server: SteppedServer, connection: Connection
) -> None:
    connection.send(add(STREAM, 0, "x")[:-5])
    pass_time(server, TIMEOUT + 1)
    assert connection.line.end == "close"
    connection.conversation.lost()
    assert server.budget.used_bytes == 0


@pytest.mark.parametrize("piece", [add(STREAM, 0, "x"), get(OTHER, limit=1000), get(OTHER)])
def test_one_that_waits_for_the_server_is_not_idle(server: SteppedServer, connection: Connection, piece: bytes) -> None:
    """However long the disk takes; and then it has its time again."""
    server.hold(OTHER, 3000, "x" * 300)
    connection.send(piece)
    pass_time(server, 3 * TIMEOUT)
    assert connection.line.end is None
    server.finish()
    assert len(read_replies(connection.take())) == 1
    pass_time(server, TIMEOUT)
    assert connection.line.end is None
    pass_time(server, 1)
    assert connection.line.end == "close"


def test_one_that_takes_a_long_reply_is_not_idle_and_one_that_stops_taking_it_is(
    server: SteppedServer, connection: Connection
) -> None:
    server.hold(OTHER, 3000, "x" * 1000)
    connection.send(get(OTHER))
    for _ in range(3):
        connection.conversation.unwritable()
        server.read()
        pass_time(server, TIMEOUT - 1)
        connection.conversation.writable()
    assert connection.line.end is None
    connection.conversation.unwritable()
    server.read()
    pass_time(server, TIMEOUT + 1)
    assert connection.line.end == "abort"


def test_a_timeout_of_zero_is_none(server: SteppedServer, connection: Connection) -> None:
    off = IdleTimeout(server.clients, 0, server.clock, server.clock.seconds)
    before = len(server.clock.getDelayedCalls())
    off.start()
    assert len(server.clock.getDelayedCalls()) == before
    off.stop()
