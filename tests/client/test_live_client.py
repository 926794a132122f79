"""The Twisted client and a real server; and the programs of docs/client.md, run as they stand there."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from eventflowdb import __version__
from eventflowdb.client.appends import StreamAppend, Unless
from eventflowdb.client.refusals import ConnectionLost
from eventflowdb.client.twisted_client import EventflowClient, connect, connect_lazily
from eventflowdb.errors import (
    InvalidArgument,
    NoSuchConsumer,
    NotAuthenticated,
    NotHeld,
    RequestConflict,
    UnlessMatched,
    WrongExpectedVersion,
    WrongPassword,
)
from eventflowdb.events import NewEvent, RecordedEvent
from eventflowdb.ids import ZERO_ULID
from eventflowdb.limits import MIB
from eventflowdb.queries import StreamSummary, TypeSummary
from tests.conftest import StartServer
from tests.system.installation import ROOT, Installation, run
from tests.system.server import Server

pytestmark = pytest.mark.system

PASSWORD = "open sésame"
OPENED = NewEvent(type="Opened", data="")
GUIDE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```\n.*?^```text\n(.*?)^```\n", GUIDE, re.MULTILINE | re.DOTALL)


class LiveClientTest(TestCase):
    """A server with a password, and a client of it."""

    timeout = 120

    @pytest.fixture(autouse=True)
    def _server(self, start_server: StartServer) -> None:
        self.start: Callable[..., Server] = start_server
        self.server = start_server(PASSWORD=PASSWORD)

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.port = self.server.port
        self.client = await connect(reactor, port=self.port, password=PASSWORD)

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.client.abort()

    async def positions(self, client: EventflowClient, page_events: int) -> list[int]:
        """Where the events of the whole log stand, as it is read page by page."""
        return [event.position async for event in client.read_all(page_events=page_events)]

    async def test_an_empty_server_answers_every_command(self) -> None:
        client = self.client
        assert await client.ping() == "PONG"
        assert await client.ping("42") == "42"
        assert await client.version() == __version__
        assert "second" in await client.uptime()
        assert (await client.size()).bytes > 0
        assert (await client.size()).words.endswith("B")
        assert await client.checksum() == (ZERO_ULID, "0" * 64)
        counts = [client.event_count, client.stream_count, client.event_count_estimate, client.stream_count_estimate]
        assert [await count() for count in counts] == [0, 0, 0, 0]
        assert await client.get(uuid4()) == []
        assert await client.get_all() == []

    async def test_events_come_back_as_they_were_stored(self) -> None:
        stream = uuid4()
        cause = (await self.client.add(stream, 0, [OPENED]))[0]
        data = "42\r\n\0\N{SNOWMAN}\U0010ffff" * 10_000
        effect = NewEvent(type="42", data=data, metadata="", causation_id=cause.id, correlation_id=cause.id)
        stored = await self.client.add(str(stream).upper(), 1, [effect, OPENED])
        assert [(event.version, event.position) for event in stored] == [(1, 2), (2, 3)]
        assert stored[0] == RecordedEvent(
            id=stored[0].id,
            stream=str(stream),
            version=1,
            position=2,
            type="42",
            data=data,
            metadata="",
            causation_id=cause.id,
            correlation_id=cause.id,
            added_at=stored[0].added_at,
        )
        assert await self.client.get(stream) == [cause, *stored]
        assert await self.client.get(stream, 1, 1) == stored[:1]
        assert await self.client.get_all(offset=cause.id) == [cause, *stored]
        assert await self.client.get_all(after=cause.id, limit=1) == stored[:1]
        assert (await self.client.checksum()).event_id == stored[1].id
        assert await self.client.event_count() == 3
        assert await self.client.stream_count() == 1

    async def test_requests_need_not_wait_for_each_other(self) -> None:
        stream = uuid4()
        added = [self.client.add(stream, version, [OPENED]) for version in range(200)]
        read = self.client.get(stream)
        stored = [event for (event,) in await gatherResults(added)]
        assert await read == stored

    async def test_the_whole_log_is_read_in_pages_of_any_size(self) -> None:
        await gatherResults([self.client.add(uuid4(), 0, [OPENED] * 500) for _ in range(20)])
        everything = list(range(1, 10_001))
        assert await self.positions(self.client, 1000) == everything
        assert await self.positions(self.client, 777) == everything
        assert len(await self.client.get_all(limit=10_000)) == 10_000

    async def test_the_largest_event_goes_in_and_comes_out(self) -> None:
        large = NewEvent(type="Large", data="x" * (16 * MIB - 1000))
        (stored,) = await self.client.add(uuid4(), 0, [large])
        assert stored.data == large.data
        assert await self.client.get(stored.stream) == [stored]

    async def test_a_refused_append_says_what_the_stream_holds(self) -> None:
        stream = uuid4()
        await self.client.add(stream, 0, [OPENED, OPENED])
        with pytest.raises(WrongExpectedVersion) as refused:
            await self.client.add(stream, 1, [OPENED])
        error = refused.value
        assert (UUID(error.stream), error.expected, error.actual) == (stream, 1, 2)

    async def test_a_wrong_argument_is_named(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^events\[1\]\.type: "):
            await self.client.add(uuid4(), 0, [OPENED, NewEvent(type="", data="")])
        with pytest.raises(InvalidArgument):
            await self.client.get_all(offset=ZERO_ULID, after=ZERO_ULID)

    async def test_who_has_no_password_or_a_wrong_one_is_told(self) -> None:
        with pytest.raises(WrongPassword):
            await connect(reactor, port=self.port, password="wrong")
        stranger = await connect(reactor, port=self.port)
        with pytest.raises(NotAuthenticated):
            await stranger.event_count()
        await stranger.disconnect()

    async def test_a_pool_serves_like_one_connection(self) -> None:
        client = connect_lazily(reactor, port=self.port, password=PASSWORD, pool_size=5)
        await gatherResults([client.add(uuid4(), 0, [OPENED]) for _ in range(100)])
        assert await client.event_count() == 100
        await client.disconnect()

    async def test_the_client_goes_on_after_the_server_was_killed_and_started_again(self) -> None:
        stream = uuid4()
        stored = await self.client.add(stream, 0, [OPENED])
        follower = await connect(reactor, port=self.port, password=PASSWORD)
        followed = follower.follow(after=stored[-1].id)

        async def follow_one() -> RecordedEvent:
            return await anext(followed)

        next_followed = Deferred.fromCoroutine(follow_one())
        self.server.kill()
        with pytest.raises(ConnectionLost):
            await self.client.add(stream, 1, [OPENED], request_id=None)
        waiting = [self.client.get(stream), self.client.add(stream, 1, [OPENED])]
        self.start(PASSWORD=PASSWORD, PORT=str(self.port))
        read, added = await gatherResults(waiting)
        assert read == stored
        assert added == [await next_followed]
        await follower.abort()

    async def test_conditions_of_appends_hold_or_nothing_is_stored(self) -> None:
        client, first, second = self.client, str(uuid4()), str(uuid4())
        tagged = NewEvent(type="Registered", data="", tags=("name:zoë", "b"))
        with pytest.raises(WrongExpectedVersion) as refused:
            await client.add(first, "exists", [tagged])
        assert (refused.value.stream, refused.value.expected, refused.value.actual) == (first, "exists", 0)
        (stored,) = await client.add(first, "any", [tagged], unless=Unless(tags=["name:zoë"]), request_id="1")
        assert stored.tags == ("name:zoë", "b")
        with pytest.raises(UnlessMatched) as matched:
            await client.add(second, 0, [OPENED], unless=[Unless(types=["Other"]), Unless(tags=["b"])])
        assert (matched.value.unless, matched.value.event) == (1, stored.id)
        assert await client.add(first, "any", [tagged], unless=Unless(tags=["name:zoë"]), request_id="1") == [stored]
        with pytest.raises(RequestConflict):
            await client.add(first, "any", [OPENED], request_id="1")
        many = await client.add_many([StreamAppend(second, 0, [OPENED, OPENED]), StreamAppend(first, "exists")])
        assert [(event.stream, event.position) for event in many] == [(second, 2), (second, 3)]
        assert await client.event_count() == 3

    async def test_who_follows_the_log_gets_what_others_store(self) -> None:
        followed = self.client.follow(page_events=2)
        added = [self.client.add(uuid4(), 0, [OPENED]) for _ in range(20)]
        positions = [(await anext(followed)).position for _ in range(20)]
        assert positions == list(range(1, 21))
        await gatherResults(added)

    async def test_filtered_reads_and_look_ups_give_what_was_stored(self) -> None:
        client, stream = self.client, uuid4()
        log = await client.add(stream, 0, [OPENED, NewEvent(type="Closed", data="", tags=("x",))] * 3)
        closed = log[1::2]
        assert await client.get_all(types=["Closed"], tags=["x"], limit=2) == closed[:2]
        assert await client.get(stream, backwards=True, limit=1, before=log[3].id) == [log[2]]
        for options in ({"types": ["Closed"]}, {"tags": ["x"], "stream": stream}):
            for page_events in (1, 2, 1000):
                read = client.read_all(backwards=True, page_events=page_events, **options)
                assert [event async for event in read] == closed[::-1]
        assert [event async for event in client.read_all(stream=stream, version=1, page_events=2)] == log[1:]
        assert await client.event(log[2].id) == log[2]
        assert await client.event(ZERO_ULID) is None
        told = StreamSummary(str(stream), 6, log[0].id, log[0].added_at, log[5].id, log[5].added_at)
        assert await client.stream(stream) == told
        assert await client.streams(types=["Closed"]) == [told]
        assert await client.types() == [TypeSummary("Closed", 3), TypeSummary("Opened", 3)]

    async def test_nothing_is_missing_and_nothing_comes_twice_when_the_server_is_killed_and_comes_back(self) -> None:
        count = 600
        whole, odd = self.client.subscribe(), self.client.subscribe(types=["odd"], offset=ZERO_ULID)
        first = Deferred.fromCoroutine(self.take(whole, 1))
        await self.client.ping()

        async def write() -> None:
            for index in range(count):
                event = NewEvent(type="odd" if index % 2 else "even", data=str(index))
                while True:
                    try:
                        await self.client.add(uuid4(), 0, [event], request_id=f"r{index}")
                        break
                    except ConnectionLost:
                        await deferLater(IReactorTime(reactor), 0.1)
                if index in (200, 400):
                    self.server.kill()
                    self.server = self.start(PASSWORD=PASSWORD, PORT=str(self.port))

        writing = Deferred.fromCoroutine(write())
        found = await first + await self.take(whole, count - 1)
        assert [event.data for event in found] == [str(index) for index in range(count)]
        assert [event.data for event in await self.take(odd, count // 2)] == [str(n) for n in range(1, count, 2)]
        await writing

    async def test_members_of_a_consumer_share_it_and_what_raises_comes_again(self) -> None:
        client, stream, results = self.client, uuid4(), uuid4()
        stored = await client.add(stream, 0, [OPENED] * 4)
        made = await client.create_consumer("c", stream=stream, tries_max=1)
        assert (made.query.stream, made.checkpoint) == (str(stream), ZERO_ULID)

        async def work() -> None:
            async with client.consumer("c") as consumer:
                async for event in consumer:
                    if event.version == 2:
                        raise ZeroDivisionError
                    assert await consumer.ack(event) == 1

        with pytest.raises(ZeroDivisionError):
            await work()
        (status,) = await client.consumers()
        assert (status.checkpoint, status.lag, status.in_flight) == (stored[1].id, 2, 0)
        async with client.consumer("c") as consumer:
            pages = consumer.pages()
            page = await anext(pages)
            assert page == stored[2:]
            checkpoint = consumer.checkpoint(page[0])
            await client.add(results, 0, [OPENED], checkpoint=checkpoint)
            with pytest.raises(NotHeld):
                await client.add(results, 1, [OPENED], checkpoint=checkpoint)
            await consumer.extend(page[1])
            assert await consumer.nack(page[1], reason="cannot") == 1
            waiting = Deferred.fromCoroutine(self.take(consumer, 1))
            assert [(item.event, item.reason) for item in await client.parked_events("c")] == [(page[1], "cannot")]
            assert await client.replay_parked("c") == 1
            assert await waiting == page[1:]
            assert await consumer.release(page[1]) == 1
        assert (await client.reset_consumer("c", "end")).checkpoint > stored[3].id
        await client.delete_consumer("c")
        with pytest.raises(NoSuchConsumer):
            await self.take(client.consumer("c"), 1)

    async def test_a_member_that_timed_out_cannot_append_what_another_has_got(self) -> None:
        client = self.client
        await client.add(uuid4(), 0, [OPENED])
        await client.create_consumer("c", timeout_ms=50)
        async with client.consumer("c") as late, client.consumer("c") as other:
            (event,) = await self.take(late, 1)
            assert await self.take(other, 1) == [event]
            with pytest.raises(NotHeld) as refused:
                await client.add(uuid4(), 0, [OPENED], checkpoint=late.checkpoint(event))
        assert (refused.value.consumer, refused.value.event) == ("c", event.id)
        assert await client.event_count() == 1

    async def test_closing_a_consumer_ends_what_it_waits_for_also_where_it_is_not_connected_yet(self) -> None:
        client = self.client
        await client.add(uuid4(), 0, [OPENED])
        await client.create_consumer("c")

        async def read(consumer: AsyncIterator[RecordedEvent]) -> list[RecordedEvent]:
            return [event async for event in consumer]

        connecting = client.consumer("c")
        reading = Deferred.fromCoroutine(read(connecting))
        await connecting.close()
        assert await reading == []
        waiting = client.consumer("c")
        await self.take(waiting, 1)
        reading = Deferred.fromCoroutine(read(waiting))
        await client.ping()
        await waiting.close()
        assert await reading == []
        (status,) = await client.consumers()
        assert (status.in_flight, status.lag) == (0, 1)

    async def test_a_member_goes_on_when_the_server_is_killed_and_comes_back(self) -> None:
        client, count = self.client, 60
        stored = await client.add(uuid4(), 0, [OPENED] * count)
        await client.create_consumer("c")
        seen = []
        async with client.consumer("c", limit=7) as consumer:
            async for event in consumer:
                if event.version == 30 and event not in seen:
                    self.server.kill()
                    self.server = self.start(PASSWORD=PASSWORD, PORT=str(self.port))
                seen.append(event)
                await consumer.ack(event)
                if event.version == count - 1:
                    break
        # An event may come once more, but none before the one ahead of it came.
        assert list(dict.fromkeys(event.id for event in seen)) == [event.id for event in stored]

    async def take(self, events: AsyncIterator[RecordedEvent], count: int) -> list[RecordedEvent]:
        """The next of some events."""
        return [await anext(events) for _ in range(count)]


def test_the_guide_holds_programs() -> None:
    assert len(PROGRAMS) == GUIDE.count("```python") == 8


@pytest.mark.parametrize(
    ("program", "printed"),
    PROGRAMS,
    ids=["write", "conflict", "unless", "many", "follow", "choose", "subscribe", "consumer"],
)
def test_a_program_of_the_guide_prints_what_stands_below_it(
    program: str, printed: str, server: Server, installation: Installation, tmp_path: Path
) -> None:
    # The guide's programs talk to the default port; here another server may have it.
    port = str(server.port)
    for call in ("connect(reactor)", "connect_lazily(reactor)"):
        program = program.replace(call, f"{call[:-1]}, port={port})")
    source = tmp_path / "program.py"
    source.write_text(program.replace("6543", port), encoding="utf-8")
    assert run(["python", "-W", "error", str(source)], tmp_path, installation.environment()) == printed
