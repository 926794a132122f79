"""Whether a request that failed is sent again, and when; when what does not end goes on: one policy for all clients.

Only what cannot do harm is repeated: a read, an append with a request_id, and whatever the server answered TRYAGAIN,
which says that nothing was stored. Nothing here waits or sends, and nothing may import Twisted or a Redis library.
"""

from random import uniform
from typing import Any, NoReturn

from eventflowdb.client.exchanges import Exchange
from eventflowdb.client.refusals import ClientClosed, ConnectionLost, NotConnected
from eventflowdb.errors import (
    CommandRefused,
    ConditionFailed,
    EventflowError,
    InvalidArgument,
    RequestConflict,
    TryAgain,
)

PAUSES_SECONDS = (0.0, 0.5, 1.5)
"""Before each attempt after the first; together, about what a restart of the server takes."""
TRYAGAIN_SECONDS_MIN = 0.2
RECONNECT_SECONDS_FIRST = 0.1
RECONNECT_SECONDS_MAX = 10.0

_SETTLES = (ConditionFailed, RequestConflict, InvalidArgument, CommandRefused)
"""Refusals that an append gets only after its request_id was looked up, or whatever happened to an earlier attempt."""


class Attempts:
    """The attempts at one exchange. `pause_after` is told of each that failed."""

    def __init__(self, exchange: Exchange[Any]) -> None:
        self._exchange = exchange
        self._pauses = iter(PAUSES_SECONDS)
        self._has_failed = False
        self._lost: ConnectionLost | None = None

    def pause_after(self, error: EventflowError) -> float:
        """Seconds until the next attempt. Raises what the request fails with if there is to be none."""
        may_be_repeated = self._may_be_repeated(error)
        self._has_failed = True
        if isinstance(error, ConnectionLost) and not isinstance(error, NotConnected):
            self._lost = error
        pause = next(self._pauses, None) if may_be_repeated else None
        if pause is None:
            self._fail(error)
        return max(pause, TRYAGAIN_SECONDS_MIN) if isinstance(error, TryAgain) else pause

    def _may_be_repeated(self, error: EventflowError) -> bool:
        if isinstance(error, ClientClosed):
            return False
        if isinstance(error, NotConnected):
            # A server that was there and is not is waited for; one that was not is told of at once.
            return self._has_failed
        if isinstance(error, ConnectionLost):
            return self._exchange.is_repeatable and not error.is_overdue
        return isinstance(error, TryAgain)

    def _fail(self, error: EventflowError) -> NoReturn:
        """Raise the error; but an append that may have been stored by an earlier attempt is not said not to be."""
        lost = self._lost
        if lost is None or not self._exchange.is_append or isinstance(error, _SETTLES):
            raise error
        lost.request_id = self._exchange.request_id
        if lost is error:
            raise lost
        raise lost from error


class Reconnects:
    """The attempts to go on with what does not end by itself, for as long as it takes.

    is_patient: it waits for a server also before it was ever connected.
    """

    def __init__(self, *, is_patient: bool) -> None:
        self._is_patient = is_patient
        self._pause_seconds = RECONNECT_SECONDS_FIRST

    def reached(self) -> None:
        """There was a server."""
        self._is_patient = True

    def connected(self) -> None:
        """The server has answered, as it should."""
        self.reached()
        self._pause_seconds = RECONNECT_SECONDS_FIRST

    def pause_after(self, error: EventflowError) -> float:
        """Seconds until the next attempt after this; raises what must end it."""
        may_pass = isinstance(error, ConnectionLost | TryAgain) and not isinstance(error, ClientClosed)
        if not (may_pass and self._is_patient):
            raise error
        pause = self._pause_seconds
        self._pause_seconds = min(2 * pause, RECONNECT_SECONDS_MAX)
        return pause * uniform(0.5, 1.0)  # not all clients of a server at once
