"""Connecting, authenticating, losing connections and making them anew, over TCP with a server of the tests' own.

These need the reactor: txredisapi takes its timing from the global one.
"""

from typing import TypeVar

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from eventflowdb.client.refusals import ClientClosed, ConnectionLost, NotConnected, UnexpectedReply
from eventflowdb.client.twisted_client import EventflowClient, connect, connect_lazily
from eventflowdb.errors import EventflowError, TryAgain, WrongPassword
from eventflowdb.events import NewEvent

from .fake_server import FakeServer, FakeSession, Words, pong, silence
from .samples import EVENT, EVENT_JSON, STREAM, array, bulk

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)
OPENED = NewEvent(type="Opened", data="")


async def error_of(asked: "Deferred[T]", kind: type[E]) -> E:
    """What a Deferred fails with: just this kind of error."""
    with pytest.raises(kind) as raised:
        await asked
    assert type(raised.value) is kind
    return raised.value


@implementer(IStreamClientEndpoint)
class NowhereEndpoint:
    """Fails at once."""

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":  # noqa: N803
        return fail(ConnectError())


class ConnectionsTest(TestCase):
    """A server that listens, and clients that are closed when the test ends."""

    timeout = 20

    def setUp(self) -> None:
        self.server = FakeServer(pong)
        self.server.listen()
        self.clients: list[EventflowClient] = []

    async def tearDown(self) -> None:  # type: ignore[override]  # trial waits for it
        for client in self.clients:
            await client.abort()
        await self.server.stop()

    async def connect(self, *, password: str | None = None, pool_size: int = 1) -> EventflowClient:
        """A client that is connected."""
        client = await connect(reactor, port=self.server.port, password=password, pool_size=pool_size)
        self.clients.append(client)
        return client

    def connect_lazily(
        self, *, password: str | None = None, reply_timeout_seconds: float | None = None
    ) -> EventflowClient:
        """A client that is not connected yet."""
        client = connect_lazily(
            reactor, port=self.server.port, password=password, reply_timeout_seconds=reply_timeout_seconds
        )
        self.clients.append(client)
        return client


class ConnectTest(ConnectionsTest):
    """The first connection."""

    async def test_a_client_without_a_password_sends_nothing_before_its_first_request(self) -> None:
        client = await self.connect()
        assert await client.ping() == "PONG"
        assert self.server.requests == [[b"PING"]]

    async def test_a_password_is_sent_first_on_every_connection(self) -> None:
        client = await self.connect(password="påss", pool_size=3)
        await client.ping()
        assert self.server.requests == [[b"AUTH", "påss".encode()]] * 3 + [[b"PING"]]

    async def test_a_user_is_sent_before_the_password(self) -> None:
        self.clients.append(await connect(reactor, port=self.server.port, user="zoe", password="secret"))
        assert self.server.requests == [[b"AUTH", b"zoe", b"secret"]]

    async def test_an_endpoint_takes_the_place_of_host_and_port(self) -> None:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.server.port)
        client = await connect(reactor, "no.such.host.invalid", endpoint=endpoint)
        self.clients.append(client)
        assert await client.ping() == "PONG"

    async def test_connecting_fails_at_once_where_nobody_listens(self) -> None:
        await self.server.stop()
        error = await error_of(connect(reactor, port=self.server.port, pool_size=2), NotConnected)
        assert f"127.0.0.1:{self.server.port}" in str(error)
        assert "refused" in str(error)

    async def test_connecting_fails_by_an_endpoint_that_fails_before_it_returns(self) -> None:
        await error_of(connect(reactor, endpoint=NowhereEndpoint(), pool_size=2), NotConnected)

    async def test_connecting_fails_with_what_the_server_says_of_the_password(self) -> None:
        self.server.answer = lambda _session, _words: b"-WRONGPASS invalid username-password pair\r\n"
        error = await error_of(connect(reactor, port=self.server.port, password="x", pool_size=3), WrongPassword)
        assert str(error) == "invalid username-password pair"
        await self.server.until(lambda: not self.server.sessions)

    async def test_connecting_fails_where_the_server_has_no_password_but_one_is_given(self) -> None:
        self.server.answer = lambda _session, _words: b"-ERR AUTH <password> called without any password\r\n"
        await error_of(connect(reactor, port=self.server.port, password="x"), EventflowError)

    async def test_connecting_fails_when_the_server_has_to_be_tried_again(self) -> None:
        self.server.answer = lambda _session, _words: b"-TRYAGAIN shutting down\r\n"
        await error_of(connect(reactor, port=self.server.port, password="x"), TryAgain)
        assert self.server.commands == [b"AUTH"]

    async def test_connecting_fails_when_the_connection_is_lost_before_it_is_authenticated(self) -> None:
        self.server.answer = lambda session, _words: session.close()
        await error_of(connect(reactor, port=self.server.port, password="x"), NotConnected)

    async def test_connecting_fails_where_no_redis_protocol_is_spoken(self) -> None:
        self.server.answer = lambda _session, _words: b"HTTP/1.1 400 Bad Request\r\n\r\n"
        await error_of(connect(reactor, port=self.server.port, password="x"), UnexpectedReply)

    async def test_cancelling_what_has_just_failed_is_no_error(self) -> None:
        connecting = connect(reactor, endpoint=NowhereEndpoint())
        connecting.cancel()
        await error_of(connecting, CancelledError)
        await deferLater(IReactorTime(reactor), 0)

    async def test_cancelling_leaves_nothing_open(self) -> None:
        self.server.answer = silence
        connecting = connect(reactor, port=self.server.port, password="x")
        await self.server.until_asked(b"AUTH")
        connecting.cancel()
        await error_of(connecting, CancelledError)
        await self.server.until(lambda: not self.server.sessions)


