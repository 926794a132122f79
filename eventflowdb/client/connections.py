"""Connections to the server, from txredisapi: its pool, its queue of replies, its reconnecting.

What is replaced, and why:

- The framing of replies (`replies.ReplyParser`): for speed, and so that nothing is taken for a number.
- What a failed AUTH means: txredisapi gives up for good also when the connection was merely lost meanwhile.
- Requests that wait for a connection: txredisapi leaves them waiting for ever when it gives up or is disconnected.
- A first attempt that fails: txredisapi tries on, and whoever wants to be told at once never is.

txredisapi takes part of its timing from the global reactor, and importing it installs the default one: a program
that wants another has to install it first, and the reactor given here has to be the global one.
"""

from copy import copy

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import BaseRedisProtocol, RedisFactory
from txredisapi import ConnectionError as RedisConnectionError
from txredisapi import TimeoutError as RedisTimeoutError
from zope.interface import implementer

from eventflowdb.client.messages import MessageConnections, Messages
from eventflowdb.client.refusals import ClientClosed, ConnectionLost, NotConnected, UnexpectedReply
from eventflowdb.client.replies import Reply, ReplyParser
from eventflowdb.client.retries import RECONNECT_SECONDS_FIRST, RECONNECT_SECONDS_MAX
from eventflowdb.errors import EventflowError

_log = Logger()


class Connection(BaseRedisProtocol):  # type: ignore[misc]  # txredisapi has no types
    """One connection: requests go out as they are made, replies come back in that order."""

    factory: "ConnectionPool"

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self._parser = ReplyParser()

    def connectionMade(self) -> None:
        """Send small requests at once, notice a peer that is gone, and AUTH."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        super().connectionMade()

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Bytes of replies. Bytes that are no RESP end the connection, and every request under way with it."""
        try:
            replies = self._parser.receive(data)
        except UnexpectedReply as error:
            self._give_up(error)
            return
        for reply in replies:
            self.replyReceived(reply)

    def request(self, *words: bytes, wait_seconds: float = 0.0) -> "Deferred[Reply]":
        """Send one request. Fails with what error the reply is, with NotConnected, or with ConnectionLost.

        wait_seconds: for how long the server may wait before it replies.
        """
        if not self.connected:
            return fail(NotConnected.because("the connection was lost"))
        if wait_seconds and self.factory.replyTimeout:
            # txredisapi reads it while it sends; a connection on which a request waits has no other requests.
            self.replyTimeout = self.factory.replyTimeout + wait_seconds
        sent: Deferred[Reply] = self.execute_command(*words)
        return sent.addErrback(self._request_failed)

    def auth(self, password: str, username: str | None = None) -> "Deferred[object]":
        """AUTH, as txredisapi asks for when the connection is made; whatever it fails by, txredisapi gives up.

        So a failure that may pass is kept from it: the connection is dropped, and the next attempt will AUTH again.
        """
        answered: Deferred[object] = super().auth(password, username)
        authenticated: Deferred[object] = answered.addErrback(self._auth_failed)
        return authenticated

    def _auth_failed(self, failure: Failure) -> "Deferred[object]":
        error = failure.value
        if isinstance(error, EventflowError) and not _may_pass(error):
            self.factory.end(error)
            return fail(failure)
        self.factory.attempt_failed(failure)
        self.transport.loseConnection()
        return Deferred()

    def _request_failed(self, failure: Failure) -> Failure:
        """Of txredisapi's failures two can be: the connection was lost, or a reply is overdue and it will be."""
        if failure.check(RedisConnectionError) is None:
            return failure
        self.connected = 0
        is_overdue = failure.check(RedisTimeoutError) is not None
        return Failure(ConnectionLost.because(_sentence(failure), is_overdue=is_overdue))

    def _give_up(self, error: EventflowError) -> None:
        # From here on the pool passes this connection by. Otherwise a caller that repeats a read as soon as it
        # fails would put it into the very queue that is being emptied, for ever.
        self.connected = 0
        while self.replyQueue.waiting:
            self.replyReceived(_fresh(error))
        self.transport.abortConnection()


