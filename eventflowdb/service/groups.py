"""One consumer at work: its members fetch, ack and fail events, or are not heard of any more.

Theory of operation. Who holds what is known here alone, in memory (window.py); what became of an event is stored before
it is answered, by the same thread that stores appends. So after a restart nobody holds anything, and what was not acked
is given out again. An event that a write under way concerns is pinned: it is neither given out nor taken back until the
outcome is known. Members that wait are served in the order in which they came. The log is read on as they need it; who
came while a read was under way is told that there is nothing only after another one. Replies are given when all else is
done, since whoever gets one may ask for more at once.
"""

from collections import Counter
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
from eventflowdb.limits import FETCH_BYTES_MAX, FILL_EVENTS, HOLDINGS_SHOWN_MAX, INLINE_FILLS_MAX
from eventflowdb.service.database import Database
from eventflowdb.service.faults import error_of
from eventflowdb.service.records import stream_of
from eventflowdb.service.reply import BlockedReply
from eventflowdb.service.window import Delivery, Entry, Window
from eventflowdb.storage.batch import Outcome
from eventflowdb.storage.consumers import Opened, Retry
from eventflowdb.storage.environment import id_text
from eventflowdb.storage.queries import Page
from eventflowdb.storage.records import id_of
from eventflowdb.wire import replies

_EMPTY = replies.bulk_array([])
_NEVER_FAILED = (0, 0.0)
_BYTES_OF_AN_ID = 40
"""What an id weighs in a request, about."""

Settled = Callable[[int | EventflowError], None]
"""Told how many events a request concerned, or why it is refused."""