class LazyConnectTest(ConnectionsTest):
    """A client that was given out before it is connected."""

    async def test_requests_wait_for_the_connection_and_keep_their_order(self) -> None:
        client = self.connect_lazily()
        assert await gatherResults([client.ping(str(number)) for number in range(5)]) == ["0", "1", "2", "3", "4"]
        assert [words[1] for words in self.server.requests] == [b"0", b"1", b"2", b"3", b"4"]

    async def test_it_keeps_trying_until_somebody_listens(self) -> None:
        await self.server.stop_listening()
        refused = connect(reactor, port=self.server.port)
        client = self.connect_lazily()
        asked = client.ping()
        await error_of(refused, NotConnected)
        self.server.listen()
        assert await asked == "PONG"

    async def test_it_keeps_trying_while_authenticating_fails_for_a_reason_that_passes(self) -> None:
        answers = iter([b"-ERR max number of clients reached\r\n", None, b"HTTP\r\n"])

        def answer(session: FakeSession, words: Words) -> bytes | None:
            try:
                reply = next(answers)
            except StopIteration:
                return pong(session, words)
            if reply is None:
                session.close()
            return reply

        self.server.answer = answer
        assert await self.connect_lazily(password="x").ping() == "PONG"
        assert self.server.commands == [b"AUTH"] * 4 + [b"PING"]

    async def test_a_refused_password_fails_requests_that_wait_and_later_ones(self) -> None:
        self.server.answer = lambda _session, _words: b"-WRONGPASS invalid username-password pair\r\n"
        client = self.connect_lazily(password="x")
        waiting = [client.ping(), client.version()]
        first, second = [await error_of(one, WrongPassword) for one in waiting]
        third = await error_of(client.ping(), WrongPassword)
        assert len({id(error) for error in (first, second, third)}) == 3
        assert self.server.commands == [b"AUTH"]
        await client.disconnect()

    async def test_disconnecting_fails_requests_that_wait(self) -> None:
        await self.server.stop()
        client = self.connect_lazily()
        waiting = client.ping()
        await client.disconnect()
        await error_of(waiting, ClientClosed)

    async def test_a_request_that_is_cancelled_while_it_waits_is_never_sent(self) -> None:
        client = self.connect_lazily()
        cancelled = client.ping("cancelled")
        asked = client.ping("asked")
        cancelled.cancel()
        await error_of(cancelled, CancelledError)
        assert await asked == "asked"
        assert self.server.requests == [[b"PING", b"asked"]]


