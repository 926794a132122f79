"""Changes to consumers inside a write transaction, which may hold appends as well.

Theory of operation. A checkpoint says that every event of the consumer's query up to it is settled: acked or parked.
Acks are gathered, and when the batch is complete each checkpoint moves as far as the events that follow it are
settled; only acks beyond that are stored one by one, until the checkpoint has passed them too. Nobody has to say what
the order is: the log and its indexes do.
"""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from eventflowdb.consumers import (
    BEGINNING,
    Changed,
    ConsumerChange,
    ConsumerOptions,
    Create,
    Delete,
    Replay,
    Reset,
    Settle,
    Settlement,
    StoredConsumer,
    is_ack,
)
from eventflowdb.errors import CorruptRecord, InvalidArgument, NoSuchConsumer, NotHeld
from eventflowdb.events import Checkpoint
from eventflowdb.ids import id_after
from eventflowdb.limits import ADVANCE_STEPS_MAX, CONSUMERS_MAX
from eventflowdb.queries import Query
from eventflowdb.storage import layout
from eventflowdb.storage.changes import Changes
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.records import seal, unseal
from eventflowdb.storage.searches import search
from eventflowdb.storage.selection import read_facts, require_match, select


class _Acks:
    """The acks of one consumer in this transaction; ids: those of events behind its checkpoint."""

    def __init__(self, consumer: StoredConsumer) -> None:
        self.consumer = consumer
        self.ids: set[bytes] = set()


