"""What the blocking client sends its requests over: redis-py's connections, without what redis-py repeats by itself."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore
from typing import Any

from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from eventflowdb.client.redis_errors import FAILURES, failure_of
from eventflowdb.client.redis_pools import Endable, PoolOptions, words_for_a_connection
from eventflowdb.client.refusals import ClientClosed
from eventflowdb.client.subscriptions import PING, SILENCE_SECONDS_MAX, no_sign_of_life, overdue

_TAKING = words_for_a_connection(ConnectionPool.get_connection)


class Connections:
    """Up to `pool_size` connections to one server, made when they are needed, RESP2; a request goes over any of them.

    A connection that is not in step, because a reply was not read to its end, never serves another request.
    """

    def __init__(self, options: PoolOptions) -> None:
        self._pool: Any = ConnectionPool(**options.keywords(Retry(NoBackoff(), 0)))
        self._reply_timeout_seconds = options.reply_timeout_seconds
        # redis-py's own pool that waits cannot, before version 8, close what is idle and nothing else.
        self._places = BoundedSemaphore(options.pool_size)
        self._is_closed = False
        self.own: set[OwnConnection] = set()
        """Those beside the pool that are not closed yet."""

    def request(self, words: Sequence[bytes], wait_seconds: float = 0.0) -> object:
        """Send one request, once, and give the reply; errors in it are as redis-py has them.

        wait_seconds: for how long the server may wait before it replies.
        """
        with self._places:
            return self._request(words, wait_seconds)

    def connect(self) -> None:
        """Make a first connection, or fail."""
        with self._places:
            self._give_back(self._take())

    def drop_idle(self) -> None:
        """Close what is not in use: where one connection turned out to be lost, others may be too."""
        self._pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Take no more requests; a connection in use is closed when its reply has come."""
        self._is_closed = True
        self.drop_idle()
        self._interrupt_own()

    def abort(self) -> None:
        """Take no more requests, and close all connections."""
        self._is_closed = True
        self._pool.disconnect()
        self._interrupt_own()

    @contextmanager
    def subscribed(self, query: bytes) -> "Iterator[Messages]":
        """A connection of its own that has subscribed to a query, beside those of the pool."""
        connection = self.open()
        try:
            connection.send(b"SUBSCRIBE", query)
            yield Messages(connection)
        finally:
            connection.close()

    def open(self, *, stall_seconds_max: float | None = None) -> "OwnConnection":
        """A connection of its own, which connects when it first sends.

        stall_seconds_max: how long nothing may come in the middle of a reply.
        """
        if self._is_closed:
            raise ClientClosed.because("the client was disconnected")
        pool = self._pool
        made = pool.connection_class(**{**pool.connection_kwargs, "socket_timeout": stall_seconds_max})
        connection = OwnConnection(self, made)
        self.own.add(connection)
        return connection

    @property
    def is_closed(self) -> bool:
        """Whether the program has closed it."""
        return self._is_closed

    def _interrupt_own(self) -> None:
        for connection in list(self.own):
            connection.interrupt()

    def _request(self, words: Sequence[bytes], wait_seconds: float) -> object:
        connection = self._take()
        try:
            connection.send_command(*words)
            if wait_seconds:
                self._await_reply(connection, wait_seconds)
            return connection.read_response()
        except ResponseError as error:
            raise failure_of(error, was_sent=True) from error
        except FAILURES as error:
            connection.disconnect()
            raise failure_of(error, was_sent=True) from error
        except BaseException:
            # Ctrl-C: the reply is still to come, and must not be taken for the next one.
            connection.disconnect()
            raise
        finally:
            self._give_back(connection)

    def _await_reply(self, connection: Any, wait_seconds: float) -> None:
        """Wait for the first bytes longer than the connection's own timeout is."""
        timeout = self._reply_timeout_seconds
        if timeout is not None and not connection.can_read(timeout=wait_seconds + timeout):
            raise RedisTimeoutError(f"no reply within {wait_seconds + timeout} seconds")

    def _take(self) -> Any:
        """A connection in step with the server; raises NotConnected, or what was refused."""
        if self._is_closed:
            raise ClientClosed.because("the client was disconnected")
        try:
            return self._pool.get_connection(*_TAKING)
        except FAILURES as error:
            raise failure_of(error, was_sent=False) from error

    def _give_back(self, connection: Any) -> None:
        if self._is_closed:
            connection.disconnect()
        self._pool.release(connection)


class OwnConnection(Endable):
    """A connection beside those of the pool, for one who waits; what it waits for another thread may end."""

    def __init__(self, connections: Connections, connection: Any) -> None:
        super().__init__(lambda: connections.is_closed)
        self._connections = connections
        self._connection = connection

    def send(self, *words: bytes) -> None:
        """Connect if need be, and send; NotConnected where the server cannot be reached."""
        try:
            self._connection.connect()
        except FAILURES as error:
            raise self._failure_of(error, was_sent=False) from error
        if self._has_ended:
            raise ClientClosed.because("the client was disconnected")
        try:
            self._connection.send_command(*words)
        except FAILURES as error:
            raise self._failure_of(error, was_sent=True) from error

    def can_read(self, seconds: float) -> bool:
        """Whether something comes within so long."""
        try:
            return bool(self._connection.can_read(timeout=seconds))
        except FAILURES as error:
            raise self._failure_of(error, was_sent=True) from error

    def read(self) -> object:
        """The next reply or message."""
        try:
            return self._connection.read_response()
        except FAILURES as error:
            raise self._failure_of(error, was_sent=True) from error

    def request(self, words: Sequence[bytes], wait_seconds: float) -> object:
        """Send one request, once, and give the reply, for which the server may take so long."""
        is_in_step = False
        try:
            self.send(*words)
            if not self.can_read(wait_seconds + SILENCE_SECONDS_MAX):
                raise overdue(wait_seconds)
            reply = self.read()
            is_in_step = True
        finally:
            if not is_in_step:
                # A reply may be still to come, and must not be taken for the next one.
                self._connection.disconnect()
        return reply

    def interrupt(self) -> None:
        """End what another thread waits for; that one has to close it."""
        self._is_ended = True
        connected = self._connection._sock
        if connected is not None:
            with suppress(OSError):  # it was closed meanwhile
                connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close at once."""
        self._is_ended = True
        self._connections.own.discard(self)
        self._connection.disconnect()


class Messages:
    """What comes on a connection that has subscribed."""

    def __init__(self, connection: OwnConnection) -> None:
        self._connection = connection

    def read(self) -> object:
        """The next message, error or answer; ConnectionLost where the server gives no sign of life."""
        connection = self._connection
        if not connection.can_read(SILENCE_SECONDS_MAX):
            connection.send(PING)
            if not connection.can_read(SILENCE_SECONDS_MAX):
                raise no_sign_of_life()
        return connection.read()
