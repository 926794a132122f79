"""SUBSCRIBE and UNSUBSCRIBE: connections that are sent events as they come.

Theory of operation. A subscription is a cursor: a place in the log or in a stream, and whether there may be something
behind it. It holds no events. When a notice (notices.py) tells that there may be, it gets in line; and while the
connection takes what it is sent, and no long reply is in the middle, those in line are served one page at a time, in
turn. So a client that does not read lags, and costs nothing but its cursor; one that reads gets its pages as fast as
it takes them. A page may be shared with everybody who stands at the same place (pages.py).

Reads of history run on threads, one at a time for each connection; what is new is few events in warm memory, and is
read at once. Nothing is missed: events that came before the cursor looked are found by the look, and of those that
came after it a notice tells.
"""

from collections import deque
from collections.abc import Iterator, Sequence

from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.commands.subscriptions import SUBSCRIBE, SubscriptionQuery
from eventflowdb.errors import EventflowError, InvalidArgument
from eventflowdb.limits import (
    CHUNK_BYTES_MAX,
    CHUNK_EVENTS_MAX,
    LAG_LOOKS_MAX,
    SUBSCRIPTION_QUERY_BYTES_MAX,
    SUBSCRIPTIONS_MAX,
)
from eventflowdb.service.database import Database
from eventflowdb.service.faults import error_of
from eventflowdb.service.pages import SharedPage, SharedPages
from eventflowdb.service.reply import Reply
from eventflowdb.service.session import Session
from eventflowdb.service.sources import LogPlace, Place, Source, source_of
from eventflowdb.wire import replies
from eventflowdb.wire.values import RESP3, Push, encode

Words = Sequence[bytes]


