"""SUBSCRIBE: what is sent when, in which order, and what is never left out, sent twice or sent too late."""

import gc
import json
import re
import tracemalloc
from typing import Any

import pytest

from eventflowdb.errors import CorruptRecord, StorageFailed
from eventflowdb.limits import (
    CHUNK_EVENTS_MAX,
    INLINE_READ_EVENTS_MAX,
    NOTICES_TURN_MAX,
    SEARCH_PAGE_STEPS_MAX,
    SEARCH_SLICE_STEPS_MAX,
    SUBSCRIPTIONS_MAX,
)

from .fakes import (
    OTHER,
    PING,
    PONG,
    STREAM,
    Connection,
    LoggedFaults,
    Pushed,
    ReplyError,
    SteppedServer,
    add,
    get_all,
    read_replies,
    request,
)

ZERO = "0" * 26
HELLO3 = request("HELLO", "3")
ALLOWED = "(P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET"
RESET = b"+RESET\r\n"


def query(**fields: Any) -> str:
    """A query as a client may write it."""
    return json.dumps(fields)


def subscribe(*queries: str) -> bytes:
    """A SUBSCRIBE."""
    return request("SUBSCRIBE", *queries)


def unsubscribe(*queries: str) -> bytes:
    """An UNSUBSCRIBE."""
    return request("UNSUBSCRIBE", *queries)


def subscribed(server: SteppedServer, *queries: str, is_resp3: bool = False) -> Connection:
    """A connection with subscriptions, whose confirmations have been taken and whose history has not."""
    connection = server.connect()
    if is_resp3:
        connection.send(HELLO3)
        connection.take()
    connection.send(subscribe(*queries))
    for count, confirmation in enumerate(read_replies(connection.take())[: len(queries)], 1):
        assert confirmation == [b"subscribe", queries[count - 1].encode(), count]
    return connection


def stored(server: SteppedServer, stream: str, version: int, *datas: str) -> None:
    """Have events appended by some other client."""
    writer = server.connect()
    writer.send(add(stream, version, *datas))
    server.commit()
    assert isinstance(read_replies(writer.take())[0], list)
    writer.conversation.lost()


def received(connection: Connection) -> list[tuple[str, int]]:
    """The messages that were sent since the last time: channel and position of each; nothing else may be there."""
    found = []
    for kind, channel, payload in read_replies(connection.take()):
        assert kind == b"message"
        found.append((channel.decode(), json.loads(payload)["position"]))
    return found


def positions(connection: Connection) -> list[int]:
    """The positions of the events that were sent since the last time."""
    return [position for _, position in received(connection)]


def slow(connection: Connection) -> None:
    """Make a client take one write at a time, when the test says `connection.conversation.writable()`."""
    connection.line.on_send = connection.conversation.unwritable


# Confirmations.


def test_a_channel_comes_back_as_it_was_sent(server: SteppedServer, connection: Connection) -> None:
    odd = ' {\t"stream" : "' + STREAM.upper() + '" }\r\n'
    connection.send(subscribe(odd, "{}"))
    assert read_replies(connection.take()) == [[b"subscribe", odd.encode(), 1], [b"subscribe", b"{}", 2]]
    stored(server, STREAM, 0, "a")
    assert sorted(received(connection)) == [(odd, 1), ("{}", 1)]
    connection.send(unsubscribe(odd))
    assert read_replies(connection.take()) == [[b"unsubscribe", odd.encode(), 1]]


def test_a_payload_is_the_event_as_it_is_returned(server: SteppedServer) -> None:
    connection = subscribed(server, "{}")
    (record,) = server.hold(STREAM, 1, 'a"\\€')
    server.notices.log_grew(None)
    assert read_replies(connection.take()) == [[b"message", b"{}", record]]


@pytest.mark.parametrize(
    "wrong", ["", "{", "[]", '{"steam":1}', '{"limit":1}', '{"version":1}', '{"after":"x"}', "x" * 9]
)
def test_where_one_query_is_wrong_nothing_is_subscribed(connection: Connection, wrong: str) -> None:
    connection.send(subscribe("{}", wrong))
    (refusal,) = read_replies(connection.take())
    assert refusal.code == "INVALIDARG"
    assert connection.session.subscriber is None
    connection.send(PING)
    assert connection.take() == PONG


def test_a_query_is_bounded_since_every_message_repeats_it(connection: Connection) -> None:
    connection.send(subscribe("{" + " " * 4094 + "}"))
    assert isinstance(read_replies(connection.take())[0], list)
    connection.send(subscribe("{" + " " * 4095 + "}"))
    (refusal,) = read_replies(connection.take())
    assert refusal.code == "INVALIDARG"


def test_a_connection_may_have_so_many_subscriptions_and_no_more(connection: Connection) -> None:
    queries = ["{" + " " * index + "}" for index in range(SUBSCRIPTIONS_MAX)]
    connection.send(subscribe(*queries[1:]), subscribe(*queries[:2]), subscribe("{ \t}"), subscribe("{}"))
    *confirmations, refusal, again = read_replies(connection.take())
    assert [count for _, _, count in confirmations] == [
        *range(1, SUBSCRIPTIONS_MAX),
        SUBSCRIPTIONS_MAX,
        SUBSCRIPTIONS_MAX,
    ]
    assert refusal == ReplyError("ERR", f"too many subscriptions; a connection may have {SUBSCRIPTIONS_MAX}")
    assert again == [b"subscribe", b"{}", SUBSCRIPTIONS_MAX]


