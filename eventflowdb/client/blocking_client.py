"""The blocking client: one method per command, over redis-py's connections.

Of redis-py its connections and its pool are used, and not its `Redis`: that one repeats every command by itself, when
a connection breaks or a reply is late. Here what may be repeated is decided in one place, `retries`.
Needs the extra: pip install 'eventflowdb[redis]'. Works with redis-py 5 to 8.
"""

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from eventflowdb.client import consumers, exchanges
from eventflowdb.client.appends import FRESH, Checkpoint, RequestId, StreamAppend
from eventflowdb.client.blocking_connections import Connections
from eventflowdb.client.blocking_consumer import Consumer
from eventflowdb.client.consumers import ConsumerOptions, ConsumerStatus, ConsumerSummary, ParkedEvent
from eventflowdb.client.decoding import Checksum, Size
from eventflowdb.client.exchanges import Exchange, UnlessGiven
from eventflowdb.client.filters import Filters, Terms
from eventflowdb.client.membership import MemberOptions, Membership
from eventflowdb.client.paging import Paging
from eventflowdb.client.redis_errors import decoded
from eventflowdb.client.redis_pools import PoolOptions
from eventflowdb.client.refusals import ConnectionLost
from eventflowdb.client.retries import Attempts
from eventflowdb.client.subscriptions import Subscription
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


