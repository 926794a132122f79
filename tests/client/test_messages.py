"""A subscribed connection of the Twisted client: bytes out, bytes in, messages; and when it is read no further."""

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from eventflowdb.client.messages import MESSAGES_HELD_MAX, MessageConnections, Messages
from eventflowdb.client.refusals import ClientClosed, ConnectionLost, NotConnected, UnexpectedReply
from eventflowdb.client.replies import Reply
from eventflowdb.client.retries import RECONNECT_SECONDS_MAX
from eventflowdb.client.subscriptions import SILENCE_SECONDS_MAX
from eventflowdb.client.twisted_client import EventflowClient
from eventflowdb.errors import EventflowError, WrongPassword
from eventflowdb.events import RecordedEvent

from .samples import EVENT, array, bulk, event_json

CONFIRMED = array(bulk(b"subscribe"), bulk(b"{}"), b":1\r\n")
ZERO_ID = "0" * 26


def message(number: int) -> bytes:
    """A message with one of many events."""
    return array(bulk(b"message"), bulk(b"{}"), bulk(event_json(number)))


def request(*words: bytes) -> bytes:
    """A request as it is sent."""
    return array(*map(bulk, words))


@implementer(IStreamClientEndpoint)
class FakeEndpoint:
    """Connects when the test says so, in memory."""

    def __init__(self) -> None:
        self.factories: list[tuple[IProtocolFactory, Deferred[IProtocol]]] = []

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":  # noqa: N803
        """Remember it."""
        connecting: Deferred[IProtocol] = Deferred()
        self.factories.append((protocolFactory, connecting))
        return connecting

    def accept(self) -> tuple[Messages, StringTransport]:
        """Make the connection that was asked for first."""
        factory, connecting = self.factories.pop(0)
        protocol, transport = factory.buildProtocol(None), StringTransport()  # type: ignore[arg-type]
        assert isinstance(protocol, Messages)
        protocol.makeConnection(transport)
        connecting.callback(protocol)
        return protocol, transport

    def refuse(self) -> None:
        """Let it fail."""
        self.factories.pop(0)[1].errback(ConnectError())