class Subscriptions:
    """The subscriptions of one server."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.notices = database.notices
        self.pages = SharedPages(database.notices)
        self.subscribers: dict[Subscriber, None] = {}

    def subscribe(self, session: Session, words: Words) -> Reply:
        """SUBSCRIBE query ...: all of them, or none where one is wrong."""
        known = session.subscriber if isinstance(session.subscriber, Subscriber) else None
        new = {word: self._read(word) for word in words[1:] if known is None or word not in known}
        if len(new) + len(known or ()) > SUBSCRIPTIONS_MAX:
            raise EventflowError(f"too many subscriptions; a connection may have {SUBSCRIPTIONS_MAX}")
        sources = {channel: source_of(query, self.database) for channel, query in new.items()}
        places = {channel: source.begin() for channel, source in sources.items()}
        subscriber = known or Subscriber(self, session)
        confirmations = []
        for word in words[1:]:
            if word in places:
                subscriber.add(word, sources[word], places.pop(word))
            confirmations.append(_confirmation(session, b"subscribe", word, len(subscriber)))
        return b"".join(confirmations)

    def unsubscribe(self, session: Session, words: Words) -> Reply:
        """UNSUBSCRIBE [query ...]: those named, or all."""
        subscriber = session.subscriber
        channels: Sequence[bytes | None] = words[1:] or list(subscriber or ()) or [None]
        confirmations = []
        for channel in channels:
            if subscriber is not None and channel is not None:
                subscriber.remove(channel)
            confirmations.append(_confirmation(session, b"unsubscribe", channel, len(subscriber or ())))
        return b"".join(confirmations)

    def count(self) -> int:
        """How many there are."""
        return sum([len(subscriber) for subscriber in self.subscribers])

    def behind(self) -> "list[Subscription]":
        """Those that may have events to get."""
        return [subscription for subscriber in self.subscribers for subscription in subscriber.behind()]

    def _read(self, word: bytes) -> SubscriptionQuery:
        if len(word) > SUBSCRIPTION_QUERY_BYTES_MAX:
            raise InvalidArgument(
                f"the query: expected at most {SUBSCRIPTION_QUERY_BYTES_MAX} bytes, since every message repeats it, "
                f"got {len(word)}"
            )
        return SUBSCRIBE.decode(word)


def lag_of(behind: "Sequence[Subscription]") -> int:
    """How many events the slowest has yet to get; among those of single streams only so many are looked at."""
    logs = [(found.place.start, found) for found in behind if isinstance(found.place, LogPlace)]
    streams = [found for found in behind if not isinstance(found.place, LogPlace)][:LAG_LOOKS_MAX]
    slowest = [min(logs, key=lambda pair: pair[0])[1]] if logs else []
    return max([found.source.count_left(found.place) for found in slowest + streams], default=0)


class Subscription:
    """One of a connection: a cursor, and how it was named.

    place: where it reads on; told: the generation of the last notice it heard of.
    """

    __slots__ = (
        "_subscriber",
        "channel",
        "events_max",
        "is_behind",
        "is_over",
        "is_resting",
        "place",
        "source",
        "told",
    )

    def __init__(self, subscriber: "Subscriber", channel: bytes, source: Source, place: Place, told: int) -> None:
        self._subscriber = subscriber
        self.channel = channel
        self.source = source
        self.place = place
        self.told = told
        self.events_max = min(CHUNK_EVENTS_MAX, CHUNK_BYTES_MAX // len(channel))
        self.is_behind = source.has_history
        """Many events are expected: read by a thread."""
        self.is_resting = not source.has_history
        """It knows of nothing behind its place, and waits for a notice."""
        self.is_over = False

    def log_grew(self) -> None:
        """Told by the notices."""
        subscriber = self._subscriber
        self.told = subscriber.generation
        if self.is_resting:
            self.is_resting = False
            subscriber.wake(self)

    def log_closes(self) -> None:
        """Told by the notices: the connections close soon."""


class Subscriber:
    """A connection with subscriptions; its session and its conversation refer to it until it has none."""

    _log = Logger()

    def __init__(self, subscriptions: Subscriptions, session: Session) -> None:
        self._all = subscriptions
        self._pages = subscriptions.pages
        self._notices = subscriptions.notices
        self._session = session
        self._channels: dict[bytes, Subscription] = {}
        self._live: deque[Subscription] = deque()
        """In line for what is new."""
        self._behind: deque[Subscription] = deque()
        """In line for history, of which one page at a time is read."""
        self._fetched: deque[tuple[Subscription, SharedPage]] = deque()
        """Pages that have been read, to be sent when the connection takes them."""
        self._fetching: Subscription | None = None
        self._is_pulling = False
        subscriptions.subscribers[self] = None
        session.subscriber = self

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._channels)

    def __contains__(self, channel: object) -> bool:
        return channel in self._channels

    @property
    def generation(self) -> int:
        """That of the notices, now."""
        return self._notices.generation

    def behind(self) -> list[Subscription]:
        """Those that may have events to get."""
        return [subscription for subscription in self._channels.values() if not subscription.is_resting]

    def add(self, channel: bytes, source: Source, place: Place) -> None:
        """Begin a subscription."""
        subscription = Subscription(self, channel, source, place, self._notices.generation)
        self._channels[channel] = subscription
        self._notices.watch(source.stream, subscription)
        if subscription.is_behind:
            self._behind.append(subscription)
        self._session.has_changed = True

    def remove(self, channel: bytes) -> None:
        """End a subscription, if there is one of that name: not one more of its events is sent."""
        subscription = self._channels.pop(channel, None)
        if subscription is None:
            return
        subscription.is_over = True
        self._notices.unwatch(subscription.source.stream, subscription)
        self._session.has_changed = True
        if not self._channels:
            self.close()

    def close(self) -> None:
        """End all of them."""
        for subscription in self._channels.values():
            subscription.is_over = True
            self._notices.unwatch(subscription.source.stream, subscription)
        self._channels.clear()
        self._live.clear()
        self._behind.clear()
        self._fetched.clear()
        self._all.subscribers.pop(self, None)
        self._session.subscriber = None
        self._session.has_changed = True

    def wake(self, subscription: Subscription) -> None:
        """There may be something new for one that rested."""
        self._live.append(subscription)
        self.pull()

    def pull(self) -> None:
        """Send what there is while the connection takes it."""
        if self._is_pulling:
            return
        self._is_pulling = True
        try:
            while self._may_push() and self._serve_next():
                pass
        except Exception:
            self._fail(None, Failure())
        finally:
            self._is_pulling = False

    def _may_push(self) -> bool:
        peer = self._session.peer
        return peer is not None and peer.may_push

    def _serve_next(self) -> bool:
        """Serve one that is in line; False if there is none that can be served now."""
        if self._fetched:
            self._send(*self._fetched.popleft())
        elif self._live:
            self._ask(self._live.popleft())
        elif self._behind and self._fetching is None:
            self._fetching = self._behind.popleft()
            self._ask(self._fetching)
        else:
            return False
        return True

    def _ask(self, subscription: Subscription) -> None:
        """Send a page to one that has its turn, if it can be had at once; else when it has been read."""
        if subscription.is_over:
            self._has_turned(subscription)
            return

        def tell(found: SharedPage | Failure) -> None:
            self._take(subscription, found)

        try:
            found = self._pages.find(
                subscription.source,
                subscription.place,
                subscription.events_max,
                is_behind=subscription.is_behind,
                generation=subscription.told,
                tell=tell,
            )
        except Exception:
            self._fail(subscription, Failure())
            return
        if found is not None:
            self._send(subscription, found)

    def _take(self, subscription: Subscription, found: SharedPage | Failure) -> None:
        """A page has been read for one that has had its turn."""
        if subscription.is_over:
            self._has_turned(subscription)
        elif isinstance(found, Failure):
            self._fail(subscription, found)
            return
        else:
            self._fetched.append((subscription, found))
        self.pull()

    def _send(self, subscription: Subscription, shared: SharedPage) -> None:
        self._has_turned(subscription)
        peer = self._session.peer
        if subscription.is_over or peer is None:
            return
        page = shared.page
        subscription.place = page.next
        subscription.is_behind = not page.is_end
        if not page.is_end:
            self._behind.append(subscription)
        elif shared.generation < subscription.told:
            # A notice came after the page began to be read.
            self._live.append(subscription)
        else:
            subscription.is_resting = True
        if page.records:
            prefix = replies.message_prefix(subscription.channel, self._session.protocol == RESP3)
            peer.push_messages(self._pages.messages(shared, prefix))

    def _has_turned(self, subscription: Subscription) -> None:
        if self._fetching is subscription:
            self._fetching = None

    def _fail(self, subscription: Subscription | None, failure: Failure) -> None:
        """Events cannot be read: rather than leave them out, tell the client, log it, and end the connection."""
        session = self._session
        channel = None if subscription is None else subscription.channel
        self._log.failure(
            "the subscription {channel} of {peer} broke off", failure, channel=channel, peer=session.address
        )
        error = error_of(failure, self._log, "a subscription failed")
        peer = session.peer
        is_resp3 = session.protocol == RESP3
        self.close()
        if peer is not None:
            text = f"{error.code} {error}"
            peer.break_off(encode(Push(["error", channel, text]), RESP3) if is_resp3 else replies.error(error))


def _confirmation(session: Session, kind: bytes, channel: bytes | None, count: int) -> bytes:
    return encode(Push([kind, channel, count]), session.protocol)
