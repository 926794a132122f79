"""What is stored of consumers, read."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from msgspec.structs import replace

from eventflowdb.consumers import BEGINNING, Settlement, StoredConsumer, is_ack
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
    """How far a consumer is behind. is_whole: else there may be more events; first_id: the one it is to settle next."""

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
        done = [settlement.id for settlement in acked if is_ack(settlement)]
        done.extend(settlement.id for settlement in _settlements(txn, environment.parked, consumer.number, after))
        return Opened(consumer, done)


def retries_from(environment: Environment, consumer: StoredConsumer, start: bytes, limit: int) -> list[Retry]:
    """Events that failed and are to be given out again, from an id on, in the order of the log."""
    found: list[Retry] = []
    with reading(environment) as txn:
        for settlement in _settlements(txn, environment.settlements, consumer.number, start):
            if not is_ack(settlement):
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
    """How far a consumer is behind. So many steps are taken at most; where they do not lead to the end, `events` is a
    number that it is behind by at least.
    """
    environment, number = store.environment, consumer.number
    behind = id_after(consumer.checkpoint)
    with reading(environment) as txn:

        def first(database: Any, start: bytes) -> list[Settlement]:
            return list(islice(_settlements(txn, database, number, start), steps))

        # Before the checkpoint only what was replayed is not settled, behind it all but what was acked or parked.
        replayed = [found.id for found in first(environment.settlements, BEGINNING) if found.id < behind]
        settled, parked_behind = first(environment.settlements, behind), first(environment.parked, behind)
        done = sum(is_ack(found) for found in settled) + len(parked_behind)
        is_done_known = max(len(settled), len(parked_behind)) < steps
        if not is_done_known:
            # More than it can be, but known without a count.
            done = sum(int(txn.stat(database)["entries"]) for database in (environment.settlements, environment.parked))
        parked = len(first(environment.parked, BEGINNING))
    query = replace(consumer.query, start=behind)
    ahead, is_whole = QueryRead(store, query, None).count(steps)
    is_whole &= is_done_known and len(replayed) < steps
    events = max(ahead - done, 0) + len(replayed)
    if replayed:
        return Lag(events, is_whole, parked, replayed[0])
    first_id = None if is_whole and not events else QueryRead(store, query, 1).first_id()
    return Lag(events if first_id is None else max(events, 1), is_whole, parked, first_id)


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
