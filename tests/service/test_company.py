"""Who has the server to itself: pages of the log are then read at once, on the reactor's thread."""

import json

import pytest

from eventflowdb.limits import ALONE_SECONDS_MIN, INLINE_READ_EVENTS_MAX

from .fakes import PING, STREAM, Connection, SteppedServer, add, get, read_replies, request

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


def test_a_page_in_pieces_is_one_reply_among_others(server: SteppedServer, connection: Connection) -> None:
    records = server.hold(STREAM, EVENTS)
    connection.send(PING)
    server.clock.advance(2 * ALONE_SECONDS_MIN)
    connection.send(PING, PAGE, PING, get(STREAM, limit=EVENTS), PING)
    server.finish()
    assert read_replies(connection.take()) == ["PONG", "PONG", records, "PONG", records, "PONG"]


@pytest.mark.parametrize("place", ["offset", "after"])
def test_who_reads_on_and_on_gets_the_log_while_it_grows(
    server: SteppedServer, connection: Connection, place: str
) -> None:
    """Most pages have been read when they are asked for."""
    records = server.hold(STREAM, 7 * EVENTS)
    connection.send(PING)
    connection.take()
    server.clock.advance(2 * ALONE_SECONDS_MIN)
    seen: list[bytes] = []
    while len(seen) < len(records):
        last_id = json.loads(seen[-1])["id"] if seen else "0" * 26
        overlap = 1 if seen and place == "offset" else 0
        connection.send(request("GETALL", json.dumps({place: last_id, "limit": EVENTS})))
        (page,) = read_replies(connection.take())
        assert page[:overlap] == seen[len(seen) - overlap :]
        seen += page[overlap:]
        server.finish()
        if len(seen) > 5 * EVENTS > len(records) - 3 * EVENTS:
            records += server.hold(STREAM, 1)
        server.clock.advance(2 * ALONE_SECONDS_MIN)
    assert seen == records


def test_a_page_behind_an_append_waits_for_it(server: SteppedServer, connection: Connection) -> None:
    records = server.hold(STREAM, EVENTS)
    connection.send(PING)
    connection.take()
    server.clock.advance(2 * ALONE_SECONDS_MIN)
    connection.send(add(STREAM, EVENTS, "a"), get(STREAM, limit=EVENTS + 1), PING)
    server.finish()
    added, page, pong = read_replies(connection.take())
    assert isinstance(added, list)
    assert page == [*records, *added]
    assert pong == "PONG"
