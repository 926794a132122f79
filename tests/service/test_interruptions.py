"""What reaches a connection besides its own requests: lines of MONITOR, CLIENT KILL, CLIENT REPLY."""

import json

import pytest

from eventflowdb.limits import CHUNK_BYTES_MAX, INLINE_READ_EVENTS_MAX

from .fakes import MIB, OTHER, PING, PONG, STREAM, Connection, SteppedServer, add, get, read_replies, request

OK = b"+OK\r\n"
LINE = b"+a line of MONITOR\r\n"
MANY = INLINE_READ_EVENTS_MAX + 1


def kill(connection: Connection) -> bytes:
    """A request that kills a connection."""
    return request("CLIENT", "KILL", "ID", str(connection.session.id))


# MONITOR.


def test_a_line_leaves_at_once_and_before_the_replies_owed(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"))
    connection.conversation.push(LINE)
    assert connection.take() == LINE
    server.commit()
    assert [len(reply) for reply in read_replies(connection.take())] == [1]


def test_a_line_is_never_put_into_a_long_reply(server: SteppedServer, connection: Connection) -> None:
    records = server.hold(STREAM, 30, "x" * (CHUNK_BYTES_MAX // 10))
    connection.send(get(STREAM))
    while server.pool.reads:
        connection.conversation.push(LINE)
        server.pool.step()
    assert read_replies(connection.take()) == [records]
    connection.conversation.push(LINE)
    assert connection.take() == LINE


def test_a_client_that_is_behind_gets_no_lines(connection: Connection) -> None:
    connection.conversation.unwritable()
    connection.conversation.push(LINE)
    connection.conversation.writable()
    assert connection.take() == b""
    connection.conversation.push(LINE)
    assert connection.take() == LINE


@pytest.mark.parametrize("how", ["quit", "lost"])
def test_a_connection_that_has_ended_gets_no_lines(connection: Connection, how: str) -> None:
    if how == "quit":
        connection.send(request("QUIT"))
    else:
        connection.conversation.lost()
    connection.take()
    connection.conversation.push(LINE)
    assert connection.take() == b""


def test_a_monitor_sees_what_others_run_while_they_are_answered(server: SteppedServer, connection: Connection) -> None:
    monitor = server.connect()
    monitor.send(request("MONITOR"))
    assert monitor.take() == OK
    connection.send(PING, add(STREAM, 0, "a"), request("AUTH", "secret"))
    lines = read_replies(monitor.take())
    assert [line.split('"')[1] for line in lines] == ["PING", "ADD", "AUTH"]
    assert "secret" not in lines[2]
    monitor.conversation.lost()
    connection.send(PING)
    assert monitor.take() == b""


# CLIENT KILL.


def test_an_idle_connection_that_is_killed_is_closed_in_order(server: SteppedServer, connection: Connection) -> None:
    victim = server.connect()
    connection.send(kill(victim))
    assert connection.take() == b":1\r\n"
    assert victim.line.end == "close"
    victim.conversation.lost()
    connection.send(kill(victim))
    assert connection.take() == b":0\r\n"


def test_a_connection_that_is_owed_replies_is_killed_at_once_and_its_appends_are_stored(
    server: SteppedServer, connection: Connection
) -> None:
    victim = server.connect()
    victim.send(add(STREAM, 0, "a"))
    connection.send(kill(victim))
    assert victim.line.end == "abort"
    victim.conversation.lost()
    server.commit()
    assert server.store.event_count() == 1
    assert server.budget.used_bytes == 0


@pytest.mark.parametrize("state", ["reading on a thread", "in a long reply", "behind"])
def test_a_connection_in_the_middle_of_something_is_killed_at_once(
    server: SteppedServer, connection: Connection, state: str
) -> None:
    server.hold(STREAM, MANY)
    victim = server.connect()
    if state == "reading on a thread":
        victim.send(get(STREAM, limit=1000))
    elif state == "in a long reply":
        victim.send(get(STREAM))
    else:
        victim.conversation.unwritable()
        victim.send(PING)
    victim.take()
    connection.send(kill(victim))
    assert victim.line.end == "abort"
    victim.conversation.lost()
    server.finish()
    assert victim.take() == b""
    assert server.budget.used_bytes == 0


def test_one_that_kills_itself_gets_its_reply_and_nothing_after_it(
    server: SteppedServer, connection: Connection
) -> None:
    connection.send(add(STREAM, 0, "a"), request("CLIENT", "KILL", "peer:1"), PING, add(STREAM, 1, "b"))
    server.commit()
    added, ok = read_replies(connection.take())
    assert len(added) == 1
    assert ok == "OK"
    assert connection.line.end == "close"
    assert server.store.event_count() == 1


def test_a_connection_that_was_cut_for_its_memory_is_no_client_any_more(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = SteppedServer(tmp_path_factory.mktemp("narrow"), max_inflight_bytes=MIB)
    deaf = [server.connect() for _ in range(20)]
    for client in deaf:
        client.conversation.unwritable()
        if not client.line.is_paused:
            client.send(PING * 4600)
    assert server.budget.is_exhausted
    server.clock.advance(5.0)
    cut = [client for client in deaf if client.line.end == "abort"]
    assert cut
    assert len(server.clients) == len(deaf) - len(cut)
    for client in deaf:
        client.conversation.lost()
    assert len(server.clients) == 0
    assert server.budget.used_bytes == 0
    server.close()


# CLIENT REPLY.


def mute(how: str) -> bytes:
    """A request that suppresses replies."""
    return request("CLIENT", "REPLY", how)


def test_nothing_is_answered_until_replies_are_wanted_again(server: SteppedServer, connection: Connection) -> None:
    server.hold(OTHER, MANY)
    connection.send(
        *[mute("OFF"), PING, add(STREAM, 0, "a"), get(STREAM), get(OTHER), get(OTHER, limit=1000), request("NOSUCH")],
        *[mute("ON"), PING],
    )
    server.finish()
    assert connection.take() == OK + PONG
    assert server.store.event_count() == MANY + 1
    assert not connection.line.is_paused
    assert server.budget.used_bytes == 0


def test_the_reply_of_one_command_can_be_skipped(server: SteppedServer, connection: Connection) -> None:
    connection.send(mute("SKIP"), PING, request("PING", "heard"))
    assert read_replies(connection.take()) == [b"heard"]
    connection.send(mute("SKIP"), add(STREAM, 0, "a"), add(STREAM, 1, "b"))
    server.commit()
    ((record,),) = read_replies(connection.take())
    assert json.loads(record)["version"] == 1


def test_replies_owed_from_before_are_still_sent(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), mute("OFF"), PING)
    server.commit()
    assert len(read_replies(connection.take())) == 1