class EventflowClient:
    """A client of one server. Made by `connect` or `connect_lazily`; `with connect() as client:` closes it.

    Every method may raise: what the server refused, by its class in eventflowdb.errors; UnknownRefusal, with the
    reply's own code, for a code not among them; ConnectionLost if the connection went away before the reply came, so
    that nobody knows whether the request was carried out; NotConnected if it was never sent; UnexpectedReply if the
    server does not answer as an EventflowDB does; InvalidArgument already here for a string that UTF-8 cannot carry.

    What can do no harm is repeated, up to three times within two seconds: when the server answers TRYAGAIN, and when
    the connection breaks before the reply, a read and an append with a request_id. Every append has one unless it is
    turned off: it is stored once, and answered with what was stored. An overdue reply ends the attempts.

    Any number of threads may share it.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def ping(self, message: str | None = None) -> str:
        """The message, or "PONG"."""
        return self._do(exchanges.ping(message))

    def version(self) -> str:
        """The server's version, SemVer."""
        return self._do(exchanges.version())

    def uptime(self) -> str:
        """How long the server has been running, in words."""
        return self._do(exchanges.uptime())

    def size(self) -> Size:
        """The size of the database: bytes, and the same in words."""
        return self._do(exchanges.size())

    def event_count(self) -> int:
        """How many events the log holds."""
        return self._do(exchanges.event_count())

    def stream_count(self) -> int:
        """How many streams there are."""
        return self._do(exchanges.stream_count())

    def event_count_estimate(self) -> int:
        """How many events the log held when the server last looked, about a second ago."""
        return self._do(exchanges.event_count_estimate())

    def stream_count_estimate(self) -> int:
        """How many streams there were when the server last looked, about a second ago."""
        return self._do(exchanges.stream_count_estimate())

    def checksum(self) -> Checksum:
        """The latest event's id and the checksum of the log up to it; of an empty log, all zeros."""
        return self._do(exchanges.checksum())

    def add(
        self,
        stream: str | UUID,
        version: ExpectedVersion,
        events: Sequence[NewEvent],
        *,
        unless: UnlessGiven = None,
        request_id: RequestId = FRESH,
        checkpoint: Checkpoint | None = None,
    ) -> list[RecordedEvent]:
        """Store events at the end of a stream, all or none; gives them as stored once they are on disk.

        version: how many events the stream holds already, 0 for a new one; "any", or "exists" for at least one.
        unless: what must not be in the log. request_id: None sends the request without one, and once.
        checkpoint: an event that is acked in the same step, see `Consumer.checkpoint`.
        Raises WrongExpectedVersion, UnlessMatched or NotHeld if a condition does not hold; RequestConflict if the
        request_id was given to another append; ConnectionLost when it is unknown whether they were stored.
        """
        return self._do(
            exchanges.add(stream, version, events, unless=unless, request_id=request_id, checkpoint=checkpoint)
        )

    def add_many(
        self,
        appends: Sequence[StreamAppend],
        *,
        unless: UnlessGiven = None,
        request_id: RequestId = FRESH,
        checkpoint: Checkpoint | None = None,
    ) -> list[RecordedEvent]:
        """Store events at the ends of several streams, all or none; otherwise as `add`.

        An append without events checks its stream and leaves it alone. Gives all events in order.
        """
        return self._do(exchanges.add_many(appends, unless=unless, request_id=request_id, checkpoint=checkpoint))

    def get(
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
        return self._do(
            exchanges.get(stream, version, limit, after=after, backwards=backwards, wait_ms=wait_ms, filters=filters)
        )

    def get_all(
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
        return self._do(
            exchanges.get_all(
                offset=offset, after=after, limit=limit, backwards=backwards, wait_ms=wait_ms, filters=filters
            )
        )

    def event(self, event_id: str) -> RecordedEvent | None:
        """The event of this id; None where there is none."""
        return self._do(exchanges.event(event_id))

    def stream(self, stream: str | UUID) -> StreamSummary | None:
        """A stream's version, which the next append expects, and its first and last events; None where it has none."""
        return self._do(exchanges.stream(stream))

    def streams(
        self, *, after: str | UUID | None = None, limit: int | None = None, **terms: "Unpack[Terms]"
    ) -> list[StreamSummary]:
        """Streams in the order of their first events, at most `limit` (absent: 100; at most 1,000).

        Given terms, those that hold such an event, in the order of the first ones. after: the last stream of the page
        before. Fewer than `limit` means that there were no more.
        """
        return self._do(exchanges.streams(after=after, limit=limit, terms=terms))

    def types(self, *, after: str | None = None, limit: int | None = None) -> list[TypeSummary]:
        """The event types in the order of their names, each with its number of events, at most `limit` (absent: 1,000).

        after: the last type of the page before.
        """
        return self._do(exchanges.types(after=after, limit=limit))

    def read_all(
        self,
        *,
        stream: str | UUID | None = None,
        version: int = 0,
        after: str | None = None,
        backwards: bool = False,
        page_events: int = PAGE_EVENTS_DEFAULT,
        **filters: "Unpack[Filters]",
    ) -> Iterator[RecordedEvent]:
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
            yield from paging.take(self._do(paging.next()))

    def follow(
        self,
        *,
        after: str | None = None,
        page_events: int = PAGE_EVENTS_DEFAULT,
        wait_ms: int = FOLLOW_WAIT_MS_DEFAULT,
    ) -> Iterator[RecordedEvent]:
        """Every event of the log past the id `after`, in order, and then each that comes; it never ends by itself.

        As `read_all`, but where the log ends it waits for more, asking anew every `wait_ms` (at least 1).
        """
        exchanges.check_page_events(page_events)
        exchanges.check_follow_wait(wait_ms)
        while True:
            page = self.get_all(after=after, limit=page_events, wait_ms=wait_ms)
            yield from page
            if page:
                after = page[-1].id

    def subscribe(
        self,
        *,
        stream: str | UUID | None = None,
        version: int | None = None,
        offset: str | None = None,
        after: str | None = None,
        **filters: "Unpack[Filters]",
    ) -> Iterator[RecordedEvent]:
        """Events as they are stored, in the order of the log; it never ends by itself.

        From the event whose id is `offset` on, or past the id `after`, or since a time, history first; without any of
        these from now on. stream: only those of a stream, `version`: after so many of them; filters: see Filters.

        When the connection breaks it is made anew, for as long as that takes, and goes on behind the last event that
        was given: nothing is missing, and nothing comes twice. It has a connection to itself, beside those of the pool,
        and reads from it no faster than you take events. Raises what the server refuses it by, NotConnected where it
        cannot be reached at first, ClientClosed when the client is closed. `close` it to end it.
        """
        place = Subscription(filters, stream=stream, version=version, offset=offset, after=after)
        if not place.has_place:
            place.begin_after(self.checksum().event_id)
        while True:
            try:
                with self._connections.subscribed(place.query()) as connection:
                    while True:
                        event = place.event_of(connection.read())
                        if event is not None:
                            yield event
            except EventflowError as error:
                pause = place.pause_after(error)
            time.sleep(pause)

    def create_consumer(self, name: str, **options: "Unpack[ConsumerOptions]") -> ConsumerSummary:
        """Make a consumer, of which the server remembers how far it has come; options: see ConsumerOptions.

        The same once more changes nothing; with other options it raises InvalidArgument.
        """
        return self._do(consumers.create(name, options))

    def consumers(self) -> list[ConsumerStatus]:
        """All consumers, and how they are getting on."""
        return self._do(consumers.status_of_all())

    def delete_consumer(self, name: str) -> None:
        """Forget a consumer. Raises NoSuchConsumer if there is none."""
        self._do(consumers.delete(name))

    def reset_consumer(self, name: str, after: str | None = None) -> ConsumerSummary:
        """Have a consumer begin anew: at the "beginning" of the log (the default), its "end", or behind an event."""
        return self._do(consumers.reset(name, after))

    def parked_events(self, name: str, *, after: str | None = None, limit: int | None = None) -> list[ParkedEvent]:
        """The events of a consumer that failed too often, at most `limit` (absent: 100; at most 1,000).

        after: the id of the last event of the page before.
        """
        return self._do(consumers.parked(name, after=after, limit=limit))

    def replay_parked(self, name: str, ids: Sequence[str] | None = None) -> int:
        """Have parked events given out again, those of these ids or all. Gives how many."""
        return self._do(consumers.replay(name, ids))

    def consumer(self, name: str, **options: "Unpack[MemberOptions]") -> Consumer:
        """A member of a consumer, to be iterated, which has a connection of its own; options: see MemberOptions."""
        return Consumer(self._connections, self._do, Membership(name, is_patient=False, **options))

    def disconnect(self) -> None:
        """Close: requests under way are still answered, others fail with NotConnected."""
        self._connections.close()

    def abort(self) -> None:
        """Close at once: requests under way fail with ConnectionLost."""
        self._connections.abort()

    def __enter__(self) -> "EventflowClient":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def _do(self, exchange: Exchange[T]) -> T:
        """One request, repeated where that can do no harm."""
        attempts = Attempts(exchange)
        while True:
            try:
                return decoded(exchange, self._connections.request(exchange.words, exchange.wait_seconds))
            except EventflowError as error:
                pause = attempts.pause_after(error)
                if isinstance(error, ConnectionLost):
                    self._connections.drop_idle()
            time.sleep(pause)


def connect(
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
    pool_size: the most connections at once; a thread that finds all of them in use waits.
    connect_timeout_seconds: for one attempt to connect.
    reply_timeout_seconds: when the server sends nothing for so long in the middle of a request, its connection is
    closed and it raises ConnectionLost; None waits for ever. A read's `wait_ms` comes on top.
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
        client._connections.connect()
    except BaseException:
        client.abort()
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
    options = PoolOptions(host, port, password, user, pool_size, connect_timeout_seconds, reply_timeout_seconds)
    return EventflowClient(Connections(options))
