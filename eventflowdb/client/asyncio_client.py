"""The asyncio client: one coroutine method per command, over redis-py's connections.

Of redis-py its connections and its pool are used, and not its `Redis`: that one repeats commands by itself, an ADD
too, when a connection breaks or a reply is late. Here a request is sent once, in one place.
Needs the extra: pip install 'eventflowdb[redis]'. Works with redis-py 5 to 8.
"""

import inspect
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from eventflowdb.client import exchanges
from eventflowdb.client.exchanges import Checksum, Exchange, Size
from eventflowdb.client.redis_errors import FAILURES, failure_of
from eventflowdb.client.refusals import ConnectionLost, NotConnected
from eventflowdb.errors import InvalidArgument
from eventflowdb.events import NewEvent, RecordedEvent

PORT_DEFAULT = 6543
PAGE_EVENTS_DEFAULT = 1000
POOL_SIZE_DEFAULT = 10

T = TypeVar("T")

_COMMAND_NAME = inspect.signature(BlockingConnectionPool.get_connection).parameters.get("command_name")
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
        self._pool: Any = BlockingConnectionPool(
            max_connections=pool_size,
            timeout=None,
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
        self._is_closed = False

    async def request(self, words: Sequence[bytes]) -> object:
        """Send one request, once, and give the reply; errors in it are as redis-py has them."""
        connection = await self._take()
        try:
            await connection.send_command(*words)
            return await connection.read_response()
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

    async def connect(self) -> None:
        """Make a first connection, or fail."""
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

    async def _take(self) -> Any:
        """A connection in step with the server. Waits until one is free; raises NotConnected, or what was refused."""
        if self._is_closed:
            raise NotConnected.because("the client was disconnected")
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
    Of all methods only `add` changes anything, and it sends its request once. The others are sent once more when
    their connection turns out to be lost, unless the reply was overdue.

    It belongs to the event loop that it was made in; any number of its tasks may share it.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def ping(self, message: str | None = None) -> str:
        """The message, or "PONG"."""
        return await self._read(exchanges.ping(message))

    async def version(self) -> str:
        """The server's version, SemVer."""
        return await self._read(exchanges.version())

    async def uptime(self) -> str:
        """How long the server has been running, in words."""
        return await self._read(exchanges.uptime())

    async def size(self) -> Size:
        """The size of the database: bytes, and the same in words."""
        return await self._read(exchanges.size())

    async def event_count(self) -> int:
        """How many events the log holds."""
        return await self._read(exchanges.event_count())

    async def stream_count(self) -> int:
        """How many streams there are."""
        return await self._read(exchanges.stream_count())

    async def event_count_estimate(self) -> int:
        """How many events the log held when the server last looked, about a second ago."""
        return await self._read(exchanges.event_count_estimate())

    async def stream_count_estimate(self) -> int:
        """How many streams there were when the server last looked, about a second ago."""
        return await self._read(exchanges.stream_count_estimate())

    async def checksum(self) -> Checksum:
        """The latest event's id and the checksum of the log up to it; of an empty log, all zeros."""
        return await self._read(exchanges.checksum())

    async def add(self, stream: str | UUID, version: int, events: Sequence[NewEvent]) -> list[RecordedEvent]:
        """Store events at the end of a stream, all or none; gives them as stored once they are on disk.

        version: how many events the stream holds already, 0 for a new one. Raises WrongExpectedVersion if it holds
        another number; ConnectionLost when it is unknown whether they were stored. It is never sent a second time.
        """
        return await self._send(exchanges.add(stream, version, events))

    async def get(self, stream: str | UUID, version: int = 0, limit: int = 0) -> list[RecordedEvent]:
        """A stream's events after its first `version`, at most `limit`; 0 means all.

        An empty list where there are none, also for a stream that does not exist.
        """
        return await self._read(exchanges.get(stream, version, limit))

    async def get_all(
        self, *, offset: str | None = None, after: str | None = None, limit: int | None = None
    ) -> list[RecordedEvent]:
        """Events in the order of the log, at most `limit` (absent or 0: 100).

        They begin with the event whose id is `offset`, or with the one past the id `after`; the server refuses
        both at once. Fewer than `limit` means that the log ended there.
        """
        return await self._read(exchanges.get_all(offset=offset, after=after, limit=limit))

    async def read_all(
        self, *, after: str | None = None, page_events: int = PAGE_EVENTS_DEFAULT
    ) -> AsyncIterator[RecordedEvent]:
        """Every event of the log past the id `after`, in order, up to where the log ends when it gets there.

        One page of `page_events` (at least 1) is asked for, and held in memory, at a time; choose it by how large
        your events are.
        To go on later, keep the id of the last event you are done with. Raises what `get_all` raises.
        """
        if page_events < 1:
            raise InvalidArgument(f"page_events: expected at least 1, got {page_events}")
        while True:
            page = await self.get_all(after=after, limit=page_events)
            for event in page:
                yield event
            if len(page) < page_events:
                return
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

    async def _read(self, exchange: Exchange[T]) -> T:
        """A request that changes nothing: if its connection turns out to be lost, it is sent once more."""
        try:
            return await self._send(exchange)
        except NotConnected:
            raise
        except ConnectionLost as lost:
            if isinstance(lost.__cause__, RedisTimeoutError):
                raise
            await self._connections.drop_idle()
            return await self._send(exchange)

    async def _send(self, exchange: Exchange[T]) -> T:
        """One request, sent once."""
        reply = await self._connections.request(exchange.words)
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
    reply_timeout_seconds: when the server sends nothing for so long in the middle of a request, its connection is
    closed and it raises ConnectionLost; None waits for ever.
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