def test_subscribing_again_changes_nothing(server: SteppedServer) -> None:
    stored(server, STREAM, 0, "a", "b")
    history = query(offset=ZERO)
    connection = subscribed(server, history)
    server.read()
    assert positions(connection) == [1, 2]
    connection.send(subscribe(history, history))
    server.read()
    assert read_replies(connection.take()) == [[b"subscribe", history.encode(), 1]] * 2
    stored(server, STREAM, 2, "c")
    assert positions(connection) == [3]


def test_a_query_that_is_written_otherwise_is_another_subscription(server: SteppedServer) -> None:
    names = ["{}", "{ }", '{"types":["held"]}', '{"types": ["held"]}']
    connection = subscribed(server, *names)
    server.hold(STREAM, 1)
    stored(server, OTHER, 0, "a")
    assert sorted(received(connection)) == sorted([(name, 1) for name in names] + [("{}", 2), ("{ }", 2)])


def test_a_confirmation_stands_before_the_first_message_and_behind_earlier_replies(
    server: SteppedServer, connection: Connection
) -> None:
    connection.send(add(STREAM, 0, "a"), subscribe(query(offset=ZERO)))
    server.finish()
    added, confirmation, message = read_replies(connection.take())
    assert [json.loads(record)["position"] for record in added] == [1]
    assert confirmation[0] == b"subscribe"
    assert message[0] == b"message"


def test_a_confirmation_stands_before_messages_that_are_there_at_once(server: SteppedServer) -> None:
    server.hold(STREAM, 1)
    history = query(offset=ZERO)
    subscribed(server, history)
    server.read()
    second = server.connect()
    second.send(subscribe(history))
    assert not server.pool.reads, "the page is shared"
    assert [reply[0] for reply in read_replies(second.take())] == [b"subscribe", b"message"]


def test_from_now_on_means_after_the_appends_ahead_of_it(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), subscribe("{}", query(stream=STREAM)))
    server.finish()
    assert len(read_replies(connection.take())) == 3
    stored(server, STREAM, 1, "b")
    assert positions(connection) == [2, 2]


# What is sent.


def test_what_is_stored_is_sent_after_the_commit(server: SteppedServer) -> None:
    stored(server, STREAM, 0, "a")
    connection = subscribed(server, "{}")
    writer = server.connect()
    writer.send(add(STREAM, 1, "b", "c"))
    assert connection.take() == b""
    server.commit()
    assert positions(connection) == [2, 3]


def test_a_subscription_to_a_stream_gets_its_events_and_no_others(server: SteppedServer) -> None:
    connection = subscribed(server, query(stream=STREAM))
    stored(server, OTHER, 0, "a")
    stored(server, STREAM, 0, "b")
    stored(server, OTHER, 1, "c")
    stored(server, STREAM, 1, "d")
    assert positions(connection) == [2, 4]


HISTORIES: list[tuple[dict[str, Any], list[int]]] = [
    ({}, []),
    ({"offset": ZERO}, [1, 2, 3, 4, 5, 6]),
    ({"offset": 3}, [3, 4, 5, 6]),
    ({"after": ZERO}, [1, 2, 3, 4, 5, 6]),
    ({"after": 3}, [4, 5, 6]),
    ({"after": 6}, []),
    ({"stream": STREAM}, []),
    ({"stream": STREAM, "version": 0}, [1, 3, 4, 6]),
    ({"stream": STREAM, "version": 2}, [4, 6]),
    ({"stream": STREAM, "version": 4}, []),
    ({"stream": STREAM, "after": 1}, [3, 4, 6]),
    ({"stream": STREAM, "after": 2}, [3, 4, 6]),
    ({"stream": STREAM, "offset": 3}, [3, 4, 6]),
    ({"stream": STREAM, "after": 6}, []),
    ({"stream": STREAM, "offset": ZERO}, [1, 3, 4, 6]),
    ({"stream": OTHER, "after": 3}, [5]),
]


@pytest.mark.parametrize(("fields", "expected"), HISTORIES)
def test_history_is_sent_from_the_place_that_the_query_names_and_then_what_comes(
    server: SteppedServer, fields: dict[str, Any], expected: list[int]
) -> None:
    records: list[bytes] = []
    for stream, count in ((STREAM, 1), (OTHER, 1), (STREAM, 2), (OTHER, 1), (STREAM, 1)):
        records += server.hold(stream, count)
    ids = [json.loads(record)["id"] for record in records]
    given = {
        name: ids[value - 1] if name in ("after", "offset") and value != ZERO else value
        for name, value in fields.items()
    }
    connection = subscribed(server, query(**given))
    server.read()
    assert positions(connection) == expected
    stored(server, fields.get("stream", STREAM), 2 if fields.get("stream") == OTHER else 4, "new")
    server.read()
    assert positions(connection) == [7]


