"""Reads see everything that was answered, though what was answered may be shown to them later."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflowdb.limits import DEFERRED_SECONDS_MAX

from .fakes import OTHER, PING, PONG, STREAM, ReplyError, SteppedServer, add, get, read_replies, request


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SteppedServer]:
    server = SteppedServer(tmp_path / "database", is_deferring=True)
    # The first batch of all makes room for the others.
    append(server, OTHER)
    server.clock.advance(DEFERRED_SECONDS_MAX)
    server.commit()
    yield server
    server.close()


def append(server: SteppedServer, stream: str) -> None:
    """Have an event appended, and answered."""
    writer = server.connect()
    writer.send(add(stream, 0, "data"))
    server.commit()
    (reply,) = read_replies(writer.take())
    assert len(reply) == 1


def test_a_read_waits_until_it_sees_what_another_connection_was_answered(server: SteppedServer) -> None:
    append(server, STREAM)
    assert server.writer.is_stale
    reader = server.connect()
    reader.send(request("GETALL"))
    assert reader.take() == b"", "it would not see the event"
    server.finish()
    (events,) = read_replies(reader.take())
    assert len(events) == 2


def test_what_does_not_read_waits_for_nothing(server: SteppedServer) -> None:
    append(server, STREAM)
    other = server.connect()
    other.send(PING)
    assert other.take() == PONG
    assert server.writer.is_stale


def test_where_it_can_never_see_that_a_read_is_refused_and_not_told_of_less(server: SteppedServer) -> None:
    append(server, STREAM)
    waiting, later = server.connect(), server.connect()
    waiting.send(request("EVENTCOUNT"), request("GETALL"))
    server.store.writing._txn.abort()  # so that its commit fails, as on a disk that does
    server.commit()
    assert len(server.failures) == 1
    later.send(request("STREAMCOUNT"))
    server.commit()
    for connection in (waiting, later):
        replies = read_replies(connection.take())
        assert len(replies) == (2 if connection is waiting else 1)
        for reply in replies:
            assert isinstance(reply, ReplyError)
            assert "the storage failed" in reply.text
    later.send(PING)
    assert later.take() == PONG
    # What was answered is at hand, and on the disk.
    later.send(get(STREAM))
    ((event,),) = read_replies(later.take())
    assert STREAM.encode() in event
