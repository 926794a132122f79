"""One connection: what is taken when, what leaves when, and how it ends."""

import gc
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs

from eventflowdb.errors import CorruptRecord
from eventflowdb.limits import (
    ALONE_SECONDS_MIN,
    CHUNK_BYTES_MAX,
    CONNECTION_APPEND_BYTES_MAX,
    CONNECTION_APPENDS_MAX,
    CONNECTION_REPLY_BYTES_MAX,
    INLINE_READ_EVENTS_MAX,
)
from eventflowdb.service.reply import LongReply

from .fakes import (
    MIB,
    OTHER,
    PING,
    PONG,
    STREAM,
    Connection,
    LoggedFaults,
    ReplyError,
    SteppedServer,
    add,
    get,
    get_all,
    read_replies,
    request,
)

OK = b"+OK\r\n"
MANY = INLINE_READ_EVENTS_MAX + 1
"""So many events are read by a thread."""
SMALL_READ = b"GETALL '{\"limit\":40}'\r\n"
NOT_RESP = b"*1\r\n!\r\n"


def versions(reply: Any) -> list[int]:
    """The versions of the events in a reply."""
    return [json.loads(record)["version"] for record in reply]


def codes(data: bytes) -> list[str]:
    """Of each reply the error code, or the name of its type."""
    return [reply.code if isinstance(reply, ReplyError) else type(reply).__name__ for reply in read_replies(data)]


# Order.


def test_a_request_that_comes_byte_by_byte_is_answered_when_it_is_whole(connection: Connection) -> None:
    for byte in PING[:-1]:
        connection.send(bytes([byte]))
    assert connection.take() == b""
    connection.send(PING[-1:])
    assert connection.take() == PONG


def test_replies_that_are_settled_together_leave_in_one_write(server: SteppedServer, connection: Connection) -> None:
    connection.send(PING, PING, PING)
    assert connection.line.sends == [PONG * 3]
    connection.take()
    connection.send(add(STREAM, 0, "a"), add(STREAM, 1, "b"), PING)
    server.commit()
    assert len(connection.line.sends) == 1
    assert [versions(reply) for reply in read_replies(connection.take())[:2]] == [[0], [1]]


def test_pipelined_appends_go_into_one_batch(server: SteppedServer, connection: Connection) -> None:
    connection.send(*[add(STREAM, version, "x") for version in range(10)])
    assert len(server.thread.jobs) == 1
    server.thread.step()
    assert len(server.reactor.calls) == 1, "one batch, one way back"
    server.commit()
    assert [versions(reply) for reply in read_replies(connection.take())] == [[version] for version in range(10)]


def test_a_read_behind_an_append_waits_for_it_and_sees_it(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), get(STREAM), request("EVENTCOUNT"))
    assert connection.take() == b""
    server.commit()
    added, read, count = read_replies(connection.take())
    assert added == read
    assert count == 1


def test_an_append_behind_a_read_on_a_thread_waits_for_it(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, MANY)
    connection.send(get(STREAM, limit=MANY + 10), add(STREAM, MANY, "a"))
    assert not server.thread.jobs
    server.read()
    server.commit()
    read, added = read_replies(connection.take())
    assert versions(read) == list(range(MANY))
    assert versions(added) == [MANY]


def test_replies_from_memory_wait_their_turn_behind_appends(server: SteppedServer, connection: Connection) -> None:
    connection.send(PING, add(STREAM, 0, "a"), PING, request("NOSUCH"), request("PING", "hey"))
    assert connection.take() == PONG
    server.commit()
    assert codes(connection.take()) == ["list", "str", "ERR", "bytes"]


def test_appends_behind_replies_that_wait_join_the_appends_under_way(
    server: SteppedServer, connection: Connection
) -> None:
    connection.send(add(STREAM, 0, "a"), PING, add(STREAM, 1, "b"))
    server.thread.step()
    assert len(server.reactor.calls) == 1
    server.commit()
    assert codes(connection.take()) == ["list", "str", "list"]


