"""What the asyncio client sends its requests over: redis-py's connections, without what redis-py repeats by itself."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from eventflowdb.client.redis_errors import FAILURES, failure_of
from eventflowdb.client.redis_pools import Endable, PoolOptions, words_for_a_connection
from eventflowdb.client.refusals import ClientClosed
from eventflowdb.client.subscriptions import PING, SILENCE_SECONDS_MAX, overdue
from eventflowdb.errors import EventflowError

_TAKING = words_for_a_connection(ConnectionPool.get_connection)


class Connections:
    """What `blocking_connections.Connections` is, for the tasks of one event loop."""

    def __init__(self, options: PoolOptions) -> None:
        self._pool: Any = ConnectionPool(**options.keywords(Retry(NoBackoff(), 0)))
        self._reply_timeout_seconds = options.reply_timeout_seconds
        # redis-py's own pool that waits hangs, up to version 5.0.1, when it cannot connect.
        self._places = asyncio.Semaphore(options.pool_size)
        self._is_closed = False
        self.own: set[OwnConnection] = set()
        """Those beside the pool that are not closed yet."""

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
        await self._end_own()

    async def abort(self) -> None:
        """Take no more requests, and close all connections."""
        self._is_closed = True
        await self._pool.disconnect()
        await self._end_own()

    @asynccontextmanager
    async def subscribed(self, query: bytes) -> "AsyncIterator[Messages]":
        """A connection of its own that has subscribed to a query, beside those of the pool."""
        connection = self.open()
        try:
            await connection.send(b"SUBSCRIBE", query)
            messages = Messages(connection)
            try:
                yield messages
            finally:
                messages.stop()
        finally:
            await connection.close()

    def open(self) -> "OwnConnection":
        """A connection of its own, which connects when it first sends."""
        if self._is_closed:
            raise ClientClosed.because("the client was disconnected")
        options = {**self._pool.connection_kwargs, "socket_timeout": None}
        connection = OwnConnection(self, self._pool.connection_class(**options))
        self.own.add(connection)
        return connection

    @property
    def is_closed(self) -> bool:
        """Whether the program has closed it."""
        return self._is_closed

    async def _end_own(self) -> None:
        for connection in list(self.own):
            await connection.end()

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


class OwnConnection(Endable):
    """A connection beside those of the pool, for one who waits; what it waits for another task may end."""

    def __init__(self, connections: Connections, connection: Any) -> None:
        super().__init__(lambda: connections.is_closed)
        self._connections = connections
        self._connection = connection

    async def send(self, *words: bytes) -> None:
        """Connect if need be, and send; NotConnected where the server cannot be reached."""
        try:
            await self._connection.connect()
        except FAILURES as error:
            raise self._failure_of(error, was_sent=False) from error
        if self._has_ended:
            raise ClientClosed.because("the client was disconnected")
        try:
            await self._connection.send_command(*words)
        except FAILURES as error:
            raise self._failure_of(error, was_sent=True) from error

    async def read(self, timeout_seconds: float | None = None) -> object:
        """The next reply or message; None if it does not come in time."""
        try:
            return await self._connection.read_response(timeout=timeout_seconds)
        except FAILURES as error:
            raise self._failure_of(error, was_sent=True) from error

    async def request(self, words: Sequence[bytes], wait_seconds: float) -> object:
        """Send one request, once, and give the reply, for which the server may take so long."""
        is_in_step = False
        try:
            await self.send(*words)
            reply = await self.read(wait_seconds + SILENCE_SECONDS_MAX)
            if reply is None:
                raise overdue(wait_seconds)
            is_in_step = True
        finally:
            if not is_in_step:
                # A reply may be still to come, and must not be taken for the next one.
                await self.end()
        return reply

    async def end(self) -> None:
        """Break the connection; who reads from it is told. It may be made anew."""
        await self._connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close at once, for good."""
        self._is_ended = True
        self._connections.own.discard(self)
        await self.end()


class Messages:
    """What comes on a connection that has subscribed."""

    def __init__(self, connection: OwnConnection) -> None:
        self._connection = connection
        self._is_reading = False
        self._has_heard = False
        self._watch = asyncio.ensure_future(self._ask_for_life())

    async def read(self) -> object:
        """The next message, error or answer; ConnectionLost where the server gives no sign of life."""
        self._is_reading = True
        try:
            return await self._connection.read()
        finally:
            self._is_reading = False
            self._has_heard = True

    def stop(self) -> None:
        """Read no more."""
        self._watch.cancel()

    async def _ask_for_life(self) -> None:
        """Ask a server that is silent, and close the connection where it stays so."""
        with suppress(EventflowError):  # the read tells of them
            while True:
                if await self._is_silent():
                    await self._connection.send(PING)
                    if await self._is_silent():
                        await self._connection.end()
                        return

    async def _is_silent(self) -> bool:
        """Whether nothing comes for a while, though it is waited for."""
        self._has_heard = False
        await asyncio.sleep(SILENCE_SECONDS_MAX)
        return self._is_reading and not self._has_heard
