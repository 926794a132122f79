"""What is stored of consumers: a checkpoint that never is ahead of what was settled, and what was settled behind it."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from eventflowdb.append import Append, StreamAppend
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
)
from eventflowdb.errors import InvalidArgument, NoSuchConsumer, NotHeld, WrongExpectedVersion
from eventflowdb.events import ANY, CheckedEvent, Checkpoint
from eventflowdb.ids import find_ulid_bytes, id_after
from eventflowdb.queries import Query
from eventflowdb.storage.consumers import lag_of, list_consumers, open_consumer, parked_from, retries_from
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.records import decode_record
from tests.folders import MachineInFolder

from .samples import OTHER, STREAM, Clock, OpenDatabase, stored

OPTIONS = ConsumerOptions()
NAME = "mail"


EVERYTHING = Query()


def make(
    store: LmdbStore, query: Query = EVERYTHING, after: bytes | None = BEGINNING, name: str = NAME
) -> StoredConsumer:
    """A new consumer."""
    return changed(store, Create(name, 0, query, OPTIONS, after)).consumer


def changed(store: LmdbStore, change: ConsumerChange) -> Changed:
    """What a change has made."""
    (outcome,) = store.append_batch([change])
    if isinstance(outcome, Exception):
        raise outcome
    assert isinstance(outcome, Changed)
    return outcome


def ids_of(records: list[bytes]) -> list[bytes]:
    """The ids of some events."""
    return [find_ulid_bytes(decode_record(record).id) or b"" for record in records]


def add(store: LmdbStore, count: int, stream: str = STREAM, kind: str = "t") -> list[bytes]:
    """Append events; their ids."""
    events = [CheckedEvent.of(type=kind, data="d")] * count
    return ids_of(stored(store, Append([StreamAppend(stream, ANY, events)], 0)))


def checkpoint_of(store: LmdbStore, name: str = NAME) -> bytes:
    """Where a consumer stands."""
    return open_consumer(store.environment, name).consumer.checkpoint


def ack(store: LmdbStore, *ids: bytes) -> int:
    """Ack events that were given out; how many had not been."""
    return changed(store, Settle(NAME, 0, acked=ids)).count


def test_a_consumer_begins_where_it_was_told(store: LmdbStore) -> None:
    first, second = add(store, 2)
    assert make(store).checkpoint == BEGINNING
    assert make(store, after=first, name="other").checkpoint == first
    assert make(store, after=None, name="late").checkpoint == second
    assert [consumer.name for consumer in list_consumers(store.environment)] == ["late", NAME, "other"]


def test_making_it_once_more_changes_nothing(store: LmdbStore) -> None:
    first, _ = add(store, 2)
    made = make(store)
    ack(store, first)
    assert make(store).number == made.number
    assert checkpoint_of(store) == first


def test_another_consumer_of_the_same_name_is_refused(store: LmdbStore) -> None:
    made = make(store, Query(types=("t", "u"), tags=("a", "b")))
    assert make(store, Query(types=("u", "t"), tags=("b", "a"))).number == made.number
    with pytest.raises(InvalidArgument, match="another query or other options: types, tags; delete it first"):
        make(store, Query(types=("t",), tags=("a", "c")))
    with pytest.raises(InvalidArgument, match="other options: stream; delete it first"):
        make(store, Query(stream=STREAM, types=("t", "u"), tags=("a", "b")))


def test_a_consumer_that_was_deleted_leaves_nothing(store: LmdbStore) -> None:
    first, second, third = add(store, 3)
    number = make(store).number
    changed(store, Settle(NAME, 0, acked=(second,), parked=(Settlement(third, 3, 1, "no"),)))
    changed(store, Delete(NAME, 0))
    for change in (Delete(NAME, 0), Reset(NAME, 0, None), Replay(NAME, 0, None, 1), Settle(NAME, 0, acked=(first,))):
        with pytest.raises(NoSuchConsumer):
            changed(store, change)
    assert make(store).number > number
    opened = open_consumer(store.environment, NAME)
    assert opened.done == []
    assert opened.consumer.checkpoint == BEGINNING


def test_the_checkpoint_passes_what_is_acked_with_nothing_before_it(store: LmdbStore) -> None:
    first, second, third, fourth = add(store, 4)
    make(store)
    assert ack(store, second, fourth) == 2
    assert checkpoint_of(store) == BEGINNING
    assert open_consumer(store.environment, NAME).done == [second, fourth]
    assert ack(store, first) == 1
    assert checkpoint_of(store) == second
    assert open_consumer(store.environment, NAME).done == [fourth]
    assert ack(store, third) == 1
    assert checkpoint_of(store) == fourth
    assert open_consumer(store.environment, NAME).done == []


def test_an_event_is_acked_once(store: LmdbStore) -> None:
    first, second, third = add(store, 3)
    make(store)
    assert ack(store, first, third) == 2
    assert ack(store, first, second, third) == 1
    assert ack(store, first, second, third) == 0
    one, other = store.append_batch([Settle(NAME, 0, acked=(first,)), Settle(NAME, 0, acked=(first,))])
    assert isinstance(one, Changed)
    assert isinstance(other, Changed)
    assert (one.count, other.count) == (0, 0)


def test_a_filter_decides_what_stands_between(store: LmdbStore) -> None:
    (first,) = add(store, 1, kind="wanted")
    add(store, 5)
    (second,) = add(store, 1, OTHER, "wanted")
    make(store, Query(types=("wanted",)))
    ack(store, second)
    assert checkpoint_of(store) == BEGINNING
    ack(store, first)
    assert checkpoint_of(store) == second


def test_a_claim_is_taken_for_events_of_the_consumer_alone(store: LmdbStore) -> None:
    (wanted,) = add(store, 1, kind="wanted")
    (other,) = add(store, 1)
    make(store, Query(types=("wanted",)))
    for event_id in (other, id_after(other)):
        with pytest.raises(InvalidArgument, match="no event that consumer mail gives out"):
            changed(store, Settle(NAME, 0, claimed=(wanted, event_id)))
    assert checkpoint_of(store) == BEGINNING
    assert changed(store, Settle(NAME, 0, claimed=(wanted,))).count == 1
    assert checkpoint_of(store) == wanted


def test_what_failed_is_kept_until_it_is_acked(store: LmdbStore) -> None:
    first, second = add(store, 2)
    consumer = make(store)
    failed = Settlement(first, 1, 12345)
    changed(store, Settle(NAME, 0, acked=(second,), retried=(failed,)))
    assert checkpoint_of(store) == BEGINNING
    (retry,) = retries_from(store.environment, consumer, BEGINNING, 10)
    assert retry.settlement == failed
    assert ids_of([retry.record]) == [first]
    ack(store, first)
    assert checkpoint_of(store) == second
    assert retries_from(store.environment, consumer, BEGINNING, 10) == []


def test_what_is_parked_is_passed_and_listed(store: LmdbStore) -> None:
    first, second, third = add(store, 3)
    make(store)
    parked = Settlement(second, 3, 777, "does not parse")
    changed(store, Settle(NAME, 0, parked=(parked,)))
    ack(store, first)
    assert checkpoint_of(store) == second
    (found,) = parked_from(store.environment, NAME, BEGINNING, 10)
    assert found.settlement == parked
    assert ids_of([found.record]) == [second]
    assert parked_from(store.environment, NAME, third, 10) == []


def test_a_parked_event_that_is_replayed_is_to_be_settled_again_though_the_checkpoint_is_past_it(
    store: LmdbStore,
) -> None:
    first, second = add(store, 2)
    consumer = make(store)
    changed(store, Settle(NAME, 0, acked=(second,), parked=(Settlement(first, 3, 777),)))
    assert checkpoint_of(store) == second
    assert changed(store, Replay(NAME, 0, None, 999)).count == 1
    assert changed(store, Replay(NAME, 0, (first,), 999)).count == 0
    (retry,) = retries_from(store.environment, consumer, BEGINNING, 10)
    assert retry.settlement == Settlement(first, 0, 999)
    assert lag_of(store, consumer_of(store), 100).events == 1
    assert ack(store, first) == 1
    assert lag_of(store, consumer_of(store), 100).events == 0


def test_a_replayed_event_is_not_settled_any_more(store: LmdbStore) -> None:
    _, second = add(store, 2)
    make(store)
    changed(store, Settle(NAME, 0, parked=(Settlement(second, 3, 777),)))
    assert open_consumer(store.environment, NAME).done == [second]
    changed(store, Replay(NAME, 0, None, 999))
    assert open_consumer(store.environment, NAME).done == []


def test_an_ack_that_comes_after_all_takes_an_event_out_of_the_parked(store: LmdbStore) -> None:
    (first,) = add(store, 1)
    make(store)
    changed(store, Settle(NAME, 0, parked=(Settlement(first, 3, 777),)))
    assert ack(store, first) == 1
    assert parked_from(store.environment, NAME, BEGINNING, 10) == []


def test_a_reset_begins_anew(store: LmdbStore) -> None:
    first, second, third = add(store, 3)
    make(store)
    changed(store, Settle(NAME, 0, acked=(first, third), parked=(Settlement(second, 3, 777),)))
    assert changed(store, Reset(NAME, 0, first)).consumer.checkpoint == first
    assert open_consumer(store.environment, NAME).done == []
    assert parked_from(store.environment, NAME, BEGINNING, 10) == []
    assert ack(store, second) == 1
    assert changed(store, Reset(NAME, 0, None)).consumer.checkpoint == third


def test_lag_counts_what_is_not_settled(store: LmdbStore) -> None:
    ids = add(store, 10)
    consumer = make(store)
    assert lag_of(store, consumer, 100)[:] == (10, True, 0, ids[0])
    changed(store, Settle(NAME, 0, acked=(ids[0], ids[4]), parked=(Settlement(ids[1], 3, 1), Settlement(ids[6], 3, 1))))
    assert lag_of(store, consumer_of(store), 100)[:] == (6, True, 2, ids[2])
    ack(store, *ids)
    assert lag_of(store, consumer_of(store), 100)[:] == (0, True, 0, None)


def test_lag_behind_a_filter_is_counted_so_far(store: LmdbStore) -> None:
    add(store, 30, kind="wanted")
    consumer = make(store, Query(types=("wanted",)))
    assert lag_of(store, consumer, 100).events == 30
    assert lag_of(store, consumer, 10)[:2] == (10, False)


@pytest.mark.parametrize("query", [EVERYTHING, Query(types=("t",))])
def test_where_much_is_settled_behind_one_event_the_lag_is_no_more_than_it_is(store: LmdbStore, query: Query) -> None:
    ids = add(store, 20)
    make(store, query)
    make(store, name="other")
    ack(store, *ids[1:15])
    assert lag_of(store, consumer_of(store), 100)[:] == (6, True, 0, ids[0])
    events, is_whole, _, first_id = lag_of(store, consumer_of(store), 10)
    assert (events, is_whole, first_id) == (6 if query is EVERYTHING else 1, False, ids[0])


def consumer_of(store: LmdbStore) -> StoredConsumer:
    """As it is stored now."""
    return open_consumer(store.environment, NAME).consumer


# An append that acks.


def acking(event_id: bytes, *, is_held: bool = True, version: int = 0, request_id: str | None = None) -> Append:
    """An append to OTHER that acks an event."""
    events = [CheckedEvent.of(type="done", data="d")]
    checkpoint = Checkpoint(NAME, "m", event_id, is_held)
    return Append([StreamAppend(OTHER, version, events)], 0, (), request_id, checkpoint)


def refusal(store: LmdbStore, append: Append) -> Exception:
    """Why an append is refused, which it has to be."""
    (outcome,) = store.append_batch([append])
    assert isinstance(outcome, Exception), outcome
    return outcome


def test_an_append_acks_in_the_same_step(store: LmdbStore) -> None:
    first, _ = add(store, 2)
    make(store)
    stored(store, acking(first))
    assert checkpoint_of(store) == first


def test_an_append_that_is_refused_acks_nothing(store: LmdbStore) -> None:
    first, _ = add(store, 2)
    make(store)
    assert isinstance(refusal(store, acking(first, version=7)), WrongExpectedVersion)
    assert checkpoint_of(store) == BEGINNING


def test_an_append_of_a_member_that_does_not_hold_the_event_is_refused(store: LmdbStore) -> None:
    first, _ = add(store, 2)
    make(store)
    refused = refusal(store, acking(first, is_held=False))
    assert isinstance(refused, NotHeld)
    assert (refused.code, refused.consumer) == ("CONCURRENCY", NAME)
    assert str(refused).startswith(f"consumer={NAME} event=")
    assert store.event_count() == 2


def test_an_event_is_acked_by_one_append(store: LmdbStore) -> None:
    first, _ = add(store, 2)
    make(store)
    one, other = store.append_batch([acking(first), acking(first, version=1)])
    assert isinstance(one, list)
    assert isinstance(other, NotHeld)
    assert isinstance(refusal(store, acking(first, version=1)), NotHeld)


def test_a_repeated_request_is_answered_though_its_event_is_acked(store: LmdbStore) -> None:
    first, _ = add(store, 2)
    make(store)
    append = acking(first, request_id="r")
    assert stored(store, append) == stored(store, acking(first, is_held=False, request_id="r"))
    changed(store, Reset(NAME, 0, BEGINNING))
    stored(store, append)
    assert checkpoint_of(store) == first, "it was handled before the reset, and needs not be handled again"


def test_an_append_for_no_consumer_is_refused(store: LmdbStore) -> None:
    (first,) = add(store, 1)
    assert isinstance(refusal(store, acking(first)), NoSuchConsumer)


class ConsumerMachine(MachineInFolder):
    """Anything in any order, and after each step the checkpoint is where a naive model has it."""

    def __init__(self) -> None:
        super().__init__()
        self.database = OpenDatabase(self.folder / "data", Clock())
        self.events: list[bytes] = []
        self.start = -1
        self.acked: set[bytes] = set()
        self.parked: set[bytes] = set()
        self.failed: set[bytes] = set()
        make(self.database.store, Query(types=("a",)))

    @property
    def store(self) -> LmdbStore:
        """The open store."""
        return self.database.store

    def pick(self, data: Any, count: int = 1) -> tuple[bytes, ...]:
        """Some of the events the consumer may be given."""
        ids = self.events[self.start + 1 :]
        return tuple(data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=count, unique=True)))

    @rule(kinds=st.lists(st.sampled_from("aab"), min_size=1, max_size=5))
    def append(self, kinds: list[str]) -> None:
        """Events come, of which the consumer wants some."""
        for kind in kinds:
            ids = add(self.store, 1, kind=kind)
            if kind == "a":
                self.events += ids

    @precondition(lambda self: len(self.events) > self.start + 1)
    @rule(data=st.data())
    def ack(self, data: Any) -> None:
        """Some are acked."""
        ids = self.pick(data, 4)
        count = ack(self.store, *ids)
        assert count == len(set(ids) - (self.acked - self.parked))
        self.acked |= set(ids)
        self.parked -= set(ids)
        self.failed -= set(ids)

    @precondition(lambda self: len(self.events) > self.start + 1)
    @rule(data=st.data(), tries=st.integers(1, 5), is_last=st.booleans())
    def fail(self, data: Any, tries: int, is_last: bool) -> None:
        """One fails, for the last time or not."""
        (event_id,) = self.pick(data)
        if event_id in self.parked:
            return  # nobody is given it
        settlement = Settlement(event_id, tries, 1)
        change = Settle(NAME, 0, parked=(settlement,)) if is_last else Settle(NAME, 0, retried=(settlement,))
        count = changed(self.store, change).count
        assert count == (event_id not in self.acked)
        if count:
            (self.parked if is_last else self.failed).add(event_id)
            if is_last:
                self.failed.discard(event_id)

    @rule()
    def replay(self) -> None:
        """All parked ones are given out again."""
        assert changed(self.store, Replay(NAME, 0, None, 5)).count == len(self.parked)
        self.failed |= self.parked
        self.parked.clear()

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def reset(self, data: Any) -> None:
        """It begins anew somewhere."""
        self.start = data.draw(st.integers(-1, len(self.events) - 1))
        after = BEGINNING if self.start < 0 else self.events[self.start]
        changed(self.store, Reset(NAME, 0, after))
        self.acked.clear()
        self.parked.clear()
        self.failed.clear()

    @rule()
    def reopen(self) -> None:
        """The server starts anew."""
        self.database.reopen()

    @invariant()
    def what_is_stored_is_what_happened(self) -> None:
        """The checkpoint may only pass what is settled, and what is not settled is found again."""
        consumer = consumer_of(self.store)
        opened = open_consumer(self.store.environment, NAME)
        unsettled = [event for event in self.events[self.start + 1 :] if event not in self.acked | self.parked]
        retries = [retry.settlement.id for retry in retries_from(self.store.environment, consumer, BEGINNING, 1000)]
        parked = [found.settlement.id for found in parked_from(self.store.environment, NAME, BEGINNING, 1000)]
        assert retries == sorted(self.failed)
        assert parked == sorted(self.parked)
        again = [event for event in self.events if event > consumer.checkpoint and event not in opened.done]
        assert sorted({*again, *retries}) == unsettled
        assert lag_of(self.store, consumer, 1000).events == len(unsettled)
        assert lag_of(self.store, consumer, 1000).first_id == (unsettled[0] if unsettled else None)

    def close(self) -> None:
        """The database is sound."""
        self.database.verify_and_close()


TestConsumerMachine = ConsumerMachine.TestCase
TestConsumerMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
