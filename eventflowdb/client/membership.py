"""A member of a consumer: what it knows of itself, asks and says; without I/O.

Shared by all clients: nothing here may import Twisted or a Redis library.

Theory of operation. A member asks for events over a connection of its own, on which the server may let it wait; what
became of them goes over the client's. A FETCH that ends without an answer may have been answered with events that the
server now counts as held by this name. Asked again under the same name it would give the events behind those, out of
order. So the member takes another name, for which the events that were lost come again, in order, when their time is
over. What was got before is answered for under the name that it was got by.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeAlias, TypedDict, TypeVar

from ulid import ULID

from eventflowdb.client import consumers
from eventflowdb.client.appends import Checkpoint
from eventflowdb.client.exchanges import Exchange
from eventflowdb.client.refusals import ConnectionLost, NotConnected, UnexpectedReply
from eventflowdb.client.retries import Reconnects
from eventflowdb.errors import EventflowError, InvalidArgument
from eventflowdb.events import RecordedEvent
from eventflowdb.limits import CONSUMER_NAME_BYTES_MAX, WINDOW_EVENTS_MAX

FORMER_NAMES_MAX = 10
"""So many of a member's former names are told, when it ends, to give back what they hold."""

Self = TypeVar("Self", bound="AsyncConsumer")
Fetched: TypeAlias = RecordedEvent | str | Iterable[RecordedEvent | str]
"""One event or several, or their ids."""


class MemberOptions(TypedDict, total=False):
    """Who is given events, and how many at a time.

    member: a name that nobody else uses at the same time, 1 to 64 letters, digits and ._:- (None: a fresh one); limit:
    the most events to get at a time, up to 1,000 (100); wait_ms: how long the server keeps one request when nothing
    comes (20,000).
    """

    member: str | None
    limit: int
    wait_ms: int


class Membership:
    """A member of a consumer: what it asks and says next, and when it asks again.

    `name` is the member's: it changes when it is not known whether a request for events was answered.
    """

    def __init__(
        self, consumer: str, *, is_patient: bool, member: str | None = None, limit: int = 100, wait_ms: int = 20_000
    ) -> None:
        for option, value in (("limit", limit), ("wait_ms", wait_ms)):
            if value < 1:
                # Asked for nothing, or not to wait, the server would answer at once, again and again.
                raise InvalidArgument(f"{option}: expected at least 1, got {value}")
        self.consumer = consumer
        self.name = str(ULID()) if member is None else member
        self._limit = limit
        self._wait_ms = wait_ms
        self._reconnects = Reconnects(is_patient=is_patient)
        self._name_by_id: dict[str, str] = {}
        """By event: the name that it was got by. No more are held at a time than the server gives out to all."""
        self._former: deque[str] = deque(maxlen=FORMER_NAMES_MAX)
        self._has_asked = False

    @contextmanager
    def fetching(self) -> Iterator[Exchange[list[RecordedEvent]]]:
        """The next request for events, while it is under way. What ends it may leave open whether it was answered."""
        name = self.name
        self._has_asked = True
        fetch = consumers.fetch(self.consumer, name, self._limit, self._wait_ms)
        try:
            yield replace(fetch, decode=partial(self._take, name, fetch.decode))
        except BaseException as error:  # a task may be cancelled, and a key pressed
            if _may_hide_an_answer(error):
                self._leave(name)
            raise

    def pause_after(self, error: EventflowError) -> float:
        """Seconds until the next request after one that failed; raises what must end it."""
        if not isinstance(error, NotConnected):
            self._reconnects.reached()
        return self._reconnects.pause_after(error)

    def answers(
        self, answer: Callable[[str, str, list[str]], Exchange[int]], fetched: Fetched
    ) -> Iterator[Exchange[int]]:
        """An answer for events, such as `consumers.ack`: one for each name that they were got by."""
        ids_by_name: dict[str, list[str]] = {}
        for item in [fetched] if isinstance(fetched, RecordedEvent | str) else fetched:
            event_id = item if isinstance(item, str) else item.id
            ids_by_name.setdefault(self._name_by_id.get(event_id, self.name), []).append(event_id)
        return (answer(self.consumer, name, ids) for name, ids in ids_by_name.items())

    def releases_of_all(self) -> Iterator[Exchange[int]]:
        """Give back all that is held, under any name."""
        names = [self.name, *reversed(self._former)] if self._has_asked else []
        return (consumers.release(self.consumer, name) for name in names)

    def checkpoint(self, event: RecordedEvent) -> Checkpoint:
        """For an append that acks the event."""
        return Checkpoint(self.consumer, self._name_by_id.get(event.id, self.name), event.id)

    def _take(self, name: str, decode: Callable[[object], list[RecordedEvent]], reply: object) -> list[RecordedEvent]:
        try:
            events = decode(reply)
        except Exception:
            # Of a page with an error in it the other events were given out all the same.
            self._leave(name)
            raise
        self._reconnects.connected()
        for event in events:
            self._name_by_id.pop(event.id, None)  # so that the oldest come first
            self._name_by_id[event.id] = name
        while len(self._name_by_id) > WINDOW_EVENTS_MAX:
            del self._name_by_id[next(iter(self._name_by_id))]
        return events

    def _leave(self, name: str) -> None:
        """Take another name in the place of this one."""
        if self.name == name:
            # The former name first: who gives back all meanwhile, in another thread, must not miss it.
            self._former.append(name)
            ulid = str(ULID())
            self.name = f"{name[: CONSUMER_NAME_BYTES_MAX - len(ulid) - 1]}:{ulid}"