def _may_pass(error: EventflowError) -> bool:
    return error.retry_can_help or isinstance(error, UnexpectedReply)


def _sentence(failure: Failure) -> str:
    """What failed, without the full stop: more words follow."""
    return failure.getErrorMessage().rstrip(".")


def _fresh(error: EventflowError) -> EventflowError:
    """One exception for each request that fails: raised again and again, one instance would gather tracebacks."""
    return copy(error)


class ConnectionPool(RedisFactory):  # type: ignore[misc]
    """Keeps `pool_size` connections to one server, and makes them anew when they are lost.

    Between attempts it waits 0.1 s, then e times longer each time, up to 10 s. A request made while there is no
    connection waits for one. Once `ended_by` is set the pool connects no more, and requests fail with that error.

    is_eager: the first attempt that fails ends the pool; otherwise it keeps trying.
    """

    protocol = Connection

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        reactor: IReactorTime,
        *,
        pool_size: int,
        password: str | None,
        user: str | None,
        reply_timeout_seconds: float | None,
        is_eager: bool,
    ) -> None:
        super().__init__(
            None,
            None,
            pool_size,
            isLazy=not is_eager,
            charset=None,
            password=password,
            username=user,
            replyTimeout=reply_timeout_seconds,
            convertNumbers=False,
        )
        self.initialDelay = RECONNECT_SECONDS_FIRST
        self.maxDelay = RECONNECT_SECONDS_MAX
        self.ended_by: EventflowError | None = None
        self._endpoint = endpoint
        self._reactor = reactor
        self.deferred: Deferred[object] | None = Deferred(self._connect_cancelled)

    def connect(self) -> "Deferred[object]":
        """Begin to connect. Fires when all connections are made; fails, if eager, when one could not be."""
        connected = self.deferred
        assert connected is not None
        self.startConnecting(_WatchedEndpoint(self._endpoint, self))
        return connected

    def request(self, *words: bytes, wait_seconds: float = 0.0) -> "Deferred[Reply]":
        """Send one request on any connection, as soon as there is one."""
        if self.ended_by is not None:
            return fail(_fresh(self.ended_by))
        found: Deferred[Connection] = self.getConnection(peek=True)
        return found.addCallback(lambda connection: connection.request(*words, wait_seconds=wait_seconds))

    async def close(self) -> None:
        """Take no more requests, let the server answer those it has, then close."""
        self._end_requests(ClientClosed.because("the client was disconnected"))
        stopped = self.stopTrying()
        quits = [connection.request(b"QUIT") for connection in self.pool]
        await DeferredList([stopped, *quits], consumeErrors=True)
        await self._closed()

    async def abort(self) -> None:
        """Close at once: requests under way fail with ConnectionLost."""
        self._end_requests(ClientClosed.because("the client was disconnected"))
        for connection in list(self.pool):
            connection.transport.abortConnection()
        await self._closed()

    def end(self, error: EventflowError) -> None:
        """Give up for good: close, and fail with `error` what waits and what will be asked."""
        self._end_requests(error)
        Deferred.fromCoroutine(self._close_and_tell(error))

    async def _close_and_tell(self, error: EventflowError) -> None:
        """Fail `connect` only when nothing is left open, so that its caller can end the program, or try again."""
        connected, self.deferred = self.deferred, None
        await self._closed()
        if connected is not None and not self.isLazy and not connected.called:
            connected.errback(error)

    def attempt_failed(self, failure: Failure) -> None:
        """An attempt to connect came to nothing, for a reason that may pass."""
        if self.stopped:
            return
        error = failure.value
        if not isinstance(error, EventflowError):
            error = NotConnected.because(f"cannot connect to {self._endpoint!r}: {_sentence(failure)}")
        if self.isLazy or self.deferred is None:
            _log.info("{error}", error=error)
            return
        # A ClientService may be in the middle of this attempt, and cannot be stopped from inside.
        self._reactor.callLater(0, self.end, error)

    def connectionError(self, why: str) -> None:  # noqa: N802  # txredisapi's name
        """txredisapi gave up, which it does only after `end` was called; told to nobody a second time."""

    async def _closed(self) -> None:
        await self.disconnect()
        # This goes on from inside a ClientService, which cannot be asked anything until it is done.
        await deferLater(self._reactor, 0)

    def _end_requests(self, error: EventflowError) -> None:
        if self.ended_by is None:
            self.ended_by = error
        waiting, self.connectionQueue.peekers = self.connectionQueue.peekers, []
        for request in waiting:
            request.errback(_fresh(error))

    def _connect_cancelled(self, _connected: "Deferred[object]") -> None:
        self._end_requests(NotConnected.because("connecting was cancelled"))
        self.disconnect()


