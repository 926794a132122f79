"""A member of a consumer in the Twisted client: what it asks, says and waits for; its connections are in memory."""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from eventflowdb.client.messages import Messages
from eventflowdb.client.refusals import ClientClosed, ConnectionLost
from eventflowdb.client.replies import Reply
from eventflowdb.client.retries import RECONNECT_SECONDS_FIRST
from eventflowdb.client.subscriptions import SILENCE_SECONDS_MAX
from eventflowdb.client.twisted_client import EventflowClient
from eventflowdb.client.twisted_consumer import GIVE_BACK_SECONDS_MAX
from eventflowdb.errors import InvalidArgument, NoSuchConsumer, NotHeld, TryAgain
from eventflowdb.events import NewEvent, RecordedEvent

from .samples import EVENT, STREAM, event_json

LOST = ConnectionLost.because("reset")


class Asked:
    """One request: what it said, and the Deferred of its reply."""

    def __init__(self, words: tuple[bytes, ...], wait_seconds: float) -> None:
        self.command = words[0].decode()
        self.argument: dict[str, Any] = json.loads(words[1])
        self.wait_seconds = wait_seconds
        self.is_cancelled = False
        self.reply: Deferred[Reply] = Deferred(self._cancel)

    def _cancel(self, _reply: "Deferred[Reply]") -> None:
        self.is_cancelled = True