class FetchReply(BlockedReply):
    """The reply to one FETCH, which gathers events until it has enough, or there are no more."""

    __slots__ = ("_group", "_timeout", "delivery", "is_over", "limit", "read_count")

    def __init__(self, fetch: Fetch) -> None:
        super().__init__()
        self.delivery = Delivery(fetch.member)
        self.limit = fetch.limit
        self.is_over = fetch.wait_ms == 0
        """It does not wait, or no longer."""
        self.read_count = 0
        """How many reads of the log had begun when it came."""
        self._group: Group | None = None
        self._timeout: IDelayedCall | None = None

    def join(self, group: "Group", clock: IReactorTime, wait_ms: int) -> None:
        """Be served by a group, and wait so long."""
        if self.is_abandoned:
            self.give()
            return
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
        self._failed_before: dict[bytes, tuple[int, float]] = {}
        """Others there that have failed: how often, and when they may be given out."""
        self._claims: Counter[bytes] = Counter()
        """Events that were not there when they were acked, which is not stored yet; they are not given out either."""
        self._settled_meanwhile: set[bytes] | None = None
        """What was settled while failed events are being looked for, and may be found all the same."""
        self._window = Window(len(opened.done))
        self._retries_from: bytes | None = BEGINNING
        """Where the next events that failed before are looked for; None: all are there."""
        self._read_to = opened.consumer.checkpoint
        self._replays = 0
        """How often parked events were to be given out again."""
        self._read_count = 0
        self._is_at_end = False
        """The last read came to the end of the log."""
        self._has_grown = True
        """There may be more since that read began, or someone has asked since."""
        self._is_looking = False
        self._is_serving = False
        self._is_closed = False
        self._is_watching = False
        self._waiting: dict[FetchReply, None] = {}
        self._served: list[FetchReply] = []
        """Those that have what they get, and are told when all else is done."""
        self._timer: IDelayedCall | None = None

    @property
    def in_flight(self) -> int:
        """How many events are given out."""
        return self._window.held_count

    @property
    def members(self) -> int:
        """How many hold events, or wait for some."""
        return len(self._window.members | {reply.delivery.member for reply in self._waiting})

    def shown_holdings(self) -> list[dict[str, object]]:
        """Who holds what, as it is told: those whose first event is the oldest, up to a number of them."""
        now = self._clock.seconds()
        return [
            {
                "member": one.member,
                "in_flight": one.event_count,
                "first": id_text(one.first_id),
                "left_ms": max(0, int(1000 * (one.deadline - now))),
            }
            for one in self._window.holdings()[:HOLDINGS_SHOWN_MAX]
        ]

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
        reply.read_count = self._read_count
        self._has_grown = True
        self.serve()

    def leave(self, reply: FetchReply) -> None:
        """The client of this one is gone."""
        if reply in self._waiting:
            self._dismiss([reply])

    def ack(self, ack: Ack, settled: Settled) -> None:
        """Settle events; NotHeld where another member holds one."""
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
        self._hear_of(working)
        for entry in entries:
            if entry.delivery is None:
                # It had come back, and is settled after all.
                self._window.block(entry)
        if not entries and not claimed:
            settled(0)
            return
        self._claims.update(claimed)
        known = tuple([entry.id for entry in entries])
        self._write(
            Settle(self.consumer.name, _BYTES_OF_AN_ID * len(ack.ids), acked=known, claimed=tuple(claimed)),
            entries,
            lambda outcome: self._acked(entries, claimed, outcome, settled),
        )

    def fail(self, nack: Nack, settled: Settled) -> None:
        """Events failed: try them again later, or park them, or just take them back."""
        if nack.ids is None:
            # Who gives back all has ended, or lost a connection: what still waits there would take it for nobody.
            leaving = [reply for reply in self._waiting if reply.delivery.member == nack.member]
            if leaving:
                self._dismiss(leaving)
            entries = self._window.held_by(nack.member)
        else:
            found = [self._window.find(event_id) for event_id in nack.ids]
            entries = [entry for entry in found if entry is not None and entry.delivery is not None]
            for entry in entries:
                self._require_mine(entry, nack.member)
        entries = [entry for entry in entries if not entry.pins]
        self._hear_of(entries)
        if nack.is_release or not entries:
            self._take_back(entries)
            settled(len(entries))
            return
        delay_ms = self.consumer.options.retry_ms if nack.delay_ms is None else nack.delay_ms
        self._fail(entries, delay_ms, nack.reason, settled, is_park=nack.is_park)

    def hold_for(self, checkpoint: Checkpoint) -> Entry | None:
        """The event of an append's checkpoint, kept until the append is concluded; None unless its member holds it."""
        entry = self._window.find(checkpoint.id)
        if entry is None or entry.delivery is None or entry.delivery.member != checkpoint.member:
            return None
        self._pin([entry])
        return entry

    def conclude(self, entry: Entry, outcome: Outcome) -> None:
        """The append has been stored, or not."""
        if isinstance(outcome, list):
            self._settle([entry])
        self._unpin([entry])
        self.serve()

    def replayed(self) -> None:
        """Parked events are to be given out again."""
        self._retries_from = BEGINNING
        self._replays += 1
        self.serve()

    # What is told by others.

    def log_grew(self) -> None:
        """Told by the notices."""
        self._has_grown = True
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
        served, self._served = self._served, []
        for reply in served:
            reply.give()

    def _serve(self) -> None:
        for _ in range(INLINE_FILLS_MAX):
            if self._retries_from is not None and self._waiting and self._window.has_room:
                # They come before what is behind them in their streams.
                self._look_for_retries(self._retries_from)
                return
            self._hand_out()
            if not (self._waiting and self._window.has_room):
                break
            if self._is_at_end:
                self._give_to(reply for reply in self._waiting if reply.read_count < self._read_count)
                if not (self._waiting and self._has_grown):
                    return
            page = self._read_log()
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
        self._give_to(self._waiting)

    def _read_log(self) -> "Page | Deferred[Page]":
        """The next events of the query."""
        self._read_count += 1
        self._has_grown = False
        return self._database.searches.search(replace(self.consumer.query, start=id_after(self._read_to)), FILL_EVENTS)

    def _hand_out(self) -> None:
        now = self._clock.seconds()
        for reply in list(self._waiting):
            self._window.take(reply.delivery, reply.limit, FETCH_BYTES_MAX, now)
            if len(reply.delivery.entries) == reply.limit or reply.delivery.size_bytes >= FETCH_BYTES_MAX:
                self._give(reply)

    def _give_to(self, asked: Iterable[FetchReply]) -> None:
        """Let these have what there is for them, where there is something or they do not wait."""
        for reply in [reply for reply in asked if reply.delivery.entries or reply.is_over]:
            self._give(reply)

    def _give(self, reply: FetchReply) -> None:
        del self._waiting[reply]
        if reply.delivery.entries:
            self._window.begin(reply.delivery, self._clock.seconds() + self._timeout_seconds)
        self._served.append(reply)

    def _go_on(self) -> None:
        self._is_looking = False
        self.serve()

    def _look_for_retries(self, start: bytes) -> None:
        self._is_looking = True
        replays = self._replays
        self._settled_meanwhile = set()
        found = self._database.find_retries(self.consumer, start, FILL_EVENTS)
        found.addCallbacks(lambda retries: self._found_retries(retries, replays), self._look_failed)

    def _found_retries(self, retries: Sequence[Retry], replays: int) -> None:
        now, now_us = self._clock.seconds(), self._now_us()
        settled, self._settled_meanwhile = self._settled_meanwhile or (), None
        for settlement, record in retries:
            event_id, tries = settlement.id, settlement.tries
            due = now + (settlement.at_us - now_us) / 1_000_000
            if event_id in settled:
                continue
            if event_id > self._read_to:
                # Others of its stream may come before it: it has its turn when the log is read up to there.
                self._failed_before[event_id] = tries, due
                self._done.discard(event_id)
            else:
                is_next = event_id > self.consumer.checkpoint
                self._add(Entry(event_id, stream_of(record), record, tries, due), now, is_next=is_next)
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
                tries, due = self._failed_before.pop(event_id, _NEVER_FAILED)
                self._add(Entry(event_id, stream_of(record), record, tries, due), now, is_next=True)
        self._is_at_end = page.chunk.rest is None and len(records) < FILL_EVENTS
        if self._is_at_end:
            self._read_to = max(self._read_to, page.head_id)

    def _add(self, entry: Entry, now: float, *, is_next: bool) -> None:
        self._window.add(entry, now, is_next=is_next)
        if entry.id in self._claims:
            self._window.block(entry)

    def _look_failed(self, failure: Failure) -> None:
        self._is_looking = False
        self._settled_meanwhile = None
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
        """A write concerns them."""
        for entry in entries:
            entry.pins += 1
        self._hear_of(entries)

    def _hear_of(self, entries: Iterable[Entry]) -> None:
        """A member has told of them: its time begins anew."""
        deadline = self._clock.seconds() + self._timeout_seconds
        for entry in entries:
            if entry.delivery is not None:
                self._window.begin(entry.delivery, deadline)

    def _unpin(self, entries: Iterable[Entry]) -> None:
        """A write is over. What has failed goes back, unless another write may settle it still."""
        now = self._clock.seconds()
        for entry in entries:
            entry.pins -= 1
        free = [entry for entry in entries if not entry.pins]
        for entry in free:
            if entry.has_failed and entry.delivery is not None:
                self._window.release(entry, now)
            entry.has_failed = False
        for entry in free:
            self._window.unblock(entry, now)

    def _settle(self, entries: Iterable[Entry]) -> None:
        """It is stored that nothing has to be done about them any more."""
        now = self._clock.seconds()
        for entry in entries:
            self._window.settle(entry, now)
        if self._settled_meanwhile is not None:
            self._settled_meanwhile.update([entry.id for entry in entries])

    def _acked(self, entries: list[Entry], claimed: list[bytes], outcome: Outcome, settled: Settled) -> None:
        is_stored = isinstance(outcome, Changed)
        if is_stored:
            self._settle(entries)
        for event_id in claimed:
            self._conclude_claim(event_id, is_stored=is_stored)
        self._unpin(entries)
        settled(_answer(outcome))
        self.serve()

    def _conclude_claim(self, event_id: bytes, *, is_stored: bool) -> None:
        """An event that was not there when it was acked is settled, or not; it may be there now."""
        self._claims[event_id] -= 1
        if not self._claims[event_id]:
            del self._claims[event_id]
        entry = self._window.find(event_id)
        if is_stored:
            if self._settled_meanwhile is not None:
                self._settled_meanwhile.add(event_id)
            if event_id > self._read_to:
                self._done.add(event_id)
                self._failed_before.pop(event_id, None)
            elif entry is not None:
                self._settle([entry])
        if entry is not None and (is_stored or event_id not in self._claims):
            self._window.unblock(entry, self._clock.seconds())

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
        for entry in entries:
            self._window.block(entry)
        self._write(change, entries, lambda outcome: self._failed(entries, parked, due, outcome, settled))

    def _failed(self, entries: list[Entry], parked: set[Entry], due: float, outcome: Outcome, settled: Settled) -> None:
        if isinstance(outcome, Changed):
            for entry in entries:
                entry.tries += 1
                entry.due = due
                entry.has_failed = True
            self._settle([entry for entry in entries if entry in parked])
        self._unpin(entries)
        settled(_answer(outcome))
        self.serve()

    def _take_back(self, entries: Iterable[Entry]) -> None:
        now = self._clock.seconds()
        for entry in entries:
            if entry.delivery is not None and not entry.pins:
                self._window.release(entry, now)
        self.serve()

    def _dismiss(self, leaving: list[FetchReply]) -> None:
        """Have these wait no more, and get nothing."""
        for reply in leaving:
            del self._waiting[reply]
        self._take_back([entry for reply in leaving for entry in reply.delivery.entries.values()])
        for reply in leaving:
            reply.give()

    def _expire(self, delivery: Delivery) -> None:
        """Nothing was heard of these events: the first counts as failed, most likely it was the one worked at."""
        entries = sorted(delivery.entries.values(), key=lambda entry: entry.id)
        if not entries:
            return
        if any(entry.pins for entry in entries):
            self._window.begin(delivery, self._clock.seconds() + self._timeout_seconds)
            return
        reason = f"nothing was heard of {delivery.member} for {self.consumer.options.timeout_ms} ms"
        self._fail(entries[:1], 0, reason, lambda outcome: self._expired(entries[1:], outcome), is_park=False)

    def _expired(self, entries: Iterable[Entry], outcome: int | EventflowError) -> None:
        """The failure of the first one is stored, or not: the others come back, after it."""
        if isinstance(outcome, EventflowError):
            self._log.warn("consumer {name}: {error}", name=self.consumer.name, error=outcome)
        self._take_back(entries)

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