def _may_hide_an_answer(error: BaseException) -> bool:
    """Whether a request may have been answered all the same: not where it was never sent, or was refused."""
    if isinstance(error, EventflowError):
        return isinstance(error, ConnectionLost | UnexpectedReply) and not isinstance(error, NotConnected)
    return True


class ConsumerMember:
    """A member of a consumer, whatever the client.

    Iterated, it gives the events that the consumer gives to this member, and does not end by itself: say of each `ack`
    or `nack`, or it comes again. A connection that is lost is made anew, for as long as that takes; an event may then
    come again, as it may when its time is over. What the server refuses is raised, such as NoSuchConsumer, and
    ClientClosed when the client is closed.
    """

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._page: deque[RecordedEvent] = deque()
        """What was got and not given yet."""

    @property
    def name(self) -> str:
        """The consumer's name."""
        return self._membership.consumer

    @property
    def member(self) -> str:
        """The name of this member. It changes when it is not known whether a request for events was answered."""
        return self._membership.name

    def checkpoint(self, event: RecordedEvent) -> Checkpoint:
        """For `add` and `add_many`: the append acks the event in the same step, or is refused with NotHeld."""
        return self._membership.checkpoint(event)


class AsyncConsumer(ConsumerMember, ABC):
    """What is the same for asyncio and Twisted: `async for`, and `async with`."""

    def __aiter__(self: Self) -> Self:
        return self

    async def __anext__(self) -> RecordedEvent:
        if not self._page:
            self._page.extend(await self._fetch())
        if self._has_ended:
            raise StopAsyncIteration
        return self._page.popleft()

    async def pages(self) -> AsyncIterator[list[RecordedEvent]]:
        """The events as they are got, at least one and up to `limit` at a time; to be settled by one `ack`."""
        while True:
            page = list(self._page) or await self._fetch()
            self._page.clear()
            if self._has_ended:
                return
            yield page

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    @abstractmethod
    def close(self) -> Awaitable[None]:
        """End it: the iteration ends without an error, and what was not settled is given back.

        What cannot be given back, as there is no server, comes again when its time is over.
        """

    @property
    @abstractmethod
    def _has_ended(self) -> bool:
        """Whether it was closed."""

    @abstractmethod
    async def _fetch(self) -> list[RecordedEvent]:
        """The next events, at least one; none where it was closed."""
