"""The clients over redis-py: filtered reads, what there is, and subscriptions that outlive their connections."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from eventflowdb.client import asyncio_client, asyncio_connections, blocking_client, blocking_connections, subscriptions
from eventflowdb.client.refusals import ClientClosed, ConnectionLost, NotConnected
from eventflowdb.errors import CorruptRecord, InvalidArgument, WrongPassword
from eventflowdb.events import NewEvent, RecordedEvent
from eventflowdb.queries import StreamSummary, TypeSummary
from tests.conftest import StartServer
from tests.system.server import Server

from .redis_py_clients import AsyncioFace, BlockingFace, Face, ScriptedServer
from .samples import EVENT, STREAM, array, bulk, event_json

ZERO_ID = "0" * 26
PASSWORD = "open sésame"
OPENED = NewEvent(type="Opened", data="")
CONFIRMED = array(bulk(b"subscribe"), bulk(b"{}"), b":1\r\n")


@pytest.fixture(params=[BlockingFace, AsyncioFace], ids=["blocking", "asyncio"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    face = request.param()
    yield face
    face.close()


def message(number: int) -> bytes:
    """A message with one of many events."""
    return array(bulk(b"message"), bulk(b"{}"), bulk(event_json(number)))


def positions(events: list[RecordedEvent]) -> list[int]:
    """Where some events stand in the log."""
    return [event.position for event in events]


# Against a server that says what it is told.


def test_a_subscription_goes_on_behind_the_last_event_when_its_connection_breaks(face: Face) -> None:
    answers = iter([CONFIRMED + message(1) + message(2), None, CONFIRMED + message(3), CONFIRMED])
    queries: list[Any] = []

    def answer(words: list[bytes]) -> bytes | None:
        assert words[0] == b"SUBSCRIBE"
        queries.append(json.loads(words[1]))
        return next(answers)

    with ScriptedServer(answer) as server:
        client = face.connect(port=server.port)
        subscribed = face.subscribe(client, types=["Opened"], offset=ZERO_ID)
        assert positions(face.take(subscribed, 2)) == [1, 2]
        server.hang_up()
        (third,) = face.take(subscribed, 1)
        face.end(subscribed)
        client.disconnect()
    assert third.position == 3
    second = EVENT.id[:-1] + "2"
    assert queries == [{"types": ["Opened"], "offset": ZERO_ID}] + [{"types": ["Opened"], "after": second}] * 2


def test_from_now_on_is_a_place_that_a_broken_connection_does_not_move(face: Face) -> None:
    def answer(words: list[bytes]) -> bytes:
        if words[0] == b"CHECKSUM":
            return array(bulk(EVENT.id.encode()), bulk(b"0" * 64))
        queries.append(json.loads(words[1]))
        return CONFIRMED if len(queries) == 1 else CONFIRMED + message(2)

    queries: list[Any] = []
    with ScriptedServer(answer) as server:
        client = face.connect(port=server.port)
        subscribed = face.subscribe(client)
        breaking = threading.Timer(0.2, server.hang_up)
        breaking.start()
        assert positions(face.take(subscribed, 1)) == [2]
        breaking.join()
        face.end(subscribed)
        client.disconnect()
    assert queries == [{"after": EVENT.id}] * 2


def test_what_the_server_tells_of_damage_is_raised(face: Face) -> None:
    with ScriptedServer(lambda _words: CONFIRMED + message(1) + b"-CORRUPT a flipped bit\r\n") as server:
        client = face.connect(port=server.port)
        subscribed = face.subscribe(client, offset=ZERO_ID)
        face.take(subscribed, 1)
        with pytest.raises(CorruptRecord, match="a flipped bit"):
            face.take(subscribed, 1)
        client.disconnect()


def test_a_query_that_is_wrong_is_refused(face: Face) -> None:
    with ScriptedServer(lambda _words: b"-INVALIDARG types[0]: expected a string\r\n") as server:
        client = face.connect(port=server.port)
        with pytest.raises(InvalidArgument, match=r"types\[0\]"):
            face.take(face.subscribe(client, types=["x"], offset=ZERO_ID), 1)
        client.disconnect()


def test_a_server_that_cannot_be_reached_at_first_is_told_of(face: Face) -> None:
    with ScriptedServer(lambda _words: None) as server:
        client = face.connect_lazily(port=server.port)
        server.stop_listening()
        with pytest.raises(NotConnected):
            face.take(face.subscribe(client, after=ZERO_ID), 1)
        client.disconnect()
        with pytest.raises(ClientClosed):
            face.take(face.subscribe(client, after=ZERO_ID), 1)


def test_a_silent_server_is_asked_for_a_sign_of_life_and_then_left(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (subscriptions, asyncio_connections, blocking_connections):
        monkeypatch.setattr(module, "SILENCE_SECONDS_MAX", 0.05)
    asked: list[bytes] = []

    def answer(words: list[bytes]) -> bytes:
        asked.append(words[0])
        if words[0] == b"PING":
            return array(bulk(b"pong"), bulk(b"")) if asked.count(b"PING") < 3 else b""
        return CONFIRMED if asked.count(b"SUBSCRIBE") == 1 else CONFIRMED + message(1)

    with ScriptedServer(answer) as server:
        client = face.connect(port=server.port)
        subscribed = face.subscribe(client, after=ZERO_ID)
        assert positions(face.take(subscribed, 1)) == [1]
        face.end(subscribed)
        client.disconnect()
    assert asked == [b"SUBSCRIBE", b"PING", b"PING", b"PING", b"SUBSCRIBE"]


def test_closing_the_client_ends_what_its_subscriptions_wait_for() -> None:
    with ScriptedServer(lambda _words: CONFIRMED) as server:
        client = blocking_client.connect(port=server.port)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(next, client.subscribe(after=ZERO_ID))
            while not server.requests:
                time.sleep(0.01)
            client.disconnect()
            with pytest.raises(ClientClosed):
                waiting.result(30)


def test_closing_the_asyncio_client_ends_what_its_subscriptions_wait_for() -> None:
    async def use(server: ScriptedServer) -> None:
        client = await asyncio_client.connect(port=server.port)
        waiting = asyncio.ensure_future(anext(client.subscribe(after=ZERO_ID)))
        while not server.requests:
            await asyncio.sleep(0.01)
        await client.disconnect()
        with pytest.raises(ClientClosed):
            await waiting
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with ScriptedServer(lambda _words: CONFIRMED) as server:
        asyncio.run(use(server))


def test_a_cancelled_task_ends_its_subscription() -> None:
    async def use(server: ScriptedServer) -> None:
        async with await asyncio_client.connect(port=server.port) as client:

            async def follow() -> None:
                async for _ in client.subscribe(after=ZERO_ID):
                    pass

            following = asyncio.ensure_future(follow())
            while not server.requests:
                await asyncio.sleep(0.01)
            following.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with ScriptedServer(lambda _words: CONFIRMED) as server:
        asyncio.run(use(server))


# Against a real server.


@pytest.mark.system
def test_filters_select_and_pages_follow_each_other(face: Face, server: Server) -> None:
    client = face.connect(port=server.port)
    streams = [uuid4(), uuid4()]
    random = Random(5)
    log: list[RecordedEvent] = []
    for index in range(60):
        event = NewEvent(
            type=random.choice(["a", "b"]),
            data="",
            tags=tuple(random.sample(["x", "y"], random.randint(0, 2))),
            correlation_id=log[0].id if index % 7 == 3 else None,
        )
        log += client.add(streams[index % 2], "any", [event])
    wanted = [event for event in log if event.type == "a" and "x" in event.tags]
    assert client.get_all(types=["a"], tags=("x",)) == wanted
    assert client.get_all(types=["a"], tags=["x"], backwards=True, limit=3) == wanted[::-1][:3]
    assert client.get_all(correlation_id=log[0].id) == [event for event in log if event.correlation_id == log[0].id]
    assert client.get_all(causation_id=log[5].id) == [log[5]]
    assert client.get_all(after=log[9].id, before=log[12].id) == log[10:12]
    moment = datetime.fromisoformat(log[30].added_at.replace("Z", "+00:00"))
    assert client.get_all(since=moment, until=moment + timedelta(microseconds=1)) == [
        event for event in log if event.added_at == log[30].added_at
    ]
    own = [event for event in log if event.stream == str(streams[1])]
    assert client.get(streams[1], after=own[3].id, types=["a", "b"]) == own[4:]
    assert client.get(streams[1], backwards=True) == own[::-1]
    for page_events in (1, 7, 1000):
        pages: dict[str, Any] = {"page_events": page_events}
        assert face.read_all(client, types=["a"], tags=["x"], **pages) == wanted
        assert face.read_all(client, types=["a"], tags=["x"], backwards=True, **pages) == wanted[::-1]
        assert face.read_all(client, backwards=True, **pages) == log[::-1]
        assert face.read_all(client, stream=streams[1], **pages) == own
        assert face.read_all(client, stream=streams[1], version=4, **pages) == own[4:]
        assert face.read_all(client, stream=streams[1], after=own[4].id, **pages) == own[5:]
        assert face.read_all(client, stream=streams[1], version=3, backwards=True, **pages) == own[:2:-1]
    client.disconnect()


@pytest.mark.system
def test_events_streams_and_types_are_looked_up(face: Face, server: Server) -> None:
    client = face.connect(port=server.port)
    assert client.event(ZERO_ID) is None
    assert client.stream(uuid4()) is None
    assert client.streams() == client.types() == []
    first, second = uuid4(), uuid4()
    opened, closed = client.add(first, 0, [OPENED, NewEvent(type="Closed", data="", tags=("x",))])
    (other,) = client.add(second, 0, [OPENED])
    assert client.event(closed.id.lower()) == closed
    told = StreamSummary(str(first), 2, opened.id, opened.added_at, closed.id, closed.added_at)
    assert client.stream(first) == told
    assert UUID(client.stream(second).stream) == second
    assert [found.first_id for found in client.streams()] == [opened.id, other.id]
    assert client.streams(tags=["x"]) == client.streams(limit=1) == [told]
    assert [found.stream for found in client.streams(after=first)] == [str(second)]
    assert client.types() == [TypeSummary("Closed", 1), TypeSummary("Opened", 2)]
    assert client.types(after="Closed", limit=1) == [TypeSummary("Opened", 2)]
    client.disconnect()


@pytest.mark.system
def test_a_subscription_gives_history_and_then_what_comes(face: Face, server: Server) -> None:
    client = face.connect(port=server.port)
    history = client.add(uuid4(), 0, [OPENED, NewEvent(type="Closed", data="")] * 3)
    whole = face.subscribe(client, offset=ZERO_ID)
    some = face.subscribe(client, types=["Closed"], after=history[1].id)
    recent = face.subscribe(client, since=datetime.now(timezone.utc) - timedelta(hours=1), tags=[])
    assert face.take(whole, 6) == face.take(recent, 6) == history
    assert face.take(some, 2) == [history[3], history[5]]
    new = client.add(uuid4(), 0, [OPENED, NewEvent(type="Closed", data="")])
    assert face.take(whole, 2) == face.take(recent, 2) == new
    assert face.take(some, 1) == new[1:]
    for subscribed in (whole, some, recent):
        face.end(subscribed)
    client.disconnect()


@pytest.mark.system
def test_a_wrong_password_ends_a_subscription(face: Face, start_server: StartServer) -> None:
    server = start_server(PASSWORD=PASSWORD)
    client = face.connect_lazily(port=server.port, password="wrong")
    with pytest.raises(WrongPassword):
        face.take(face.subscribe(client, offset=ZERO_ID), 1)
    client.disconnect()


@pytest.mark.system
def test_nothing_is_missing_and_nothing_comes_twice_when_the_server_is_killed_and_comes_back(
    face: Face, start_server: StartServer
) -> None:
    server = start_server(PASSWORD=PASSWORD)
    port, count = server.port, 1500
    client = face.connect(port=port, password=PASSWORD)
    has_begun = threading.Event()

    def write() -> None:
        with blocking_client.connect(port=port, password=PASSWORD) as writer:
            for index in range(count):
                event = NewEvent(type="odd" if index % 2 else "even", data=str(index))
                request_id = f"r{index}"
                while True:
                    try:
                        writer.add(STREAM, "any", [event], request_id=request_id)
                        break
                    except ConnectionLost:
                        time.sleep(0.1)
                if index == 100:
                    has_begun.set()

    def interrupt() -> None:
        has_begun.wait(60)
        running = server
        for _ in range(2):
            running.kill()
            running = start_server(PASSWORD=PASSWORD, PORT=str(port))
            assert running.port == port
            time.sleep(0.3)

    with ThreadPoolExecutor(2) as threads:
        work = [threads.submit(write), threads.submit(interrupt)]
        whole = face.subscribe(client, offset=ZERO_ID)
        odd = face.subscribe(client, types=["odd"], offset=ZERO_ID)
        found = face.take(whole, count)
        assert [event.data for event in face.take(odd, count // 2)] == [str(index) for index in range(1, count, 2)]
        for done in work:
            done.result(60)
    assert [event.data for event in found] == [str(index) for index in range(count)]
    assert positions(found) == list(range(1, count + 1))
    face.end(whole)
    face.end(odd)
    client.disconnect()
