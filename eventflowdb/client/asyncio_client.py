"""The asyncio client: one coroutine method per command, over redis-py's connections.

Of redis-py its connections and its pool are used, and not its `Redis`: that one repeats every command by itself, when
a connection breaks or a reply is late. Here what may be repeated is decided in one place, `retries`.
Needs the extra: pip install 'eventflowdb[redis]'. Works with redis-py 5 to 8.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from eventflowdb.client import exchanges
from eventflowdb.client.appends import FRESH, RequestId, StreamAppend
from eventflowdb.client.exchanges import Checksum, Exchange, Size, UnlessGiven
from eventflowdb.client.redis_errors import FAILURES, failure_of
from eventflowdb.client.refusals import ClientClosed, ConnectionLost
from eventflowdb.client.retries import Attempts
from eventflowdb.errors import EventflowError
from eventflowdb.events import ExpectedVersion, NewEvent, RecordedEvent

PORT_DEFAULT = 6543
PAGE_EVENTS_DEFAULT = 1000
FOLLOW_WAIT_MS_DEFAULT = 20_000
POOL_SIZE_DEFAULT = 10

T = TypeVar("T")

_COMMAND_NAME = inspect.signature(ConnectionPool.get_connection).parameters.get("command_name")
_TAKING: tuple[str, ...] = ("_",) if _COMMAND_NAME and _COMMAND_NAME.default is inspect.Parameter.empty else ()
"""What the pool wants to be given for a connection: a word that it ignores, up to redis-py 5.2."""


class Connections:
    """Up to `pool_size` connections to one server, made when they are needed, RESP2; a request goes over any of them.

    A connection that is not in step, because a reply was not read to its end, never serves another request.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        password: str | None,
        user: str | None,
        pool_size: int,
        connect_timeout_seconds: float,
        reply_timeout_seconds: float | None,
    ) -> None:
        # All that redis-py has by default to send something twice, or unasked, is off.
        self._pool: Any = ConnectionPool(
            max_connections=pool_size,
            host=host,
            port=port,
            password=password,
            username=user,
            protocol=2,
            decode_responses=False,
            socket_connect_timeout=connect_timeout_seconds,
            socket_timeout=reply_timeout_seconds,
            socket_keepalive=True,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
        )
        self._reply_timeout_seconds = reply_timeout_seconds
        # redis-py's own pool that waits hangs, up to version 5.0.1, when it cannot connect.
        self._places = asyncio.Semaphore(pool_size)
        self._is_closed = False

    async def request(self, words: Sequence[bytes], wait_seconds: float = 0.0) -> object:
        """Send one request, once, and give the reply; errors in it are as redis-py has them.

        wait_seconds: for how long the server may wait before it replies.
        """
        async with self._places:
            return await self._request(words, wait_seconds)

    async def connect(self) -> None:
        """Make a first connection, or fail."""
        async with self._places:
            await self._give_back(await self._take())

    async def drop_idle(self) -> None:
        """Close what is not in use: where one connection turned out to be lost, others may be too."""
        await self._pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Take no more requests; a connection in use is closed when its reply has come."""
        self._is_closed = True
        await self.drop_idle()

    async def abort(self) -> None:
        """Take no more requests, and close all connections."""
        self._is_closed = True
        await self._pool.disconnect()

    async def _request(self, words: Sequence[bytes], wait_seconds: float) -> object:
        connection = await self._take()
        try:
            await connection.send_command(*words)
            return await self._read_reply(connection, wait_seconds)
        except ResponseError as error:
            raise failure_of(error, was_sent=True) from error
        except FAILURES as error:
            await connection.disconnect()
            raise failure_of(error, was_sent=True) from error
        except BaseException:
            # The task was cancelled: the reply is still to come, and must not be taken for the next one.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self._give_back(connection)

    async def _read_reply(self, connection: Any, wait_seconds: float) -> object:
        """The reply, for which the server may take longer than the connection's own timeout is."""
        timeout = self._reply_timeout_seconds
        if timeout is None or not wait_seconds:
            return await connection.read_response()
        reply = await connection.read_response(timeout=wait_seconds + timeout)
        if reply is None:
            raise RedisTimeoutError(f"no reply within {wait_seconds + timeout} seconds")
        return reply

    async def _take(self) -> Any:
        """A connection in step with the server; raises NotConnected, or what was refused."""
        if self._is_closed:
            raise ClientClosed.because("the client was disconnected")
        try:
            return await self._pool.get_connection(*_TAKING)
        except FAILURES as error:
            raise failure_of(error, was_sent=False) from error

    async def _give_back(self, connection: Any) -> None:
        if self._is_closed:
            await connection.disconnect()
        await self._pool.release(connection)


