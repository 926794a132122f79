"""Reads with filters, backwards and in pages; EVENT, STREAM, STREAMS and TYPES: their replies, and where they run."""

import json
from typing import Any

import pytest

from eventflowdb.errors import CorruptRecord
from eventflowdb.limits import (
    CHUNK_EVENTS_MAX,
    INLINE_READ_EVENTS_MAX,
    INLINE_SEARCH_STEPS_MAX,
    SEARCH_IDS_KEPT_MAX,
    SEARCH_SLICE_STEPS_MAX,
    TYPES_SLICE_MAX,
)

from .fakes import (
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

EMPTY = b"*0\r\n"
LONG = 3_600_000
NO_EVENT = json.dumps({"id": "0" * 26})


def added(server: SteppedServer, *events: dict[str, Any], stream: str = STREAM) -> list[str]:
    """Have events appended by some other client; their ids."""
    writer = server.connect()
    fields = {"stream": stream, "version": "any", "events": [{"type": "t", "data": "", **event} for event in events]}
    writer.send(request("ADD", json.dumps(fields)))
    server.commit()
    (records,) = read_replies(writer.take())
    writer.conversation.lost()
    return [json.loads(record)["id"] for record in records]


def positions(reply: Any) -> list[int]:
    """The positions of the events in a reply."""
    return [json.loads(record)["position"] for record in reply]


def taken(connection: Connection) -> Any:
    """The one reply that was sent since the last time."""
    (reply,) = read_replies(connection.take())
    return reply


def asked(server: SteppedServer, *requests: bytes) -> list[Any]:
    """The replies to some requests of a new connection, when all reads have happened."""
    connection = server.connect()
    connection.send(*requests)
    server.finish()
    replies = read_replies(connection.take())
    connection.conversation.lost()
    return replies


# Filters.


def test_all_conditions_of_a_filter_must_be_met(server: SteppedServer, connection: Connection) -> None:
    first, second, _ = added(server, {"type": "a", "tags": ["x", "y"]}, {"type": "b", "tags": ["x"]}, {"type": "a"})
    (third,) = added(server, {"type": "a", "tags": ["x"], "causation_id": first}, stream=OTHER)
    for fields, expected in (
        ({"types": ["a"]}, [1, 3, 4]),
        ({"types": ["a", "b"], "tags": ["x"]}, [1, 2, 4]),
        ({"tags": ["y", "x"]}, [1]),
        ({"types": ["a"], "after": first}, [3, 4]),
        ({"types": ["a"], "offset": second}, [3, 4]),
        ({"types": ["a"], "before": third}, [1, 3]),
        ({"correlation_id": first.lower()}, [1, 4]),
        ({"correlation_id": first, "tags": ["y"]}, [1]),
        ({"causation_id": first, "types": ["b"]}, []),
        ({"since": "2001-01-01T00:00:00Z", "until": "9000-01-01T00:00:00+02:00"}, [1, 2, 3, 4]),
        ({"until": "2001-01-01T00:00:00Z"}, []),
        ({"types": ["never"]}, []),
    ):
        connection.send(get_all(**fields))
        assert positions(taken(connection)) == expected, fields
    assert not server.pool.reads, "short searches run where they are"
    connection.send(get(STREAM, types=["a"], version=1), get(STREAM, after=second), get(OTHER, types=["b"]))
    assert [positions(reply) for reply in read_replies(connection.take())] == [[3], [3], []]


def test_backwards_is_the_order_of_the_reply_and_pages_go_on_before(server: SteppedServer) -> None:
    ids = added(server, *[{}] * 5)
    whole, page, rest, ended, stream, typed = asked(
        server,
        get_all(backwards=True),
        get_all(backwards=True, limit=2),
        get_all(backwards=True, before=ids[3]),
        get_all(backwards=True, after=ids[1], before=ids[4]),
        get(STREAM, backwards=True, version=2, limit=2),
        get(STREAM, backwards=True, types=["t"]),
    )
    assert positions(whole) == [5, 4, 3, 2, 1]
    assert positions(page) == [5, 4]
    assert positions(rest) == [3, 2, 1]
    assert positions(ended) == [4, 3]
    assert positions(stream) == [5, 4]
    assert positions(typed) == [5, 4, 3, 2, 1]


def test_with_a_filter_a_hundred_are_given_if_no_limit_is(server: SteppedServer) -> None:
    added(server, *[{}] * 150)
    for fields in ({}, {"limit": 0}, {"limit": None}):
        log, stream, since = asked(
            server, get_all(types=["t"], **fields), get(STREAM, types=["t"], **fields), get(STREAM, after="0" * 26)
        )
        assert positions(log) == positions(stream) == positions(since) == list(range(1, 101))
    (backwards,) = asked(server, get(STREAM, backwards=True))
    assert positions(backwards) == list(range(150, 0, -1)), "backwards is no filter"


def test_a_limit_counts_matches_however_far_apart_they_are(server: SteppedServer, connection: Connection) -> None:
    for _ in range(3):
        added(server, *[{"tags": ["odd" if index % 2 else "even"]} for index in range(2000)], {"tags": ["odd", "even"]})
    connection.send(get_all(tags=["odd", "even"], limit=2), PING)
    steps = 0
    while server.pool.reads:
        assert connection.take() == b""
        server.pool.step()
        steps += 1
    reply, pong = read_replies(connection.take())
    assert (positions(reply), pong) == ([2001, 4002], "PONG")
    assert steps >= 4002 // SEARCH_SLICE_STEPS_MAX, "in slices, between which others have their turn"


def test_a_search_that_turns_out_long_leaves_the_thread_of_the_reactor(
    server: SteppedServer, connection: Connection
) -> None:
    added(server, *[{"tags": ["odd" if index % 2 else "even"]} for index in range(INLINE_SEARCH_STEPS_MAX * 3)])
    connection.send(get_all(tags=["odd", "even"], limit=1))
    assert len(server.pool.reads) == 1
    server.read()
    assert connection.take() == EMPTY


def test_a_long_reply_is_sent_chunk_by_chunk_as_the_client_takes_it(server: SteppedServer) -> None:
    many = SEARCH_IDS_KEPT_MAX + 2 * CHUNK_EVENTS_MAX
    for _ in range(3):
        added(server, *[{}] * (many // 3))
    many = many // 3 * 3
    connection = server.connect()
    connection.line.on_send = connection.conversation.unwritable
    connection.send(get_all(types=["t"], backwards=True, limit=many))
    data = b""
    for _ in range(100):
        server.read()
        assert len(connection.line.sends) <= 2, "no more than what was being read, before the client has taken this"
        data += connection.take()
        connection.conversation.writable()
    (reply,) = read_replies(data)
    assert positions(reply) == list(range(many, 0, -1))


def test_what_comes_while_a_reply_is_sent_is_not_in_it(server: SteppedServer, connection: Connection) -> None:
    many = CHUNK_EVENTS_MAX * 2
    added(server, *[{}] * many)
    connection.send(get_all(types=["t"], limit=many * 2))
    server.pool.step()
    added(server, {})
    server.read()
    assert positions(taken(connection)) == list(range(1, many + 1))


def test_a_read_sees_the_appends_ahead_of_it(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), get_all(types=["tested"]), request("TYPES"))
    server.finish()
    _, reply, types = read_replies(connection.take())
    assert positions(reply) == [1]
    assert types == [b'{"type":"tested","count":1}']


def test_a_search_for_nobody_ends(server: SteppedServer, connection: Connection) -> None:
    added(server, *[{"tags": ["odd" if index % 2 else "even"]} for index in range(SEARCH_SLICE_STEPS_MAX * 5)])
    connection.send(get_all(tags=["odd", "even"]))
    server.pool.step()
    connection.conversation.lost()
    server.pool.step()
    assert not server.pool.reads
    assert server.budget.used_bytes == 0


def test_damage_is_told(server: SteppedServer, connection: Connection, faults: LoggedFaults) -> None:
    added(server, *[{}] * (INLINE_READ_EVENTS_MAX * 10))
    connection.send(get_all(types=["t"], limit=1000), PING)
    server.pool.fail(CorruptRecord("a flipped bit"))
    assert read_replies(connection.take()) == [ReplyError("CORRUPT", "a flipped bit"), "PONG"]
    assert connection.line.end is None


# Pages with a cursor.


def test_a_page_tells_where_to_go_on_and_null_at_the_end(server: SteppedServer, connection: Connection) -> None:
    ids = added(server, *[{}] * 5)
    connection.send(
        get_all(cursor=True, limit=2),
        get_all(cursor=True, after=ids[1], limit=3),
        get_all(cursor=True, backwards=True, before=ids[2], limit=1),
        get(STREAM, cursor=True, types=["t"], after=ids[3]),
        get(OTHER, cursor=True),
    )
    server.read()
    pages = read_replies(connection.take())
    assert [(positions(events), cursor) for events, cursor in pages] == [
        ([1, 2], ids[1].encode()),
        ([3, 4, 5], None),
        ([2], ids[1].encode()),
        ([5], None),
        ([], None),
    ]


def test_the_end_of_pages_is_null_in_resp3(server: SteppedServer, connection: Connection) -> None:
    connection.send(request("HELLO", "3"))
    connection.take()
    connection.send(get_all(cursor=True))
    assert connection.take() == b"*2\r\n*0\r\n_\r\n"


def test_only_a_page_with_a_cursor_may_end_at_a_bound_of_the_search(server: SteppedServer) -> None:
    for _ in range(3):
        added(server, *[{"tags": ["odd" if index % 2 else "even"]} for index in range(5000)])
    (last,) = added(server, {"tags": ["odd", "even"]})
    both = {"tags": ["odd", "even"]}
    (whole, (events, cursor)) = asked(server, get_all(**both), get_all(**both, cursor=True))
    assert positions(whole) == [15_001]
    assert events == []
    assert cursor is not None
    ((rest, end),) = asked(server, get_all(**both, cursor=True, after=cursor.decode()))
    assert (positions(rest), end) == ([15_001], None)
    assert cursor < last.encode()


def test_a_long_page_ends_with_its_cursor(server: SteppedServer) -> None:
    many = CHUNK_EVENTS_MAX * 3
    ids = added(server, *[{}] * many)
    ((events, cursor), pong) = asked(server, get_all(types=["t"], limit=many - 1, cursor=True), PING)
    assert (positions(events), cursor, pong) == (list(range(1, many)), ids[-2].encode(), "PONG")


# Waiting.


def test_a_read_with_a_filter_waits_for_a_match(server: SteppedServer, connection: Connection) -> None:
    connection.send(get_all(types=["a"], wait_ms=LONG), PING)
    added(server, {"type": "b"}, {"type": "c"})
    assert connection.take() == b""
    added(server, {"type": "b"}, {"type": "a"}, {"type": "a"})
    reply, pong = read_replies(connection.take())
    assert (positions(reply), pong) == ([4, 5], "PONG")
    assert not server.notices.has_watchers


def test_a_waiting_read_looks_only_at_what_came_after_its_last_look(
    server: SteppedServer, connection: Connection
) -> None:
    added(server, *[{"tags": ["odd" if index % 2 else "even"]} for index in range(SEARCH_SLICE_STEPS_MAX * 2)])
    connection.send(get_all(tags=["odd", "even"], wait_ms=LONG))
    server.read()
    count = server.pool.count
    for _ in range(3):
        added(server, {"tags": ["odd"]})
    assert server.pool.count == count
    added(server, {"tags": ["odd", "even"]})
    assert positions(taken(connection)) == [SEARCH_SLICE_STEPS_MAX * 2 + 4]


def test_a_filtered_wait_of_a_stream_is_woken_by_that_stream_and_ends_empty(
    server: SteppedServer, connection: Connection
) -> None:
    connection.send(get(STREAM, types=["a"], wait_ms=1000))
    added(server, {"type": "a"}, stream=OTHER)
    assert connection.take() == b""
    server.clock.advance(1)
    assert connection.take() == EMPTY


# One event, streams, types.


def test_an_event_is_given_as_it_was_stored(server: SteppedServer, connection: Connection) -> None:
    (record,) = server.hold(STREAM, 1)
    event_id = json.loads(record)["id"]
    connection.send(request("EVENT", json.dumps({"id": event_id.lower()})), request("EVENT", NO_EVENT))
    assert read_replies(connection.take()) == [record, None]


def test_null_is_that_of_the_protocol(connection: Connection) -> None:
    connection.send(request("EVENT", NO_EVENT), request("STREAM", f'{{"stream":"{STREAM}"}}'))
    assert connection.take() == b"$-1\r\n$-1\r\n"
    connection.send(request("HELLO", "3"))
    connection.take()
    connection.send(request("EVENT", NO_EVENT), request("STREAM", f'{{"stream":"{STREAM}"}}'))
    assert connection.take() == b"_\r\n_\r\n"


def test_a_stream_is_told_from_outside(server: SteppedServer, connection: Connection) -> None:
    first, last = (json.loads(record) for record in server.hold(STREAM, 2))
    connection.send(request("STREAM", f'{{"stream":"{STREAM.upper()}"}}'))
    assert json.loads(taken(connection)) == {
        "stream": STREAM,
        "version": 2,
        "first_id": first["id"],
        "first_added_at": first["added_at"],
        "last_id": last["id"],
        "last_added_at": last["added_at"],
    }


def test_streams_are_listed_whole_or_by_what_happened_in_them(server: SteppedServer) -> None:
    server.hold(OTHER, 1)
    added(server, {"type": "a", "tags": ["x"]})
    everything, again, first, rest, tagged, typed = asked(
        server,
        request("STREAMS"),
        request("STREAMS", "{}"),
        request("STREAMS", '{"limit":1}'),
        request("STREAMS", f'{{"after":"{OTHER}"}}'),
        request("STREAMS", '{"tags":["x"]}'),
        request("STREAMS", '{"types":["held"]}'),
    )
    names = [[json.loads(item)["stream"] for item in reply] for reply in (everything, first, rest, tagged, typed)]
    assert names == [[OTHER, STREAM], [OTHER], [STREAM], [STREAM], [OTHER]]
    assert again == everything


def test_a_page_of_streams_after_one_that_is_none_of_them_is_refused(server: SteppedServer) -> None:
    (refusal,) = asked(server, request("STREAMS", f'{{"after":"{STREAM}"}}'))
    assert refusal.code == "INVALIDARG"
    assert refusal.text.startswith(f"after: {STREAM} is none of these streams")


def test_types_are_listed_in_slices(server: SteppedServer) -> None:
    names = [f"{number:04d}" for number in range(TYPES_SLICE_MAX * 2 + 1)]
    added(server, *[{"type": name} for name in names], {"type": names[0]})
    reads = server.pool.count
    whole, some, rest = asked(
        server, request("TYPES"), request("TYPES", '{"limit":2}'), request("TYPES", '{"after":"0499"}')
    )
    assert [json.loads(item) for item in whole] == [{"type": name, "count": 1 + (name == names[0])} for name in names]
    assert some == whole[:2]
    assert rest == whole[500:]
    assert server.pool.count == reads + 3 + 1 + 1


@pytest.mark.parametrize("words", [("STREAMS",), ("TYPES",), ("GETALL", '{"types":["t"],"limit":1000}')])
def test_what_is_behind_a_search_waits_for_it(
    server: SteppedServer, connection: Connection, words: tuple[str, ...]
) -> None:
    connection.send(request(*words), PING)
    assert connection.take() == b""
    server.read()
    assert connection.take() == EMPTY + PONG
