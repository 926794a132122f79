"""SUBSCRIBE on a real server: stock clients and raw sockets, slow readers, and restarts."""

import asyncio
import json
import subprocess
import threading
import uuid
from typing import Any

import pytest
import redis
import redis.asyncio

from tests.conftest import StartServer
from tests.system.resp import Connection, encode
from tests.system.server import Server, wait_until

pytestmark = pytest.mark.system

ALL = json.dumps({"offset": "0" * 26})
MIB = 1 << 20


def events(count: int, size: int = 1) -> list[dict[str, Any]]:
    """Events to be appended."""
    return [{"type": "t", "data": "x" * size}] * count


def subscribe(server: Server, *queries: str) -> Connection:
    """A connection with subscriptions, in RESP2."""
    connection = server.connect()
    connection.send(encode("SUBSCRIBE", *queries))
    for number, query in enumerate(queries, 1):
        assert connection.read() == [b"subscribe", query.encode(), number]
    return connection


def next_event(connection: Connection) -> Any:
    """The event of the next message."""
    message = connection.read()
    assert isinstance(message, list)
    kind, _, payload = message
    assert kind == b"message"
    assert isinstance(payload, bytes)
    return json.loads(payload)


def append(server: Server, count: int, batch: int = 1, size: int = 1) -> None:
    """Append events to a stream of one's own, so many at a time."""
    stream = str(uuid.uuid4())
    with server.connect() as connection:
        for version in range(0, count, batch):
            connection.add(stream, version, *events(batch, size))


def test_subscribers_that_come_at_any_time_see_the_whole_log_in_order(server: Server) -> None:
    append(server, 3000, 1000)
    seen: list[list[int]] = []

    def follow() -> None:
        with subscribe(server, ALL) as connection:
            positions = [next_event(connection)["position"] for _ in range(4500)]
            seen.append(positions)

    writers = [threading.Thread(target=append, args=(server, 500, batch)) for batch in (1, 5, 50)]
    followers = [threading.Thread(target=follow) for _ in range(6)]
    for writer, pair in zip(writers, (followers[:2], followers[2:4], followers[4:]), strict=True):
        writer.start()
        for follower in pair:
            follower.start()
    for thread in writers + followers:
        thread.join()
    assert seen == [list(range(1, 4501))] * 6


def test_one_that_does_not_read_costs_bounded_memory_delays_nobody_and_loses_nothing(server: Server) -> None:
    count, size = 60_000, 1000
    with subscribe(server, "{}") as slow, subscribe(server, "{}") as quick:
        before = server.private_bytes()
        writer = threading.Thread(target=append, args=(server, count, 500, size))
        writer.start()
        assert [next_event(quick)["position"] for _ in range(count)] == list(range(1, count + 1))
        writer.join()
        assert server.private_bytes() - before < 40 * MIB, "of some 75 MB that one subscriber has not taken"
        with server.connect() as other:
            assert b"subscriptions_behind:1\r\n" in bytes_of(other.call("INFO", "eventflow"))
        assert [next_event(slow)["position"] for _ in range(count)] == list(range(1, count + 1))


def bytes_of(reply: object) -> bytes:
    """A bulk string."""
    assert isinstance(reply, bytes)
    return reply


def test_a_subscriber_is_never_idle(start_server: StartServer) -> None:
    server = start_server(IDLE_TIMEOUT="1")
    with subscribe(server, "{}") as subscriber, server.connect() as other:
        assert other.read_to_end() == b""
        append(server, 1)
        assert next_event(subscriber)["position"] == 1


def test_sigterm_ends_subscribers_like_others(server: Server) -> None:
    with subscribe(server, "{}") as subscriber:
        server.terminate()
        assert subscriber.read_to_end() == b""


def test_redis_cli_shows_events_as_they_come(server: Server) -> None:
    listening = subprocess.Popen(
        ["redis-cli", "-p", str(server.port), "SUBSCRIBE", ALL], stdout=subprocess.PIPE, text=True
    )
    assert listening.stdout is not None
    lines = [listening.stdout.readline().strip() for _ in range(3)]
    append(server, 2)
    lines += [listening.stdout.readline().strip() for _ in range(6)]
    listening.kill()
    listening.communicate()
    assert lines[:3] == ["subscribe", ALL, "1"]
    assert lines[3:5] == lines[6:8] == ["message", ALL]
    assert [json.loads(line)["position"] for line in (lines[5], lines[8])] == [1, 2]


