"""The events of one consumer that are given out, or about to be: to whom, for how long, and what has to wait.

Theory of operation. The events of one stream stay in order and with one member at a time: a stream that a member holds
events of goes on with that member alone, and behind one that failed its later events wait. Streams with an event that
anybody may have stand in a heap by that event, so that a member alone gets the events in the order of the log, and each
costs a logarithm. What is given out at once is one delivery: it comes back as a whole when nothing is heard of it in
time. While a write is under way that decides which event of a stream is next, nothing of that stream is given out. This
is memory only; times are seconds of a monotonic clock.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import NamedTuple

from eventflowdb.limits import WINDOW_BYTES_MAX, WINDOW_DONE_MAX, WINDOW_EVENTS_MAX


class Delivery:
    """Events that were given to a member at once, and are not settled; `deadline`: when it must have told of them."""

    __slots__ = ("deadline", "entries", "is_timed", "member")

    def __init__(self, member: str) -> None:
        self.member = member
        self.entries: dict[bytes, Entry] = {}
        self.deadline = 0.0
        self.is_timed = False

    @property
    def size_bytes(self) -> int:
        """How large the events are."""
        return sum([len(entry.record) for entry in self.entries.values()])


class Entry:
    """One event. tries: how often it failed; due: not to be given out before; delivery: None while nobody has it.

    pins: how many writes under way concern it; is_blocking: its stream waits for one of them; has_failed: it goes back
    when they are over.
    """

    __slots__ = ("delivery", "due", "has_failed", "id", "is_blocking", "pins", "record", "stream", "tries")

    def __init__(self, event_id: bytes, stream: str, record: bytes, tries: int, due: float) -> None:
        self.id = event_id
        self.stream = stream
        self.record = record
        self.tries = tries
        self.due = due
        self.pins = 0
        self.is_blocking = False
        self.has_failed = False
        self.delivery: Delivery | None = None


class _Stream:
    """The entries of one stream: those that wait in order, and those that `holder` holds.

    blocks: so many of its events are decided upon; until then none is given out.
    """

    __slots__ = ("blocks", "held", "holder", "waiting")

    def __init__(self) -> None:
        self.blocks = 0
        self.waiting: deque[Entry] = deque()
        self.held: dict[bytes, Entry] = {}
        self.holder: str | None = None


class Holding(NamedTuple):
    """What one member holds: how many events, the first of them in the log, and when the first time of some is over."""

    member: str
    event_count: int
    first_id: bytes
    deadline: float


class Window:
    """The events of one consumer between its checkpoint and the place up to which the log was read for it."""

    def __init__(self, passed: int = 0) -> None:
        """Passed: how many events are settled already behind one that is not."""
        self._entries: dict[bytes, Entry] = {}
        self._streams: dict[str, _Stream] = {}
        self._free: list[tuple[bytes, str]] = []
        """A heap of streams nobody holds, by their next event; some are out of date."""
        self._own: dict[str, set[str]] = {}
        """By member: streams that it holds, and of which it may have more."""
        self._delayed: list[tuple[float, str]] = []
        """A heap of streams whose next event has to wait, by the time; some are out of date."""
        self._deadlines: list[tuple[float, int, Delivery]] = []
        self._numbers = count()
        self._order: OrderedDict[bytes, int] = OrderedDict()
        """The events that came from the log and are not settled, with their numbers."""
        self._next_number = passed
        self._held_count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def held_count(self) -> int:
        """How many events are given out."""
        return self._held_count

    @property
    def members(self) -> set[str]:
        """Who holds events."""
        return {stream.holder for stream in self._streams.values() if stream.holder is not None}

    def holdings(self) -> list[Holding]:
        """Who holds what, in the order of the first events."""
        held: dict[str, Holding] = {}
        for stream in self._streams.values():
            if stream.holder is None or not stream.held:
                continue
            known = held.get(stream.holder)
            first_id = min(stream.held)
            deadline = min([entry.delivery.deadline for entry in stream.held.values() if entry.delivery is not None])
            event_count = len(stream.held)
            if known is not None:
                event_count += known.event_count
                first_id, deadline = min(first_id, known.first_id), min(deadline, known.deadline)
            held[stream.holder] = Holding(stream.holder, event_count, first_id, deadline)
        return sorted(held.values(), key=lambda one: one.first_id)

    @property
    def has_room(self) -> bool:
        """Whether more may be read from the log."""
        if len(self._entries) >= WINDOW_EVENTS_MAX or self._bytes >= WINDOW_BYTES_MAX:
            return False
        first = next(iter(self._order.values()), self._next_number)
        return self._next_number - first < WINDOW_DONE_MAX

    def find(self, event_id: bytes) -> Entry | None:
        """An event that is not settled."""
        return self._entries.get(event_id)

    def held_by(self, member: str) -> list[Entry]:
        """The events that a member holds, in the order of the log."""
        held = [entry for stream in self._streams.values() if stream.holder == member for entry in stream.held.values()]
        return sorted(held, key=lambda entry: entry.id)

    def add(self, entry: Entry, now: float, *, is_next: bool = True) -> None:
        """Take in an event; is_next: it is the next one of the log, else one from before."""
        if entry.id in self._entries:
            return
        self._entries[entry.id] = entry
        self._bytes += len(entry.record)
        if is_next:
            self._order[entry.id] = self._next_number
            self._next_number += 1
        stream = self._streams.get(entry.stream)
        if stream is None:
            stream = self._streams[entry.stream] = _Stream()
        _insert(stream, entry)
        if stream.waiting[0] is entry:
            self._make_ready(stream, entry.stream, now)

    def skip(self) -> None:
        """The next event of the log is settled already."""
        self._next_number += 1

    def take(self, delivery: Delivery, limit: int, bytes_max: int, now: float) -> None:
        """Give events to the member of a delivery, up to a limit: those it may have, in the order of the log."""
        self._wake(now)
        member, streams = delivery.member, self._streams
        own = [(streams[name].waiting[0].id, name) for name in self._own.get(member, ())]
        heapify(own)
        size = delivery.size_bytes
        while len(delivery.entries) < limit and (size < bytes_max or not delivery.entries):
            free = self._first_free(now)
            if own and (free is None or own[0] < free):
                _, name = heappop(own)
            elif free is not None:
                _, name = heappop(self._free)
            else:
                return
            stream = streams[name]
            entry = stream.waiting.popleft()
            size += len(entry.record)
            self._hold(stream, entry, delivery)
            self._make_ready(stream, name, now)
            if stream.waiting and stream.waiting[0].due <= now:
                heappush(own, (stream.waiting[0].id, name))

    def block(self, entry: Entry) -> None:
        """Give out nothing of an event's stream until it is decided what becomes of the event."""
        if not entry.is_blocking:
            entry.is_blocking = True
            stream = self._streams[entry.stream]
            stream.blocks += 1
            if stream.holder is not None:
                self._disown(stream.holder, entry.stream)

    def unblock(self, entry: Entry, now: float) -> None:
        """It is decided, whatever has become of it."""
        if entry.is_blocking:
            entry.is_blocking = False
            stream = self._streams[entry.stream]
            stream.blocks -= 1
            self._tidy(stream, entry.stream, now)

    def begin(self, delivery: Delivery, deadline: float) -> None:
        """The member has it, and has until then; or longer than it had."""
        delivery.deadline = deadline
        if not delivery.is_timed:
            delivery.is_timed = True
            heappush(self._deadlines, (deadline, next(self._numbers), delivery))

    def settle(self, entry: Entry, now: float) -> None:
        """Nothing more has to be done about an event."""
        if self._entries.get(entry.id) is not entry:
            return
        del self._entries[entry.id]
        self._order.pop(entry.id, None)
        self._bytes -= len(entry.record)
        stream = self._streams[entry.stream]
        if entry.delivery is None:
            stream.waiting.remove(entry)
        else:
            self._let_go(stream, entry)
        self._tidy(stream, entry.stream, now)

    def release(self, entry: Entry, now: float) -> None:
        """Take an event back, to be given out again when it is due; and those behind it in its stream."""
        stream = self._streams[entry.stream]
        later = [other for other in stream.held.values() if other.id > entry.id and not other.pins]
        for other in (entry, *later):
            self._let_go(stream, other)
            _insert(stream, other)
        self._make_ready(stream, entry.stream, now)

    def expired(self, now: float) -> Iterable[Delivery]:
        """Deliveries of which nothing was heard in time, each told once until it begins anew."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, delivery = heappop(self._deadlines)
            delivery.is_timed = False
            if not delivery.entries:
                continue
            if delivery.deadline > now:
                self.begin(delivery, delivery.deadline)
            else:
                yield delivery

    def next_deadline(self) -> float | None:
        """When a delivery may expire, at the earliest."""
        while self._deadlines and not self._deadlines[0][2].entries:
            heappop(self._deadlines)[2].is_timed = False
        return self._deadlines[0][0] if self._deadlines else None

    def next_due(self) -> float | None:
        """When an event that has to wait may be given out, at the earliest."""
        return self._delayed[0][0] if self._delayed else None

    def _hold(self, stream: _Stream, entry: Entry, delivery: Delivery) -> None:
        stream.held[entry.id] = entry
        stream.holder = delivery.member
        entry.delivery = delivery
        delivery.entries[entry.id] = entry
        self._held_count += 1

    def _let_go(self, stream: _Stream, entry: Entry) -> None:
        """A held event is held no more."""
        delivery, entry.delivery = entry.delivery, None
        if delivery is not None:
            del delivery.entries[entry.id]
        del stream.held[entry.id]
        self._held_count -= 1
        if not stream.held and stream.holder is not None:
            self._disown(stream.holder, entry.stream)
            stream.holder = None

    def _disown(self, member: str, name: str) -> None:
        own = self._own.get(member)
        if own is not None:
            own.discard(name)
            if not own:
                del self._own[member]

    def _tidy(self, stream: _Stream, name: str, now: float) -> None:
        """Forget a stream of which there is nothing left; else have it stand where it belongs."""
        if stream.waiting or stream.held or stream.blocks:
            self._make_ready(stream, name, now)
        else:
            del self._streams[name]

    def _make_ready(self, stream: _Stream, name: str, now: float) -> None:
        """Put a stream where its next event is looked for."""
        holder = stream.holder
        if holder is not None:
            self._disown(holder, name)
        if stream.blocks or not stream.waiting:
            return
        entry = stream.waiting[0]
        if entry.due > now:
            heappush(self._delayed, (entry.due, name))
        elif holder is not None:
            self._own.setdefault(holder, set()).add(name)
        else:
            heappush(self._free, (entry.id, name))

    def _wake(self, now: float) -> None:
        """What had to wait until now may be given out."""
        while self._delayed and self._delayed[0][0] <= now:
            _, name = heappop(self._delayed)
            stream = self._streams.get(name)
            if stream is not None:
                self._make_ready(stream, name, now)

    def _first_free(self, now: float) -> tuple[bytes, str] | None:
        """The first event that anybody may have."""
        free = self._free
        while free:
            event_id, name = free[0]
            stream = self._streams.get(name)
            if stream is not None and stream.holder is None and stream.waiting and not stream.blocks:
                entry = stream.waiting[0]
                if entry.id == event_id and entry.due <= now:
                    return free[0]
            heappop(free)
        return None


def _insert(stream: _Stream, entry: Entry) -> None:
    """Put an event into its place among those that wait."""
    waiting = stream.waiting
    if waiting and waiting[-1].id > entry.id:
        stream.waiting = deque(sorted([*waiting, entry], key=lambda other: other.id))
    else:
        waiting.append(entry)
