"""GET while reads do not see all that was answered: with what is at hand, the same as when they do."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from eventflowdb.errors import StorageFailed
from eventflowdb.limits import CHUNK_EVENTS_MAX, DEFERRED_SECONDS_MAX, INLINE_READ_EVENTS_MAX

from .fakes import OTHER, STREAM, Connection, SteppedServer, add, get, read_replies, request

THIRD = "7b0f7a35-2f43-4f6e-9c55-1f8f1c9d0b77"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SteppedServer]:
    server = SteppedServer(tmp_path / "database", is_deferring=True)
    # The first batch of all makes room for the others.
    append(server, add(OTHER, 0, "first"))
    show(server)
    yield server
    server.close()


def append(server: SteppedServer, question: bytes) -> list[bytes]:
    """Have an append answered: its records."""
    writer = server.connect()
    writer.send(question)
    server.commit()
    (records,) = read_replies(writer.take())
    assert isinstance(records, list), records
    return records


def show(server: SteppedServer) -> None:
    """Let reads see everything."""
    server.clock.advance(DEFERRED_SECONDS_MAX)
    server.commit()
    assert not server.writer.is_stale


def at_once(connection: Connection, question: bytes) -> bytes:
    """The reply that is there although reads are behind; nothing where there is none yet."""
    connection.send(question)
    return connection.take()


def ask(**fields: Any) -> bytes:
    """GET with any fields."""
    return request("GET", json.dumps({"stream": STREAM, **fields}))


def add_once() -> bytes:
    """The first append of the stream, which may be repeated."""
    event = {"type": "A", "data": "a"}
    return request("ADD", json.dumps({"stream": STREAM, "version": 0, "events": [event], "request_id": "r"}))


RANGES = [
    ({"version": version} if version else {}) | ({"limit": limit} if limit else {})
    for version, limit in product(range(9), range(9))
]


def test_what_is_at_hand_completes_a_stream_wherever_one_begins_and_ends(
    server: SteppedServer, connection: Connection
) -> None:
    append(server, add(STREAM, 0, "a", "b", "c"))
    show(server)
    for version, events in ((3, ["d", "e"]), (5, ["f"]), (6, ["g"])):
        append(server, add(STREAM, version, *events))
    assert server.writer.is_stale
    early = [at_once(connection, ask(**fields)) for fields in RANGES]
    assert server.writer.is_stale
    show(server)
    late = [at_once(server.connect(), ask(**fields)) for fields in RANGES]
    assert early == late
    assert [len(read_replies(reply)[0]) for reply in early[:3]] == [7, 1, 2]


def test_a_new_stream_is_at_hand(server: SteppedServer, connection: Connection) -> None:
    records = append(server, add(STREAM, 0, "a", "b"))
    assert read_replies(at_once(connection, get(STREAM))) == [records]
    assert server.writer.is_stale


def test_a_stream_to_which_nothing_was_appended_is_read_as_ever(server: SteppedServer, connection: Connection) -> None:
    append(server, add(STREAM, 0, "a"))
    for _ in range(2):
        ((event,),) = read_replies(at_once(connection, get(OTHER)))
        assert b"first" in event
    assert read_replies(at_once(connection, get(THIRD))) == [[]]
    assert server.writer.is_stale


def test_a_reply_that_was_kept_is_not_given_when_there_is_more_at_hand(
    server: SteppedServer, connection: Connection
) -> None:
    first = append(server, add(STREAM, 0, "a"))
    show(server)
    for question in (get(STREAM), ask(version=0)):
        assert read_replies(at_once(connection, question)) == [first]
    second = append(server, add(STREAM, 1, "b"))
    for question in (get(STREAM), ask(version=0)):
        assert read_replies(at_once(connection, question)) == [first + second]
    assert read_replies(at_once(connection, ask(limit=1))) == [first]
    show(server)
    assert read_replies(at_once(connection, get(STREAM))) == [first + second]


def test_an_append_to_several_streams_is_at_hand_in_each(server: SteppedServer, connection: Connection) -> None:
    event = {"type": "A", "data": "{}"}
    parts = [
        {"stream": STREAM, "version": 0, "events": [event, event]},
        {"stream": OTHER, "version": 1},
        {"stream": THIRD, "version": 0, "events": [event]},
    ]
    records = append(server, request("ADDMANY", json.dumps({"appends": parts})))
    assert read_replies(at_once(connection, get(STREAM))) == [records[:2]]
    assert read_replies(at_once(connection, get(THIRD))) == [records[2:]]
    assert len(read_replies(at_once(connection, get(OTHER)))[0]) == 1
    assert server.writer.is_stale


def assert_in_doubt(server: SteppedServer, connection: Connection, records: list[bytes]) -> None:
    """The stream is read when all is seen, and has these events."""
    assert server.writer.is_stale
    assert at_once(connection, get(STREAM)) == b"", "what is at hand is not its end"
    server.finish()
    assert read_replies(connection.take()) == [records]


def repeat_of_long_ago(server: SteppedServer) -> list[bytes]:
    """Have the first of two appends, which reads see, answered again while they do not see another one; both."""
    records = append(server, add_once()) + append(server, add(STREAM, 1, "b"))
    show(server)
    append(server, add(THIRD, 0, "c"))
    assert append(server, add_once()) == records[:1]
    return records


def test_an_answer_of_long_ago_is_not_taken_for_the_end_of_a_stream(
    server: SteppedServer, connection: Connection
) -> None:
    records = repeat_of_long_ago(server)
    assert_in_doubt(server, connection, records)


def test_an_answer_that_was_repeated_while_it_is_at_hand_leaves_a_stream_in_doubt(
    server: SteppedServer, connection: Connection
) -> None:
    records = append(server, add_once())
    assert append(server, add_once()) == records
    records += append(server, add(STREAM, 1, "b"))
    assert_in_doubt(server, connection, records)


def test_an_append_behind_an_answer_of_long_ago_leaves_a_stream_in_doubt(
    server: SteppedServer, connection: Connection
) -> None:
    records = repeat_of_long_ago(server)
    records += append(server, add(STREAM, 2, "c"))
    assert_in_doubt(server, connection, records)


def test_a_read_behind_an_append_of_its_own_connection_sees_it(server: SteppedServer, connection: Connection) -> None:
    append(server, add(STREAM, 0, "a"))
    connection.send(add(STREAM, 1, "b"), get(STREAM))
    assert connection.take() == b""
    server.commit()
    added, events = read_replies(connection.take())
    assert events[1:] == added


@pytest.mark.parametrize("fields", [{"wait_ms": 1}, {"types": ["A"]}, {"tags": ["t"]}])
def test_other_reads_of_a_stream_wait_until_all_is_seen(
    server: SteppedServer, connection: Connection, fields: dict[str, Any]
) -> None:
    append(server, add(STREAM, 0, "a"))
    assert at_once(connection, ask(**fields)) == b""
    server.finish()
    assert not server.writer.is_stale


def test_a_wrong_argument_is_refused_at_once(server: SteppedServer, connection: Connection) -> None:
    append(server, add(STREAM, 0, "a"))
    assert at_once(connection, ask(limit=-1)).startswith(b"-INVALIDARG limit")
    assert at_once(connection, request("GET", "no JSON")).startswith(b"-INVALIDARG")
    assert server.writer.is_stale


@pytest.mark.parametrize("older", [INLINE_READ_EVENTS_MAX, INLINE_READ_EVENTS_MAX + 1, 2 * CHUNK_EVENTS_MAX])
@pytest.mark.parametrize("cut", [-1, 0, 1, 2, 3])
def test_a_long_stream_ends_with_what_is_at_hand(
    server: SteppedServer, connection: Connection, older: int, cut: int
) -> None:
    records = server.hold(STREAM, older)
    records += append(server, add(STREAM, older, "a", "b"))
    connection.send(ask() if cut == 3 else ask(limit=older + cut))
    assert server.writer.is_stale
    server.finish()
    (events,) = read_replies(connection.take())
    assert events == records[: older + cut]


def test_while_memory_is_cold_a_read_waits_until_all_is_seen(
    server: SteppedServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = append(server, add(STREAM, 0, "a"))
    monkeypatch.setattr(server.reads._small, "cold_until", float("inf"))
    assert at_once(connection, get(STREAM)) == b""
    server.finish()
    assert read_replies(connection.take()) == [records]


def test_what_fails_while_one_looks_is_told_when_it_runs(
    server: SteppedServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(server, add(STREAM, 0, "a"))

    def fail(_stream: str) -> int:
        raise StorageFailed("the storage failed")

    monkeypatch.setattr(server.readable, "stream_length", fail)
    both = server.connect()
    both.send(add(THIRD, 0, "c"), get(STREAM, limit=5))
    assert at_once(connection, get(STREAM)) == b""
    server.commit()
    show(server)
    ((event,),) = read_replies(connection.take())
    assert STREAM.encode() in event
    added, events = read_replies(both.take())
    assert (len(added), events) == (1, [event])


def test_what_is_bound_to_fail_is_known_without_a_commit(server: SteppedServer, connection: Connection) -> None:
    append(server, add(STREAM, 0, "a"))
    connection.send(add(STREAM, 0, "b"))
    server.commit()
    connection.take()
    append(server, add(STREAM, 1, "c"))
    assert server.writer.is_stale
    other = server.connect()
    other.send(add(STREAM, 1, "d"))
    assert not server.thread.jobs
    server.clock.advance(1)
    assert b"actual=2" in other.take()
