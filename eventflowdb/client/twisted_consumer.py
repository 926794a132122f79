"""A member of a consumer, for the Twisted client. Everything here belongs to the reactor's thread."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from eventflowdb.client import consumers
from eventflowdb.client.consumers import NackOptions
from eventflowdb.client.exchanges import Exchange
from eventflowdb.client.membership import AsyncConsumer, Fetched, Membership
from eventflowdb.client.replies import Reply
from eventflowdb.client.subscriptions import SILENCE_SECONDS_MAX, overdue
from eventflowdb.errors import EventflowError
from eventflowdb.events import RecordedEvent

if TYPE_CHECKING:
    from typing_extensions import Unpack

GIVE_BACK_SECONDS_MAX = 5.0
"""So long `close` tries to give back what is held, as there may be no connection for as long as it likes."""

T = TypeVar("T")


class Connections(Protocol):
    """What events are asked for over."""

    def request(self, *words: bytes, wait_seconds: float = 0.0) -> "Deferred[Reply]":
        """One request; cancelled while it waits, its connection is closed."""


class Consumer(AsyncConsumer):
    """A member of a consumer, made by `EventflowClient.consumer`; `async with client.consumer(name) as consumer:`.

    It waits also for its first connection, for as long as that takes. See ConsumerMember.
    """

    def __init__(
        self,
        connections: Connections,
        clock: IReactorTime,
        say: "Callable[[Exchange[int]], Deferred[int]]",
        membership: Membership,
    ) -> None:
        super().__init__(membership)
        self._connections = connections
        self._clock = clock
        self._say = say
        self._waiting: Deferred[Any] | None = None
        self._is_closed = False

    def ack(self, fetched: Fetched) -> "Deferred[int]":
        """These are done. Fires with how many had not been acked; fails with NotHeld if another member holds one."""
        return self._say_all(lambda: self._membership.answers(consumers.ack, fetched))

    def nack(self, fetched: Fetched, **options: "Unpack[NackOptions]") -> "Deferred[int]":
        """These failed: they come again after a delay, and those behind them in their streams only then.

        options: see NackOptions. Fires with how many this member held.
        """
        return self._say_all(lambda: self._membership.answers(partial(consumers.nack, **options), fetched))

    def extend(self, fetched: Fetched) -> "Deferred[None]":
        """These are still worked at: their time begins anew. Fails with NotHeld if this member does not hold one."""
        return self._say_all(lambda: self._membership.answers(consumers.extend, fetched)).addCallback(lambda _: None)

    def release(self, fetched: Fetched) -> "Deferred[int]":
        """Give these back, as if they had not been given out. Fires with how many this member held."""
        return self._say_all(lambda: self._membership.answers(consumers.release, fetched))

    def close(self) -> "Deferred[None]":
        """End it, and give back what was not settled; see AsyncConsumer. Fires when it is done."""
        if self._is_closed:
            return succeed(None)
        self._is_closed = True
        if self._waiting is not None:
            self._waiting.cancel()
        return Deferred.fromCoroutine(self._give_back())

    @property
    def _has_ended(self) -> bool:
        return self._is_closed

    def _say_all(self, make: Callable[[], Iterable[Exchange[int]]]) -> "Deferred[int]":
        async def say_all() -> int:
            return sum([await self._say(exchange) for exchange in make()])

        return Deferred.fromCoroutine(say_all())

    async def _give_back(self) -> None:
        with suppress(EventflowError, DeferredTimeoutError):
            await self._say_all(self._membership.releases_of_all).addTimeout(GIVE_BACK_SECONDS_MAX, self._clock)

    async def _fetch(self) -> list[RecordedEvent]:
        """The next events, at least one; none where it was closed."""
        while not self._is_closed:
            try:
                page = await self._fetch_once()
                if page:
                    return page
            except EventflowError as error:
                if not self._is_closed:
                    await self._until_closed(deferLater(self._clock, self._membership.pause_after(error)))
        return []

    async def _fetch_once(self) -> list[RecordedEvent]:
        with self._membership.fetching() as fetch:
            asked = self._connections.request(*fetch.words, wait_seconds=fetch.wait_seconds)
            asked.addTimeout(fetch.wait_seconds + SILENCE_SECONDS_MAX, self._clock, lambda *_: _overdue(fetch))
            reply = await self._until_closed(asked)
            return [] if reply is None else fetch.decode(reply)

    async def _until_closed(self, waiting: "Deferred[T]") -> T | None:
        """What a Deferred fires with; None where it was closed meanwhile."""
        self._waiting = waiting
        try:
            return await waiting
        except CancelledError:
            if self._is_closed:
                return None
            raise


def _overdue(fetch: Exchange[list[RecordedEvent]]) -> NoReturn:
    raise overdue(fetch.wait_seconds)