class FakeConnections:
    """Keeps what is asked; a test answers it."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def request(self, *words: bytes, wait_seconds: float = 0.0) -> "Deferred[Reply]":
        self.asked.append(Asked(words, wait_seconds))
        return self.asked[-1].reply

    async def subscribe(self, query: bytes) -> Messages:
        raise AssertionError("no consumer subscribes")

    async def close(self) -> None:
        """Nothing is open."""

    async def abort(self) -> None:
        """Nothing is open."""


class ConsumerTest(SynchronousTestCase):
    """The member m of a consumer c."""

    def setUp(self) -> None:
        self.connections = FakeConnections()
        self.clock = Clock()
        self.client = EventflowClient(self.connections, self.clock)
        self.consumer = self.client.consumer("c", member="m", limit=2, wait_ms=1000)

    def next(self) -> "Deferred[RecordedEvent]":
        """The next event."""
        return Deferred.fromCoroutine(self.consumer.__anext__())

    def take_asked(self, command: str) -> Asked:
        """The one request that was made since the last call."""
        (asked,) = self.connections.asked
        self.connections.asked.clear()
        assert asked.command == command
        assert asked.argument.pop("consumer") == "c"
        return asked

    def serve(self, *numbers: int, member: str = "m") -> None:
        """Answer a request for events."""
        asked = self.take_asked("FETCH")
        assert (asked.argument, asked.wait_seconds) == ({"member": member, "limit": 2, "wait_ms": 1000}, 1.0)
        asked.reply.callback([event_json(number) for number in numbers])

    def get(self, *numbers: int) -> list[RecordedEvent]:
        """These events, in one page."""
        events = []
        for index, _ in enumerate(numbers):
            event = self.next()
            if index == 0:
                self.serve(*numbers, member=self.consumer.member)
            events.append(self.successResultOf(event))
        return events

    def error_of(self, waiting: "Deferred[Any]") -> BaseException:
        """What a Deferred failed with."""
        error: BaseException = self.failureResultOf(waiting).value  # type: ignore[no-untyped-call]
        return error

    def test_events_come_page_by_page_and_empty_pages_are_asked_for_again(self) -> None:
        first = self.next()
        self.serve()
        assert not first.called
        self.serve(1, 2)
        assert self.successResultOf(first).position == 1
        assert self.successResultOf(self.next()).position == 2
        assert not self.connections.asked
        pages = self.consumer.pages()

        async def next_page() -> list[RecordedEvent]:
            return await anext(pages)

        page = Deferred.fromCoroutine(next_page())
        self.serve(3)
        assert [event.position for event in self.successResultOf(page)] == [3]

    def test_what_became_of_events_is_said_of_the_member_that_got_them(self) -> None:
        said: list[tuple[Callable[[], Deferred[Any]], str, dict[str, Any]]] = [
            (lambda: self.consumer.ack(EVENT), "ACK", {"ids": [EVENT.id]}),
            (lambda: self.consumer.extend([EVENT]), "ACK", {"extend": [EVENT.id]}),
            (lambda: self.consumer.nack(EVENT.id, park=True, reason="r"), "NACK", {"park": True, "reason": "r"}),
            (lambda: self.consumer.release(EVENT), "NACK", {"release": True}),
        ]
        self.get(1)
        for say, command, argument in said:
            answered = say()
            asked = self.take_asked(command)
            assert {"member": "m", **argument}.items() <= asked.argument.items()
            asked.reply.callback(1)
            assert self.successResultOf(answered) == (None if "extend" in argument else 1)

    def test_after_a_lost_answer_it_asks_under_another_name(self) -> None:
        (event,) = self.get(1)
        waiting = self.next()
        self.take_asked("FETCH").reply.errback(LOST)
        assert not self.connections.asked
        self.clock.advance(RECONNECT_SECONDS_FIRST)
        other = self.consumer.member
        assert other.startswith("m:")
        self.serve(2, member=other)
        second = self.successResultOf(waiting)
        assert [self.consumer.checkpoint(each).member for each in (event, second)] == ["m", other]
        self.consumer.ack([event, second])
        first_ack = self.take_asked("ACK")
        assert first_ack.argument == {"member": "m", "ids": [event.id]}
        first_ack.reply.callback(1)
        assert self.take_asked("ACK").argument == {"member": other, "ids": [second.id]}

    def test_an_answer_that_is_overdue_is_a_lost_one(self) -> None:
        waiting = self.next()
        asked = self.take_asked("FETCH")
        self.clock.advance(1 + SILENCE_SECONDS_MAX)
        assert asked.is_cancelled
        self.clock.advance(RECONNECT_SECONDS_FIRST)
        self.serve(1, member=self.consumer.member)
        assert self.consumer.member != "m"
        assert self.successResultOf(waiting).position == 1

    def test_a_server_that_has_no_time_is_asked_again_under_the_same_name(self) -> None:
        waiting = self.next()
        self.take_asked("FETCH").reply.errback(TryAgain("shutting down"))
        self.clock.advance(RECONNECT_SECONDS_FIRST)
        self.serve(1)
        assert self.successResultOf(waiting).position == 1

    def test_what_fails_in_the_body_is_not_acked_and_is_given_back(self) -> None:
        async def work() -> None:
            async with self.consumer as member:
                async for event in member:
                    if event.position == 2:
                        raise ZeroDivisionError
                    await member.ack(event)

        working = Deferred.fromCoroutine(work())
        self.serve(1, 2)
        acked = self.take_asked("ACK")
        assert acked.argument == {"member": "m", "ids": [EVENT.id]}
        acked.reply.callback(1)
        released = self.take_asked("NACK")
        assert released.argument == {"member": "m", "release": True}
        assert not working.called
        released.reply.callback(1)
        assert isinstance(self.error_of(working), ZeroDivisionError)

    def test_closed_while_it_waits_it_ends_without_an_error_and_gives_back(self) -> None:
        waiting = self.next()
        asked = self.take_asked("FETCH")
        closed = self.consumer.close()
        assert asked.is_cancelled
        assert isinstance(self.error_of(waiting), StopAsyncIteration)
        released = self.take_asked("NACK")
        assert released.argument == {"member": "m", "release": True}
        released.reply.callback(0)
        self.successResultOf(closed)
        self.successResultOf(self.consumer.close())
        assert isinstance(self.error_of(self.next()), StopAsyncIteration)
        assert not self.connections.asked
        assert not self.clock.getDelayedCalls()

    def test_closed_in_the_pause_before_it_asks_again_it_ends(self) -> None:
        waiting = self.next()
        self.take_asked("FETCH").reply.errback(LOST)
        self.consumer.close()
        assert isinstance(self.error_of(waiting), StopAsyncIteration)
        assert self.take_asked("NACK").argument["release"] is True

    def test_closing_does_not_wait_for_ever_for_a_server(self) -> None:
        self.get(1)
        closed = self.consumer.close()
        self.take_asked("NACK")
        self.clock.advance(GIVE_BACK_SECONDS_MAX)
        self.successResultOf(closed)

    def test_who_never_asked_gives_nothing_back(self) -> None:
        self.successResultOf(self.consumer.close())
        assert not self.connections.asked

    def test_who_cancels_a_request_may_have_lost_its_answer(self) -> None:
        waiting = self.next()
        self.take_asked("FETCH")
        waiting.cancel()
        assert isinstance(self.error_of(waiting), CancelledError)
        assert self.consumer.member != "m"

    def test_refusals_are_raised(self) -> None:
        waiting = self.next()
        self.take_asked("FETCH").reply.errback(NoSuchConsumer("there is no consumer c"))
        assert isinstance(self.error_of(waiting), NoSuchConsumer)
        acked = self.consumer.ack(EVENT)
        self.take_asked("ACK").reply.errback(NotHeld.of("c", EVENT.id))
        assert isinstance(self.error_of(acked), NotHeld)
        waiting = self.next()
        self.take_asked("FETCH").reply.errback(ClientClosed.because("the client was disconnected"))
        assert isinstance(self.error_of(waiting), ClientClosed)
        assert isinstance(self.error_of(self.consumer.ack("\ud800")), InvalidArgument)

    def test_an_append_names_the_event_that_it_acks(self) -> None:
        (event,) = self.get(1)
        checkpoint = self.consumer.checkpoint(event)
        self.client.add(STREAM, 0, [NewEvent(type="A", data="")], checkpoint=checkpoint)
        (added,) = self.connections.asked
        assert added.argument["checkpoint"] == {"consumer": "c", "member": "m", "id": event.id}
