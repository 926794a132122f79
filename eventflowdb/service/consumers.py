"""The consumers of one server: CONSUMER, FETCH, ACK, NACK, and the checkpoints of appends.

Theory of operation. A consumer's group (groups.py) is made when a member first asks for something, and dropped when the
consumer is deleted or reset: before the change is queued, so that nothing that a member says of the time before reaches
what is stored after it. Meanwhile members wait for the group that follows.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import starmap
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.append import Append
from eventflowdb.commands.consumers import (
    Ack,
    ConsumerCommand,
    CreateConsumer,
    DeleteConsumer,
    Fetch,
    ListConsumers,
    ListParked,
    Nack,
    ReplayParked,
    ResetConsumer,
)
from eventflowdb.consumers import Changed, ConsumerChange, Create, Delete, Replay, Reset, StoredConsumer
from eventflowdb.errors import EventflowError, NoSuchConsumer, TryAgain
from eventflowdb.ids import id_after
from eventflowdb.limits import LAG_LOOKS_MAX, LAG_STEPS_INLINE_MAX, LAG_STEPS_MAX
from eventflowdb.queries import Query
from eventflowdb.service.database import Database
from eventflowdb.service.faults import error_of
from eventflowdb.service.groups import FetchReply, Group
from eventflowdb.service.reply import PendingReply, Reply
from eventflowdb.service.session import Session
from eventflowdb.storage.batch import Outcome
from eventflowdb.storage.consumers import Lag, Opened, ParkedEvent
from eventflowdb.storage.environment import id_text
from eventflowdb.storage.records import rfc3339
from eventflowdb.wire import replies

_json = msgspec.json.Encoder().encode
_TIME_BITS = 80
_CHANGE_BYTES = 1000
"""What a change weighs, about."""


class _Request(NamedTuple):
    """Something that is asked of a group."""

    use: Callable[[Group], None]
    refuse: Callable[[EventflowError], None]


class ConsumerFigures(NamedTuple):
    """A consumer and how it is getting on."""

    name: str
    checkpoint: str
    lag: int
    is_lag_whole: bool
    lag_ms: int
    in_flight: int
    members: int
    parked: int


class Consumers:
    """now_us: the time of day in microseconds."""

    _log = Logger()

    def __init__(self, database: Database, clock: IReactorTime, now_us: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock
        self._now_us = now_us
        self._groups: dict[str, Group] = {}
        self._asking: dict[str, list[_Request]] = {}
        """By the name of a consumer that is being opened or changed: what is asked of it meanwhile."""

    # Responders.

    def consumer(self, _session: Session, command: ConsumerCommand | Sequence[bytes]) -> Reply:
        """CONSUMER; without an argument LIST."""
        reply = PendingReply()
        reply.is_read = True
        match command:
            case CreateConsumer():
                create = Create(command.name, _CHANGE_BYTES, command.query, command.options, command.after)
                self._database.append(create, lambda outcome: reply.settle(self._changed_reply(outcome)))
            case DeleteConsumer():
                self._begin_anew(Delete(command.name, _CHANGE_BYTES), reply, is_counted=True)
            case ResetConsumer():
                self._begin_anew(Reset(command.name, _CHANGE_BYTES, command.after), reply)
            case ReplayParked():
                self._replay(command, reply)
            case ListParked():
                found = self._database.find_parked(command.name, id_after(command.after), command.limit)
                self._settle_read(reply, found.addCallback(lambda events: _json_array(map(_parked, events))))
            case _:
                assert isinstance(command, ListConsumers | list), command
                listed = self._database.list_consumers(LAG_STEPS_MAX)
                self._settle_read(reply, listed.addCallback(lambda pairs: _json_array(starmap(self._shown, pairs))))
        return reply

    def fetch(self, _session: Session, fetch: Fetch) -> Reply:
        """FETCH."""
        reply = FetchReply(fetch)
        self._ask(fetch.consumer, lambda group: reply.join(group, self._clock, fetch.wait_ms), reply.give_up)
        return reply

    def ack(self, _session: Session, ack: Ack) -> Reply:
        """ACK."""
        reply = PendingReply()
        self._ask(ack.consumer, lambda group: group.ack(ack, _teller(reply)), _teller(reply))
        return reply

    def nack(self, _session: Session, nack: Nack) -> Reply:
        """NACK."""
        reply = PendingReply()
        self._ask(nack.consumer, lambda group: group.fail(nack, _teller(reply)), _teller(reply))
        return reply

    def append(self, append: Append, settle: Callable[[Outcome], None]) -> None:
        """Queue an append that acks an event."""
        checkpoint = append.checkpoint
        group = None if checkpoint is None else self._groups.get(checkpoint.consumer)
        if group is None or checkpoint is None:
            # Nobody holds anything of it. It may be the repetition of a request that was answered.
            self._database.append(append, settle)
            return
        entry = group.hold_for(checkpoint)
        if entry is None:
            self._database.append(append, settle)
            return

        def told(outcome: Outcome) -> None:
            group.conclude(entry, outcome)
            settle(outcome)

        self._database.append(append.with_checkpoint(replace(checkpoint, is_held=True)), told)

    # Figures.

    def figures(self) -> list[ConsumerFigures]:
        """Of the first consumers, for INFO; lag behind a filter is counted a little way only."""
        return [
            self._figures(consumer, lag)
            for consumer, lag in self._database.look_at_consumers(LAG_STEPS_INLINE_MAX, LAG_LOOKS_MAX)
        ]

    # Groups.

    def _ask(self, name: str, use: Callable[[Group], None], refuse: Callable[[EventflowError], None]) -> None:
        """Have a group asked, as soon as it is there."""
        request = _Request(use, refuse)
        group = self._groups.get(name)
        if group is not None:
            self._try(request, group)
        elif name in self._asking:
            self._asking[name].append(request)
        else:
            self._asking[name] = [request]
            self._open(name)

    def _open(self, name: str) -> None:
        self._database.open_consumer(name).addCallbacks(self._opened, lambda failure: self._not_opened(name, failure))

    def _opened(self, opened: Opened) -> None:
        name = opened.consumer.name
        group = self._groups[name] = Group(opened, self._database, self._clock, self._now_us)
        for request in self._asking.pop(name):
            self._try(request, group)

    def _not_opened(self, name: str, failure: Failure) -> None:
        error = error_of(failure, self._log, "a consumer could not be opened")
        for request in self._asking.pop(name):
            request.refuse(error)

    def _try(self, request: _Request, group: Group) -> None:
        try:
            request.use(group)
        except EventflowError as error:
            request.refuse(error)
        except Exception:
            request.refuse(error_of(Failure(), self._log, "a consumer failed"))

    def _begin_anew(self, change: Delete | Reset, reply: PendingReply, *, is_counted: bool = False) -> None:
        """Change a consumer so that its group has to end."""
        name = change.consumer
        if name in self._asking:
            reply.settle(replies.error(TryAgain(f"consumer {name} is just being opened or changed; retry")))
            return
        # Those that are told may ask again at once.
        self._asking[name] = []
        group = self._groups.pop(name, None)
        if group is not None:
            group.close(NoSuchConsumer.of(name) if isinstance(change, Delete) else None)

        def told(outcome: Outcome) -> None:
            if self._asking[name]:
                self._open(name)
            else:
                del self._asking[name]
            reply.settle(self._changed_reply(outcome, is_counted=is_counted))

        self._database.append(change, told)

    def _replay(self, command: ReplayParked, reply: PendingReply) -> None:
        change: ConsumerChange = Replay(command.name, _CHANGE_BYTES, command.ids, self._now_us())

        def told(outcome: Outcome) -> None:
            reply.settle(self._changed_reply(outcome, is_counted=True))
            group = self._groups.get(command.name)
            if group is not None and isinstance(outcome, Changed):
                group.replayed()

        self._database.append(change, told)

    # Replies.

    def _changed_reply(self, outcome: Outcome, *, is_counted: bool = False) -> bytes:
        if isinstance(outcome, Changed):
            if is_counted:
                return replies.integer(outcome.count)
            return replies.bulk(_json(_described(outcome.consumer)))
        assert isinstance(outcome, EventflowError), outcome
        return replies.error(outcome)

    def _settle_read(self, reply: PendingReply, encoded: "Deferred[bytes]") -> None:
        encoded.addErrback(lambda failure: replies.error(error_of(failure, self._log, "a read failed")))
        encoded.addCallback(reply.settle)

    def _shown(self, consumer: StoredConsumer, lag: Lag) -> dict[str, Any]:
        figures, group = self._figures(consumer, lag), self._groups.get(consumer.name)
        return {
            **_described(consumer),
            "lag": figures.lag,
            "lag_is_whole": figures.is_lag_whole,
            "lag_ms": figures.lag_ms,
            "in_flight": figures.in_flight,
            "members": figures.members,
            "parked": figures.parked,
            "holding": [] if group is None else group.shown_holdings(),
        }

    def _figures(self, consumer: StoredConsumer, lag: Lag) -> ConsumerFigures:
        group = self._groups.get(consumer.name)
        waiting_ms = 0
        if lag.first_id is not None:
            waiting_ms = max(0, self._now_us() // 1000 - (int.from_bytes(lag.first_id, "big") >> _TIME_BITS))
        return ConsumerFigures(
            consumer.name,
            id_text(consumer.checkpoint),
            lag.events,
            lag.is_whole,
            waiting_ms,
            0 if group is None else group.in_flight,
            0 if group is None else group.members,
            lag.parked,
        )


def _teller(reply: PendingReply) -> Callable[[int | EventflowError], None]:
    def tell(outcome: int | EventflowError) -> None:
        reply.settle(replies.error(outcome) if isinstance(outcome, EventflowError) else replies.integer(outcome))

    return tell


def _json_array(items: Iterable[object]) -> bytes:
    return replies.bulk_array([_json(item) for item in items])


def _described(consumer: StoredConsumer) -> dict[str, Any]:
    return {
        "consumer": consumer.name,
        "query": _query_as_given(consumer.query),
        "timeout_ms": consumer.options.timeout_ms,
        "retry_ms": consumer.options.retry_ms,
        "tries_max": consumer.options.tries_max,
        "checkpoint": id_text(consumer.checkpoint),
    }


def _query_as_given(query: Query) -> dict[str, Any]:
    names = ("stream", "types", "tags", "correlation_id", "causation_id")
    return {name: getattr(query, name) for name in names if getattr(query, name)}


def _parked(event: ParkedEvent) -> dict[str, Any]:
    settlement = event.settlement
    return {
        "id": id_text(settlement.id),
        "tries": settlement.tries,
        "parked_at": rfc3339(settlement.at_us),
        "reason": settlement.reason,
        "event": msgspec.Raw(event.record),
    }