def test_a_stream_may_begin_later(server: SteppedServer) -> None:
    connection = subscribed(
        server, query(stream=STREAM), query(stream=OTHER, version=1), query(stream=OTHER, offset=ZERO)
    )
    server.read()
    stored(server, STREAM, 0, "a")
    stored(server, OTHER, 0, "b")
    stored(server, OTHER, 1, "c")
    server.read()
    assert sorted(received(connection)) == sorted(
        [
            (query(stream=STREAM), 1),
            (query(stream=OTHER, offset=ZERO), 2),
            (query(stream=OTHER, offset=ZERO), 3),
            (query(stream=OTHER, version=1), 3),
        ]
    )


def test_an_id_that_was_not_given_out_yet_keeps_its_place(server: SteppedServer) -> None:
    far = "7" + "Z" * 25
    queries = [query(after=far), query(offset=far), query(stream=STREAM, after=far), query(stream=STREAM, offset=far)]
    connection = subscribed(server, *queries)
    for version in range(3):
        stored(server, STREAM, version, "a")
        server.read()
    assert connection.take() == b""


def test_a_version_that_the_stream_has_not_reached_yet_is_waited_for(server: SteppedServer) -> None:
    connection = subscribed(server, query(stream=STREAM, version=3))
    server.read()
    for version in range(5):
        stored(server, STREAM, version, "a")
    assert positions(connection) == [4, 5]


def test_history_of_many_pages_is_sent_in_order_and_each_event_once(server: SteppedServer) -> None:
    many = CHUNK_EVENTS_MAX * 2 + 7
    server.hold(STREAM, many)
    connection = subscribed(server, query(offset=ZERO), query(stream=STREAM, version=0))
    server.read()
    found = received(connection)
    for channel in {channel for channel, _ in found}:
        assert [position for name, position in found if name == channel] == list(range(1, many + 1))
    assert len(found) == 2 * many


def test_an_event_that_is_stored_while_history_is_read_comes_after_it_once(server: SteppedServer) -> None:
    server.hold(STREAM, 3)
    connection = subscribed(server, query(offset=ZERO))
    early = server.pool.reads.popleft()
    chunk = early.read()
    stored(server, STREAM, 3, "b")
    early.done.callback(chunk)
    server.read()
    assert positions(connection) == [1, 2, 3, 4]


def test_an_event_that_is_stored_before_history_is_read_comes_once(server: SteppedServer) -> None:
    server.hold(STREAM, 3)
    connection = subscribed(server, query(offset=ZERO))
    stored(server, STREAM, 3, "b")
    server.read()
    assert positions(connection) == [1, 2, 3, 4]


def test_a_commit_that_nobody_was_told_of_yet_is_sent_once(server: SteppedServer) -> None:
    """It is on disk, so a look finds it; the notice comes when the reactor turns."""
    connection = subscribed(server, "{}")
    writer = server.connect()
    writer.send(add(STREAM, 0, "a"))
    server.thread.step()
    late = subscribed(server, "{}")
    server.commit()
    assert positions(connection) == [1]
    assert positions(late) == [], "it was there when this one subscribed"
    stored(server, STREAM, 1, "b")
    assert positions(connection) == positions(late) == [2]


def test_what_is_new_is_read_on_threads_while_memory_is_cold(
    server: SteppedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.reads._small, "cold_until", float("inf"))
    connection = subscribed(server, "{}")
    stored(server, STREAM, 0, "a")
    early = server.pool.reads.popleft()
    chunk = early.read()
    stored(server, STREAM, 1, "b")
    early.done.callback(chunk)
    server.read()
    assert positions(connection) == [1, 2]


def test_a_burst_of_many_events_is_read_by_threads_and_sent_in_order(server: SteppedServer) -> None:
    many = INLINE_READ_EVENTS_MAX * 5
    connection = subscribed(server, "{}")
    stored(server, STREAM, 0, *["x"] * many)
    assert server.pool.reads
    server.read()
    assert positions(connection) == list(range(1, many + 1))
    stored(server, STREAM, many, "y")
    assert positions(connection) == [many + 1]
    assert not server.pool.reads, "it has caught up"


def test_one_large_event_after_the_other_is_sent(server: SteppedServer) -> None:
    connection = subscribed(server, query(offset=ZERO))
    for version in range(3):
        stored(server, STREAM, version, "x" * 2_000_000)
    server.read()
    assert positions(connection) == [1, 2, 3]


# Filters. That they select what a list comprehension would, whatever happens, is tested by the promise.


def added(server: SteppedServer, *events: dict[str, Any]) -> list[str]:
    """Have events appended by some other client, and everybody told; their ids."""
    writer = server.connect()
    fields = {"stream": STREAM, "version": "any", "events": [{"type": "t", "data": "", **event} for event in events]}
    writer.send(request("ADD", json.dumps(fields)))
    server.commit()
    (records,) = read_replies(writer.take())
    writer.conversation.lost()
    return [json.loads(record)["id"] for record in records]


