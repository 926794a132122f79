"""GET and GETALL with `wait_ms`: when they are answered, and what ends the wait."""

import gc
import json
from typing import Any

import pytest

from eventflowdb.errors import CorruptRecord
from eventflowdb.limits import INLINE_READ_EVENTS_MAX
from eventflowdb.storage.spans import Chunk, ReadBounds

from .fakes import (
    OTHER,
    PING,
    PONG,
    STREAM,
    Connection,
    ReplyError,
    SteppedServer,
    add,
    get,
    get_all,
    read_replies,
    request,
)

EMPTY = b"*0\r\n"
LONG = 3_600_000


def versions(reply: Any) -> list[int]:
    """The versions of the events in a reply."""
    return [json.loads(record)["version"] for record in reply]


def taken_versions(connection: Connection) -> list[list[int]]:
    """Of each reply that was sent since the last time, the versions of its events."""
    return [versions(reply) for reply in read_replies(connection.take())]


def pass_ms(server: SteppedServer, milliseconds: int) -> None:
    """Let time pass."""
    server.clock.advance(milliseconds / 1000)


def stored(server: SteppedServer, stream: str, version: int, *datas: str) -> None:
    """Have events appended by some other client."""
    writer = server.connect()
    writer.send(add(stream, version, *datas))
    server.commit()
    assert isinstance(read_replies(writer.take())[0], list)
    writer.conversation.lost()


# When it is answered.


def test_what_is_there_already_is_answered_at_once(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, 2)
    connection.send(get(STREAM, wait_ms=LONG), get_all(wait_ms=LONG))
    assert taken_versions(connection) == [[0, 1], [0, 1]]
    assert not server.notices.has_watchers
    assert not server.clock.getDelayedCalls()


@pytest.mark.parametrize("read", [get(STREAM, wait_ms=1000), get_all(wait_ms=1000)])
def test_a_read_that_finds_nothing_is_answered_as_soon_as_there_is_something(
    server: SteppedServer, connection: Connection, read: bytes
) -> None:
    connection.send(read)
    pass_ms(server, 999)
    assert connection.take() == b""
    stored(server, STREAM, 0, "a", "b")
    assert taken_versions(connection) == [[0, 1]]
    assert not server.clock.getDelayedCalls()
    assert not server.notices.has_watchers


@pytest.mark.parametrize("read", [get(STREAM, wait_ms=1000), get_all(wait_ms=1000)])
def test_at_the_end_of_the_time_the_reply_is_empty(server: SteppedServer, connection: Connection, read: bytes) -> None:
    connection.send(read)
    pass_ms(server, 1000)
    assert connection.take() == EMPTY
    stored(server, STREAM, 0, "a")
    assert connection.take() == b"", "it was answered"
    assert not server.notices.has_watchers


def test_without_a_wait_an_empty_reply_comes_at_once(connection: Connection) -> None:
    connection.send(get(STREAM, wait_ms=0), get_all(limit=1, wait_ms=None))
    assert connection.take() == EMPTY * 2


def test_a_read_waits_for_what_comes_after_its_place(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, 2)
    connection.send(get(STREAM, version=3, wait_ms=LONG))
    stored(server, STREAM, 2, "c")
    assert connection.take() == b""
    stored(server, STREAM, 3, "d", "e")
    assert taken_versions(connection) == [[3, 4]]
    last = json.loads(server.hold(OTHER, 1)[0])["id"]
    connection.send(get_all(after=last, wait_ms=LONG))
    stored(server, STREAM, 5, "f")
    assert taken_versions(connection) == [[5]]


def test_the_limit_holds_for_what_comes(server: SteppedServer, connection: Connection) -> None:
    connection.send(get(STREAM, limit=2, wait_ms=LONG))
    stored(server, STREAM, 0, "a", "b", "c")
    assert taken_versions(connection) == [[0, 1]]


def test_more_than_one_chunk_is_answered_whole(server: SteppedServer, connection: Connection) -> None:
    many = INLINE_READ_EVENTS_MAX * 3
    connection.send(get(STREAM, wait_ms=LONG), PING)
    stored(server, STREAM, 0, *["x"] * many)
    server.read()
    *_, reply, pong = read_replies(connection.take())
    assert versions(reply) == list(range(many))
    assert pong == "PONG"


def test_a_commit_wakes_only_those_whom_it_concerns(server: SteppedServer, connection: Connection) -> None:
    other, everything = server.connect(), server.connect()
    connection.send(get(STREAM, wait_ms=LONG))
    other.send(get(OTHER, wait_ms=LONG))
    everything.send(get_all(wait_ms=LONG))
    stored(server, STREAM, 0, "a")
    assert taken_versions(connection) == taken_versions(everything) == [[0]]
    assert other.take() == b""
    stored(server, OTHER, 0, "b")
    assert taken_versions(other) == [[0]]


