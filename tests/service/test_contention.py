"""An append that cannot succeed any more is refused without a commit, as it would have been by one, and in its turn."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflowdb.append import Append
from eventflowdb.errors import StorageFailed
from eventflowdb.events import Collision
from eventflowdb.limits import (
    CONNECTION_APPENDS_MAX,
    CONTENDED_STREAMS_MAX,
    REFUSAL_HOLD_SECONDS_MAX,
    RETRY_SECONDS,
    SLOWLOG_SECONDS_MIN,
)
from eventflowdb.service.contention import Contention
from eventflowdb.service.pacing import Pacing
from eventflowdb.service.reply import PendingReply

from .fakes import OTHER, STREAM, Connection, SteppedServer, add, read_replies, request, stepped_server


def refusal(expected: int, actual: int) -> str:
    """How a refusal on STREAM begins."""
    return f"stream={STREAM} expected={expected} actual={actual}: "


def run(server: SteppedServer, connection: Connection, *requests: bytes) -> list[Any]:
    """The replies to requests that come together."""
    connection.send(*requests)
    server.commit()
    return read_replies(connection.take())


@pytest.fixture
def collided(server: SteppedServer, connection: Connection) -> Connection:
    """A connection on which an append to STREAM, of two events, was refused; nobody waits to be told the like."""
    server.hold(STREAM, 2)
    [reply] = run(server, connection, add(STREAM, 1, "late"))
    assert reply.text.startswith(refusal(1, 2))
    server.clock.advance(RETRY_SECONDS)
    return connection


def adding(version: object, **fields: Any) -> bytes:
    """An ADD to STREAM."""
    return request(
        "ADD",
        json.dumps({"stream": STREAM, "version": version, "events": [{"type": "t", "data": ""}], **fields}),
    )


def test_it_is_answered_without_a_commit_and_in_the_same_words(server: SteppedServer, collided: Connection) -> None:
    other = server.connect()
    [by_commit] = run(server, server.connect(), adding("any", unless={"types": ["held"]}), add(STREAM, 0, "x"))[1:]
    server.clock.advance(RETRY_SECONDS)
    other.send(add(STREAM, 0, "x"))
    assert not server.thread.jobs
    [at_once] = read_replies(other.take())
    assert at_once == by_commit
    assert server.dispatcher.freshness.visibility.is_stale is False


def test_what_it_says_is_the_length_as_it_is_now(server: SteppedServer, collided: Connection) -> None:
    server.hold(STREAM, 3)
    collided.send(add(STREAM, 1, "x"))
    [reply] = read_replies(collided.take())
    assert reply.text.startswith(refusal(1, 5))


def test_an_append_that_was_stored_teaches_too(server: SteppedServer, collided: Connection) -> None:
    run(server, collided, add(STREAM, 2, "a", "b"))
    collided.send(add(STREAM, 3, "x"))
    [reply] = read_replies(collided.take())
    assert reply.text.startswith(refusal(3, 4))


def test_behind_an_append_of_its_own_it_waits_and_sees_it(server: SteppedServer, collided: Connection) -> None:
    stored, refused = run(server, collided, add(STREAM, 2, "a"), add(STREAM, 1, "b"))
    assert len(stored) == 1
    assert refused.text.startswith(refusal(1, 3))


@pytest.mark.parametrize("version", ["any", "exists", 2, 3])
def test_what_may_succeed_is_tried(server: SteppedServer, collided: Connection, version: int | str) -> None:
    collided.send(adding(version))
    assert server.thread.jobs
    assert not collided.take()
    server.commit()
    [reply] = read_replies(collided.take())
    assert isinstance(reply, list) is (version != 3)


def test_a_repeated_request_gets_its_answer(server: SteppedServer, collided: Connection) -> None:
    stored = run(server, collided, adding(2, request_id="r"))
    run(server, collided, adding(2))
    assert run(server, collided, adding(2, request_id="r")) == stored


@pytest.mark.parametrize("streams", [(STREAM, OTHER), (OTHER, STREAM)])
def test_of_several_streams_the_first_decides_whether_an_append_is_tried(
    server: SteppedServer, collided: Connection, streams: tuple[str, str]
) -> None:
    parts = [{"stream": stream, "version": 0, "events": []} for stream in streams]
    collided.send(request("ADDMANY", json.dumps({"appends": parts})))
    assert bool(server.thread.jobs) is (streams[0] == OTHER)
    server.commit()
    [reply] = read_replies(collided.take())
    assert reply.text.startswith(refusal(0, 2))


def test_where_the_length_is_in_doubt_it_is_tried() -> None:
    with stepped_server(is_deferring=True) as server:
        connection, other = server.connect(), server.connect()
        server.hold(STREAM, 1)
        run(server, connection, add(STREAM, 0, "late"))
        connection.send(add(STREAM, 1, "a"))
        server.thread.step()
        server.reactor.turn()
        server.dispatcher.freshness.unseen.tails[STREAM] = []
        other.send(add(STREAM, 0, "x"))
        assert server.thread.jobs
        server.commit()
        [reply] = read_replies(other.take())
        assert reply.text.startswith(refusal(0, 2))


def test_streams_are_remembered_up_to_a_bound_and_the_oldest_is_forgotten(
    server: SteppedServer, connection: Connection
) -> None:
    contention, session = Contention(server.database, Pacing(server.clock, server.clock.seconds)), connection.session
    server.hold(STREAM, 1)
    late = Append.to_stream(STREAM, 0, [], 0)
    contention.settle(session, PendingReply(), Collision(STREAM, 0, 1))
    for number in range(CONTENDED_STREAMS_MAX):
        assert contention.refuse(session, late)
        contention.settle(session, PendingReply(), Collision(f"stream {number}", 0, 1))
    assert not contention.refuse(session, late)


def test_where_the_length_cannot_be_read_it_is_tried(
    server: SteppedServer, collided: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(stream: str) -> int:
        raise StorageFailed("the storage failed: no place for a reader")

    with monkeypatch.context() as patches:
        patches.setattr(server.readable, "stream_length", fail)
        [reply] = run(server, collided, add(STREAM, 0, "x"))
    assert reply.text.startswith(refusal(0, 2))


def refused(connection: Connection) -> list[str]:
    """The refusals that a connection got since the last time."""
    return [reply.text for reply in read_replies(connection.take())]


@pytest.fixture
def rivals(server: SteppedServer) -> list[Connection]:
    """Three that append to STREAM, which holds two events more than they know; the first has been told."""
    server.hold(STREAM, 2)
    rivals = [server.connect() for _ in range(3)]
    for rival in rivals:
        rival.send(add(STREAM, 0, "late"))
        server.commit()
    assert [len(refused(rival)) for rival in rivals] == [1, 0, 0]
    return rivals


def test_of_many_who_collide_one_is_told_each_time_that_something_is_stored(
    server: SteppedServer, rivals: list[Connection]
) -> None:
    run(server, rivals[0], add(STREAM, 2, "stored"))
    [text] = refused(rivals[1])
    assert text.startswith(refusal(0, 3))
    assert not refused(rivals[2])
    run(server, rivals[0], add(STREAM, 3, "stored"))
    [text] = refused(rivals[2])
    assert text.startswith(refusal(0, 4))


def test_of_many_who_collide_one_is_told_when_the_one_before_has_had_its_time(
    server: SteppedServer, rivals: list[Connection]
) -> None:
    for told in (1, 2):
        server.clock.advance(RETRY_SECONDS)
        [text] = refused(rivals[told])
        assert text.startswith(refusal(0, 2))
        assert not refused(rivals[-told])


def test_who_expects_what_is_yet_to_come_is_told_at_once(server: SteppedServer, rivals: list[Connection]) -> None:
    for rival in (server.connect(), server.connect()):
        [reply] = run(server, rival, add(STREAM, 7, "early"))
        assert reply.text.startswith(refusal(7, 2))


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param(request("PING"), id="a request"),
        pytest.param(add(STREAM, 0, "late"), id="an append"),
        pytest.param(request("GETALL"), id="a read"),
        pytest.param(b"*1", id="the beginning of one"),
    ],
)
def test_who_sends_more_is_told_at_once_and_in_order(
    server: SteppedServer, rivals: list[Connection], behind: bytes
) -> None:
    rivals[2].send(behind)
    text, *_ = read_replies(rivals[2].take())
    assert text.text.startswith(refusal(0, 2))
    assert not refused(rivals[1])


def test_a_pipeline_is_told_at_once(server: SteppedServer, rivals: list[Connection]) -> None:
    pipeline = server.connect()
    late, late_too, pong = run(server, pipeline, add(STREAM, 0, "late"), add(STREAM, 1, "late"), request("PING"))
    assert late.text.startswith(refusal(0, 2))
    assert late_too.text.startswith(refusal(1, 2))
    assert pong == "PONG"


def test_all_of_a_long_pipeline_is_told_at_once_in_order_and_in_few_writes(server: SteppedServer) -> None:
    length = CONNECTION_APPENDS_MAX + 10
    server.hold(STREAM, length)
    connection = server.connect()
    connection.send(*[add(STREAM, version, "late") for version in range(length)], request("PING"))
    server.commit()
    assert len(connection.line.sends) < 10
    *texts, pong = read_replies(connection.take())
    assert len(texts) == length
    assert all(text.text.startswith(refusal(version, length)) for version, text in enumerate(texts))
    assert pong == "PONG"


def test_who_loses_again_and_again_alone_is_told_at_once(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, 9)
    for version in range(9):
        connection.send(add(STREAM, version, "late"))
        server.commit()
        [text] = refused(connection)
        assert text.startswith(refusal(version, 9))


def test_who_loses_again_gets_to_the_end_of_the_line(server: SteppedServer, rivals: list[Connection]) -> None:
    rivals[0].send(add(STREAM, 1, "late"))
    assert [len(refused(rival)) for rival in rivals] == [0, 1, 0]
    rivals[1].send(add(STREAM, 1, "late"))
    assert [len(refused(rival)) for rival in rivals] == [0, 0, 1]
    rivals[2].send(add(STREAM, 1, "late"))
    assert [len(refused(rival)) for rival in rivals] == [1, 0, 0]


def test_who_sends_no_more_is_told_at_once(server: SteppedServer, rivals: list[Connection]) -> None:
    rivals[2].conversation.input_ended()
    assert len(refused(rivals[2])) == 1
    assert rivals[2].line.end == "close"


def test_who_is_gone_keeps_nobody_waiting(server: SteppedServer, rivals: list[Connection]) -> None:
    rivals[1].conversation.lost()
    server.clock.advance(RETRY_SECONDS)
    assert len(refused(rivals[2])) == 1
    server.clock.advance(RETRY_SECONDS)
    assert not server.clock.getDelayedCalls()


def test_the_time_that_a_refusal_is_held_is_not_its_commands(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, 1)
    rivals = [server.connect() for _ in range(10)]
    for rival in rivals:
        rival.send(add(STREAM, 0, "late"))
    server.commit()
    count = server.parts.statistics.count_of("ADD")
    assert (count.calls, count.failed) == (10, 10)
    assert REFUSAL_HOLD_SECONDS_MAX > SLOWLOG_SECONDS_MIN
    server.clock.advance(REFUSAL_HOLD_SECONDS_MAX)
    assert [len(refused(rival)) for rival in rivals] == [1] * 10
    assert (count.calls, count.failed) == (10, 10)
    assert run(server, connection, request("SLOWLOG", "LEN")) == [0]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 2), st.sampled_from([STREAM, OTHER]), st.integers(0, 4), st.booleans()),
            min_size=1,
            max_size=4,
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_a_refusal_names_a_length_that_the_stream_had_meanwhile_and_no_append_gets_lost(
    rounds: list[list[tuple[int, str, int, bool]]], is_deferring: bool
) -> None:
    with stepped_server(is_deferring=is_deferring) as server:
        connections = [server.connect() for _ in range(3)]
        stored: dict[str, list[str]] = {STREAM: [], OTHER: []}
        for requests in rounds:
            lengths = {stream: len(datas) for stream, datas in stored.items()}
            for number, stream, version, is_awaited in requests:
                connections[number].send(add(stream, version, f"{version}"))
                if is_awaited:
                    server.commit()
            server.commit()
            server.clock.advance(REFUSAL_HOLD_SECONDS_MAX)
            answers = [reply for connection in connections for reply in read_replies(connection.take())]
            assert len(answers) == len(requests)
            for event in [json.loads(reply[0]) for reply in answers if isinstance(reply, list)]:
                assert event["data"] == str(event["version"])
                stored[event["stream"]].append(event["data"])
            for text in [reply.text for reply in answers if not isinstance(reply, list)]:
                found = re.match("stream=(.{36}) expected=([0-9]+) actual=([0-9]+): ", text)
                assert found is not None, text
                stream, expected, actual = found[1], int(found[2]), int(found[3])
                assert lengths[stream] <= actual <= len(stored[stream])
                assert actual != expected
        server.clock.advance(1)
        server.commit()
        for stream, datas in stored.items():
            assert sorted(datas, key=int) == [str(version) for version in range(server.store.stream_length(stream))]