def test_a_refused_append_holds_up_no_other(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 5, "a"), add(STREAM, 0, "b"), add(STREAM, 0, "c"))
    server.commit()
    assert codes(connection.take()) == ["CONCURRENCY", "list", "CONCURRENCY"]


def test_what_one_connection_waits_for_keeps_no_other_waiting(server: SteppedServer, connection: Connection) -> None:
    other = server.connect()
    connection.send(add(STREAM, 0, "a"))
    other.send(PING, get(STREAM))
    assert read_replies(other.take()) == ["PONG", []]


def test_appends_of_several_connections_share_a_batch_and_each_gets_its_own_reply(server: SteppedServer) -> None:
    connections = [server.connect() for _ in range(5)]
    streams = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(5)]
    for connection, stream in zip(connections, streams, strict=True):
        connection.send(add(stream, 0, stream), add(stream, 1, stream))
    server.thread.step()
    assert len(server.reactor.calls) == 1
    server.commit()
    for connection, stream in zip(connections, streams, strict=True):
        assert len(connection.line.sends) == 1
        replies = read_replies(connection.take())
        assert [json.loads(record)["stream"] for reply in replies for record in reply] == [stream, stream]


def test_an_append_that_is_refused_while_it_is_taken_keeps_the_order(
    server: SteppedServer, connection: Connection
) -> None:
    """After a storage failure the writer settles an append before it is queued."""
    server.store.close()
    connection.send(add(STREAM, 0, "a"), PING, add(STREAM, 1, "b"))
    server.commit()
    assert codes(connection.take()) == ["ERR", "str", "ERR"]
    assert len(server.failures) == 1
    connection.send(PING, add(STREAM, 0, "c"), request("PING", "d"), add(STREAM, 0, "e"), request("VERSION"))
    assert codes(connection.take()) == ["str", "ERR", "bytes", "ERR", "bytes"]
    assert server.budget.used_bytes == 0


# Windows.


def test_the_window_of_appends_pauses_reading_and_opens_again(server: SteppedServer, connection: Connection) -> None:
    number = CONNECTION_APPENDS_MAX + 10
    connection.send(*[add(STREAM, version, "x") for version in range(number)])
    assert connection.line.is_paused
    server.thread.step()
    server.reactor.turn()
    assert len(read_replies(connection.take())) == CONNECTION_APPENDS_MAX
    assert not connection.line.is_paused, "the rest is taken"
    server.commit()
    assert len(read_replies(connection.take())) == 10
    assert server.store.event_count() == number


def test_the_window_of_bytes_pauses_reading_and_opens_again(server: SteppedServer, connection: Connection) -> None:
    large = "x" * (CONNECTION_APPEND_BYTES_MAX // 2)
    connection.send(*[add(STREAM, version, large) for version in range(3)])
    assert connection.line.is_paused
    server.thread.step()
    server.reactor.turn()
    assert len(read_replies(connection.take())) == 2
    assert not connection.line.is_paused
    server.commit()
    assert len(read_replies(connection.take())) == 1


def test_an_append_above_the_window_is_taken_alone(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "x" * (CONNECTION_APPEND_BYTES_MAX + 1)), add(STREAM, 1, "y"))
    server.commit()
    assert codes(connection.take()) == ["list", "list"]


def test_replies_are_gathered_again_after_a_large_write(connection: Connection) -> None:
    connection.send(request("PING", "x" * CONNECTION_REPLY_BYTES_MAX))
    connection.take()
    connection.send(PING, PING, PING)
    assert connection.line.sends == [PONG * 3]


def test_thousands_of_appends_that_are_refused_while_they_are_taken_are_answered_in_order(
    server: SteppedServer, connection: Connection
) -> None:
    """Each is settled while it is taken, and the conversation must not go deeper into itself with every one."""
    server.store.close()
    connection.send(add(STREAM, 0, "a"))
    server.commit()
    connection.take()
    connection.send(*[add(STREAM, 0, "b"), request("PING", "c")] * 2000)
    assert codes(connection.take()) == ["ERR", "bytes"] * 2000


