"""One consumer at work: its members fetch, ack and fail events, or are not heard of any more.

Theory of operation. Who holds what is known here alone, in memory (window.py); what became of an event is stored before
it is answered, by the same thread that stores appends. So after a restart nobody holds anything, and what was not acked
is given out again. An event that a write under way concerns is pinned: it is neither given out nor taken back until the
outcome is known. Members that wait are served in the order in which they came.
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.commands.consumers import Ack, Fetch, Nack
from eventflowdb.consumers import BEGINNING, Changed, Settle, Settlement
from eventflowdb.errors import EventflowError, NotHeld, TryAgain
from eventflowdb.events import Checkpoint
from eventflowdb.ids import find_ulid_bytes, id_after
from eventflowdb.limits import FETCH_BYTES_MAX, FILL_EVENTS, INLINE_FILLS_MAX
from eventflowdb.service.database import Database
from eventflowdb.service.faults import error_of
from eventflowdb.service.records import id_of, stream_of
from eventflowdb.service.reply import BlockedReply
from eventflowdb.service.window import Delivery, Entry, Window
from eventflowdb.storage.batch import Outcome
from eventflowdb.storage.consumers import Opened, Retry
from eventflowdb.storage.environment import id_text
from eventflowdb.storage.queries import Page
from eventflowdb.wire import replies

_EMPTY = replies.bulk_array([])
_BYTES_OF_AN_ID = 40
"""What an id weighs in a request, about."""

Settled = Callable[[int | EventflowError], None]
"""Told how many events a request concerned, or why it is refused."""


class FetchReply(BlockedReply):
    """The reply to one FETCH, which gathers events until it has enough, or there are no more."""

    __slots__ = ("_group", "_timeout", "delivery", "is_over", "limit")

    def __init__(self, fetch: Fetch) -> None:
        super().__init__()
        self.delivery = Delivery(fetch.member)
        self.limit = fetch.limit
        self.is_over = fetch.wait_ms == 0
        """It does not wait, or no longer."""
        self._group: Group | None = None
        self._timeout: IDelayedCall | None = None

    def join(self, group: "Group", clock: IReactorTime, wait_ms: int) -> None:
        """Be served by a group, and wait so long."""
        self._group = group
        if not self.is_over:
            self._timeout = clock.callLater(wait_ms / 1000, self.end)
        group.serve_also(self)

    def end(self) -> None:
        """Wait no longer; where nobody is there to take the answer, take nothing."""
        self.is_over = True
        if self._group is not None:
            if self.is_abandoned:
                self._group.leave(self)
            else:
                self._group.serve()

    def give_up(self, error: EventflowError) -> None:
        """There will be nothing."""
        if self.value is None:
            self.settle(replies.error(error))

    def give(self) -> None:
        """Answer with what was gathered."""
        records = [entry.record for entry in self.delivery.entries.values()]
        self.settle(replies.bulk_array(records) if records else _EMPTY)

    def settle(self, value: object) -> None:
        """Give the reply, and wait no more."""
        self._group = None
        timeout, self._timeout = self._timeout, None
        if timeout is not None and timeout.active():
            timeout.cancel()
        super().settle(value)  # type: ignore[arg-type]


class Group:
    """The members of one consumer. now_us: the time of day, for what is stored."""

    _log = Logger()

    def __init__(self, opened: Opened, database: Database, clock: IReactorTime, now_us: Callable[[], int]) -> None:
        self.consumer = opened.consumer
        self._database = database
        self._clock = clock
        self._now_us = now_us
        self._timeout_seconds = opened.consumer.options.timeout_ms / 1000
        self._done = set(opened.done)
        """Events behind the place that was read up to, which are settled already."""
        self._window = Window(len(opened.done))
        self._retries_from: bytes | None = BEGINNING
        """Where the next events that failed before are looked for; None: all are there."""
        self._read_to = opened.consumer.checkpoint
        self._replays = 0
        """How often parked events were to be given out again."""
        self._is_at_end = False
        self._is_looking = False
        self._is_serving = False
        self._is_closed = False
        self._is_watching = False
        self._waiting: dict[FetchReply, None] = {}
        self._timer: IDelayedCall | None = None

    @property
    def in_flight(self) -> int:
        """How many events are given out."""
        return self._window.held_count

    @property
    def members(self) -> int:
        """How many hold events, or wait for some."""
        return len(self._window.members | {reply.delivery.member for reply in self._waiting})

    def close(self, error: EventflowError | None = None) -> None:
        """It ends: those that wait are told why, or that there is nothing."""
        self._is_closed = True
        waiting, self._waiting = self._waiting, {}
        for reply in waiting:
            if error is None:
                reply.delivery.entries.clear()
                reply.give()
            else:
                reply.give_up(error)
        self._rest()

    # What members do.

    def serve_also(self, reply: FetchReply) -> None:
        """Give this one events, as soon as there are some."""
        self._waiting[reply] = None
        self._is_at_end = False
        self.serve()

    def leave(self, reply: FetchReply) -> None:
        """The client of this one is gone."""
        if self._waiting.pop(reply, reply) is None:
            self._take_back(list(reply.delivery.entries.values()))
            reply.give()

    def ack(self, ack: Ack, settled: Settled) -> None:
        """Settle events; NotHeld where another member holds one."""
        now = self._clock.seconds()
        entries: list[Entry] = []
        claimed: list[bytes] = []
        for event_id in ack.ids:
            entry = self._window.find(event_id)
            if entry is not None:
                self._require_mine(entry, ack.member)
                entries.append(entry)
            elif event_id not in self._done:
                claimed.append(event_id)
        working = [self._held(event_id, ack.member) for event_id in ack.extend]
        for entry in working:
            if entry.delivery is not None:
                self._window.begin(entry.delivery, now + self._timeout_seconds)
        late = Delivery(ack.member)
        for entry in entries:
            if entry.delivery is None:
                # It had come back, and is settled after all.
                self._window.hold(entry, late, now)
        if late.entries:
            self._window.begin(late, now + self._timeout_seconds)
        if not entries and not claimed:
            settled(0)
            return
        known = tuple([entry.id for entry in entries])
        self._write(
            Settle(self.consumer.name, _BYTES_OF_AN_ID * len(ack.ids), acked=known, claimed=tuple(claimed)),
            entries,
            lambda outcome: self._acked(entries, claimed, outcome, settled),
        )

    def fail(self, nack: Nack, settled: Settled) -> None:
        """Events failed: try them again later, or park them, or just take them back."""
        if nack.ids is None:
            entries = self._window.held_by(nack.member)
        else:
            found = [self._window.find(event_id) for event_id in nack.ids]
            entries = [entry for entry in found if entry is not None and entry.delivery is not None]
            for entry in entries:
                self._require_mine(entry, nack.member)
        entries = [entry for entry in entries if not entry.pins]
        if nack.is_release or not entries:
            self._take_back(entries)
            settled(len(entries))
            return
        delay_ms = self.consumer.options.retry_ms if nack.delay_ms is None else nack.delay_ms
        self._fail(entries, delay_ms, nack.reason, settled, is_park=nack.is_park)

    def hold_for(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint of an append, with the word whether its member holds the event; it is kept for the append."""
        entry = self._window.find(checkpoint.id)
        if entry is None or entry.delivery is None or entry.delivery.member != checkpoint.member:
            return checkpoint
        self._pin([entry])
        return replace(checkpoint, is_held=True)

    def conclude(self, checkpoint: Checkpoint, outcome: Outcome) -> None:
        """The append has been stored, or not."""
        entry = self._window.find(checkpoint.id)
        if checkpoint.is_held and entry is not None:
            self._unpin([entry])
            if isinstance(outcome, list):
                self._window.settle(entry, self._clock.seconds())
                self.serve()

    def replayed(self) -> None:
        """Parked events are to be given out again."""
        self._retries_from = BEGINNING
        self._replays += 1
        self.serve()

    # What is told by others.

    def log_grew(self) -> None:
        """Told by the notices."""
        self._is_at_end = False
        self.serve()

    def log_closes(self) -> None:
        """Told by the notices."""
        self.close(TryAgain("the server is shutting down, and nothing has come yet; fetch again later"))

    # Giving out.

    def serve(self) -> None:
        """Give those that wait what there is; look for more where they have not enough."""
        if self._is_serving or self._is_looking or self._is_closed:
            return
        self._is_serving = True
        try:
            self._serve()
        finally:
            self._is_serving = False
        self._rest()

    def _serve(self) -> None:
        for _ in range(INLINE_FILLS_MAX):
            self._hand_out()
            if not (self._waiting and self._window.has_room):
                break
            if self._retries_from is not None:
                self._look_for_retries(self._retries_from)
                return
            if self._is_at_end:
                break
            page = self._database.searches.search(
                replace(self.consumer.query, start=id_after(self._read_to)), FILL_EVENTS
            )
            if isinstance(page, Deferred):
                self._is_looking = True
                page.addCallbacks(self._found, self._look_failed)
                return
            self._take_in(page)
        else:
            # There is more, but others have their turn.
            self._is_looking = True
            self._clock.callLater(0, self._go_on)
            return
        for reply in [reply for reply in self._waiting if reply.delivery.entries or reply.is_over]:
            self._give(reply)

    def _hand_out(self) -> None:
        now = self._clock.seconds()
        for reply in list(self._waiting):
            self._window.take(reply.delivery, reply.limit, FETCH_BYTES_MAX, now)
            if len(reply.delivery.entries) == reply.limit or reply.delivery.size_bytes >= FETCH_BYTES_MAX:
                self._give(reply)

    def _give(self, reply: FetchReply) -> None:
        del self._waiting[reply]
        if reply.delivery.entries:
            self._window.begin(reply.delivery, self._clock.seconds() + self._timeout_seconds)
        reply.give()

    def _go_on(self) -> None:
        self._is_looking = False
        self.serve()

    def _look_for_retries(self, start: bytes) -> None:
        self._is_looking = True
        replays = self._replays
        found = self._database.find_retries(self.consumer, start, FILL_EVENTS)
        found.addCallbacks(lambda retries: self._found_retries(retries, replays), self._look_failed)

    def _found_retries(self, retries: Sequence[Retry], replays: int) -> None:
        now, now_us = self._clock.seconds(), self._now_us()
        for settlement, record in retries:
            due = now + (settlement.at_us - now_us) / 1_000_000
            entry = Entry(settlement.id, stream_of(record), record, settlement.tries, due)
            self._window.add(entry, now, is_next=settlement.id > self.consumer.checkpoint)
        if self._replays == replays:
            self._retries_from = id_after(retries[-1].settlement.id) if len(retries) == FILL_EVENTS else None
        self._go_on()

    def _found(self, page: Page) -> None:
        self._take_in(page)
        self._go_on()

    def _take_in(self, page: Page) -> None:
        now, records = self._clock.seconds(), page.chunk.records
        for record in records:
            event_id = find_ulid_bytes(id_of(record)) or b""
            self._read_to = event_id
            if event_id in self._done:
                self._done.discard(event_id)
                self._window.skip()
            else:
                self._window.add(Entry(event_id, stream_of(record), record, 0, 0.0), now)
        if page.chunk.rest is None and len(records) < FILL_EVENTS:
            self._is_at_end = True
            self._read_to = max(self._read_to, page.head_id)

    def _look_failed(self, failure: Failure) -> None:
        self._is_looking = False
        error = error_of(failure, self._log, "a consumer could not read")
        waiting, self._waiting = self._waiting, {}
        for reply in waiting:
            self._take_back(list(reply.delivery.entries.values()))
            reply.give_up(error)
        self._rest()

    # What became of events.

    def _held(self, event_id: bytes, member: str) -> Entry:
        """An event that the member holds, or NotHeld."""
        entry = self._window.find(event_id)
        if entry is None or entry.delivery is None or entry.delivery.member != member:
            raise NotHeld.of(self.consumer.name, id_text(event_id))
        return entry

    def _require_mine(self, entry: Entry, member: str) -> None:
        if entry.delivery is not None and entry.delivery.member != member:
            raise NotHeld.of(self.consumer.name, id_text(entry.id))

    def _write(self, change: Settle, entries: Iterable[Entry], told: Callable[[Outcome], None]) -> None:
        self._pin(entries)
        self._database.append(change, told)

    def _pin(self, entries: Iterable[Entry]) -> None:
        """A write concerns them; their member has been heard of."""
        deadline = self._clock.seconds() + self._timeout_seconds
        for entry in entries:
            entry.pins += 1
            if entry.delivery is not None:
                self._window.begin(entry.delivery, deadline)

    def _unpin(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            entry.pins -= 1

    def _acked(self, entries: list[Entry], claimed: list[bytes], outcome: Outcome, settled: Settled) -> None:
        self._unpin(entries)
        if isinstance(outcome, Changed):
            now = self._clock.seconds()
            for entry in entries:
                self._window.settle(entry, now)
            self._done.update([event_id for event_id in claimed if event_id > self._read_to])
        settled(_answer(outcome))
        self.serve()

    def _fail(self, entries: list[Entry], delay_ms: int, reason: str, settled: Settled, *, is_park: bool) -> None:
        now_us, tries_max = self._now_us(), self.consumer.options.tries_max
        parked = {entry for entry in entries if is_park or 0 < tries_max <= entry.tries + 1}
        due = self._clock.seconds() + delay_ms / 1000
        change = Settle(
            self.consumer.name,
            _BYTES_OF_AN_ID * len(entries),
            parked=tuple(
                [Settlement(entry.id, entry.tries + 1, now_us, reason) for entry in entries if entry in parked]
            ),
            retried=tuple(
                [
                    Settlement(entry.id, entry.tries + 1, now_us + delay_ms * 1000, reason)
                    for entry in entries
                    if entry not in parked
                ]
            ),
        )
        self._write(change, entries, lambda outcome: self._failed(entries, parked, due, outcome, settled))

    def _failed(self, entries: list[Entry], parked: set[Entry], due: float, outcome: Outcome, settled: Settled) -> None:
        self._unpin(entries)
        if isinstance(outcome, Changed):
            now = self._clock.seconds()
            # Where an ack is under way as well, or came first, that one counts.
            free = [entry for entry in entries if not entry.pins and self._window.find(entry.id) is entry]
            for entry in free:
                entry.tries += 1
                entry.due = due
                if entry in parked:
                    self._window.settle(entry, now)
            for entry in free:
                if entry not in parked and entry.delivery is not None:
                    self._window.release(entry, now)
        settled(_answer(outcome))
        self.serve()

    def _take_back(self, entries: Iterable[Entry]) -> None:
        now = self._clock.seconds()
        for entry in entries:
            if entry.delivery is not None and not entry.pins:
                self._window.release(entry, now)
        self.serve()

    def _expire(self, delivery: Delivery) -> None:
        """Nothing was heard of these events: the first counts as failed, most likely it was the one worked at."""
        entries = sorted(delivery.entries.values(), key=lambda entry: entry.id)
        if any(entry.pins for entry in entries):
            self._window.begin(delivery, self._clock.seconds() + self._timeout_seconds)
            return
        self._take_back(entries[1:])
        reason = f"nothing was heard of {delivery.member} for {self.consumer.options.timeout_ms} ms"
        self._fail(entries[:1], 0, reason, self._note_expiry, is_park=False)

    def _note_expiry(self, outcome: int | EventflowError) -> None:
        if isinstance(outcome, EventflowError):
            self._log.warn("consumer {name}: {error}", name=self.consumer.name, error=outcome)

    # Time.

    def _rest(self) -> None:
        """Be told of what comes, as long as someone waits; and be woken when something has to be done."""
        must_watch = bool(self._waiting) and not self._is_closed
        if must_watch is not self._is_watching:
            self._is_watching = must_watch
            notices, stream = self._database.notices, self.consumer.query.stream
            (notices.watch if must_watch else notices.unwatch)(stream, self)
        times = [self._window.next_deadline(), self._window.next_due() if self._waiting else None]
        self._wake_at(None if self._is_closed else min([at for at in times if at is not None], default=None))

    def _wake_at(self, at: float | None) -> None:
        timer = self._timer
        if timer is not None and timer.active():
            if at is not None and timer.getTime() <= at:
                return  # it will be looked at then, again
            timer.cancel()
        self._timer = None if at is None else self._clock.callLater(max(0.0, at - self._clock.seconds()), self._on_time)

    def _on_time(self) -> None:
        for delivery in list(self._window.expired(self._clock.seconds())):
            self._expire(delivery)
        self.serve()


def _answer(outcome: Outcome) -> int | EventflowError:
    if isinstance(outcome, Changed):
        return outcome.count
    assert isinstance(outcome, EventflowError), outcome
    return outcome
