"""The clients over redis-py: members of consumers, against a server that says what it is told and a real one."""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from eventflowdb.client import (
    asyncio_client,
    asyncio_connections,
    blocking_client,
    blocking_connections,
)
from eventflowdb.client.appends import StreamAppend
from eventflowdb.client.consumers import ConsumerQuery
from eventflowdb.client.refusals import ClientClosed, NotConnected
from eventflowdb.errors import CorruptRecord, InvalidArgument, NoSuchConsumer, NotHeld
from eventflowdb.events import NewEvent, RecordedEvent
from eventflowdb.ids import ZERO_ULID
from tests.conftest import StartServer
from tests.system.server import Server

from .redis_py_clients import Answer, AsyncioFace, BlockingFace, Face, ScriptedServer
from .samples import EVENT, STREAM, array, bulk, event_json

LOST = None
"""The connection breaks instead of an answer."""


@pytest.fixture(params=[BlockingFace, AsyncioFace], ids=["blocking", "asyncio"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    face = request.param()
    yield face
    face.close()


def giving(*pages: bytes | None) -> Answer:
    """Answers each FETCH with the next of these, and what became of events with 1."""
    left = iter(pages)
    return lambda words: next(left) if words[0] == b"FETCH" else b":1\r\n"


def page(*numbers: int) -> bytes:
    """An answer with these of many events."""
    return array(*[bulk(event_json(number)) for number in numbers])


def said(server: ScriptedServer) -> list[tuple[str, dict[str, Any]]]:
    """What was said to the server of the consumer c."""
    requests = [(words[0].decode(), json.loads(words[1])) for words in server.requests]
    assert all(argument.pop("consumer") == "c" for _, argument in requests)
    return requests


def positions(events: list[RecordedEvent]) -> list[int]:
    return [event.position for event in events]


FETCH = ("FETCH", {"member": "m", "limit": 100, "wait_ms": 20_000})
RELEASE = ("NACK", {"member": "m", "release": True})


def id_of(number: int) -> str:
    event_id: str = json.loads(event_json(number))["id"]
    return event_id


# Against a server that says what it is told.


def test_a_member_gets_events_page_by_page_and_says_what_became_of_them(face: Face) -> None:
    with ScriptedServer(giving(page(1, 2), page(), page(3))) as server:
        client = face.connect(port=server.port)
        consumer = face.consumer(client, "c", member="m", limit=2, wait_ms=1234)
        first, second, third = face.take(consumer, 3)
        assert consumer.ack(first) == 1
        assert consumer.ack([second, third.id]) == 1
        assert consumer.extend(third) is None
        assert consumer.release([third]) == 1
        assert consumer.nack(third, delay_ms=5, reason="r") == 1
        assert consumer.nack(third, park=True) == 1
        assert consumer.ack([]) == 0
        consumer.close()
        consumer.close()
        client.disconnect()
    fetch = ("FETCH", {"member": "m", "limit": 2, "wait_ms": 1234})
    assert said(server) == [
        fetch,
        fetch,
        fetch,
        ("ACK", {"member": "m", "ids": [id_of(1)]}),
        ("ACK", {"member": "m", "ids": [id_of(2), id_of(3)]}),
        ("ACK", {"member": "m", "extend": [id_of(3)]}),
        ("NACK", {"member": "m", "ids": [id_of(3)], "release": True}),
        ("NACK", {"member": "m", "ids": [id_of(3)], "delay_ms": 5, "reason": "r"}),
        ("NACK", {"member": "m", "ids": [id_of(3)], "park": True}),
        RELEASE,
    ]


def test_pages_come_as_they_are_and_after_a_loop_what_it_left(face: Face) -> None:
    with ScriptedServer(giving(page(1, 2), page(), page(3), page(4, 5))) as server:
        client = face.connect(port=server.port)
        consumer = face.consumer(client, "c")
        assert [positions(events) for events in face.pages(consumer, 2)] == [[1, 2], [3]]
        assert positions(face.take(consumer, 1)) == [4]
        assert [positions(events) for events in face.pages(consumer, 1)] == [[5]]
        client.disconnect()


def test_after_a_lost_answer_a_member_has_another_name_and_answers_under_the_one_it_got_an_event_by(
    face: Face,
) -> None:
    with ScriptedServer(giving(page(1, 2), LOST, page(3))) as server:
        client = face.connect(port=server.port)
        consumer = face.consumer(client, "c", member="m")
        events = face.take(consumer, 3)
        other = consumer.member
        consumer.ack(events)
        assert [consumer.checkpoint(event).member for event in events] == ["m", "m", other]
        consumer.close()
        client.disconnect()
    assert other.startswith("m:")
    fetches = [FETCH, FETCH, ("FETCH", {**FETCH[1], "member": other})]
    acks = [("ACK", {"member": "m", "ids": [id_of(1), id_of(2)]}), ("ACK", {"member": other, "ids": [id_of(3)]})]
    assert said(server) == [*fetches, *acks, ("NACK", {"member": other, "release": True}), RELEASE]


def test_an_answer_that_never_comes_is_a_lost_one(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (asyncio_connections, blocking_connections):
        monkeypatch.setattr(module, "SILENCE_SECONDS_MAX", 0.1)
    with ScriptedServer(giving(b"", b"*1\r\n$300\r\n{", page(1))) as server:
        client = face.connect(port=server.port)
        # Only the requests for events may be that late.
        consumer = face.consumer(client, "c", member="m", wait_ms=1)
        assert positions(face.take(consumer, 1)) == [1]
        client.disconnect()
    names = [argument["member"] for _, argument in said(server)]
    assert names[0] == "m"
    assert len(set(names)) == 3


def test_a_server_that_has_no_time_is_asked_again_under_the_same_name(face: Face) -> None:
    with ScriptedServer(giving(b"-TRYAGAIN the server is shutting down\r\n", page(1))) as server:
        client = face.connect(port=server.port)
        consumer = face.consumer(client, "c", member="m")
        assert positions(face.take(consumer, 1)) == [1]
        client.disconnect()
    assert said(server) == [FETCH, FETCH]


def test_what_fails_in_the_body_is_not_acked_and_is_given_back(face: Face) -> None:
    def decide(event: RecordedEvent) -> str:
        if event.position == 2:
            raise ZeroDivisionError
        return "ack"

    with ScriptedServer(giving(page(1, 2, 3))) as server:
        client = face.connect(port=server.port)
        with pytest.raises(ZeroDivisionError):
            face.work(face.consumer(client, "c", member="m"), decide)
        client.disconnect()
    assert said(server) == [FETCH, ("ACK", {"member": "m", "ids": [id_of(1)]}), RELEASE]


def test_after_its_end_it_gives_no_more(face: Face) -> None:
    with ScriptedServer(giving(page(1, 2, 3))) as server:
        client = face.connect(port=server.port)
        consumer = face.consumer(client, "c", member="m")
        face.work(consumer, lambda _event: None)
        face.work(consumer, lambda event: pytest.fail(f"{event.position} came after the end"))
        client.disconnect()
    assert said(server) == [FETCH, RELEASE]


def test_who_never_asked_holds_nothing_and_gives_nothing_back(face: Face) -> None:
    with ScriptedServer(giving()) as server:
        client = face.connect(port=server.port)
        face.consumer(client, "c").close()
        client.disconnect()
    assert server.requests == []


def test_what_became_of_an_event_is_said_again_when_the_connection_breaks(face: Face) -> None:
    answers = iter([None, b":1\r\n"] * 2)
    with ScriptedServer(lambda _words: next(answers)) as server:
        client = face.connect(port=server.port)
        consumer = face.consumer(client, "c")
        assert (consumer.ack(EVENT), consumer.nack(EVENT)) == (1, 1)
        client.disconnect()
    assert [words[0] for words in server.requests] == [b"ACK", b"ACK", b"NACK", b"NACK"]


def test_what_the_server_refuses_is_raised(face: Face) -> None:
    refusals = {
        b"FETCH": b"-NOCONSUMER there is no consumer c\r\n",
        b"ACK": f"-CONCURRENCY consumer=c event={EVENT.id}: this member does not hold the event\r\n".encode(),
        b"NACK": b"-NOCONSUMER there is no consumer c\r\n",
    }
    with ScriptedServer(lambda words: refusals[words[0]]) as server:
        client = face.connect(port=server.port)
        consumer = face.consumer(client, "c", member="m")
        with pytest.raises(NoSuchConsumer):
            face.take(consumer, 1)
        with pytest.raises(NotHeld) as refused:
            consumer.ack(EVENT)
        consumer.close()
        client.disconnect()
    assert (refused.value.consumer, refused.value.event) == ("c", EVENT.id)
    assert consumer.member == "m"


def test_an_error_in_a_page_is_raised_and_costs_the_name(face: Face) -> None:
    damaged = array(bulk(event_json(1)), b"-CORRUPT a flipped bit\r\n")
    with ScriptedServer(giving(damaged)) as server:
        client = face.connect(port=server.port)
        consumer = face.consumer(client, "c", member="m")
        with pytest.raises(CorruptRecord):
            face.take(consumer, 1)
        client.disconnect()
    assert consumer.member != "m"


def test_a_server_that_cannot_be_reached_at_first_is_told_of(face: Face) -> None:
    with ScriptedServer(giving()) as server:
        client = face.connect_lazily(port=server.port)
    consumer = face.consumer(client, "c", member="m")
    with pytest.raises(NotConnected):
        face.take(consumer, 1)
    assert consumer.member == "m"
    consumer.close()
    client.disconnect()
    with pytest.raises(ClientClosed):
        face.take(face.consumer(client, "c"), 1)


def test_members_that_wait_take_no_connection_from_the_others(face: Face) -> None:
    with ScriptedServer(giving(page(1), page(2))) as server:
        client = face.connect(port=server.port, pool_size=1)
        members = [face.consumer(client, "c") for _ in range(2)]
        for member in members:
            face.take(member, 1)
            assert member.ack(EVENT) == 1
            member.close()
        client.disconnect()


def test_closing_a_consumer_or_the_client_ends_what_another_thread_waits_for() -> None:
    with ScriptedServer(giving(*[b""] * 2)) as server, ThreadPoolExecutor(1) as threads:
        client = blocking_client.connect(port=server.port)
        consumer = client.consumer("c", member="m")
        waiting = threads.submit(list, consumer)
        while not server.requests:
            time.sleep(0.01)
        consumer.close()
        assert waiting.result(30) == []
        assert said(server) == [FETCH, RELEASE]
        waiting = threads.submit(list, client.consumer("c"))
        while len(server.requests) < 3:
            time.sleep(0.01)
        client.disconnect()
        with pytest.raises(ClientClosed):
            waiting.result(30)


def test_closing_a_consumer_or_the_asyncio_client_ends_what_another_task_waits_for() -> None:
    async def asked(server: ScriptedServer, count: int) -> None:
        while len(server.requests) < count:
            await asyncio.sleep(0.01)

    async def use(server: ScriptedServer) -> None:
        client = await asyncio_client.connect(port=server.port)
        consumer = client.consumer("c", member="m")
        waiting = asyncio.ensure_future(anext(consumer, None))
        await asked(server, 1)
        await consumer.close()
        assert await waiting is None
        waiting = asyncio.ensure_future(anext(client.consumer("c"), None))
        await asked(server, 3)
        await client.disconnect()
        with pytest.raises(ClientClosed):
            await waiting
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with ScriptedServer(giving(*[b""] * 2)) as server:
        asyncio.run(use(server))
    assert said(server)[:2] == [FETCH, RELEASE]


def test_a_task_that_was_cancelled_while_it_waited_leaves_its_name() -> None:
    async def use(server: ScriptedServer) -> None:
        async with await asyncio_client.connect(port=server.port) as client:
            consumer = client.consumer("c", member="m")
            waiting = asyncio.ensure_future(anext(consumer))
            while not server.requests:
                await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (await anext(consumer)).position == 1
            await consumer.close()

    with ScriptedServer(giving(b"", page(1))) as server:
        asyncio.run(use(server))
    fetched, again, *released = said(server)
    other = again[1]["member"]
    assert (fetched, other != "m") == (FETCH, True)
    assert released == [("NACK", {"member": other, "release": True}), RELEASE]


# Against a real server.


def numbered(count: int) -> list[NewEvent]:
    return [NewEvent(type="A", data=str(number)) for number in range(count)]


@pytest.fixture
def client(face: Face, server: Server) -> Iterator[Any]:
    client = face.connect(port=server.port)
    yield client
    client.disconnect()


@pytest.mark.system
def test_a_consumer_is_made_listed_begun_anew_and_deleted(face: Face, client: Any) -> None:
    stream = uuid4()
    options: dict[str, Any] = {"stream": stream, "types": ["A"], "tags": ["a"], "timeout_ms": 5000, "tries_max": 3}
    assert client.consumers() == []
    made = client.create_consumer("c", **options)
    assert (made.name, made.timeout_ms, made.retry_ms, made.tries_max) == ("c", 5000, 1000, 3)
    assert (made.query, made.checkpoint) == (ConsumerQuery(str(stream), ("A",), ("a",)), ZERO_ULID)
    assert client.create_consumer("c", **options) == made
    with pytest.raises(InvalidArgument):
        client.create_consumer("c", **{**options, "tries_max": 4})
    (stored,) = client.add(stream, 0, [NewEvent(type="A", data="", tags=("a",))])
    (status,) = client.consumers()
    assert (status.name, status.query, status.lag, status.lag_is_whole) == ("c", made.query, 1, True)
    assert (status.in_flight, status.members, status.parked) == (0, 0, 0)
    assert client.reset_consumer("c", "end").checkpoint == stored.id
    assert client.reset_consumer("c").checkpoint == ZERO_ULID
    client.delete_consumer("c")
    assert client.consumers() == []
    for refused in (client.delete_consumer, client.reset_consumer, client.parked_events, client.replay_parked):
        with pytest.raises(NoSuchConsumer):
            refused("c")
    with pytest.raises(NoSuchConsumer):
        face.take(face.consumer(client, "c"), 1)


@pytest.mark.system
def test_what_was_acked_does_not_come_again_and_what_raised_does(face: Face, client: Any) -> None:
    stored = client.add(STREAM, 0, numbered(5))
    client.create_consumer("c")

    def decide(event: RecordedEvent) -> str:
        if event.version == 2:
            raise ZeroDivisionError
        return "ack"

    with pytest.raises(ZeroDivisionError):
        face.work(face.consumer(client, "c"), decide)
    assert client.consumers()[0].checkpoint == stored[1].id
    other = face.consumer(client, "c", limit=2)
    for expected in (stored[2:4], stored[4:]):
        (events,) = face.pages(other, 1)
        assert events == expected
        assert [other.ack(events), other.ack(events)] == [len(expected), 0]
    other.close()
    (status,) = client.consumers()
    assert (status.lag, status.checkpoint, status.in_flight) == (0, stored[4].id, 0)


@pytest.mark.system
def test_what_fails_comes_again_is_parked_with_its_reason_and_is_replayed(face: Face, client: Any) -> None:
    failing, second = client.add(STREAM, 0, numbered(2))
    client.create_consumer("c", tries_max=2)
    consumer = face.consumer(client, "c", limit=1)
    for reason in ("cannot", "still cannot"):
        (event,) = face.take(consumer, 1)
        consumer.extend(event)
        assert consumer.nack(event, delay_ms=1, reason=reason) == 1
    (event,) = face.take(consumer, 1)
    assert consumer.nack(event, park=True) == 1
    parked = client.parked_events("c")
    assert [(item.event, item.tries, item.reason) for item in parked] == [
        (failing, 2, "still cannot"),
        (second, 1, ""),
    ]
    assert client.parked_events("c", after=failing.id, limit=1) == parked[1:]
    assert (client.replay_parked("c", [failing.id]), client.replay_parked("c")) == (1, 1)
    assert face.take(consumer, 1) == [failing]
    assert consumer.release(failing) == 1
    assert face.take(consumer, 1) == [failing]
    consumer.close()
    assert client.parked_events("c") == []


@pytest.mark.system
def test_an_append_acks_the_event_that_it_is_made_of_once(face: Face, client: Any) -> None:
    event, _ = client.add(STREAM, 0, numbered(2))
    client.create_consumer("c", stream=STREAM)
    results = uuid4()
    consumer = face.consumer(client, "c")
    first, second = face.take(consumer, 2)
    client.add(results, 0, numbered(1), checkpoint=consumer.checkpoint(first))
    with pytest.raises(NotHeld) as refused:
        client.add(results, 1, numbered(1), checkpoint=consumer.checkpoint(first))
    assert (refused.value.consumer, refused.value.event) == ("c", event.id)
    many = [StreamAppend(results, 1, numbered(1))]
    client.add_many(many, checkpoint=consumer.checkpoint(second))
    assert len(client.get(results)) == 2
    assert client.consumers()[0].lag == 0
    consumer.close()


@pytest.mark.system
def test_a_member_that_timed_out_cannot_append_what_another_has_got(face: Face, client: Any) -> None:
    client.add(STREAM, 0, numbered(1))
    client.create_consumer("c", timeout_ms=50)
    late, other = face.consumer(client, "c"), face.consumer(client, "c")
    (event,) = face.take(late, 1)
    assert face.take(other, 1) == [event]
    with pytest.raises(NotHeld):
        client.add(uuid4(), 0, numbered(1), checkpoint=late.checkpoint(event))
    assert client.event_count() == 1
    other.close()
    late.close()


@pytest.mark.system
def test_what_is_closed_gives_back_what_it_held(face: Face, client: Any) -> None:
    stored = client.add(STREAM, 0, numbered(3))
    client.create_consumer("c", timeout_ms=600_000)
    for _ in range(2):
        consumer = face.consumer(client, "c")
        assert face.take(consumer, 1) == stored[:1]
        consumer.close()
    (status,) = client.consumers()
    assert (status.in_flight, status.members, status.parked) == (0, 0, 0)


@pytest.mark.system
def test_nothing_is_missing_or_out_of_order_when_the_server_is_killed_and_comes_back(
    face: Face, start_server: StartServer
) -> None:
    server = start_server()
    port, count = server.port, 300
    client = face.connect(port=port)
    client.add(STREAM, 0, numbered(count))
    client.create_consumer("c")
    seen: list[int] = []

    def decide(event: RecordedEvent) -> str | None:
        if event.version == 105 and 105 not in seen:
            server.kill()
            assert start_server(PORT=str(port)).port == port
        seen.append(event.version)
        return "ack" if event.version < count - 1 else None

    face.work(face.consumer(client, "c", limit=10), decide)
    client.disconnect()
    # An event may come once more, but none before the one ahead of it came.
    assert list(dict.fromkeys(seen)) == list(range(count))