def test_replies_from_memory_behind_an_append_are_bounded_too(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), *[PING] * (2 * CONNECTION_APPENDS_MAX))
    assert connection.line.is_paused
    server.commit()
    assert len(read_replies(connection.take())) == 2 * CONNECTION_APPENDS_MAX + 1
    assert not connection.line.is_paused


def test_replies_from_memory_behind_an_append_are_bounded_in_bytes_too(
    server: SteppedServer, connection: Connection
) -> None:
    large = request("PING", "x" * MIB)
    connection.send(add(STREAM, 0, "a"), *[large] * 10)
    assert connection.line.is_paused
    server.commit()
    assert len(read_replies(connection.take())) == 11
    assert not connection.line.is_paused


def test_a_connection_is_read_on_while_its_appends_are_under_way(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"))
    assert not connection.line.is_paused
    connection.send(add(STREAM, 1, "b"))
    server.thread.step()
    assert len(server.reactor.calls) == 1
    server.commit()


def test_a_connection_with_a_read_that_must_wait_is_not_read_until_it_has_run(
    server: SteppedServer, connection: Connection
) -> None:
    connection.send(add(STREAM, 0, "a"), get(STREAM))
    assert connection.line.is_paused
    server.commit()
    assert not connection.line.is_paused


def test_half_a_request_behind_a_read_under_way_is_finished_later(
    server: SteppedServer, connection: Connection
) -> None:
    server.hold(STREAM, MANY)
    connection.send(get(STREAM, limit=MANY + 1), PING[:7])
    assert connection.line.is_paused
    server.read()
    assert not connection.line.is_paused
    connection.send(PING[7:])
    assert codes(connection.take()) == ["list", "str"]


# A client that does not take its replies.


def test_nothing_is_taken_while_the_client_does_not_take_its_replies(connection: Connection) -> None:
    connection.conversation.unwritable()
    connection.send(PING)
    assert connection.take() == b""
    assert connection.line.is_paused, "what cannot be taken must not pile up"
    connection.conversation.writable()
    assert connection.take() == PONG
    assert not connection.line.is_paused


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[SteppedServer]:
    """A server that keeps 100,000 bytes of replies for a client that does not take them, and 250,000 for all."""
    server = SteppedServer(tmp_path / "patient", max_inflight_bytes=1_000_000, untaken_bytes_max=100_000)
    yield server
    server.close()


def test_a_pipeline_is_answered_though_it_is_sent_before_the_first_reply_is_read(patient: SteppedServer) -> None:
    connection = patient.connect()
    connection.line.on_send = connection.conversation.unwritable
    for _ in range(9):
        connection.send(request("ECHO", "x" * 10_000))
        assert not connection.line.is_paused
    assert read_replies(connection.take()) == [b"x" * 10_000] * 9
    connection.conversation.writable()
    assert patient.budget.used_bytes == 0


def test_a_client_that_leaves_too_much_untaken_is_served_no_more_until_it_has_taken_it(patient: SteppedServer) -> None:
    connection = patient.connect()
    connection.conversation.unwritable()
    connection.send(*[request("ECHO", "x" * 10_000)] * 20)
    assert len(read_replies(connection.take())) < 20
    assert 100_000 <= patient.budget.used_bytes < 300_000
    assert connection.line.is_paused
    connection.conversation.writable()
    read_replies(connection.take())
    assert not connection.line.is_paused
    assert patient.budget.used_bytes == 0


def test_what_follows_the_beginning_of_a_long_reply_counts_as_untaken(patient: SteppedServer) -> None:
    patient.hold(STREAM, 100, "x" * 2_000)
    connection = patient.connect()
    connection.conversation.unwritable()
    connection.send(get(STREAM))
    patient.read()
    assert patient.budget.used_bytes == len(connection.take()) > 100_000


def test_a_page_in_pieces_counts_as_untaken(patient: SteppedServer) -> None:
    patient.hold(STREAM, MANY, "x" * 1_000)
    connection = patient.connect()
    connection.send(PING)
    connection.take()
    patient.clock.advance(2 * ALONE_SECONDS_MIN)
    connection.conversation.unwritable()
    connection.send(get(STREAM, limit=MANY))
    assert patient.budget.used_bytes == len(connection.take()) > MANY * 1_000
    connection.conversation.writable()
    assert patient.budget.used_bytes == 0


def test_those_who_take_nothing_cannot_use_up_the_budget(patient: SteppedServer) -> None:
    for _ in range(20):
        connection = patient.connect()
        connection.conversation.unwritable()
        for _ in range(9):
            if not connection.line.is_paused:
                connection.send(request("ECHO", "x" * 9_000))
    assert 250_000 <= patient.budget.used_bytes < 500_000
    other = patient.connect()
    other.send(PING)
    assert other.take() == PONG


def test_what_a_lost_client_left_untaken_is_given_back(patient: SteppedServer) -> None:
    connection = patient.connect()
    connection.conversation.unwritable()
    connection.send(request("ECHO", "x" * 9_000))
    assert patient.budget.used_bytes > 9_000
    connection.conversation.lost()
    assert patient.budget.used_bytes == 0


def test_appends_under_way_are_answered_to_a_client_that_is_behind(
    server: SteppedServer, connection: Connection
) -> None:
    connection.send(add(STREAM, 0, "a"))
    connection.conversation.unwritable()
    server.commit()
    assert codes(connection.take()) == ["list"], "the transport keeps it"
    connection.conversation.writable()
    connection.send(PING)
    assert connection.take() == PONG


def test_small_reads_in_a_pipeline_stop_when_the_client_does_not_take_them(
    server: SteppedServer, connection: Connection
) -> None:
    """One read of a socket holds thousands of short requests, each worth a reply of 64 KiB."""
    server.hold(STREAM, 40, "x" * 1200)
    connection.line.on_send = connection.conversation.unwritable
    connection.send(*[SMALL_READ] * 3000)
    assert sum(map(len, connection.line.sends)) < 2 * MIB
    assert connection.line.is_paused


def test_small_reads_in_a_pipeline_are_all_answered_at_the_pace_of_the_client(
    server: SteppedServer, connection: Connection
) -> None:
    records = server.hold(STREAM, 40, "x" * 1200)
    connection.line.on_send = connection.conversation.unwritable
    connection.send(*[SMALL_READ] * 50)
    writes = [connection.take()]
    while writes[-1]:
        connection.conversation.writable()
        writes.append(connection.take())
    assert read_replies(b"".join(writes)) == [records] * 50
    assert len(writes) > 5
    assert not connection.line.is_paused


# Long replies.


def long_log(server: SteppedServer, chunks: int) -> list[bytes]:
    """Have a log whose reading takes a first small chunk and about so many more."""
    return server.hold(STREAM, chunks * 10, "x" * (CHUNK_BYTES_MAX // 10))


def test_a_long_reply_comes_in_chunks_and_is_whole(server: SteppedServer, connection: Connection) -> None:
    records = long_log(server, 4)
    connection.send(get(STREAM), PING)
    beginning = connection.take()
    assert beginning.startswith(b"*40\r\n$"), "the count comes first"
    pieces = [beginning]
    while server.pool.reads:
        server.pool.step()
        pieces.append(connection.take())
        assert len(pieces[-1]) < CHUNK_BYTES_MAX + 1000
    assert len(pieces) >= 4
    assert read_replies(b"".join(pieces)) == [records, "PONG"]


def test_a_long_reply_is_as_long_as_it_was_when_it_began(server: SteppedServer, connection: Connection) -> None:
    records = long_log(server, 3)
    connection.send(get(STREAM))
    server.hold(STREAM, 3)
    server.read()
    assert read_replies(connection.take()) == [records]


def test_a_long_reply_waits_for_a_client_that_is_behind(server: SteppedServer, connection: Connection) -> None:
    long_log(server, 5)
    connection.line.on_send = connection.conversation.unwritable
    connection.send(get(STREAM))
    server.pool.step()
    assert not server.pool.reads, "no more than one chunk is read ahead of the client"
    taken = connection.take()
    assert len(taken) < 2 * CHUNK_BYTES_MAX
    connection.conversation.writable()
    while server.pool.reads:
        server.pool.step()
        assert not server.pool.reads
        taken += connection.take()
        connection.conversation.writable()
    assert len(read_replies(taken)[0]) == 50


def test_what_is_sent_of_a_long_reply_is_not_kept(server: SteppedServer, connection: Connection) -> None:
    long_log(server, 3)
    connection.send(get(STREAM))
    reply = connection.conversation._reading
    assert isinstance(reply, LongReply)
    assert reply.rest is not None
    assert reply.pieces == []
    server.read()


def test_a_chunk_that_is_being_read_is_not_asked_for_twice(server: SteppedServer, connection: Connection) -> None:
    long_log(server, 3)
    connection.send(get(STREAM))
    connection.conversation.unwritable()
    connection.conversation.writable()
    assert len(server.pool.reads) == 1
    server.read()
    assert len(read_replies(connection.take())[0]) == 30


def test_nothing_is_taken_while_a_long_reply_goes_out(server: SteppedServer, connection: Connection) -> None:
    long_log(server, 3)
    connection.send(get(STREAM), PING, add(STREAM, 30, "a"))
    assert connection.line.is_paused
    assert not server.thread.jobs
    server.finish()
    assert codes(connection.take()) == ["list", "str", "list"]
    assert not connection.line.is_paused


def test_two_long_replies_follow_one_another(server: SteppedServer, connection: Connection) -> None:
    records = long_log(server, 3)
    connection.send(get(STREAM), get_all(limit=1000), PING)
    server.read()
    assert read_replies(connection.take()) == [records, records, "PONG"]


def test_a_long_read_that_begins_on_a_thread_comes_in_chunks_too(server: SteppedServer, connection: Connection) -> None:
    records = server.hold(STREAM, MANY + 5, "x" * (CHUNK_BYTES_MAX // 10))
    connection.send(get(STREAM, limit=1000), PING)
    assert connection.take() == b""
    server.pool.step()
    pieces = [connection.take()]
    while server.pool.reads:
        server.pool.step()
        pieces.append(connection.take())
    assert len(pieces) >= 4
    assert read_replies(b"".join(pieces)) == [records, "PONG"]


def test_a_fault_in_the_middle_of_a_long_reply_aborts_the_connection_and_is_logged(
    server: SteppedServer, connection: Connection, faults: LoggedFaults
) -> None:
    long_log(server, 3)
    connection.send(get(STREAM), PING)
    server.pool.step()
    connection.take()
    server.pool.fail(CorruptRecord("stored bytes do not match"))
    assert connection.line.end == "abort"
    assert connection.take() == b"", "no error may be taken for a part of the reply"
    event = faults.take_one()
    assert isinstance(event["log_failure"].value, CorruptRecord)
    assert event["peer"] == "peer:1"
    connection.conversation.lost()
    assert server.budget.used_bytes == 0


def test_a_fault_before_a_long_reply_begins_is_its_reply(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, MANY)
    connection.send(get(STREAM, limit=1000), PING)
    server.pool.fail(CorruptRecord("stored bytes do not match"))
    assert codes(connection.take()) == ["CORRUPT", "str"]


def test_an_unexpected_fault_of_a_read_is_told_by_its_incident_id(
    server: SteppedServer, connection: Connection, faults: LoggedFaults
) -> None:
    server.hold(STREAM, MANY)
    connection.send(get(STREAM, limit=1000), PING)
    server.pool.fail(ZeroDivisionError("surprise"))
    refusal, pong = read_replies(connection.take())
    assert faults.take_one()["incident"] in refusal.text
    assert pong == "PONG"


# The client is gone.


def test_appends_of_a_lost_connection_are_stored(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), get(STREAM), PING)
    connection.conversation.lost()
    server.finish()
    assert server.store.event_count() == 1
    assert connection.take() == b""
    assert server.budget.used_bytes == 0


def test_a_read_of_a_lost_connection_ends_in_silence(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, MANY)
    connection.send(get(STREAM, limit=1000), PING)
    connection.conversation.lost()
    server.finish()
    assert connection.take() == b""
    assert server.budget.used_bytes == 0


def test_a_failed_read_of_a_lost_connection_ends_in_silence(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, MANY)
    connection.send(get(STREAM, limit=1000), PING)
    connection.conversation.lost()
    server.pool.fail(CorruptRecord("stored bytes do not match"))
    assert connection.take() == b""


def test_a_long_reply_to_a_lost_connection_is_read_no_further(server: SteppedServer, connection: Connection) -> None:
    long_log(server, 4)
    connection.send(get(STREAM))
    connection.take()
    connection.conversation.lost()
    server.pool.step()
    assert not server.pool.reads
    assert connection.take() == b""


def test_a_fault_in_a_long_reply_to_a_lost_connection_ends_in_silence(
    server: SteppedServer, connection: Connection
) -> None:
    long_log(server, 4)
    connection.send(get(STREAM))
    connection.conversation.lost()
    server.pool.fail(CorruptRecord("stored bytes do not match"))
    assert connection.line.end is None


def test_a_long_reply_that_waits_for_a_lost_client_is_read_no_further(
    server: SteppedServer, connection: Connection
) -> None:
    long_log(server, 4)
    connection.line.on_send = connection.conversation.unwritable
    connection.send(get(STREAM))
    server.pool.step()
    connection.take()
    connection.conversation.lost()
    connection.conversation.writable()
    assert not server.pool.reads
    assert connection.take() == b""


def test_a_long_reply_that_would_begin_after_the_connection_was_lost_does_not(
    server: SteppedServer, connection: Connection
) -> None:
    server.hold(STREAM, MANY, "x" * (CHUNK_BYTES_MAX // 10))
    connection.send(get(STREAM, limit=1000))
    connection.conversation.lost()
    server.pool.step()
    assert not server.pool.reads
    assert connection.take() == b""


def test_a_paused_connection_that_is_lost_holds_nothing(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), get(STREAM), PING, PING[:9])
    assert connection.line.is_paused
    connection.conversation.lost()
    assert server.budget.used_bytes > 0, "the append is still under way"
    server.finish()
    assert server.budget.used_bytes == 0


def test_an_unfinished_request_of_a_lost_connection_is_held_no_more(
    server: SteppedServer, connection: Connection
) -> None:
    connection.send(add(STREAM, 0, "x" * 100_000)[:-10])
    assert server.budget.used_bytes > 100_000
    connection.conversation.lost()
    assert server.budget.used_bytes == 0
    assert server.store.event_count() == 0


# Endings.


def test_quit_behind_appends_closes_when_they_are_answered(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), request("QUIT"), PING, add(STREAM, 1, "b"))
    assert connection.line.end is None
    server.commit()
    assert codes(connection.take()) == ["list", "str"]
    assert connection.line.end == "close"
    assert server.store.event_count() == 1


def test_nothing_is_taken_after_quit(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), request("QUIT"))
    connection.send(PING, add(STREAM, 1, "b"), NOT_RESP)
    server.commit()
    connection.send(PING)
    assert codes(connection.take()) == ["list", "str"]
    assert connection.line.end == "close"
    assert server.store.event_count() == 1


def test_quit_alone_is_answered_and_closes(connection: Connection) -> None:
    connection.send(request("QUIT"))
    assert connection.take() == OK
    assert connection.line.end == "close"


def test_quit_behind_a_long_reply_closes_after_it(server: SteppedServer, connection: Connection) -> None:
    long_log(server, 3)
    connection.send(get(STREAM), request("QUIT"))
    assert connection.line.end is None
    server.read()
    assert codes(connection.take()) == ["list", "str"]
    assert connection.line.end == "close"


def test_a_protocol_error_is_answered_after_the_replies_owed(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), NOT_RESP, PING)
    assert connection.take() == b""
    server.commit()
    added, refusal = read_replies(connection.take())
    assert versions(added) == [0]
    assert refusal == ("ERR", "Protocol error: expected '$', got '!'")
    assert connection.line.end == "close_after_error"


def test_a_protocol_error_alone_is_answered_and_closes(server: SteppedServer, connection: Connection) -> None:
    connection.send(PING, NOT_RESP)
    assert codes(connection.take()) == ["str", "ERR"]
    assert connection.line.end == "close_after_error"
    connection.send(PING)
    assert connection.take() == b""
    connection.conversation.lost()
    assert server.budget.used_bytes == 0


@pytest.mark.parametrize("last", [NOT_RESP, request("QUIT")], ids=["protocol error", "quit"])
def test_what_comes_after_the_last_request_is_not_kept(
    server: SteppedServer, connection: Connection, last: bytes
) -> None:
    connection.send(add(STREAM, 0, "a"), last)
    for _ in range(20):
        connection.send(b"x" * 65536)
    server.commit()
    for _ in range(20):
        connection.send(b"x" * 65536)
    assert connection.conversation.held_bytes() < 100


def test_a_protocol_error_behind_a_long_reply_is_answered_after_it(
    server: SteppedServer, connection: Connection
) -> None:
    long_log(server, 3)
    connection.send(get(STREAM), NOT_RESP)
    server.read()
    assert codes(connection.take()) == ["list", "ERR"]
    assert connection.line.end == "close_after_error"


def test_everything_that_came_before_the_input_ended_is_answered(server: SteppedServer, connection: Connection) -> None:
    server.hold(OTHER, MANY)
    connection.send(add(STREAM, 0, "a"), get(STREAM), get(OTHER, limit=1000), PING, add(STREAM, 1, "b"), PING)
    connection.conversation.input_ended()
    assert connection.line.end is None
    server.finish()
    assert codes(connection.take()) == ["list", "list", "list", "str", "list", "str"]
    assert connection.line.end == "close"


def test_input_that_ends_with_nothing_owed_closes_at_once(connection: Connection) -> None:
    connection.send(PING)
    connection.conversation.input_ended()
    assert connection.take() == PONG
    assert connection.line.end == "close"


def test_half_a_request_at_the_end_of_the_input_is_dropped(server: SteppedServer, connection: Connection) -> None:
    connection.send(PING, add(STREAM, 0, "a")[:-1])
    connection.conversation.input_ended()
    assert connection.take() == PONG
    assert connection.line.end == "close"
    connection.conversation.lost()
    assert server.budget.used_bytes == 0


def test_a_long_reply_is_finished_after_the_input_ended(server: SteppedServer, connection: Connection) -> None:
    records = long_log(server, 4)
    connection.line.on_send = connection.conversation.unwritable
    connection.send(get(STREAM), PING)
    connection.conversation.input_ended()
    taken = b""
    while server.pool.reads:
        server.pool.step()
        taken += connection.take()
        connection.conversation.writable()
    assert read_replies(taken + connection.take()) == [records, "PONG"]
    assert connection.line.end == "close"


def test_a_client_that_is_behind_when_the_input_ends_gets_everything(connection: Connection) -> None:
    connection.conversation.unwritable()
    connection.send(PING, PING)
    connection.conversation.input_ended()
    assert connection.line.end is None
    connection.conversation.writable()
    assert connection.take() == PONG * 2
    assert connection.line.end == "close"


def test_the_end_of_the_input_may_be_told_twice(server: SteppedServer, connection: Connection) -> None:
    """The reactor tells of it again when a paused socket is read on."""
    connection.send(add(STREAM, 0, "a"), get(STREAM))
    connection.conversation.input_ended()
    connection.conversation.input_ended()
    server.commit()
    connection.conversation.input_ended()
    assert codes(connection.take()) == ["list", "list"]
    assert connection.line.end == "close"


def test_the_end_of_the_input_behind_a_protocol_error_changes_nothing(
    server: SteppedServer, connection: Connection
) -> None:
    connection.send(add(STREAM, 0, "a"), NOT_RESP)
    connection.conversation.input_ended()
    server.commit()
    assert codes(connection.take()) == ["list", "ERR"]
    assert connection.line.end == "close_after_error"


# Requests of another kind.


def test_auth_changes_the_limits_for_the_requests_behind_it(tmp_path: Any) -> None:
    server = SteppedServer(tmp_path / "guarded", password="secret")
    connection = server.connect()
    large = request("PING", "x" * 20_000)
    connection.send(request("AUTH", "secret"), large)
    assert codes(connection.take()) == ["str", "bytes"]
    stranger = server.connect()
    stranger.send(request("AUTH", "wrong"), large)
    assert read_replies(stranger.take()) == [
        ("WRONGPASS", "invalid username-password pair or user is disabled."),
        ("ERR", "Protocol error: unauthenticated bulk length"),
    ]
    assert stranger.line.end == "close_after_error"
    server.close()


def test_a_request_above_the_limit_is_dropped_and_the_connection_stays(tmp_path: Any) -> None:
    server = SteppedServer(tmp_path / "narrow", max_request_bytes=2000)
    connection = server.connect()
    oversized = add(STREAM, 0, "x" * 500_000)
    connection.send(add(STREAM, 0, "a"))
    for at in range(0, len(oversized), 65536):
        connection.send(oversized[at : at + 65536])
        assert server.budget.used_bytes < 1000, "what is dropped is not held"
    connection.send(PING)
    server.commit()
    assert codes(connection.take()) == ["list", "INVALIDARG", "str"]
    assert server.store.event_count() == 1
    connection.conversation.lost()
    assert server.budget.used_bytes == 0
    server.close()


def test_requests_are_weighed_while_they_are_under_way(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "x" * 10_000), add(OTHER, 0, "y" * 10_000))
    assert 20_000 < server.budget.used_bytes < 21_000
    server.commit()
    assert server.budget.used_bytes == 0


def test_a_request_that_was_answered_is_freed_without_the_garbage_collector(
    server: SteppedServer, connection: Connection
) -> None:
    """Or large appends would fill the memory, unseen by the budget, until it comes."""
    tracemalloc.start()
    gc.disable()
    try:
        for version in range(10):
            connection.send(add(STREAM, version, "x" * MIB))
            server.commit()
            assert codes(connection.take()) == ["list"]
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        gc.enable()
        tracemalloc.stop()
    assert held_bytes < 5 * MIB


def test_a_read_that_waits_is_weighed_too(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), request("GET", " " * 100_000))
    assert server.budget.used_bytes > 100_000
    server.commit()
    assert codes(connection.take()) == ["list", "INVALIDARG"]
    assert server.budget.used_bytes == 0


def test_what_a_browser_sends_is_not_carried_out_and_is_logged(connection: Connection) -> None:
    page = b"POST / HTTP/1.1\r\nHost: 127.0.0.1:6543\r\nContent-Type: text/plain\r\n\r\nSHUTDOWN\r\n"
    connection.send(PING)
    with capturedLogs() as logged:
        connection.send(page)
    assert connection.take().startswith(PONG + b"-ERR Protocol error: this is HTTP;")
    assert connection.line.end == "close_after_error"
    assert [event["peer"] for event in logged] == ["peer:1"]
