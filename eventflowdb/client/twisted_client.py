"""The Twisted client: one method per command, each returning a Deferred of typed values.

Everything here belongs to the reactor's thread.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from eventflowdb.client import consumers, exchanges
from eventflowdb.client.appends import FRESH, Checkpoint, RequestId, StreamAppend
from eventflowdb.client.connections import ServerConnections
from eventflowdb.client.consumers import ConsumerOptions, ConsumerStatus, ConsumerSummary, ParkedEvent
from eventflowdb.client.decoding import Checksum, Size
from eventflowdb.client.exchanges import Exchange, UnlessGiven
from eventflowdb.client.filters import Filters, Terms
from eventflowdb.client.membership import MemberOptions, Membership
from eventflowdb.client.messages import Messages
from eventflowdb.client.paging import Paging
from eventflowdb.client.refusals import ClientClosed
from eventflowdb.client.replies import Reply
from eventflowdb.client.retries import Attempts
from eventflowdb.client.subscriptions import Subscription
from eventflowdb.client.twisted_consumer import Consumer
from eventflowdb.errors import EventflowError, InvalidArgument
from eventflowdb.events import ExpectedVersion, NewEvent, RecordedEvent
from eventflowdb.queries import StreamSummary, TypeSummary

if TYPE_CHECKING:
    from typing_extensions import Unpack

PORT_DEFAULT = 6543
PAGE_EVENTS_DEFAULT = 1000
FOLLOW_WAIT_MS_DEFAULT = 20_000

P = ParamSpec("P")
T = TypeVar("T")


class Connections(Protocol):
    """What the client sends its requests over."""

    def request(self, *words: bytes, wait_seconds: float = 0.0) -> "Deferred[Reply]":
        """One request; the Deferred fires with the reply, or fails with the error that it is.

        wait_seconds: for how long the server may wait before it replies.
        """

    async def subscribe(self, query: bytes) -> Messages:
        """A connection of its own that has subscribed to a query."""

    async def close(self) -> None:
        """Let the server answer what it was asked, then close."""

    async def abort(self) -> None:
        """Close at once."""


class EventflowClient:
    """A client of one server. Made by `connect` or `connect_lazily`.

    Every Deferred may fail with: what the server refused, by its class in eventflowdb.errors; UnknownRefusal, with
    the reply's own code, for a code not among them; ConnectionLost if the connection went away before the reply
    came, so that nobody knows whether the request was carried out; NotConnected if it was never sent;
    UnexpectedReply if the server does not answer as an EventflowDB does; InvalidArgument already here for a string
    that UTF-8 cannot carry.

    What can do no harm is repeated, up to three times: when the server answers TRYAGAIN, and when the connection breaks
    before the reply, a read and an append with a request_id. Every append has one unless it is turned off: it is
    stored once, and answered with what was stored. An overdue reply ends the attempts.

    Cancelling a Deferred, and so `addTimeout`, takes back a request that still waits for a connection; of one that
    was sent it only drops the reply.

    Over one connection (the default) requests are carried out in the order they were made, without waiting for
    replies; only one that is repeated can be overtaken, and a read with `wait_ms` has a connection to itself.
    Over several there is no order between requests of which none has been answered yet.
    """

    def __init__(self, connections: Connections, clock: IReactorTime) -> None:
        self._connections = connections
        self._clock = clock

    def ping(self, message: str | None = None) -> "Deferred[str]":
        """Fires with the message, or with "PONG"."""
        return self._exchange(exchanges.ping, message)

    def version(self) -> "Deferred[str]":
        """Fires with the server's version, SemVer."""
        return self._exchange(exchanges.version)

    def uptime(self) -> "Deferred[str]":
        """Fires with how long the server has been running, in words."""
        return self._exchange(exchanges.uptime)

    def size(self) -> "Deferred[Size]":
        """Fires with the size of the database: bytes, and the same in words."""
        return self._exchange(exchanges.size)

    def event_count(self) -> "Deferred[int]":
        """Fires with how many events the log holds."""
        return self._exchange(exchanges.event_count)

    def stream_count(self) -> "Deferred[int]":
        """Fires with how many streams there are."""
        return self._exchange(exchanges.stream_count)

    def event_count_estimate(self) -> "Deferred[int]":
        """Fires with how many events the log held when the server last looked, about a second ago."""
        return self._exchange(exchanges.event_count_estimate)

    def stream_count_estimate(self) -> "Deferred[int]":
        """Fires with how many streams there were when the server last looked, about a second ago."""
        return self._exchange(exchanges.stream_count_estimate)

    def checksum(self) -> "Deferred[Checksum]":
        """Fires with the latest event's id and the checksum of the log up to it; of an empty log, all zeros."""
        return self._exchange(exchanges.checksum)

    def add(
        self,
        stream: str | UUID,
        version: ExpectedVersion,
        events: Sequence[NewEvent],
        *,
        unless: UnlessGiven = None,
        request_id: RequestId = FRESH,
        checkpoint: Checkpoint | None = None,
    ) -> "Deferred[list[RecordedEvent]]":
        """Store events at the end of a stream, all or none; fires with them as stored once they are on disk.

        version: how many events the stream holds already, 0 for a new one; "any", or "exists" for at least one.
        unless: what must not be in the log. request_id: None sends the request without one, and once.
        checkpoint: an event that is acked in the same step, see `Consumer.checkpoint`.
        Fails with WrongExpectedVersion, UnlessMatched or NotHeld if a condition does not hold; with RequestConflict
        if the request_id was given to another append; with ConnectionLost when it is unknown whether they were stored.
        """
        return self._exchange(
            exchanges.add, stream, version, events, unless=unless, request_id=request_id, checkpoint=checkpoint
        )

    def add_many(
        self,
        appends: Sequence[StreamAppend],
        *,
        unless: UnlessGiven = None,
        request_id: RequestId = FRESH,
        checkpoint: Checkpoint | None = None,
    ) -> "Deferred[list[RecordedEvent]]":
        """Store events at the ends of several streams, all or none; otherwise as `add`.

        An append without events checks its stream and leaves it alone. Fires with all events in order.
        """
        return self._exchange(exchanges.add_many, appends, unless=unless, request_id=request_id, checkpoint=checkpoint)

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
    ) -> "Deferred[list[RecordedEvent]]":
        """Fires with a stream's events after its first `version`, at most `limit`; 0 means all, with a filter 100.

        after: the id of the last event that is not wanted, which counts as a filter; backwards: the last one first;
        filters: see Filters. An empty list where there are none, also for a stream that does not exist; but first the
        server waits for one, up to `wait_ms` (at most an hour).
        """
        return self._exchange(
            exchanges.get, stream, version, limit, after=after, backwards=backwards, wait_ms=wait_ms, filters=filters
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
    ) -> "Deferred[list[RecordedEvent]]":
        """Fires with events in the order of the log, or `backwards`, at most `limit` (absent or 0: 100).

        Those from the event whose id is `offset` on, or past the id `after`; the server refuses both at once. filters:
        see Filters. Fewer than `limit` means that there were no more. Where there are none the server first waits for
        one, up to `wait_ms` (at most an hour).
        """
        return self._exchange(
            exchanges.get_all,
            offset=offset,
            after=after,
            limit=limit,
            backwards=backwards,
            wait_ms=wait_ms,
            filters=filters,
        )

    def event(self, event_id: str) -> "Deferred[RecordedEvent | None]":
        """Fires with the event of this id; None where there is none."""
        return self._exchange(exchanges.event, event_id)

    def stream(self, stream: str | UUID) -> "Deferred[StreamSummary | None]":
        """Fires with a stream's version, which the next append expects, and its first and last events; or None."""
        return self._exchange(exchanges.stream, stream)

    def streams(
        self, *, after: str | UUID | None = None, limit: int | None = None, **terms: "Unpack[Terms]"
    ) -> "Deferred[list[StreamSummary]]":
        """Fires with streams in the order of their first events, at most `limit` (absent: 100; at most 1,000).

        Given terms, those that hold such an event, in the order of the first ones. after: the last stream of the page
        before. Fewer than `limit` means that there were no more.
        """
        return self._exchange(exchanges.streams, after=after, limit=limit, terms=terms)

    def types(self, *, after: str | None = None, limit: int | None = None) -> "Deferred[list[TypeSummary]]":
        """Fires with the event types in the order of their names, each with its number of events.

        At most `limit` (absent: 1,000); after: the last type of the page before.
        """
        return self._exchange(exchanges.types, after=after, limit=limit)

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
        To go on later, keep the id of the last event you are done with. Raises what `get_all` fails with.
        """
        paging = Paging(
            filters, stream=stream, version=version, after=after, backwards=backwards, page_events=page_events
        )
        while not paging.is_over:
            for event in paging.take(await self._exchange(paging.next)):
                yield event

    async def follow(
        self,
        *,
        after: str | None = None,
        page_events: int = PAGE_EVENTS_DEFAULT,
        wait_ms: int = FOLLOW_WAIT_MS_DEFAULT,
    ) -> AsyncIterator[RecordedEvent]:
        """Every event of the log past the id `after`, in order, and then each that comes; it never ends by itself.

        As `read_all`, but where the log ends it waits for more, asking anew every `wait_ms` (at least 1). Cancel the
        Deferred of the coroutine that follows to end it.
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

        When the connection breaks, and while there is none at first, it is made anew, for as long as that takes, and
        goes on behind the last event that was given: nothing is missing, and nothing comes twice. The subscription has
        a connection to itself, which is read no faster than you take events. Raises what the server refuses it by, and
        ClientClosed when the client is closed. Cancel the Deferred of the coroutine that reads it, or `aclose` it, to
        end it.
        """
        place = Subscription(filters, stream=stream, version=version, offset=offset, after=after, is_patient=True)
        if not place.has_place:
            place.begin_after((await self.checksum()).event_id)
        while True:
            try:
                messages = await self._connections.subscribe(place.query())
                try:
                    while True:
                        event = place.event_of(await messages.read())
                        if event is not None:
                            yield event
                finally:
                    messages.end(ClientClosed.because("the subscription was ended"))
            except EventflowError as error:
                pause = place.pause_after(error)
            await deferLater(self._clock, pause)

    def create_consumer(self, name: str, **options: "Unpack[ConsumerOptions]") -> "Deferred[ConsumerSummary]":
        """Make a consumer, of which the server remembers how far it has come; options: see ConsumerOptions.

        The same once more changes nothing; with other options it fails with InvalidArgument.
        """
        return self._exchange(consumers.create, name, options)

    def consumers(self) -> "Deferred[list[ConsumerStatus]]":
        """Fires with all consumers, and how they are getting on."""
        return self._exchange(consumers.status_of_all)

    def delete_consumer(self, name: str) -> "Deferred[None]":
        """Forget a consumer. Fails with NoSuchConsumer if there is none."""
        return self._exchange(consumers.delete, name)

    def reset_consumer(self, name: str, after: str | None = None) -> "Deferred[ConsumerSummary]":
        """Have a consumer begin anew: at the "beginning" of the log (the default), its "end", or behind an event."""
        return self._exchange(consumers.reset, name, after)

    def parked_events(
        self, name: str, *, after: str | None = None, limit: int | None = None
    ) -> "Deferred[list[ParkedEvent]]":
        """Fires with the events of a consumer that failed too often, at most `limit` (absent: 100; at most 1,000).

        after: the id of the last event of the page before.
        """
        return self._exchange(consumers.parked, name, after=after, limit=limit)

    def replay_parked(self, name: str, ids: Sequence[str] | None = None) -> "Deferred[int]":
        """Have parked events given out again, those of these ids or all. Fires with how many."""
        return self._exchange(consumers.replay, name, ids)

    def consumer(self, name: str, **options: "Unpack[MemberOptions]") -> Consumer:
        """A member of a consumer, to be iterated, which has a connection of its own; options: see MemberOptions."""
        return Consumer(self._connections, self._clock, self._say, Membership(name, is_patient=True, **options))

    def disconnect(self) -> "Deferred[None]":
        """Close: requests already sent are still answered, others fail with NotConnected. Fires when all is closed.

        It waits as long as the server takes; `abort` does not.
        """
        return Deferred.fromCoroutine(self._connections.close())

    def abort(self) -> "Deferred[None]":
        """Close at once: requests under way fail with ConnectionLost. Fires when all is closed."""
        return Deferred.fromCoroutine(self._connections.abort())

    def _exchange(self, make: Callable[P, Exchange[T]], *args: P.args, **options: P.kwargs) -> "Deferred[T]":
        try:
            exchange = make(*args, **options)
        except InvalidArgument as error:
            return fail(error)
        return self._attempt(exchange, None)

    def _say(self, exchange: Exchange[T]) -> "Deferred[T]":
        return self._attempt(exchange, None)

    def _attempt(self, exchange: Exchange[T], attempts: Attempts | None) -> "Deferred[T]":
        """Send a request; attempts: what is known of earlier ones, made only when one has failed."""

        def failed(failure: Failure) -> "Deferred[T]":
            error = failure.value
            if not isinstance(error, EventflowError):
                return fail(failure)
            attempts_so_far = attempts or Attempts(exchange)
            pause = attempts_so_far.pause_after(error)
            if not pause:
                # At once, and so in the order the requests were made: the pool keeps it until there is a connection.
                return self._attempt(exchange, attempts_so_far)
            paused: Deferred[None] = deferLater(self._clock, pause)
            return paused.addCallback(lambda _: self._attempt(exchange, attempts_so_far))

        asked = self._connections.request(*exchange.words, wait_seconds=exchange.wait_seconds)
        return asked.addCallback(exchange.decode).addErrback(failed)


def connect(
    reactor: object,
    host: str = "127.0.0.1",
    port: int = PORT_DEFAULT,
    *,
    endpoint: IStreamClientEndpoint | None = None,
    password: str | None = None,
    user: str | None = None,
    pool_size: int = 1,
    connect_timeout_seconds: float = 30.0,
    reply_timeout_seconds: float | None = None,
) -> "Deferred[EventflowClient]":
    """Fires with a client when it is connected; fails at once if it cannot connect.

    Fails with NotConnected if the server cannot be reached, with WrongPassword if it refuses the password.
    Once connected, a connection that is lost is made anew, for ever: after 0.1 s, then after pauses that grow to
    10 s. What was under way on it fails with ConnectionLost; what is asked meanwhile waits, without bound, and is
    then sent. If the server no longer takes the password, the client gives up and all requests fail with that.

    reactor: the global reactor (`twisted.internet.reactor`, or what `react` passes), as txredisapi uses no other.
    endpoint: where to connect instead of to host and port: a UNIX socket, TLS.
    password: None if the server asks for none. It is sent anew on every connection.
    pool_size: the number of connections; each request goes to any of them.
    connect_timeout_seconds: for one attempt to host and port.
    reply_timeout_seconds: when a reply, whole, takes longer than this, its connection is closed and everything
    under way on it fails with ConnectionLost; None waits for ever. A read's `wait_ms` comes on top.
    """
    connections = ServerConnections(
        endpoint or HostnameEndpoint(reactor, host, port, timeout=connect_timeout_seconds),
        IReactorTime(reactor),
        pool_size=pool_size,
        password=password,
        user=user,
        reply_timeout_seconds=reply_timeout_seconds,
        is_eager=True,
    )
    return connections.connect().addCallback(lambda _: EventflowClient(connections, IReactorTime(reactor)))


def connect_lazily(
    reactor: object,
    host: str = "127.0.0.1",
    port: int = PORT_DEFAULT,
    *,
    endpoint: IStreamClientEndpoint | None = None,
    password: str | None = None,
    user: str | None = None,
    pool_size: int = 1,
    connect_timeout_seconds: float = 30.0,
    reply_timeout_seconds: float | None = None,
) -> EventflowClient:
    """A client at once, which connects meanwhile and keeps trying for ever; otherwise as `connect`.

    Requests wait, without bound, until it is connected: use `addTimeout` to wait less. A refused password fails
    them with WrongPassword.
    """
    connections = ServerConnections(
        endpoint or HostnameEndpoint(reactor, host, port, timeout=connect_timeout_seconds),
        IReactorTime(reactor),
        pool_size=pool_size,
        password=password,
        user=user,
        reply_timeout_seconds=reply_timeout_seconds,
        is_eager=False,
    )
    connections.connect()
    return EventflowClient(connections, IReactorTime(reactor))
