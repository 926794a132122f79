"""A member of a consumer, for the blocking client."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from eventflowdb.client import consumers
from eventflowdb.client.blocking_connections import Connections, OwnConnection
from eventflowdb.client.consumers import NackOptions
from eventflowdb.client.exchanges import Exchange
from eventflowdb.client.membership import ConsumerMember, Fetched, Membership
from eventflowdb.client.redis_errors import decoded
from eventflowdb.client.refusals import ClientClosed
from eventflowdb.client.subscriptions import SILENCE_SECONDS_MAX
from eventflowdb.errors import EventflowError
from eventflowdb.events import RecordedEvent

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Consumer(ConsumerMember):
    """A member of a consumer, made by `EventflowClient.consumer`; `with client.consumer(name) as consumer:` closes it.

    NotConnected is raised where the server cannot be reached at first. One thread iterates; any may say what became of
    events, and close it. See ConsumerMember.
    """

    def __init__(self, connections: Connections, say: Callable[[Exchange[int]], int], membership: Membership) -> None:
        super().__init__(membership)
        self._connections = connections
        self._say = say
        self._connection: OwnConnection | None = None
        self._closing = Event()
        self._is_fetching = False

    def __iter__(self) -> "Consumer":
        return self

    def __next__(self) -> RecordedEvent:
        if not self._page:
            self._page.extend(self._fetch())
        if self._closing.is_set():
            raise StopIteration
        return self._page.popleft()

    def pages(self) -> Iterator[list[RecordedEvent]]:
        """The events as they are got, at least one and up to `limit` at a time; to be settled by one `ack`."""
        while True:
            page = list(self._page) or self._fetch()
            self._page.clear()
            if self._closing.is_set():
                return
            yield page

    def ack(self, fetched: Fetched) -> int:
        """These are done. Gives how many had not been acked; raises NotHeld if another member holds one."""
        return sum(map(self._say, self._membership.answers(consumers.ack, fetched)))

    def nack(self, fetched: Fetched, **options: "Unpack[NackOptions]") -> int:
        """These failed: they come again after a delay, and those behind them in their streams only then.

        options: see NackOptions. Gives how many this member held.
        """
        return sum(map(self._say, self._membership.answers(partial(consumers.nack, **options), fetched)))

    def extend(self, fetched: Fetched) -> None:
        """These are still worked at: their time begins anew. Raises NotHeld if this member does not hold one."""
        for exchange in self._membership.answers(consumers.extend, fetched):
            self._say(exchange)

    def release(self, fetched: Fetched) -> int:
        """Give these back, as if they had not been given out. Gives how many this member held."""
        return sum(map(self._say, self._membership.answers(consumers.release, fetched)))

    def close(self) -> None:
        """End it: the iteration ends without an error, and what was not settled is given back.

        What cannot be given back, as there is no server, comes again when its time is over.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        connection = self._connection
        if self._is_fetching and connection is not None:
            connection.interrupt()
        else:
            self._drop_connection()
        with suppress(EventflowError):
            for exchange in self._membership.releases_of_all():
                self._say(exchange)

    def __enter__(self) -> "Consumer":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _fetch(self) -> list[RecordedEvent]:
        """The next events, at least one; none where it was closed."""
        self._is_fetching = True
        try:
            while not self._closing.is_set():
                try:
                    page = self._fetch_once()
                    if page:
                        return page
                except EventflowError as error:
                    if not self._closing.is_set():
                        self._closing.wait(self._membership.pause_after(error))
            return []
        finally:
            # In this order, as `close` asks in the other: one of both closes the connection.
            self._is_fetching = False
            if self._closing.is_set():
                self._drop_connection()

    def _fetch_once(self) -> list[RecordedEvent]:
        with self._membership.fetching() as fetch:
            if self._connection is None:
                self._connection = self._connections.open(stall_seconds_max=SILENCE_SECONDS_MAX)
            # Looked at when the connection can be seen by who closes: one of both finds the other.
            if self._closing.is_set():
                raise ClientClosed.because("the consumer was closed")
            return decoded(fetch, self._connection.request(fetch.words, fetch.wait_seconds))

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