class LostConnectionTest(ConnectionsTest):
    """A connection that goes away."""

    async def test_an_append_without_a_request_id_fails_and_is_not_sent_again(self) -> None:
        client = await self.connect(password="x")
        self.server.answer = silence
        asked = client.add(STREAM, 0, [OPENED], request_id=None)
        await self.server.until_asked(b"AUTH", b"ADD")
        self.server.answer = pong
        self.server.sessions[0].close()
        assert "may or may not" in str(await error_of(asked, ConnectionLost))
        assert await client.ping() == "PONG"
        assert self.server.commands == [b"AUTH", b"ADD", b"AUTH", b"PING"]

    async def test_what_was_under_way_is_sent_again_as_it_was_and_in_order(self) -> None:
        client = await self.connect(password="x")
        self.server.answer = silence
        asked = [client.add(STREAM, version, [OPENED]) for version in range(20)]
        await self.server.until_asked(b"AUTH", *[b"ADD"] * 20)
        stored = array(bulk(EVENT_JSON))
        self.server.answer = lambda _session, words: b"+OK\r\n" if words[0] == b"AUTH" else stored
        self.server.sessions[0].close()
        asked.append(client.get(STREAM))
        assert await gatherResults(asked) == [[EVENT]] * 21
        requests = self.server.requests
        assert requests[22:42] == requests[1:21]
        assert len({words[1] for words in requests[1:21]}) == 20
        assert self.server.commands[42:] == [b"GET"]

    async def test_what_is_lost_again_and_again_fails_after_four_attempts(self) -> None:
        client = await self.connect()
        self.server.answer = lambda session, _words: session.close()
        error = await error_of(client.add(STREAM, 0, [OPENED], request_id="mine"), ConnectionLost)
        assert error.request_id == "mine"
        assert self.server.commands == [b"ADD"] * 4

    async def test_a_request_made_meanwhile_waits_for_the_next_connection(self) -> None:
        client = await self.connect()
        self.server.answer = silence
        under_way = client.add(STREAM, 0, [OPENED], request_id=None)
        await self.server.until_asked(b"ADD")
        self.server.answer = pong
        await self.server.stop()
        await error_of(under_way, ConnectionLost)
        waiting = client.ping()
        self.server.listen()
        assert await waiting == "PONG"
        assert self.server.commands == [b"ADD", b"PING"]

    async def test_a_read_repeated_as_soon_as_it_fails_is_sent_on_the_next_connection(self) -> None:
        client = await self.connect()
        answers = iter([b"HTTP\r\n", b"HTTP\r\n", b"+PONG\r\n"])
        self.server.answer = lambda _session, _words: next(answers)
        asked = client.ping().addErrback(lambda _: client.ping()).addErrback(lambda _: client.ping())
        assert await asked == "PONG"
        assert self.server.commands == [b"PING"] * 3

    async def test_half_a_reply_is_not_taken_for_the_beginning_of_another(self) -> None:
        client = await self.connect()
        self.server.answer = lambda _session, _words: b"*2\r\n$5\r\nab"
        under_way = client.add(STREAM, 0, [OPENED], request_id=None)
        await self.server.until_asked(b"ADD")
        self.server.answer = pong
        self.server.sessions[0].close()
        await error_of(under_way, ConnectionLost)
        assert await client.ping() == "PONG"

    async def test_an_overdue_reply_ends_its_connection_and_all_that_is_under_way_on_it(self) -> None:
        self.server.answer = silence
        client = self.connect_lazily(reply_timeout_seconds=0.5)
        repeated = client.ping().addErrback(lambda _: client.ping())
        failed = client.ping()
        await self.server.until_asked(b"PING", b"PING")
        self.server.answer = pong
        assert "0.5 seconds" in str(await error_of(failed, ConnectionLost))
        assert await repeated == "PONG"
        assert self.server.sessions_opened == 2

    async def test_a_read_that_waits_keeps_no_other_request_waiting_and_its_reply_is_not_overdue(self) -> None:
        waiting_sessions: list[FakeSession] = []

        def answer(session: FakeSession, words: Words) -> bytes | None:
            if b"wait_ms" in words[-1]:
                waiting_sessions.append(session)
            return pong(session, words) if words == [b"PING"] else None

        self.server.answer = answer
        client = self.connect_lazily(reply_timeout_seconds=0.2)
        waiting = client.get_all(wait_ms=60_000)
        await self.server.until_asked(b"GETALL")
        assert await client.ping() == "PONG"
        assert (await error_of(client.get(STREAM), ConnectionLost)).is_overdue
        waiting_sessions[0].reply(array(bulk(EVENT_JSON)))
        assert await waiting == [EVENT]

    async def test_a_read_that_waits_uses_the_connection_of_an_earlier_one(self) -> None:
        self.server.answer = lambda _session, _words: array()
        client = await self.connect()
        for _ in range(3):
            assert await client.get(STREAM, wait_ms=1) == []
        await gatherResults([client.get(STREAM, wait_ms=1) for _ in range(2)])
        assert self.server.sessions_opened == 3

    async def test_a_read_that_waits_too_long_is_overdue(self) -> None:
        self.server.answer = silence
        client = self.connect_lazily(reply_timeout_seconds=0.1)
        assert (await error_of(client.get(STREAM, wait_ms=1), ConnectionLost)).is_overdue

    async def test_cancelling_a_read_that_waits_closes_its_connection(self) -> None:
        self.server.answer = silence
        client = await self.connect()
        waiting = client.get(STREAM, wait_ms=60_000)
        await self.server.until_asked(b"GET")
        waiting.cancel()
        await error_of(waiting, CancelledError)
        await self.server.until(lambda: len(self.server.sessions) == 1)

    async def test_reads_that_wait_end_with_the_client(self) -> None:
        for end in (EventflowClient.disconnect, EventflowClient.abort):
            self.server.answer = silence
            client = await self.connect()
            waiting = client.get(STREAM, wait_ms=60_000)
            await self.server.until(lambda: self.server.commands[-1:] == [b"GET"])
            self.server.answer = pong
            await end(client)
            with pytest.raises(ConnectionLost):
                await waiting
            await self.server.until(lambda: not self.server.sessions)
            self.server.requests.clear()

    async def test_each_connection_of_a_pool_is_made_anew(self) -> None:
        await self.connect(pool_size=3)
        await self.server.until(lambda: self.server.sessions_opened == 3)
        for session in list(self.server.sessions):
            session.close()
        await self.server.until(lambda: self.server.sessions_opened == 6)

    async def test_a_password_that_is_no_longer_taken_ends_the_client(self) -> None:
        client = await self.connect(password="x")
        self.server.answer = lambda _session, _words: b"-WRONGPASS invalid username-password pair\r\n"
        self.server.sessions[0].close()
        await self.server.until_asked(b"AUTH", b"AUTH")
        await error_of(client.ping(), WrongPassword)
        await self.server.until(lambda: not self.server.sessions)


