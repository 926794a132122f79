"""Who has the server to itself: pages of the log are then read at once, on the reactor's thread."""

import json

from eventflowdb.limits import ALONE_SECONDS_MIN, INLINE_READ_EVENTS_MAX

from .fakes import PING, STREAM, Connection, SteppedServer, add, request

EVENTS = INLINE_READ_EVENTS_MAX + 1
PAGE = request("GETALL", json.dumps({"limit": EVENTS}))


def is_read_at_once(server: SteppedServer, connection: Connection) -> bool:
    """Whether a page is there before any thread has read; it is whole in either case."""
    connection.send(PAGE)
    at_once = connection.take()
    server.finish()
    reply = at_once or connection.take()
    assert reply.startswith(b"*%d\r\n" % EVENTS)
    return bool(at_once)


def test_one_client_is_alone_after_a_while(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, EVENTS)
    assert not is_read_at_once(server, connection)
    server.clock.advance(ALONE_SECONDS_MIN / 2)
    assert not is_read_at_once(server, connection)
    server.clock.advance(ALONE_SECONDS_MIN)
    assert is_read_at_once(server, connection)
    assert is_read_at_once(server, connection)


def test_whoever_else_asks_anything_is_company_for_a_while(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, EVENTS)
    other = server.connect()
    is_read_at_once(server, connection)
    for question in (PING, add(STREAM, EVENTS), request("NOSUCH")):
        server.clock.advance(2 * ALONE_SECONDS_MIN)
        other.send(question)
        server.finish()
        assert not is_read_at_once(server, connection)
        server.clock.advance(2 * ALONE_SECONDS_MIN)
        assert is_read_at_once(server, connection)


def test_of_a_pipeline_one_page_is_read_at_once(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, EVENTS)
    connection.send(PING)
    connection.take()
    server.clock.advance(2 * ALONE_SECONDS_MIN)
    connection.send(PAGE, PAGE, PAGE)
    assert connection.take().count(b"*%d\r\n" % EVENTS) == 1
    server.finish()
    assert connection.take().count(b"*%d\r\n" % EVENTS) == 2
