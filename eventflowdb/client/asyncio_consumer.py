"""A member of a consumer, for the asyncio client."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from eventflowdb.client import consumers
from eventflowdb.client.asyncio_connections import Connections, OwnConnection
from eventflowdb.client.consumers import NackOptions
from eventflowdb.client.exchanges import Exchange
from eventflowdb.client.membership import AsyncConsumer, Fetched, Membership
from eventflowdb.client.redis_errors import decoded
from eventflowdb.errors import EventflowError
from eventflowdb.events import RecordedEvent

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Consumer(AsyncConsumer):
    """A member of a consumer, made by `EventflowClient.consumer`; `async with client.consumer(name) as consumer:`.

    NotConnected is raised where the server cannot be reached at first. One task iterates; any may say what became of
    events, and close it. See ConsumerMember.
    """

    def __init__(
        self, connections: Connections, say: Callable[[Exchange[int]], Awaitable[int]], membership: Membership
    ) -> None:
        super().__init__(membership)
        self._connections = connections
        self._say = say
        self._connection: OwnConnection | None = None
        self._closing = asyncio.Event()

    async def ack(self, fetched: Fetched) -> int:
        """These are done. Gives how many had not been acked; raises NotHeld if another member holds one."""
        return await self._say_all(self._membership.answers(consumers.ack, fetched))

    async def nack(self, fetched: Fetched, **options: "Unpack[NackOptions]") -> int:
        """These failed: they come again after a delay, and those behind them in their streams only then.

        options: see NackOptions. Gives how many this member held.
        """
        return await self._say_all(self._membership.answers(partial(consumers.nack, **options), fetched))

    async def extend(self, fetched: Fetched) -> None:
        """These are still worked at: their time begins anew. Raises NotHeld if this member does not hold one."""
        await self._say_all(self._membership.answers(consumers.extend, fetched))

    async def release(self, fetched: Fetched) -> int:
        """Give these back, as if they had not been given out. Gives how many this member held."""
        return await self._say_all(self._membership.answers(consumers.release, fetched))

    async def close(self) -> None:
        """End it, and give back what was not settled; see AsyncConsumer."""
        if self._closing.is_set():
            return
        self._closing.set()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        with suppress(EventflowError):
            await self._say_all(self._membership.releases_of_all())

    @property
    def _has_ended(self) -> bool:
        return self._closing.is_set()

    async def _say_all(self, exchanges: Iterable[Exchange[int]]) -> int:
        return sum([await self._say(exchange) for exchange in exchanges])

    async def _fetch(self) -> list[RecordedEvent]:
        """The next events, at least one; none where it was closed."""
        while not self._closing.is_set():
            try:
                page = await self._fetch_once()
                if page:
                    return page
            except EventflowError as error:
                if not self._closing.is_set():
                    await self._pause(self._membership.pause_after(error))
        return []

    async def _fetch_once(self) -> list[RecordedEvent]:
        with self._membership.fetching() as fetch:
            if self._connection is None:
                self._connection = self._connections.open()
            return decoded(fetch, await self._connection.request(fetch.words, fetch.wait_seconds))

    async def _pause(self, seconds: float) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)