class DisconnectTest(ConnectionsTest):
    """A client that closes."""

    async def test_requests_under_way_are_answered_first(self) -> None:
        client = await self.connect(pool_size=3)
        asked = [client.ping(str(number)) for number in range(20)]
        await client.disconnect()
        assert await gatherResults(asked) == [str(number) for number in range(20)]
        await self.server.until(lambda: not self.server.sessions)
        assert self.server.sessions_opened == 3

    async def test_requests_made_afterwards_are_not_sent(self) -> None:
        client = await self.connect()
        disconnected = client.disconnect()
        await error_of(client.ping(), ClientClosed)
        await disconnected
        await error_of(client.ping(), ClientClosed)
        assert self.server.commands == [b"QUIT"]

    async def test_a_client_can_be_disconnected_twice(self) -> None:
        client = await self.connect()
        await gatherResults([client.disconnect(), client.disconnect()])
        await client.disconnect()

    async def test_abort_does_not_wait_for_the_server(self) -> None:
        client = await self.connect()
        self.server.answer = silence
        asked = client.add(STREAM, 0, [OPENED])
        await self.server.until_asked(b"ADD")
        disconnected = client.disconnect()
        await client.abort()
        await error_of(asked, ConnectionLost)
        await disconnected
        await error_of(client.ping(), ClientClosed)
        await self.server.until(lambda: not self.server.sessions)