class ConsumerWrites:
    """What one write transaction does to consumers. A refused change leaves nothing behind; `write` comes last.

    last_id: of the last event in the log, without those that the transaction adds.
    """

    def __init__(self, environment: Environment, txn: Any, changes: Changes, last_id: bytes) -> None:
        self._environment = environment
        self._txn = txn
        self._changes = changes
        self._last_id = last_id
        self._acks: dict[str, _Acks] = {}
        self._is_changed = False

    def require_held(self, checkpoint: Checkpoint) -> None:
        """NotHeld, or NoSuchConsumer, unless the member holds the event and nobody has acked it."""
        acks = self._acks_of(checkpoint.consumer)
        if not checkpoint.is_held or self._is_acked(acks, checkpoint.id):
            raise NotHeld.of(checkpoint.consumer, id_text(checkpoint.id))

    def ack(self, name: str, ids: Iterable[bytes]) -> int:
        """Ack events that were given out; how many had not been."""
        acks = self._acks_of(name)
        if not (self._count(self._environment.settlements) or self._count(self._environment.parked)):
            # Most often nothing has failed and acks come in order: what is to be passed is known without a look.
            new = {event_id for event_id in ids if event_id > acks.consumer.checkpoint} - acks.ids
            acks.ids |= new
            return len(new)
        return sum([self._ack(acks, event_id) for event_id in ids])

    def change(self, change: ConsumerChange) -> Changed:
        """Make a change, or raise its refusal."""
        if isinstance(change, Create):
            return self._create(change)
        if isinstance(change, Settle):
            return self._settle(change)
        consumer = self._environment.find_consumer(self._txn, change.consumer)
        self._is_changed = True
        if isinstance(change, Replay):
            return self._replay(consumer, change)
        self._acks.pop(change.consumer, None)
        self._forget_settlements(consumer)
        if isinstance(change, Reset):
            checkpoint = self._last_id if change.after is None else change.after
            return Changed(self._store(replace(consumer, checkpoint=checkpoint)))
        if isinstance(change, Delete):
            self._changes.delete(self._environment.consumers, change.consumer.encode())
            return Changed(consumer, 1)
        raise AssertionError(change)

    def write(self) -> bool:
        """Write what is gathered; False where nothing has changed."""
        for acks in self._acks.values():
            if acks.ids:
                self._is_changed = True
                self._advance(acks)
        return self._is_changed

    def _acks_of(self, name: str) -> _Acks:
        acks = self._acks.get(name)
        if acks is None:
            acks = self._acks[name] = _Acks(self._environment.find_consumer(self._txn, name))
        return acks

    def _is_acked(self, acks: _Acks, event_id: bytes) -> bool:
        """Whether an event that was given out is settled already."""
        if event_id in acks.ids:
            return True
        stored = self._find(acks.consumer, event_id)
        if stored is None:
            return event_id <= acks.consumer.checkpoint
        return is_ack(stored)

    def _ack(self, acks: _Acks, event_id: bytes) -> bool:
        if not self._unpark(acks.consumer, event_id) and self._is_acked(acks, event_id):
            return False
        if event_id > acks.consumer.checkpoint:
            acks.ids.add(event_id)
        # It may have failed before.
        if self._changes.delete(self._environment.settlements, self._key(acks.consumer, event_id)):
            self._is_changed = True
        return True

    def _unpark(self, consumer: StoredConsumer, event_id: bytes) -> bool:
        """Whether an event was parked, and is not any more: whoever had held it was late, not lost."""
        is_parked = self._changes.delete(self._environment.parked, self._key(consumer, event_id))
        self._is_changed |= is_parked
        return is_parked

    def _create(self, change: Create) -> Changed:
        environment, txn = self._environment, self._txn
        try:
            existing = environment.find_consumer(txn, change.consumer)
        except NoSuchConsumer:
            existing = None
        if existing is not None:
            differing = _differing(existing.query, change.query) + _differing(existing.options, change.options)
            if differing:
                raise InvalidArgument(
                    f"create: there is a consumer {change.consumer} with another query or other options: "
                    f"{', '.join(differing)}; delete it first, or choose another name"
                )
            return Changed(existing)
        if txn.stat(environment.consumers)["entries"] >= CONSUMERS_MAX:
            raise InvalidArgument(f"create: there are {CONSUMERS_MAX} consumers, which is the most there may be")
        number = self._take_number()
        checkpoint = self._last_id if change.after is None else change.after
        self._is_changed = True
        return Changed(
            self._store(StoredConsumer(change.consumer, number, change.query, change.options, checkpoint)), 1
        )

    def _take_number(self) -> int:
        """A number that no consumer has had."""
        stored = self._txn.get(layout.NEXT_CONSUMER_KEY, db=self._environment.meta)
        number = 0 if stored is None else int.from_bytes(unseal(stored, "the number of the next consumer"), "big")
        self._changes.put(self._environment.meta, layout.NEXT_CONSUMER_KEY, seal(layout.pack_number(number + 1)))
        return number

    def _settle(self, change: Settle) -> Changed:
        acks = self._acks_of(change.consumer)
        consumer = acks.consumer
        for event_id in change.claimed:
            self._require_own(consumer, event_id)
        count = self.ack(change.consumer, (*change.acked, *change.claimed))
        for settlement in change.retried:
            if not self._is_acked(acks, settlement.id):
                count += 1
                self._put(self._environment.settlements, consumer, settlement)
        for settlement in change.parked:
            if not self._is_acked(acks, settlement.id):
                count += 1
                self._put(self._environment.parked, consumer, settlement)
                self._changes.delete(self._environment.settlements, self._key(consumer, settlement.id))
                if settlement.id > consumer.checkpoint:
                    # Not an ack, but what may be passed; the entry in `parked` tells that it is settled.
                    acks.ids.add(settlement.id)
        return Changed(consumer, count)

    def _replay(self, consumer: StoredConsumer, change: Replay) -> Changed:
        parked = self._environment.parked
        ids = list(self._keys(parked, consumer)) if change.ids is None else change.ids
        count = 0
        for event_id in ids:
            if self._changes.delete(parked, self._key(consumer, event_id)):
                count += 1
                self._put(self._environment.settlements, consumer, Settlement(event_id, 0, change.now_us))
        return Changed(consumer, count)

    def _require_own(self, consumer: StoredConsumer, event_id: bytes) -> None:
        """InvalidArgument unless an event is one of the consumer's."""
        record = self._environment.find_record(self._txn, event_id)
        if record is not None:
            try:
                require_match(consumer.query, read_facts(record, event_id))
            except CorruptRecord:
                record = None
        if record is None:
            raise InvalidArgument(f"ids: {id_text(event_id)} is no event that consumer {consumer.name} gives out")

    def _advance(self, acks: _Acks) -> None:
        """Move the checkpoint as far as events are settled; store the acks beyond it."""
        consumer = acks.consumer
        try:
            checkpoint = self._settled_until(acks)
        except CorruptRecord:
            # An index is damaged, which is for reads and VERIFY to tell. Acks are kept without it.
            checkpoint = consumer.checkpoint
        for event_id in acks.ids:
            if event_id > checkpoint:
                key = self._key(consumer, event_id)
                if self._txn.get(key, db=self._environment.parked) is None:
                    self._put(self._environment.settlements, consumer, Settlement(event_id, 0, 0))
        if checkpoint != consumer.checkpoint:
            self._store(replace(consumer, checkpoint=checkpoint))

    def _settled_until(self, acks: _Acks) -> bytes:
        consumer = acks.consumer
        query = replace(consumer.query, start=id_after(consumer.checkpoint))
        selection = select(self._environment, self._txn, query, self._last_id)
        checkpoint = consumer.checkpoint
        if selection is None:
            return checkpoint
        at: bytes | None = selection.first
        passed = 0
        while at is not None and passed < ADVANCE_STEPS_MAX:
            # Most often just the acked ones and the one after them are met.
            found = search(self._environment, self._txn, selection, at, len(acks.ids) + 1, ADVANCE_STEPS_MAX)
            for event_id in found.ids:
                if not (event_id in acks.ids or self._pass(consumer, event_id)):
                    return checkpoint
                checkpoint = event_id
            if not found.ids:
                break
            at = found.at
            passed += len(found.ids)
        return checkpoint

    def _pass(self, consumer: StoredConsumer, event_id: bytes) -> bool:
        """Whether an event was settled before; of an acked one nothing has to be kept any more."""
        key = self._key(consumer, event_id)
        stored = self._txn.get(key, db=self._environment.settlements)
        if stored is not None and is_ack(layout.unpack_settlement(key, stored)):
            self._changes.delete(self._environment.settlements, key)
            return True
        return self._txn.get(key, db=self._environment.parked) is not None

    def _count(self, database: Any) -> int:
        return int(self._txn.stat(database)["entries"])

    def _find(self, consumer: StoredConsumer, event_id: bytes) -> Settlement | None:
        key = self._key(consumer, event_id)
        stored = self._txn.get(key, db=self._environment.settlements)
        return None if stored is None else layout.unpack_settlement(key, stored)

    def _put(self, database: Any, consumer: StoredConsumer, settlement: Settlement) -> None:
        key = self._key(consumer, settlement.id)
        self._changes.put(database, key, layout.pack_settlement(key, settlement))
        self._is_changed = True

    def _store(self, consumer: StoredConsumer) -> StoredConsumer:
        self._changes.put(self._environment.consumers, consumer.name.encode(), layout.pack_consumer(consumer))
        return consumer

    def _forget_settlements(self, consumer: StoredConsumer) -> None:
        for database in (self._environment.settlements, self._environment.parked):
            for event_id in list(self._keys(database, consumer)):
                self._changes.delete(database, self._key(consumer, event_id))

    def _keys(self, database: Any, consumer: StoredConsumer) -> Iterable[bytes]:
        cursor = self._txn.cursor(database)
        prefix = layout.pack_number(consumer.number)
        found = cursor.set_range(prefix + BEGINNING)
        while found and cursor.key().startswith(prefix):
            yield cursor.key()[len(prefix) :]
            found = cursor.next()

    @staticmethod
    def _key(consumer: StoredConsumer, event_id: bytes) -> bytes:
        return layout.settlement_key(consumer.number, event_id)


def _differing(stored: Query | ConsumerOptions, wanted: Query | ConsumerOptions) -> list[str]:
    """The fields in which one differs from the other; types and tags mean the same in any order."""
    differing: list[str] = []
    for name in stored.__struct_fields__:
        one, other = getattr(stored, name), getattr(wanted, name)
        if one != other and not (isinstance(one, tuple) and set(one) == set(other)):
            differing.append(name)
    return differing