def test_a_filter_lets_through_what_it_asks_for_of_history_and_of_what_comes(server: SteppedServer) -> None:
    added(server, {"type": "a", "tags": ["x"]}, {"type": "b", "tags": ["x"]}, {"type": "a"})
    rare = query(types=["a"], tags=["x"], offset=ZERO)
    connection = subscribed(server, rare, query(types=["b", "c"]))
    server.read()
    assert received(connection) == [(rare, 1)]
    added(server, {"type": "a", "tags": ["y", "x"]}, {"type": "c"}, {"type": "a"})
    assert sorted(received(connection)) == [(rare, 4), (query(types=["b", "c"]), 5)]
    assert not server.pool.reads, "it has caught up"


def test_events_that_name_an_id_are_found_by_it(server: SteppedServer) -> None:
    (cause,) = added(server, {})
    connection = subscribed(
        server, query(correlation_id=cause, offset=ZERO), query(causation_id=cause), query(causation_id=ZERO)
    )
    server.read()
    (effect,) = added(server, {"causation_id": cause})
    added(server, {"causation_id": effect}, {})
    assert sorted(received(connection)) == sorted(
        [
            (query(correlation_id=cause, offset=ZERO), 1),
            (query(correlation_id=cause, offset=ZERO), 2),
            (query(correlation_id=cause, offset=ZERO), 3),
            (query(causation_id=cause), 2),
        ]
    )


def test_a_time_is_a_place_to_begin(server: SteppedServer) -> None:
    added(server, {})
    (late,) = server.store.open_log(bytes(16), 1).records
    connection = subscribed(server, query(since=json.loads(late)["added_at"]), query(since="9000-01-01T00:00:00Z"))
    server.read()
    added(server, {})
    assert positions(connection) == [1, 2]


def test_where_the_range_of_a_query_ends_nothing_more_comes(server: SteppedServer) -> None:
    first, second, _ = added(server, {}, {}, {})
    connection = subscribed(
        server,
        query(offset=first, before=second),
        query(offset=first, until="2001-01-01T00:00:00Z"),
        query(before=first),
    )
    server.read()
    assert received(connection) == [(query(offset=first, before=second), 1)]
    added(server, {})
    assert connection.take() == b""


def test_history_with_few_matches_is_searched_in_bounded_steps_on_threads(server: SteppedServer) -> None:
    added(server, *[{"tags": ["odd" if index % 2 else "even"]} for index in range(12_000)], {"tags": ["odd", "even"]})
    both = query(tags=["odd", "even"], offset=ZERO)
    connection = subscribed(server, both)
    server.pool.step()
    assert connection.take() == b""
    server.read()
    assert received(connection) == [(both, 12_001)]
    assert server.pool.count > SEARCH_PAGE_STEPS_MAX // SEARCH_SLICE_STEPS_MAX


def test_a_burst_of_many_matches_is_read_by_threads_and_sent_in_order(server: SteppedServer) -> None:
    many = CHUNK_EVENTS_MAX * 2 + 7
    connection = subscribed(server, query(types=["t"]), query(types=["t"], before=ZERO))
    added(server, *[{}] * many)
    server.read()
    assert positions(connection) == list(range(1, many + 1))
    added(server, {})
    assert positions(connection) == [many + 1]


def test_those_with_different_filters_share_what_is_read_of_little_news(server: SteppedServer) -> None:
    connections = [subscribed(server, query(types=["a", str(number)], before="7" + "Z" * 25)) for number in range(20)]
    (first, _) = added(server, {"type": "b"}, {"type": "a"})
    assert all(positions(connection) == [2] for connection in connections)
    assert server.database.tails.reads == 1
    late = subscribed(server, query(types=["a"], after=first, before=first))
    server.read()
    added(server, {"type": "a"})
    assert late.take() == b"", "the range ends before"


def test_a_filter_finds_what_is_new_on_threads_while_memory_is_cold(
    server: SteppedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.reads._small, "cold_until", float("inf"))
    connection = subscribed(server, query(types=["a"]))
    added(server, {"type": "a"}, {"type": "b"})
    assert connection.take() == b""
    server.read()
    assert positions(connection) == [1]


def test_those_with_the_same_filter_share_what_is_found(server: SteppedServer) -> None:
    connections = [subscribed(server, query(types=["a"])) for _ in range(20)]
    reads = shared_reads(connections[0])
    added(server, {"type": "b"}, {"type": "a"})
    assert all(positions(connection) == [2] for connection in connections)
    assert shared_reads(connections[0]) == reads + 1


# The pace of the connection.


def test_a_client_that_takes_nothing_is_sent_nothing_more_and_later_everything(server: SteppedServer) -> None:
    connection = subscribed(server, "{}")
    connection.conversation.unwritable()
    for version in range(50):
        stored(server, STREAM, version, "a")
    assert connection.take() == b""
    connection.conversation.writable()
    assert positions(connection) == list(range(1, 51))