class EventflowClient:
    """A client of one server. Made by `connect` or `connect_lazily`; `async with await connect() as client:` closes it.

    Every method may raise: what the server refused, by its class in eventflowdb.errors; UnknownRefusal, with the
    reply's own code, for a code not among them; ConnectionLost if the connection went away before the reply came, so
    that nobody knows whether the request was carried out; NotConnected if it was never sent; UnexpectedReply if the
    server does not answer as an EventflowDB does; InvalidArgument already here for a string that UTF-8 cannot carry.

    What can do no harm is repeated, up to three times within two seconds: when the server answers TRYAGAIN, and when
    the connection breaks before the reply, a read and an append with a request_id. Every append has one unless it is
    turned off: it is stored once, and answered with what was stored. An overdue reply ends the attempts.

    It belongs to the event loop that it was made in; any number of its tasks may share it.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def ping(self, message: str | None = None) -> str:
        """The message, or "PONG"."""
        return await self._do(exchanges.ping(message))

    async def version(self) -> str:
        """The server's version, SemVer."""
        return await self._do(exchanges.version())

    async def uptime(self) -> str:
        """How long the server has been running, in words."""
        return await self._do(exchanges.uptime())

    async def size(self) -> Size:
        """The size of the database: bytes, and the same in words."""
        return await self._do(exchanges.size())

    async def event_count(self) -> int:
        """How many events the log holds."""
        return await self._do(exchanges.event_count())

    async def stream_count(self) -> int:
        """How many streams there are."""
        return await self._do(exchanges.stream_count())

    async def event_count_estimate(self) -> int:
        """How many events the log held when the server last looked, about a second ago."""
        return await self._do(exchanges.event_count_estimate())

    async def stream_count_estimate(self) -> int:
        """How many streams there were when the server last looked, about a second ago."""
        return await self._do(exchanges.stream_count_estimate())

    async def checksum(self) -> Checksum:
        """The latest event's id and the checksum of the log up to it; of an empty log, all zeros."""
        return await self._do(exchanges.checksum())

    async def add(
        self,
        stream: str | UUID,
        version: ExpectedVersion,
        events: Sequence[NewEvent],
        *,
        unless: UnlessGiven = None,
        request_id: RequestId = FRESH,
    ) -> list[RecordedEvent]:
        """Store events at the end of a stream, all or none; gives them as stored once they are on disk.

        version: how many events the stream holds already, 0 for a new one; "any", or "exists" for at least one.
        unless: what must not be in the log. request_id: None sends the request without one, and once.
        Raises WrongExpectedVersion or UnlessMatched if a condition does not hold; RequestConflict if the request_id was
        given to another append; ConnectionLost when it is unknown whether they were stored.
        """
        return await self._do(exchanges.add(stream, version, events, unless=unless, request_id=request_id))

    async def add_many(
        self, appends: Sequence[StreamAppend], *, unless: UnlessGiven = None, request_id: RequestId = FRESH
    ) -> list[RecordedEvent]:
        """Store events at the ends of several streams, all or none; otherwise as `add`.

        An append without events checks its stream and leaves it alone. Gives all events in order.
        """
        return await self._do(exchanges.add_many(appends, unless=unless, request_id=request_id))

    async def get(
        self, stream: str | UUID, version: int = 0, limit: int = 0, *, wait_ms: int = 0
    ) -> list[RecordedEvent]:
        """A stream's events after its first `version`, at most `limit`; 0 means all.

        An empty list where there are none, also for a stream that does not exist; but first the server waits for
        one, up to `wait_ms` (at most an hour).
        """
        return await self._do(exchanges.get(stream, version, limit, wait_ms=wait_ms))

    async def get_all(
        self, *, offset: str | None = None, after: str | None = None, limit: int | None = None, wait_ms: int = 0
    ) -> list[RecordedEvent]:
        """Events in the order of the log, at most `limit` (absent or 0: 100).

        They begin with the event whose id is `offset`, or with the one past the id `after`; the server refuses
        both at once. Fewer than `limit` means that the log ended there. Where there are none the server first waits
        for one, up to `wait_ms` (at most an hour).
        """
        return await self._do(exchanges.get_all(offset=offset, after=after, limit=limit, wait_ms=wait_ms))

    async def read_all(
        self, *, after: str | None = None, page_events: int = PAGE_EVENTS_DEFAULT
    ) -> AsyncIterator[RecordedEvent]:
        """Every event of the log past the id `after`, in order, up to where the log ends when it gets there.

        One page of `page_events` (at least 1) is asked for, and held in memory, at a time; choose it by how large
        your events are.
        To go on later, keep the id of the last event you are done with. Raises what `get_all` raises.
        """
        exchanges.check_page_events(page_events)
        while True:
            page = await self.get_all(after=after, limit=page_events)
            for event in page:
                yield event
            if len(page) < page_events:
                return
            after = page[-1].id

    async def follow(
        self,
        *,
        after: str | None = None,
        page_events: int = PAGE_EVENTS_DEFAULT,
        wait_ms: int = FOLLOW_WAIT_MS_DEFAULT,
    ) -> AsyncIterator[RecordedEvent]:
        """Every event of the log past the id `after`, in order, and then each that comes; it never ends by itself.

        As `read_all`, but where the log ends it waits for more, asking anew every `wait_ms` (at least 1).
        """
        exchanges.check_page_events(page_events)
        exchanges.check_follow_wait(wait_ms)
        while True:
            page = await self.get_all(after=after, limit=page_events, wait_ms=wait_ms)
            for event in page:
                yield event
            if page:
                after = page[-1].id

    async def disconnect(self) -> None:
        """Close: requests under way are still answered, others fail with NotConnected."""
        await self._connections.close()

    async def abort(self) -> None:
        """Close at once: requests under way fail with ConnectionLost."""
        await self._connections.abort()

    async def __aenter__(self) -> "EventflowClient":
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    async def _do(self, exchange: Exchange[T]) -> T:
        """One request, repeated where that can do no harm."""
        attempts = Attempts(exchange)
        while True:
            try:
                return await self._send(exchange)
            except EventflowError as error:
                pause = attempts.pause_after(error)
                if isinstance(error, ConnectionLost):
                    await self._connections.drop_idle()
            await asyncio.sleep(pause)

    async def _send(self, exchange: Exchange[T]) -> T:
        """One request, sent once."""
        reply = await self._connections.request(exchange.words, exchange.wait_seconds)
        try:
            return exchange.decode(reply)
        except RedisError as error:
            raise failure_of(error, was_sent=True) from error


