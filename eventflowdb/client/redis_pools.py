"""How both clients over redis-py set up its pools of connections."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eventflowdb.client.redis_errors import failure_of
from eventflowdb.client.refusals import ClientClosed
from eventflowdb.errors import EventflowError


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Where the server is, who asks it, and how long for; as `connect` takes it."""

    host: str
    port: int
    password: str | None
    user: str | None
    pool_size: int
    connect_timeout_seconds: float
    reply_timeout_seconds: float | None

    def keywords(self, no_retry: object) -> dict[str, Any]:
        """The same for a pool; all that redis-py has by default to send something twice, or unasked, is off."""
        return {
            "max_connections": self.pool_size,
            "host": self.host,
            "port": self.port,
            "password": self.password,
            "username": self.user,
            "protocol": 2,
            "decode_responses": False,
            "socket_connect_timeout": self.connect_timeout_seconds,
            "socket_timeout": self.reply_timeout_seconds,
            "socket_keepalive": True,
            "health_check_interval": 0,
            "retry": no_retry,
        }


def words_for_a_connection(get_connection: Callable[..., object]) -> tuple[str, ...]:
    """What a pool wants to be given for a connection: a word that it ignores, up to redis-py 5.2."""
    command_name = inspect.signature(get_connection).parameters.get("command_name")
    return ("_",) if command_name and command_name.default is inspect.Parameter.empty else ()


class Endable:
    """What the program may end while it waits: whatever fails from then on tells of that.

    is_client_closed: whether its client was closed, which ends it too.
    """

    def __init__(self, is_client_closed: Callable[[], bool]) -> None:
        self._is_client_closed = is_client_closed
        self._is_ended = False

    @property
    def _has_ended(self) -> bool:
        return self._is_ended or self._is_client_closed()

    def _failure_of(self, error: Exception, *, was_sent: bool) -> EventflowError:
        if self._has_ended:
            return ClientClosed.because("the client was disconnected")
        return failure_of(error, was_sent=was_sent)