def test_a_slow_client_is_sent_a_page_at_a_time(server: SteppedServer) -> None:
    server.hold(STREAM, CHUNK_EVENTS_MAX * 3)
    connection = subscribed(server, query(offset=ZERO))
    slow(connection)
    seen: list[int] = []
    for _ in range(4):
        server.read()
        page = positions(connection)
        assert len(page) <= CHUNK_EVENTS_MAX
        seen += page
        server.read()
        assert connection.take() == b"", "no more before the client has taken this"
        connection.conversation.writable()
    assert seen == list(range(1, CHUNK_EVENTS_MAX * 3 + 1))


def test_a_slow_client_delays_nobody(server: SteppedServer) -> None:
    behind, connection = subscribed(server, "{}"), subscribed(server, "{}")
    behind.conversation.unwritable()
    for version in range(5):
        stored(server, STREAM, version, "a")
        assert positions(connection) == [version + 1]
    behind.conversation.writable()
    assert positions(behind) == [1, 2, 3, 4, 5]


def held_after_appends(server: SteppedServer, first_version: int) -> int:
    """How many bytes are held after a hundred appends of 10,000."""
    # Or what other tests have left would be collected in between.
    gc.collect()
    tracemalloc.start()
    for version in range(first_version, first_version + 100):
        stored(server, STREAM, version, "x" * 10_000)
    gc.collect()
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held_bytes


def test_a_client_that_does_not_read_costs_no_memory_for_what_it_misses(server: SteppedServer) -> None:
    connection = subscribed(server, "{}", query(offset=ZERO))
    server.read()
    connection.conversation.unwritable()
    stored(server, STREAM, 0, "warms up what is made once")
    reads = shared_reads(connection)
    # Twice: Python's table of all names doubles at some time, in the whole suite by 3.8 MB just here.
    held_bytes = min([held_after_appends(server, first_version) for first_version in (1, 101)])
    assert shared_reads(connection) == reads, "nothing is read for one that takes nothing"
    assert held_bytes < 300_000, "of 1,000,000"


def test_subscriptions_of_one_connection_take_turns(server: SteppedServer) -> None:
    server.hold(STREAM, CHUNK_EVENTS_MAX * 3)
    server.hold(OTHER, CHUNK_EVENTS_MAX * 3)
    queries = [query(stream=STREAM, version=0), query(stream=OTHER, version=0)]
    connection = subscribed(server, *queries)
    slow(connection)
    order = []
    for _ in range(6):
        server.read()
        (channel,) = {channel for channel, _ in received(connection)}
        order.append(channel)
        connection.conversation.writable()
    assert order == queries * 3


def test_what_is_new_does_not_wait_for_history(server: SteppedServer) -> None:
    server.hold(STREAM, CHUNK_EVENTS_MAX * 3)
    connection = subscribed(server, query(stream=STREAM, version=0), query(stream=OTHER))
    stored(server, OTHER, 0, "now")
    assert received(connection) == [(query(stream=OTHER), CHUNK_EVENTS_MAX * 3 + 1)]
    server.read()
    assert len(positions(connection)) == CHUNK_EVENTS_MAX * 3


def test_one_page_of_history_is_read_at_a_time_however_many_subscriptions_there_are(server: SteppedServer) -> None:
    server.hold(STREAM, 10)
    queries = [query(stream=STREAM, version=version) for version in range(5)]
    connection = subscribed(server, *queries)
    for _ in queries:
        assert len(server.pool.reads) == 1
        server.pool.step()
    assert not server.pool.reads
    assert len(positions(connection)) == 10 + 9 + 8 + 7 + 6


# Sharing.


def test_those_at_the_same_place_share_what_is_read(server: SteppedServer) -> None:
    connections = [subscribed(server, "{}") for _ in range(20)]
    others = [subscribed(server, query(stream=STREAM)) for _ in range(20)]
    reads = shared_reads(connections[0])
    stored(server, STREAM, 0, "a", "b")
    assert all(positions(connection) == [1, 2] for connection in connections + others)
    assert shared_reads(connections[0]) == reads + 2


def shared_reads(connection: Connection) -> int:
    """How many pages were read for all subscriptions."""
    subscriber: Any = connection.session.subscriber
    reads = subscriber._pages.reads
    assert isinstance(reads, int)
    return reads


def test_those_who_read_history_together_share_what_is_read(server: SteppedServer) -> None:
    server.hold(STREAM, CHUNK_EVENTS_MAX * 3)
    connections = [subscribed(server, query(offset=ZERO)) for _ in range(10)]
    assert len(server.pool.reads) == 1
    server.read()
    assert all(positions(connection) == list(range(1, CHUNK_EVENTS_MAX * 3 + 1)) for connection in connections)
    assert server.pool.count <= 4


def test_a_shared_page_does_not_hide_what_came_after_it(server: SteppedServer) -> None:
    connection = subscribed(server, "{}")
    stored(server, STREAM, 0, "a")
    stored(server, STREAM, 1, "b")
    first = json.loads(server.store.open_log(bytes(16), 1).records[0])["id"]
    late = subscribed(server, query(after=first))
    server.read()
    assert positions(connection) == [1, 2]
    assert positions(late) == [2]
    stored(server, STREAM, 2, "c")
    assert positions(connection) == positions(late) == [3]