class ServerConnections:
    """All connections of one client: the pool, and one more for each read that waits at the moment.

    On a connection of the pool such a read would keep what is behind it waiting as well. Its connection is made when
    it is needed, and kept for the next one; the options are ConnectionPool's.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        reactor: IReactorTime,
        *,
        pool_size: int,
        password: str | None,
        user: str | None,
        reply_timeout_seconds: float | None,
        is_eager: bool,
    ) -> None:
        def make_pool(size: int, is_eager: bool) -> ConnectionPool:
            return ConnectionPool(
                endpoint,
                reactor,
                pool_size=size,
                password=password,
                user=user,
                reply_timeout_seconds=reply_timeout_seconds,
                is_eager=is_eager,
            )

        self._make_pool = make_pool
        self._messages = MessageConnections(endpoint, reactor, password=password, user=user)
        self._pool = make_pool(pool_size, is_eager)
        self._waiting: list[ConnectionPool] = []
        self._idle: list[ConnectionPool] = []

    def connect(self) -> "Deferred[object]":
        """See ConnectionPool.connect."""
        return self._pool.connect()

    def request(self, *words: bytes, wait_seconds: float = 0.0) -> "Deferred[Reply]":
        """Send one request, as soon as there is a connection."""
        if not wait_seconds or self._pool.ended_by is not None:
            return self._pool.request(*words)
        waiting = self._idle.pop() if self._idle else self._open_waiting()
        asked = waiting.request(*words, wait_seconds=wait_seconds)
        return asked.addBoth(self._waited, waiting)

    async def subscribe(self, query: bytes) -> Messages:
        """A connection of its own that has subscribed to a query."""
        if self._pool.ended_by is not None:
            raise _fresh(self._pool.ended_by)
        return await self._messages.open(query)

    async def close(self) -> None:
        """Take no more requests, let the server answer those it has, then close; reads that wait do not wait on."""
        self._messages.close()
        closed = Deferred.fromCoroutine(self._pool.close())
        aborts = [Deferred.fromCoroutine(waiting.abort()) for waiting in self._waiting]
        await DeferredList([closed, *aborts], consumeErrors=True)

    async def abort(self) -> None:
        """Close at once: requests under way fail with ConnectionLost."""
        self._messages.close()
        aborts = [Deferred.fromCoroutine(pool.abort()) for pool in (self._pool, *self._waiting)]
        await DeferredList(aborts)

    def _open_waiting(self) -> ConnectionPool:
        waiting = self._make_pool(1, False)
        self._waiting.append(waiting)
        waiting.connect()
        return waiting

    def _waited(self, outcome: "Reply | Failure", waiting: ConnectionPool) -> "Reply | Failure":
        """Keep a connection that is in step with the server. One whose read was cancelled is not, and is closed."""
        if isinstance(outcome, Failure) and outcome.check(EventflowError) is None:
            self._waiting.remove(waiting)
            Deferred.fromCoroutine(waiting.abort())
        else:
            self._idle.append(waiting)
        return outcome


@implementer(IStreamClientEndpoint)
class _WatchedEndpoint:
    """An endpoint that tells the pool of each attempt that fails."""

    def __init__(self, endpoint: IStreamClientEndpoint, pool: ConnectionPool) -> None:
        self._endpoint = endpoint
        self._pool = pool

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":  # noqa: N803  # the interface's name
        return self._endpoint.connect(protocolFactory).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        self._pool.attempt_failed(failure)
        return failure