class Setup(SynchronousTestCase):
    """Subscribed connections of one client with a password."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint()
        self.connections = MessageConnections(self.endpoint, self.clock, password="open", user=None)

    def waits(self, deferred: "Deferred[Any]") -> None:
        """It has not fired."""
        self.assertNoResult(deferred)  # type: ignore[no-untyped-call]

    def fails(self, deferred: "Deferred[Any]", kind: type[Exception]) -> None:
        """It has failed with an error of this kind."""
        self.failureResultOf(deferred, kind)  # type: ignore[no-untyped-call]

    def open(self) -> tuple[Messages, StringTransport]:
        """A connection that has subscribed."""
        opening = Deferred.fromCoroutine(self.connections.open(b"{}"))
        made, transport = self.endpoint.accept()
        assert self.successResultOf(opening) is made
        return made, transport


class MessagesTest(Setup):
    """One connection."""

    def setUp(self) -> None:
        super().setUp()
        self.messages, self.transport = self.open()

    def taken(self) -> Reply:
        """The message that is there."""
        return self.successResultOf(self.messages.read())

    def test_it_authenticates_subscribes_and_gives_what_comes(self) -> None:
        assert self.transport.value() == request(b"AUTH", b"open") + request(b"SUBSCRIBE", b"{}")
        reading = self.messages.read()
        for byte in b"+OK\r\n" + CONFIRMED[:-1]:
            self.messages.dataReceived(bytes([byte]))
        self.waits(reading)
        self.messages.dataReceived(CONFIRMED[-1:] + message(1) + message(2))
        assert self.successResultOf(reading) == [b"subscribe", b"{}", 1]
        assert [self.taken(), self.taken()] == [[b"message", b"{}", event_json(number)] for number in (1, 2)]
        self.waits(self.messages.read())

    def test_a_refused_password_is_told(self) -> None:
        self.messages.dataReceived(b"-WRONGPASS no\r\n-NOAUTH no\r\n")
        assert isinstance(self.taken(), WrongPassword)

    def test_what_is_not_taken_is_held_up_to_a_bound_and_then_not_read(self) -> None:
        self.messages.dataReceived(b"+OK\r\n" + message(1) * MESSAGES_HELD_MAX)
        assert self.transport.producerState == "producing"
        self.messages.dataReceived(message(2))
        assert self.transport.producerState == "paused"
        for _ in range(MESSAGES_HELD_MAX):
            self.taken()
            assert self.transport.producerState == "paused"
        assert self.taken() == [b"message", b"{}", event_json(2)]
        assert self.transport.producerState == "producing"
        assert not self.clock.getDelayedCalls(), "who does not read does not call the server silent"

    def test_what_came_before_the_connection_was_lost_is_given(self) -> None:
        self.messages.dataReceived(b"+OK\r\n" + message(1))
        self.messages.connectionLost(Failure(ConnectionDone()))
        assert self.taken() == [b"message", b"{}", event_json(1)]
        for _ in range(2):
            self.fails(self.messages.read(), ConnectionLost)

    def test_a_read_fails_when_the_connection_is_lost(self) -> None:
        reading = self.messages.read()
        self.messages.connectionLost(Failure(ConnectionDone()))
        self.fails(reading, ConnectionLost)
        assert not self.clock.getDelayedCalls()

    def test_bytes_that_are_no_replies_end_it(self) -> None:
        reading = self.messages.read()
        self.messages.dataReceived(b"+OK\r\n" + message(1) + b"HTTP/1.1\r\n")
        self.fails(reading, UnexpectedReply)
        assert self.transport.disconnecting or self.transport.disconnected

    def test_a_silent_server_is_asked_for_a_sign_of_life_and_then_left(self) -> None:
        reading = self.messages.read()
        self.transport.clear()
        self.clock.advance(SILENCE_SECONDS_MAX)
        assert self.transport.value() == request(b"PING")
        self.messages.dataReceived(b"+OK\r\n" + array(bulk(b"pong"), bulk(b"")))
        assert self.successResultOf(reading) == [b"pong", b""]
        reading = self.messages.read()
        self.clock.advance(SILENCE_SECONDS_MAX)
        self.waits(reading)
        self.clock.advance(SILENCE_SECONDS_MAX)
        self.fails(reading, ConnectionLost)
        assert self.transport.disconnected
        assert not self.clock.getDelayedCalls()

    def test_a_read_that_is_cancelled_leaves_nothing_behind(self) -> None:
        reading = self.messages.read()
        reading.cancel()
        self.fails(reading, CancelledError)
        assert not self.clock.getDelayedCalls()


class MessageConnectionsTest(Setup):
    """All of one client."""

    def test_one_that_cannot_be_made_is_told(self) -> None:
        opening = Deferred.fromCoroutine(self.connections.open(b"{}"))
        self.endpoint.refuse()
        self.fails(opening, NotConnected)

    def test_closing_ends_those_there_are_those_on_their_way_and_those_to_come(self) -> None:
        messages, transport = self.open()
        reading = messages.read()
        opening = Deferred.fromCoroutine(self.connections.open(b"{}"))
        self.connections.close()
        for waiting in (reading, opening, Deferred.fromCoroutine(self.connections.open(b"{}")), messages.read()):
            self.fails(waiting, ClientClosed)
        assert transport.disconnected


class OnlyMessages:
    """The connections of a client that is asked for subscriptions alone, and for the checksum."""

    def __init__(self, messages: MessageConnections) -> None:
        self._messages = messages
        self.checksums = 0

    def request(self, *words: bytes, wait_seconds: float = 0.0) -> "Deferred[Reply]":
        assert words == (b"CHECKSUM",)
        self.checksums += 1
        answered: Deferred[Reply] = Deferred()
        answered.callback([EVENT.id.encode(), b"0" * 64])
        return answered

    async def subscribe(self, query: bytes) -> Messages:
        return await self._messages.open(query)

    async def close(self) -> None:
        self._messages.close()

    async def abort(self) -> None:
        self._messages.close()


class SubscriptionTest(Setup):
    """Subscriptions of the client."""

    def setUp(self) -> None:
        super().setUp()
        self.only = OnlyMessages(self.connections)
        self.client = EventflowClient(self.only, self.clock)
        self.events: list[RecordedEvent] = []

    def follow(self, **fields: Any) -> "Deferred[None]":
        """Gather the events of a subscription."""

        async def follow() -> None:
            async for event in self.client.subscribe(**fields):
                self.events.append(event)

        return Deferred.fromCoroutine(follow())

    def accept(self) -> tuple[Messages, Any]:
        """The next connection, authenticated, and what it subscribed to."""
        messages, transport = self.endpoint.accept()
        query = transport.value().split(b"\r\n")[-2]
        messages.dataReceived(b"+OK\r\n")
        return messages, json.loads(query)

    def test_it_goes_on_behind_the_last_event_when_its_connection_breaks(self) -> None:
        following = self.follow(types=["Opened"], offset=ZERO_ID)
        messages, query = self.accept()
        assert query == {"types": ["Opened"], "offset": ZERO_ID}
        messages.dataReceived(CONFIRMED + message(1) + message(2))
        messages.connectionLost(Failure(ConnectionDone()))
        assert [event.position for event in self.events] == [1, 2]
        assert not self.endpoint.factories
        self.clock.advance(RECONNECT_SECONDS_MAX)
        messages, query = self.accept()
        assert query == {"types": ["Opened"], "after": self.events[-1].id}
        messages.dataReceived(CONFIRMED + message(3))
        assert [event.position for event in self.events] == [1, 2, 3]
        following.cancel()
        self.fails(following, CancelledError)
        assert messages.transport.disconnected  # type: ignore[union-attr]
        assert not self.clock.getDelayedCalls()

    def test_from_now_on_is_a_place_and_a_server_that_is_not_there_is_waited_for(self) -> None:
        following = self.follow()
        for _ in range(5):
            self.endpoint.refuse()
            self.clock.advance(RECONNECT_SECONDS_MAX)
        messages, query = self.accept()
        assert query == {"after": EVENT.id}
        messages.dataReceived(CONFIRMED)
        messages.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(RECONNECT_SECONDS_MAX)
        _, query = self.accept()
        assert query == {"after": EVENT.id}
        assert self.only.checksums == 1
        self.connections.close()
        self.fails(following, ClientClosed)

    def test_what_the_server_tells_ends_it(self) -> None:
        following = self.follow(after=ZERO_ID)
        messages, _ = self.accept()
        messages.dataReceived(b"-INVALIDARG types[0]: expected a string\r\n")
        self.fails(following, EventflowError)
        assert messages.transport.disconnected  # type: ignore[union-attr]

    def test_who_stops_taking_ends_it(self) -> None:
        async def take_one() -> RecordedEvent:
            async for event in self.client.subscribe(after=ZERO_ID):
                return event
            raise AssertionError("it never ends by itself")

        taking = Deferred.fromCoroutine(take_one())
        messages, _ = self.accept()
        messages.dataReceived(CONFIRMED + message(1) + message(2))
        assert self.successResultOf(taking).position == 1
        assert messages.transport.disconnected  # type: ignore[union-attr]