def test_more_than_one_turn_of_the_reactor_serves_many(server: SteppedServer) -> None:
    connections = [server.connect() for _ in range(90)]
    for connection in connections:
        connection.send(subscribe("{}", "{ }"))
        connection.take()
    assert NOTICES_TURN_MAX < 180
    stored(server, STREAM, 0, "a")
    stored(server, STREAM, 1, "b")
    server.clock.advance(0)
    assert all(
        sorted(received(connection)) == [("{ }", 1), ("{ }", 2), ("{}", 1), ("{}", 2)] for connection in connections
    )


# RESP2: only what is for subscribers; RESP3: everything.


OF_A_SHELL = "a JSON object, in a shell in single quotes"


def test_in_resp2_a_subscriber_may_only_do_what_redis_lets_it_do(server: SteppedServer) -> None:
    connection = subscribed(server, "{}")
    connection.send(PING, request("PING", "hey"), add(STREAM, 0, "a"), request("GET"), request("NOSUCH"))
    assert read_replies(connection.take()) == [
        [b"pong", b""],
        [b"pong", b"hey"],
        ReplyError("ERR", f"Can't execute 'add': only {ALLOWED} are allowed in this context"),
        ReplyError("ERR", "wrong number of arguments for 'get' command: expected one, " + OF_A_SHELL + "; got 0"),
        ReplyError("ERR", "unknown command 'NOSUCH', with args beginning with: "),
    ]
    assert not server.thread.jobs
    connection.send(request("PING", "a", "b"), unsubscribe(), PING, get_all(limit=1))
    assert read_replies(connection.take())[1:] == [[b"unsubscribe", b"{}", 0], "PONG", []]


def test_in_resp3_messages_are_pushes_and_everything_is_allowed(server: SteppedServer) -> None:
    connection = subscribed(server, "{}", is_resp3=True)
    connection.send(add(STREAM, 0, "a"), PING, get_all(limit=1))
    server.commit()
    replies = read_replies(connection.take())
    pushes = [reply for reply in replies if isinstance(reply, Pushed)]
    assert [push[0] for push in pushes] == [b"message"]
    added, pong, log = [reply for reply in replies if not isinstance(reply, Pushed)]
    assert pong == "PONG"
    assert added == log == [pushes[0][2]]
    connection.send(subscribe("{ }"), unsubscribe())
    assert [(type(reply), reply[0]) for reply in read_replies(connection.take())] == [
        (Pushed, b"subscribe"),
        (Pushed, b"unsubscribe"),
        (Pushed, b"unsubscribe"),
    ]


def test_a_push_never_stands_inside_a_long_reply(server: SteppedServer) -> None:
    many = CHUNK_EVENTS_MAX * 2
    server.hold(STREAM, many)
    connection = subscribed(server, "{}", is_resp3=True)
    connection.send(get_all(limit=many), PING)
    for version in range(3):
        stored(server, OTHER, version, "a")
        if server.pool.reads:
            server.pool.step()
    server.read()
    replies = read_replies(connection.take())
    assert sorted(reply[0] for reply in replies if isinstance(reply, Pushed)) == [b"message"] * 3
    assert [json.loads(reply[2])["position"] for reply in replies if isinstance(reply, Pushed)] == [
        many + 1,
        many + 2,
        many + 3,
    ]
    log, pong = [reply for reply in replies if not isinstance(reply, Pushed)]
    assert len(log) == many
    assert pong == "PONG"


def test_history_that_is_read_when_a_long_reply_begins_waits_for_its_end(server: SteppedServer) -> None:
    many = CHUNK_EVENTS_MAX * 2
    server.hold(STREAM, many)
    connection = subscribed(server, query(offset=ZERO), is_resp3=True)
    connection.send(get_all(limit=many))
    while server.pool.reads:
        server.pool.step(len(server.pool.reads) - 1)
    replies = read_replies(connection.take())
    assert [len(reply) for reply in replies if not isinstance(reply, Pushed)] == [many]
    assert len([reply for reply in replies if isinstance(reply, Pushed)]) == many


def test_hello_2_among_subscriptions_limits_the_connection_and_hello_3_frees_it(server: SteppedServer) -> None:
    connection = subscribed(server, "{}", is_resp3=True)
    connection.send(request("HELLO", "2"), request("ECHO", "x"))
    assert read_replies(connection.take())[1].code == "ERR"
    stored(server, STREAM, 0, "a")
    (message,) = read_replies(connection.take())
    assert not isinstance(message, Pushed)
    connection.send(unsubscribe(), request("ECHO", "x"))
    assert read_replies(connection.take()) == [[b"unsubscribe", b"{}", 0], b"x"]


# The end.


def test_after_unsubscribe_comes_nothing_more(server: SteppedServer) -> None:
    server.hold(STREAM, 5)
    history = query(offset=ZERO)
    connection = subscribed(server, history, "{}")
    connection.send(unsubscribe(history))
    assert read_replies(connection.take()) == [[b"unsubscribe", history.encode(), 1]]
    server.read()
    assert connection.take() == b""
    stored(server, STREAM, 5, "a")
    assert received(connection) == [("{}", 6)]
    connection.send(unsubscribe())
    stored(server, STREAM, 6, "b")
    assert read_replies(connection.take()) == [[b"unsubscribe", b"{}", 0]]
    assert not server.notices.has_watchers