def test_a_refused_append_wakes_nobody(server: SteppedServer, connection: Connection) -> None:
    connection.send(get(STREAM, wait_ms=LONG))
    generation = server.notices.generation
    writer = server.connect()
    writer.send(add(STREAM, 7, "a"))
    server.commit()
    assert server.notices.generation == generation
    assert connection.take() == b""


def test_those_who_wait_for_the_same_share_one_look(server: SteppedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = [server.connect() for _ in range(50)]
    for number, connection in enumerate(connections):
        connection.send(get_all(wait_ms=1000 + number))
    looks = counted_looks(server, monkeypatch)
    stored(server, STREAM, 0, "a")
    assert [taken_versions(connection) for connection in connections] == [[[0]]] * 50
    assert looks == [1]


def counted_looks(server: SteppedServer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts how often the end of the log is looked at from now on."""
    looks = [0]
    open_log = server.readable.open_log

    def count(start: bytes, limit: int, bounds: ReadBounds) -> Chunk:
        looks[0] += 1
        return open_log(start, limit, bounds)

    monkeypatch.setattr(server.readable, "open_log", count)
    return looks


def test_a_read_behind_an_append_of_its_own_connection_is_answered_with_it(
    server: SteppedServer, connection: Connection
) -> None:
    connection.send(
        get_all(wait_ms=LONG), add(STREAM, 0, "a"), get_all(wait_ms=LONG), get(STREAM, version=1, wait_ms=5)
    )
    stored(server, OTHER, 0, "b")
    server.commit()
    pass_ms(server, 5)
    assert taken_versions(connection) == [[0], [0], [0, 0], []]


def test_the_requests_behind_it_wait_and_those_of_others_do_not(server: SteppedServer, connection: Connection) -> None:
    other = server.connect()
    connection.send(get(STREAM, wait_ms=100), add(OTHER, 0, "a"), PING)
    other.send(PING)
    assert other.take() == PONG
    assert not server.thread.jobs
    pass_ms(server, 100)
    server.commit()
    empty, added, pong = read_replies(connection.take())
    assert (empty, versions(added), pong) == ([], [0], "PONG")


def test_the_same_request_again_and_again_follows_the_log(server: SteppedServer, connection: Connection) -> None:
    seen: list[int] = []
    after = None
    for version in range(20):
        connection.send(get_all(after=after, wait_ms=LONG))
        stored(server, STREAM, version, "x")
        ((record,),) = read_replies(connection.take())
        after = json.loads(record)["id"]
        seen.append(json.loads(record)["position"])
    assert seen == list(range(1, 21))


# Reads on threads.


def on_threads(server: SteppedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every read run on a thread, as while memory is cold."""
    monkeypatch.setattr(server.reads._small, "cold_until", float("inf"))


def test_an_event_that_is_stored_while_the_first_look_is_under_way_is_not_missed(
    server: SteppedServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_threads(server, monkeypatch)
    connection.send(get(STREAM, wait_ms=LONG))
    too_early = server.pool.reads.popleft()
    nothing = too_early.read()
    stored(server, STREAM, 0, "a")
    too_early.done.callback(nothing)
    server.read()
    assert taken_versions(connection) == [[0]]


def test_an_event_that_is_stored_while_a_later_look_is_under_way_is_not_missed(
    server: SteppedServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_threads(server, monkeypatch)
    connection.send(get(STREAM, version=1, wait_ms=LONG))
    server.read()
    stored(server, STREAM, 0, "a")
    too_early = server.pool.reads.popleft()
    nothing = too_early.read()
    stored(server, STREAM, 1, "b")
    too_early.done.callback(nothing)
    server.read()
    assert taken_versions(connection) == [[1]]


def test_one_look_on_a_thread_answers_all_that_ask_the_same(
    server: SteppedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_threads(server, monkeypatch)
    connections = [server.connect() for _ in range(3)]
    for connection in connections:
        connection.send(get_all(wait_ms=LONG))
    server.read()
    stored(server, STREAM, 0, "a")
    assert len(server.pool.reads) == 1
    server.read()
    assert [taken_versions(connection) for connection in connections] == [[[0]]] * 3


def test_each_gets_the_rest_of_a_long_reply_at_its_own_pace(server: SteppedServer) -> None:
    many = INLINE_READ_EVENTS_MAX * 3
    connections = [server.connect() for _ in range(3)]
    for connection in connections:
        connection.send(get(STREAM, wait_ms=LONG))
    stored(server, STREAM, 0, *["x"] * many)
    server.read()
    assert [taken_versions(connection) for connection in connections] == [[list(range(many))]] * 3


def test_a_look_that_is_under_way_at_the_end_of_the_time_still_answers(
    server: SteppedServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a read with a short wait would call a stream empty that is not, when the disk is slow."""
    on_threads(server, monkeypatch)
    server.hold(STREAM, 1)
    connection.send(get(STREAM, wait_ms=1), get(STREAM, version=1, wait_ms=1))
    pass_ms(server, 10)
    assert connection.take() == b""
    server.read()
    assert taken_versions(connection) == [[0]]
    pass_ms(server, 1)
    assert connection.take() == EMPTY


def test_damage_is_told_to_all_who_share_a_look(server: SteppedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    on_threads(server, monkeypatch)
    connections = [server.connect() for _ in range(3)]
    for connection in connections:
        connection.send(get_all(wait_ms=LONG), PING)
    server.read()
    stored(server, STREAM, 0, "a")
    server.pool.fail(CorruptRecord("a flipped bit"))
    for connection in connections:
        assert read_replies(connection.take()) == [ReplyError("CORRUPT", "a flipped bit"), "PONG"]
    assert not server.notices.has_watchers


def test_a_look_that_fails_at_once_is_counted_as_a_failure(
    server: SteppedServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(stream: str, version: int, limit: int | None, bounds: ReadBounds) -> None:
        raise CorruptRecord("a flipped bit")

    monkeypatch.setattr(server.readable, "open_stream", fail)
    connection.send(get(STREAM, wait_ms=LONG))
    assert read_replies(connection.take()) == [ReplyError("CORRUPT", "a flipped bit")]
    count = server.parts.statistics.count_of("GET")
    assert (count.calls, count.failed) == (1, 1)


# What ends the wait.


def test_the_end_of_the_connection_ends_the_wait(server: SteppedServer, connection: Connection) -> None:
    connection.send(get(STREAM, wait_ms=LONG))
    connection.conversation.lost()
    assert not server.notices.has_watchers
    assert not server.clock.getDelayedCalls()
    assert server.budget.used_bytes == 0
    stored(server, STREAM, 0, "a")
    assert connection.take() == b""


def test_a_connection_that_is_lost_while_it_looks_leaves_nothing_behind(
    server: SteppedServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_threads(server, monkeypatch)
    connection.send(get(STREAM, wait_ms=LONG))
    connection.conversation.lost()
    server.read()
    assert not server.notices.has_watchers
    assert not server.clock.getDelayedCalls()
    assert server.budget.used_bytes == 0


def test_the_end_of_the_input_ends_this_wait_and_those_behind_it(server: SteppedServer, connection: Connection) -> None:
    connection.send(get(STREAM, wait_ms=LONG), get(STREAM, wait_ms=LONG), PING)
    connection.conversation.input_ended()
    assert connection.take() == EMPTY * 2 + PONG
    assert connection.line.end == "close"
    assert not server.notices.has_watchers


def test_client_kill_ends_the_wait(server: SteppedServer, connection: Connection) -> None:
    connection.send(get(STREAM, wait_ms=LONG))
    killer = server.connect()
    killer.send(request("CLIENT", "KILL", "ID", str(connection.session.id)))
    assert connection.line.end == "abort"
    connection.conversation.lost()
    assert not server.notices.has_watchers


def test_at_the_end_of_the_server_those_who_wait_may_try_again(server: SteppedServer) -> None:
    connections = [server.connect() for _ in range(3)]
    for connection in connections:
        connection.send(get_all(wait_ms=LONG), get_all(wait_ms=LONG))
    server.dispatcher.shut_down()
    for connection in connections:
        assert [reply.code for reply in read_replies(connection.take())] == ["TRYAGAIN"] * 2
    assert not server.notices.has_watchers
    assert not server.clock.getDelayedCalls()


# What it costs, and how it shows.


def test_a_wait_is_shown_but_is_no_slow_command(server: SteppedServer, connection: Connection) -> None:
    connection.send(get(STREAM, wait_ms=LONG))
    pass_ms(server, 1_000_000)
    other = server.connect()
    other.send(request("INFO", "clients"), request("CLIENT", "LIST", "ID", str(connection.session.id)))
    information, line = read_replies(other.take())
    assert b"\r\nblocked_clients:1\r\n" in information
    assert b" flags=b " in line
    stored(server, STREAM, 0, "a")
    other.send(request("SLOWLOG", "LEN"), request("INFO", "clients"), request("INFO", "commandstats"))
    slow, information, counts = read_replies(other.take())
    assert slow == 0
    assert b"\r\nblocked_clients:0\r\n" in information
    assert b"cmdstat_get:calls=1,usec=0," in counts


def test_waiting_is_not_idling(server: SteppedServer, connection: Connection) -> None:
    connection.send(get(STREAM, wait_ms=LONG))
    assert connection.conversation.is_waiting


def test_a_read_that_waited_is_freed_without_the_garbage_collector(
    server: SteppedServer, connection: Connection
) -> None:
    gc.collect()
    gc.disable()
    try:
        connection.send(get(STREAM, wait_ms=LONG))
        stored(server, STREAM, 0, "a")
        connection.send(get(STREAM, version=1, wait_ms=10))
        pass_ms(server, 10)
        assert not [found for found in gc.get_objects() if type(found).__name__ == "WaitingReply"]
    finally:
        gc.enable()