async def connect(
    host: str = "127.0.0.1",
    port: int = PORT_DEFAULT,
    *,
    password: str | None = None,
    user: str | None = None,
    pool_size: int = POOL_SIZE_DEFAULT,
    connect_timeout_seconds: float = 30.0,
    reply_timeout_seconds: float | None = None,
) -> EventflowClient:
    """A client that is connected. Raises NotConnected, or WrongPassword or NotAuthenticated if it is not let in.

    A connection that is lost is made anew by the next request; that one raises NotConnected if it cannot be.

    password: None if the server asks for none. It is sent anew on every connection.
    pool_size: the most connections at once; a task that finds all of them in use waits.
    connect_timeout_seconds: for one attempt to connect.
    reply_timeout_seconds: when a reply, whole, takes longer than this, its connection is closed and its request raises
    ConnectionLost; None waits for ever. A read's `wait_ms` comes on top.
    """
    client = connect_lazily(
        host,
        port,
        password=password,
        user=user,
        pool_size=pool_size,
        connect_timeout_seconds=connect_timeout_seconds,
        reply_timeout_seconds=reply_timeout_seconds,
    )
    try:
        await client._connections.connect()
    except BaseException:
        await client.abort()
        raise
    return client


def connect_lazily(
    host: str = "127.0.0.1",
    port: int = PORT_DEFAULT,
    *,
    password: str | None = None,
    user: str | None = None,
    pool_size: int = POOL_SIZE_DEFAULT,
    connect_timeout_seconds: float = 30.0,
    reply_timeout_seconds: float | None = None,
) -> EventflowClient:
    """A client that connects with its first request, which is what fails if it cannot; otherwise as `connect`."""
    connections = Connections(
        host,
        port,
        password=password,
        user=user,
        pool_size=pool_size,
        connect_timeout_seconds=connect_timeout_seconds,
        reply_timeout_seconds=reply_timeout_seconds,
    )
    return EventflowClient(connections)