@pytest.mark.parametrize("filters", [{}, {"types": ["tested"]}])
def test_what_one_found_missing_is_not_missing_for_the_next_after_appends_that_nobody_watched(
    server: SteppedServer, filters: dict[str, Any]
) -> None:
    history = query(offset=ZERO, **filters)
    stored(server, STREAM, 0, "a")
    first = subscribed(server, history)
    server.read()
    assert len(received(first)) == 1
    first.send(unsubscribe())
    first.take()
    assert not server.notices.has_watchers
    stored(server, STREAM, 1, "b")
    second = server.connect()
    second.send(subscribe(history))
    server.read()
    _, *messages = read_replies(second.take())
    assert [json.loads(payload)["position"] for _, _, payload in messages] == [1, 2]


def test_a_page_that_was_read_for_one_that_has_ended_meanwhile_is_dropped(server: SteppedServer) -> None:
    server.hold(STREAM, 2)
    history = query(offset=ZERO)
    connection = subscribed(server, history, "{}")
    connection.conversation.unwritable()
    server.read()
    connection.send(unsubscribe(history))
    connection.conversation.writable()
    assert read_replies(connection.take()) == [[b"unsubscribe", history.encode(), 1]]


def test_the_next_in_line_is_served_when_one_that_is_being_read_for_ends(server: SteppedServer) -> None:
    server.hold(STREAM, 5)
    first, second = query(offset=ZERO), query(stream=STREAM, version=3)
    connection = subscribed(server, first, second)
    connection.send(unsubscribe(first))
    connection.take()
    server.read()
    assert received(connection) == [(second, 4), (second, 5)]


def test_unsubscribing_what_is_not_subscribed_is_confirmed_as_redis_does(
    server: SteppedServer, connection: Connection
) -> None:
    connection.send(unsubscribe(), unsubscribe("nope"))
    assert read_replies(connection.take()) == [[b"unsubscribe", None, 0], [b"unsubscribe", b"nope", 0]]
    connection = subscribed(server, "{}")
    connection.send(unsubscribe("nope", "{}", "{}"))
    assert read_replies(connection.take()) == [
        [b"unsubscribe", b"nope", 1],
        [b"unsubscribe", b"{}", 0],
        [b"unsubscribe", b"{}", 0],
    ]


def test_a_subscription_under_an_old_name_begins_anew(server: SteppedServer) -> None:
    stored(server, STREAM, 0, "a")
    history = query(offset=ZERO)
    connection = subscribed(server, history)
    connection.send(unsubscribe(), subscribe(history))
    server.read()
    assert [reply[0] for reply in read_replies(connection.take())] == [b"unsubscribe", b"subscribe", b"message"]


def test_reset_ends_subscriptions_and_their_limits(server: SteppedServer) -> None:
    server.hold(STREAM, 5)
    connection = subscribed(server, "{}", query(offset=ZERO))
    connection.send(request("RESET"), request("ECHO", "x"))
    server.read()
    stored(server, STREAM, 5, "a")
    assert connection.take() == RESET + b"$1\r\nx\r\n"
    assert not server.notices.has_watchers


def test_quit_ends_the_connection(server: SteppedServer) -> None:
    connection = subscribed(server, "{}")
    connection.send(request("QUIT"))
    stored(server, STREAM, 0, "a")
    assert connection.take() == b"+OK\r\n"
    assert connection.line.end == "close"


@pytest.mark.parametrize("is_reading", [True, False])
def test_a_connection_that_is_lost_leaves_nothing_behind(server: SteppedServer, is_reading: bool) -> None:
    server.hold(STREAM, 5)
    connection = subscribed(server, query(offset=ZERO), "{}")
    if not is_reading:
        server.read()
    connection.take()
    connection.conversation.lost()
    server.read()
    stored(server, STREAM, 5, "a")
    assert connection.take() == b""
    assert not server.notices.has_watchers
    assert server.budget.used_bytes == 0


def test_the_end_of_the_input_ends_subscriptions(server: SteppedServer) -> None:
    connection = subscribed(server, "{}")
    connection.conversation.input_ended()
    assert connection.line.end == "close"


def test_client_kill_closes_a_subscriber_and_may_choose_by_type(server: SteppedServer) -> None:
    connection, other = subscribed(server, "{}"), server.connect()
    other.send(request("CLIENT", "KILL", "TYPE", "pubsub"))
    assert read_replies(other.take()) == [1]
    assert connection.line.end == "close"
    connection.conversation.lost()
    assert not server.notices.has_watchers


def test_the_end_of_the_server_is_the_end_of_the_connection(server: SteppedServer) -> None:
    connection = subscribed(server, "{}")
    server.dispatcher.shut_down()
    connection.conversation.input_ended()
    assert connection.line.end == "close"


def subscribers() -> list[object]:
    """All that there are in this process, those of other tests too."""
    return [found for found in gc.get_objects() if type(found).__name__ in {"Subscriber", "Subscription"}]