# redis-py: what it hands to user code, and what it does by itself when the connection breaks.


def next_message(listening: Any) -> Any:
    """The next message that redis-py hands out; it may have to connect anew before."""
    while True:
        try:
            message = listening.get_message(timeout=10)
        except redis.ConnectionError:
            continue  # the server is not back yet
        if message is not None:
            return message


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_hands_out_events(server: Server, protocol: int) -> None:
    stream = str(uuid.uuid4())
    query = json.dumps({"stream": stream, "version": 0})
    with redis.Redis(port=server.port, protocol=protocol) as client, client.pubsub() as listening:
        listening.subscribe(query, "{}")
        confirmed = [next_message(listening) for _ in range(2)]
        assert [(found["type"], found["channel"], found["data"]) for found in confirmed] == [
            ("subscribe", query.encode(), 1),
            ("subscribe", b"{}", 2),
        ]
        add = {"stream": stream, "version": 0, "events": events(1)}
        (added,) = client.execute_command("ADD", json.dumps(add))
        got = sorted([next_message(listening) for _ in range(2)], key=lambda found: bytes(found["channel"]))
        assert [(found["type"], found["channel"], found["data"]) for found in got] == sorted(
            [("message", query.encode(), added), ("message", b"{}", added)], key=lambda found: found[1]
        )
        listening.ping()
        listening.unsubscribe()
        kinds = [next_message(listening)["type"] for _ in range(3)]
        assert kinds == ["pong", "unsubscribe", "unsubscribe"]


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_tells_of_a_wrong_query(server: Server, protocol: int) -> None:
    with redis.Redis(port=server.port, protocol=protocol) as client, client.pubsub() as listening:
        listening.subscribe('{"steam": 1}')
        with pytest.raises(redis.ResponseError, match="steam: unknown field"):
            next_message(listening)


@pytest.mark.parametrize("protocol", [2, 3])
def test_when_redis_py_resubscribes_by_itself_a_query_from_now_on_misses_the_gap_and_one_with_a_place_repeats(
    start_server: StartServer, protocol: int
) -> None:
    """So programs drop the positions that they have seen, as docs/subscriptions.md shows."""
    server = start_server()
    port = server.port
    with redis.Redis(port=port, protocol=protocol) as client, client.pubsub() as now, client.pubsub() as all_of_it:
        now.subscribe("{}")
        all_of_it.subscribe(ALL)
        assert next_message(now)["type"] == next_message(all_of_it)["type"] == "subscribe"
        append(server, 2)
        assert positions(now, 2) == positions(all_of_it, 2) == [1, 2]
        server.terminate()
        with start_server() as elsewhere:
            append(elsewhere, 2)
            elsewhere.terminate()
        server = start_server(PORT=str(port))
        # Which notices the end only when it is asked for a message.
        assert next_message(now)["type"] == next_message(all_of_it)["type"] == "subscribe"
        append(server, 1)
        assert positions(now, 1) == [5], "those between are missed"
        assert positions(all_of_it, 5) == [1, 2, 3, 4, 5], "those before come again"


def positions(listening: Any, count: int) -> list[int]:
    """The positions of the next events that redis-py hands out."""
    found = [next_message(listening) for _ in range(count)]
    assert {message["type"] for message in found} == {"message"}
    return [json.loads(message["data"])["position"] for message in found]


def test_redis_py_asyncio_follows_through_a_restart_by_dropping_what_it_has_seen(start_server: StartServer) -> None:
    server = start_server()
    port = server.port
    seen: list[int] = []

    async def follow() -> None:
        client = redis.asyncio.Redis(port=port)
        async with client, client.pubsub() as listening:
            await listening.subscribe(ALL)
            while len(seen) < 300:
                try:
                    message = await listening.get_message(timeout=10)
                except redis.ConnectionError:
                    await asyncio.sleep(0.01)
                    continue
                if message is not None and message["type"] == "message":
                    position = json.loads(message["data"])["position"]
                    if position > (seen[-1] if seen else 0):
                        seen.append(position)

    follower = threading.Thread(target=lambda: asyncio.run(follow()))
    follower.start()
    append(server, 100)
    wait_until(lambda: len(seen) >= 50)
    server.kill()
    server = start_server(PORT=str(port))
    append(server, 200)
    follower.join()
    assert seen == list(range(1, 301))
