"""The asyncio client: one coroutine method per command, over redis-py's connections.

Of redis-py its connections and its pool are used, and not its `Redis`: that one repeats every command by itself, when
a connection breaks or a reply is late. Here what may be repeated is decided in one place, `retries`.
Needs the extra: pip install 'eventflowdb[redis]'. Works with redis-py 5 to 8.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from eventflowdb.client import exchanges
from eventflowdb.client.appends import FRESH, RequestId, StreamAppend
from eventflowdb.client.exchanges import Checksum, Exchange, Size, UnlessGiven
from eventflowdb.client.filters import Filters, Terms
from eventflowdb.client.paging import Paging
from eventflowdb.client.redis_errors import FAILURES, failure_of
from eventflowdb.client.refusals import ClientClosed, ConnectionLost
from eventflowdb.client.retries import Attempts
from eventflowdb.client.subscriptions import PING, SILENCE_SECONDS_MAX, Subscription
from eventflowdb.errors import EventflowError
from eventflowdb.events import ExpectedVersion, NewEvent, RecordedEvent
from eventflowdb.queries import StreamSummary, TypeSummary

if TYPE_CHECKING:
    from typing_extensions import Unpack

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
        self._subscribers: list[Any] = []

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
        await self._end_subscriptions()

    async def abort(self) -> None:
        """Take no more requests, and close all connections."""
        self._is_closed = True
        await self._pool.disconnect()
        await self._end_subscriptions()

    @asynccontextmanager
    async def subscribed(self, query: bytes) -> "AsyncIterator[Messages]":
        """A connection of its own that has subscribed to a query, beside those of the pool."""
        if self._is_closed:
            raise ClientClosed.because("the client was disconnected")
        connection = self._pool.connection_class(**{**self._pool.connection_kwargs, "socket_timeout": None})
        self._subscribers.append(connection)
        messages = Messages(self, connection)
        try:
            await messages.subscribe(query)
            yield messages
        finally:
            self._subscribers.remove(connection)
            messages.stop()
            await connection.disconnect(nowait=True)

    @property
    def is_closed(self) -> bool:
        """Whether the program has closed it."""
        return self._is_closed

    async def _end_subscriptions(self) -> None:
        for connection in list(self._subscribers):
            await connection.disconnect(nowait=True)

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


class Messages:
    """What comes on a connection that has subscribed."""

    def __init__(self, connections: Connections, connection: Any) -> None:
        self._connections = connections
        self._connection = connection
        self._watch: asyncio.Task[None] | None = None
        self._is_reading = False
        self._has_heard = False

    async def subscribe(self, query: bytes) -> None:
        """Connect, and send the query."""
        try:
            await self._connection.connect()
            await self._connection.send_command(b"SUBSCRIBE", query)
        except FAILURES as error:
            raise self._failure_of(error, was_sent=False) from error
        if self._connections.is_closed:
            raise ClientClosed.because("the client was disconnected")
        self._watch = asyncio.ensure_future(self._ask_for_life())

    async def read(self) -> object:
        """The next message, error or answer; ConnectionLost where the server gives no sign of life."""
        self._is_reading = True
        try:
            return await self._connection.read_response()
        except FAILURES as error:
            raise self._failure_of(error, was_sent=True) from error
        finally:
            self._is_reading = False
            self._has_heard = True

    def stop(self) -> None:
        """Read no more."""
        if self._watch is not None:
            self._watch.cancel()

    async def _ask_for_life(self) -> None:
        """Ask a server that is silent, and close the connection where it stays so."""
        with suppress(*FAILURES):  # the read tells of them
            while True:
                if await self._is_silent():
                    await self._connection.send_command(PING)
                    if await self._is_silent():
                        await self._connection.disconnect(nowait=True)
                        return

    async def _is_silent(self) -> bool:
        """Whether nothing comes for a while, though it is waited for."""
        self._has_heard = False
        await asyncio.sleep(SILENCE_SECONDS_MAX)
        return self._is_reading and not self._has_heard

    def _failure_of(self, error: Exception, *, was_sent: bool) -> EventflowError:
        if self._connections.is_closed:
            return ClientClosed.because("the client was disconnected")
        return failure_of(error, was_sent=was_sent)


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
        self,
        stream: str | UUID,
        version: int = 0,
        limit: int = 0,
        *,
        after: str | None = None,
        backwards: bool = False,
        wait_ms: int = 0,
        **filters: "Unpack[Filters]",
    ) -> list[RecordedEvent]:
        """A stream's events after its first `version`, at most `limit`; 0 means all, with `after` or a filter 100.

        after: the id of the last event that is not wanted; backwards: the last one first; filters: see Filters.
        An empty list where there are none, also for a stream that does not exist; but first the server waits for
        one, up to `wait_ms` (at most an hour).
        """
        return await self._do(
            exchanges.get(stream, version, limit, after=after, backwards=backwards, wait_ms=wait_ms, filters=filters)
        )

    async def get_all(
        self,
        *,
        offset: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        backwards: bool = False,
        wait_ms: int = 0,
        **filters: "Unpack[Filters]",
    ) -> list[RecordedEvent]:
        """Events in the order of the log, or `backwards`, at most `limit` (absent or 0: 100).

        Those from the event whose id is `offset` on, or past the id `after`; the server refuses both at once. filters:
        see Filters. Fewer than `limit` means that there were no more. Where there are none the server first waits for
        one, up to `wait_ms` (at most an hour).
        """
        return await self._do(
            exchanges.get_all(
                offset=offset, after=after, limit=limit, backwards=backwards, wait_ms=wait_ms, filters=filters
            )
        )

    async def event(self, event_id: str) -> RecordedEvent | None:
        """The event of this id; None where there is none."""
        return await self._do(exchanges.event(event_id))

    async def stream(self, stream: str | UUID) -> StreamSummary | None:
        """A stream's version, which the next append expects, and its first and last events; None where it has none."""
        return await self._do(exchanges.stream(stream))

    async def streams(
        self, *, after: str | UUID | None = None, limit: int | None = None, **terms: "Unpack[Terms]"
    ) -> list[StreamSummary]:
        """Streams in the order of their first events, at most `limit` (absent: 100; at most 1,000).

        Given terms, those that hold such an event, in the order of the first ones. after: the last stream of the page
        before. Fewer than `limit` means that there were no more.
        """
        return await self._do(exchanges.streams(after=after, limit=limit, terms=terms))

    async def types(self, *, after: str | None = None, limit: int | None = None) -> list[TypeSummary]:
        """The event types in the order of their names, each with its number of events, at most `limit` (absent: 1,000).

        after: the last type of the page before.
        """
        return await self._do(exchanges.types(after=after, limit=limit))

    async def read_all(
        self,
        *,
        stream: str | UUID | None = None,
        version: int = 0,
        after: str | None = None,
        backwards: bool = False,
        page_events: int = PAGE_EVENTS_DEFAULT,
        **filters: "Unpack[Filters]",
    ) -> AsyncIterator[RecordedEvent]:
        """Every event of the log past the id `after`, in order, up to where the log ends when it gets there.

        stream: only those of a stream, after its first `version`; filters: only such, see Filters; backwards: the last
        one first. One page of `page_events` (at least 1) is asked for, and held in memory, at a time; choose it by how
        large your events are.
        To go on later, keep the id of the last event you are done with. Raises what `get_all` raises.
        """
        paging = Paging(
            filters, stream=stream, version=version, after=after, backwards=backwards, page_events=page_events
        )
        while not paging.is_over:
            for event in paging.take(await self._do(paging.next())):
                yield event

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

    async def subscribe(
        self,
        *,
        stream: str | UUID | None = None,
        version: int | None = None,
        offset: str | None = None,
        after: str | None = None,
        **filters: "Unpack[Filters]",
    ) -> AsyncIterator[RecordedEvent]:
        """Events as they are stored, in the order of the log; it never ends by itself.

        From the event whose id is `offset` on, or past the id `after`, or since a time, history first; without any of
        these from now on. stream: only those of a stream, `version`: after so many of them; filters: see Filters.

        When the connection breaks it is made anew, for as long as that takes, and goes on behind the last event that
        was given: nothing is missing, and nothing comes twice. It has a connection to itself, beside those of the pool,
        and reads from it no faster than you take events. Raises what the server refuses it by, NotConnected where it
        cannot be reached at first, ClientClosed when the client is closed. `aclose` it, or cancel its task, to end it.
        """
        place = Subscription(filters, stream=stream, version=version, offset=offset, after=after)
        if not place.has_place:
            place.begin_after((await self.checksum()).event_id)
        while True:
            try:
                async with self._connections.subscribed(place.query()) as connection:
                    while True:
                        event = place.event_of(await connection.read())
                        if event is not None:
                            yield event
            except EventflowError as error:
                pause = place.pause_after(error)
            await asyncio.sleep(pause)

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