def test_subscribers_are_freed_without_the_garbage_collector(server: SteppedServer) -> None:
    gc.collect()
    gc.disable()
    try:
        before = subscribers()
        server.hold(STREAM, 5)
        connection = subscribed(server, query(offset=ZERO), "{}")
        server.read()
        assert len(subscribers()) > len(before)
        connection.conversation.lost()
        assert not [found for found in subscribers() if not any(found is other for other in before)]
    finally:
        gc.enable()


# Damage.


@pytest.mark.parametrize("fault", [CorruptRecord("a flipped bit"), StorageFailed("the disk failed")])
def test_damage_is_told_logged_and_ends_the_connection_rather_than_leave_a_gap(
    server: SteppedServer, faults: LoggedFaults, fault: Any
) -> None:
    server.hold(STREAM, 5)
    connection = subscribed(server, query(offset=ZERO))
    server.pool.fail(fault)
    assert read_replies(connection.take()) == [ReplyError(fault.code, str(fault))]
    assert connection.line.end == "close"
    assert "broke off" in str(faults.take_one()["log_format"])
    assert not server.notices.has_watchers


def test_damage_is_pushed_in_resp3_where_an_error_would_be_taken_for_a_reply(
    server: SteppedServer, faults: LoggedFaults
) -> None:
    server.hold(STREAM, 5)
    history = query(offset=ZERO)
    connection = subscribed(server, history, is_resp3=True)
    connection.send(add(OTHER, 0, "a"))
    server.pool.fail(CorruptRecord("a flipped bit"))
    (push,) = read_replies(connection.take())
    assert isinstance(push, Pushed)
    assert push == [b"error", history.encode(), b"CORRUPT a flipped bit"]
    assert connection.line.end is None, "a reply is owed"
    server.commit()
    assert isinstance(read_replies(connection.take())[0], list)
    assert connection.line.end == "close"
    faults.take_one()


def test_damage_that_is_found_while_the_client_takes_nothing_cuts_it_off(
    server: SteppedServer, faults: LoggedFaults
) -> None:
    server.hold(STREAM, 5)
    connection = subscribed(server, query(offset=ZERO))
    connection.conversation.unwritable()
    server.pool.fail(CorruptRecord("a flipped bit"))
    assert connection.line.end == "abort"
    faults.take_one()


def test_a_gap_in_the_log_is_never_skipped(server: SteppedServer, faults: LoggedFaults) -> None:
    connection = subscribed(server, "{}")
    stored(server, STREAM, 0, "a")
    assert positions(connection) == [1]
    server.hold(STREAM, 2)
    with server.store.environment.env.begin(write=True) as txn:
        cursor = txn.cursor(server.store.environment.log)
        assert cursor.last()
        assert cursor.prev()
        cursor.delete()
    server.notices.log_grew(None)
    assert [reply.code for reply in read_replies(connection.take())] == ["CORRUPT"]
    assert connection.line.end == "close"
    faults.take_one()


# How it shows.


def test_subscriptions_are_shown(server: SteppedServer) -> None:
    server.hold(STREAM, CHUNK_EVENTS_MAX)
    behind = subscribed(server, query(offset=ZERO), query(stream=STREAM, version=10))
    subscribed(server, "{}")
    other = server.connect()
    other.send(request("INFO"), request("CLIENT", "LIST", "TYPE", "pubsub"))
    information, lines = (reply.decode() for reply in read_replies(other.take()))
    facts = dict(line.split(":", 1) for line in information.split("\r\n") if ":" in line)
    assert facts["pubsub_clients"] == "2"
    assert facts["subscriptions"] == "3"
    assert facts["subscriptions_behind"] == "2"
    assert facts["subscriptions_lag_events_max"] == str(CHUNK_EVENTS_MAX)
    assert re.findall(" flags=(.*?) .* sub=(.*?) ", lines) == [("P", "2"), ("P", "1")]
    server.read()
    behind.take()
    other.send(request("INFO"), request("CLIENT", "LIST", "TYPE", "normal"))
    information, lines = (reply.decode() for reply in read_replies(other.take()))
    assert "\r\nsubscriptions_behind:0\r\nsubscriptions_lag_events_max:0\r\n" in information
    assert len(lines.splitlines()) == 1


def test_the_lag_of_a_client_that_does_not_read_is_shown(server: SteppedServer) -> None:
    connection = subscribed(server, query(stream=STREAM))
    connection.conversation.unwritable()
    stored(server, STREAM, 0, *["x"] * 7)
    other = server.connect()
    other.send(request("INFO", "eventflow"))
    assert b"\r\nsubscriptions_lag_events_max:7\r\n" in read_replies(other.take())[0]


def test_of_one_with_a_filter_the_lag_is_what_it_has_yet_to_look_through(server: SteppedServer) -> None:
    connection = subscribed(server, query(types=["a"]))
    connection.conversation.unwritable()
    added(server, {"type": "b"}, {"type": "a"}, {"type": "b"})
    other = server.connect()
    other.send(request("INFO", "eventflow"))
    assert b"\r\nsubscriptions_lag_events_max:3\r\n" in read_replies(other.take())[0]
