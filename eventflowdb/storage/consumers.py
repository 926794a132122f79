"""What is stored of consumers, read."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from msgspec.structs import replace

from eventflowdb.consumers import BEGINNING, Settlement, StoredConsumer
from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import id_after
from eventflowdb.storage import layout
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.queries import QueryRead, reading


class Retry(NamedTuple):
    """An event that failed, and is given out again at its time."""

    settlement: Settlement
    record: bytes


class Opened(NamedTuple):
    """A consumer, and the events behind its checkpoint that are acked or parked."""

    consumer: StoredConsumer
    done: list[bytes]


class ParkedEvent(NamedTuple):
    """An event that failed too often."""

    settlement: Settlement
    record: bytes


class Lag(NamedTuple):
    """How far a consumer is behind. is_whole: else there are more events; first_id: the one it is to settle next."""

    events: int
    is_whole: bool
    parked: int
    first_id: bytes | None


def list_consumers(environment: Environment) -> list[StoredConsumer]:
    """All consumers, in the order of their names."""
    with reading(environment) as txn:
        return [layout.unpack_consumer(stored, key) for key, stored in txn.cursor(environment.consumers)]


def open_consumer(environment: Environment, name: str) -> Opened:
    """A consumer and what is settled behind its checkpoint, or NoSuchConsumer."""
    with reading(environment) as txn:
        consumer = environment.find_consumer(txn, name)
        after = id_after(consumer.checkpoint)
        acked = _settlements(txn, environment.settlements, consumer.number, after)
        done = [settlement.id for settlement in acked if not settlement.tries]
        done.extend(settlement.id for settlement in _settlements(txn, environment.parked, consumer.number, after))
        return Opened(consumer, done)


def retries_from(environment: Environment, consumer: StoredConsumer, start: bytes, limit: int) -> list[Retry]:
    """Events that failed and are to be given out again, from an id on, in the order of the log."""
    found: list[Retry] = []
    with reading(environment) as txn:
        for settlement in _settlements(txn, environment.settlements, consumer.number, start):
            if settlement.tries or settlement.at_us:
                found.append(Retry(settlement, _record(environment, txn, settlement.id)))
                if len(found) == limit:
                    break
    return found


def parked_from(environment: Environment, name: str, start: bytes, limit: int) -> list[ParkedEvent]:
    """Parked events from an id on, in the order of the log."""
    found: list[ParkedEvent] = []
    with reading(environment) as txn:
        consumer = environment.find_consumer(txn, name)
        for settlement in _settlements(txn, environment.parked, consumer.number, start):
            found.append(ParkedEvent(settlement, _record(environment, txn, settlement.id)))
            if len(found) == limit:
                break
    return found


def lag_of(store: LmdbStore, consumer: StoredConsumer, steps: int) -> Lag:
    """How far a consumer is behind, counted no further than so many events where it has a filter."""
    environment = store.environment
    with reading(environment) as txn:
        unsettled = [
            settlement.id
            for settlement in islice(_settlements(txn, environment.settlements, consumer.number, BEGINNING), steps)
            if settlement.tries or settlement.at_us
        ]
        parked = [
            settlement.id
            for settlement in islice(_settlements(txn, environment.parked, consumer.number, BEGINNING), steps)
        ]
        acked = _acked_count(txn, environment, consumer, steps)
    query = replace(consumer.query, start=id_after(consumer.checkpoint))
    ahead, is_whole = QueryRead(store, query, None).count(steps)
    # Behind the checkpoint everything counts but what is settled; before it what failed alone.
    done = acked + sum(event_id > consumer.checkpoint for event_id in parked)
    failed = [event_id for event_id in unsettled if event_id <= consumer.checkpoint]
    first_id = failed[0] if failed else QueryRead(store, query, 1).first_id() if ahead > done else None
    return Lag(max(ahead - done, 0) + len(failed), is_whole, len(parked), first_id)


def _acked_count(txn: Any, environment: Environment, consumer: StoredConsumer, steps: int) -> int:
    found = _settlements(txn, environment.settlements, consumer.number, id_after(consumer.checkpoint))
    return sum(not (settlement.tries or settlement.at_us) for settlement in islice(found, steps))


def _settlements(txn: Any, database: Any, number: int, start: bytes) -> Iterator[Settlement]:
    cursor = txn.cursor(database)
    prefix = layout.pack_number(number)
    if not cursor.set_range(prefix + start):
        return
    for key, stored in cursor:
        if not key.startswith(prefix):
            return
        yield layout.unpack_settlement(key, stored)


def _record(environment: Environment, txn: Any, event_id: bytes) -> bytes:
    record = environment.find_record(txn, event_id)
    if record is None:
        raise CorruptRecord(f"event {id_text(event_id)} is settled but not in the log; restore from a backup")
    return record
