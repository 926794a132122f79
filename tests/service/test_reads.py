"""Where a read runs: on the reactor's thread if it is small and memory is warm, else on others."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from eventflowdb.errors import CorruptRecord, StorageFailed
from eventflowdb.ids import find_ulid_bytes, id_after
from eventflowdb.limits import (
    ALONE_SECONDS_MIN,
    CHUNK_BYTES_MAX,
    CHUNK_EVENTS_MAX,
    INLINE_READ_BYTES_MAX,
    INLINE_READ_EVENTS_MAX,
    INLINE_READ_PAUSE_SECONDS_MAX,
    INLINE_READ_PAUSE_TIMES,
    INLINE_READ_SECONDS_MAX,
)
from eventflowdb.service.reads import Reads, disk_faults
from eventflowdb.service.reply import Answer
from eventflowdb.storage.layout import Head
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.records import id_of
from eventflowdb.storage.spans import CHUNK, Chunk, ReadBounds, Render, Rendered, Span
from eventflowdb.wire.replies import array_items

from .fakes import OTHER, STREAM, SteppedPool, SteppedReactor, hold

BEGINNING = bytes(16)
SLOW = INLINE_READ_SECONDS_MAX + 0.001
PAUSE = INLINE_READ_PAUSE_TIMES * SLOW
"""So long a read that was SLOW sends others to threads."""


class SlowStore:
    """A store whose reads take as long, and fault as often, as the test says.

    It has the real one beside it: a compiled class has no subclasses that are not.
    """

    def __init__(self, real: LmdbStore, clock: Clock) -> None:
        self.real = real
        self.clock = clock
        self.read_seconds = 0.0
        self.read_faults = 0
        self.faults = 0
        self.pages_begun = 0
        """How often a page of the log was begun."""
        self.faults_at = -1
        """Which of the next reads alone has a page fault."""

    def head(self) -> Head:
        return self.real.head()

    def stream_length(self, stream: str) -> int:
        return self.real.stream_length(stream)

    def open_stream(self, stream: str, version: int, limit: int | None, bounds: ReadBounds = CHUNK) -> Chunk:
        self._take_time()
        return self.real.open_stream(stream, version, limit, bounds)

    def open_log(self, start: bytes, limit: int, bounds: ReadBounds = CHUNK) -> Chunk:
        self._take_time()
        return self.real.open_log(start, limit, bounds)

    def render_stream(
        self, stream: str, version: int, limit: int | None, bounds: ReadBounds, render: Render
    ) -> Rendered:
        self._take_time()
        return self.real.render_stream(stream, version, limit, bounds, render)

    def render_log(self, start: bytes, limit: int, bounds: ReadBounds, render: Render) -> Rendered:
        self.pages_begun += 1
        self._take_time()
        return self.real.render_log(start, limit, bounds, render)

    def render_on(self, span: Span, bounds: ReadBounds, render: Render) -> Rendered:
        self._take_time()
        return self.real.render_on(span, bounds, render)

    def _take_time(self) -> None:
        self.clock.advance(self.read_seconds)
        self.faults += self.read_faults + (self.faults_at == 0)
        self.faults_at -= 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SlowStore]:
    store = LmdbStore.open(tmp_path / "database", map_size=1 << 30)
    yield SlowStore(store, clock)
    store.close()


@pytest.fixture
def pool() -> SteppedPool:
    return SteppedPool()


@pytest.fixture
def reactor() -> SteppedReactor:
    return SteppedReactor()


@pytest.fixture
def reads(store: SlowStore, pool: SteppedPool, reactor: SteppedReactor, clock: Clock) -> Reads:
    """Reads for several clients."""
    return Reads(store, pool, reactor.callFromThread, clock.seconds, lambda: store.faults)


@pytest.fixture
def paging(reads: Reads) -> Reads:
    """Reads for one who is alone."""
    reads.company.now = reads.company.alone_since + ALONE_SECONDS_MIN
    return reads


Opened = TypeVar("Opened", Chunk, Rendered, Answer)


def here(read: "Opened | Deferred[Opened]") -> Opened:
    """What was read on the reactor's thread."""
    assert not isinstance(read, Deferred)
    return read


def elsewhere(read: "Opened | Deferred[Opened]", pool: SteppedPool) -> Opened:
    """What is read by a thread."""
    assert isinstance(read, Deferred)
    chunks: list[Opened] = []
    read.addCallback(chunks.append)
    assert not chunks
    pool.step()
    return chunks[0]


def sent(answer: Answer) -> bytes:
    """What of an answer is sent, without what stands before and behind its events."""
    return array_items(answer.records) if isinstance(answer, Chunk) else b"".join(answer.pieces)


def is_end(answer: Answer, records: list[bytes]) -> bool:
    """Whether just these events are in it, and none are left."""
    return answer.rest is None and answer.total() == len(records) and sent(answer) == array_items(records)


def test_a_small_read_runs_on_the_reactor_thread(reads: Reads, store: SlowStore) -> None:
    records = hold(store.real, STREAM, INLINE_READ_EVENTS_MAX)
    assert here(reads.open_stream(STREAM, 0, INLINE_READ_EVENTS_MAX)) == (records, None)
    assert here(reads.open_log(BEGINNING, INLINE_READ_EVENTS_MAX)) == (records, None)
    assert here(reads.open_stream(OTHER, 0, None)) == ([], None)


def test_a_read_that_asks_for_more_runs_on_a_thread_in_large_chunks(
    reads: Reads, store: SlowStore, pool: SteppedPool
) -> None:
    records = hold(store.real, STREAM, CHUNK_EVENTS_MAX + 1)
    for read in (
        reads.open_stream(STREAM, 0, CHUNK_EVENTS_MAX + 1),
        reads.open_log(BEGINNING, CHUNK_EVENTS_MAX + 1),
    ):
        chunk = elsewhere(read, pool)
        assert chunk.records == records[:CHUNK_EVENTS_MAX]
        assert chunk.total() == CHUNK_EVENTS_MAX + 1


def test_one_event_more_than_a_small_read_takes_runs_on_a_thread(
    reads: Reads, store: SlowStore, pool: SteppedPool
) -> None:
    hold(store.real, STREAM, 1)
    assert elsewhere(reads.open_stream(STREAM, 0, INLINE_READ_EVENTS_MAX + 1), pool).total() == 1
    assert elsewhere(reads.open_log(BEGINNING, INLINE_READ_EVENTS_MAX + 1), pool).total() == 1


def test_a_read_without_a_limit_begins_small_and_goes_on_by_threads(
    reads: Reads, store: SlowStore, pool: SteppedPool
) -> None:
    records = hold(store.real, STREAM, INLINE_READ_EVENTS_MAX + 10)
    chunk = here(reads.open_stream(STREAM, 0, None))
    assert chunk.records == records[:INLINE_READ_EVENTS_MAX]
    assert chunk.rest is not None
    assert is_end(elsewhere(reads.render_on(chunk.rest), pool), records[INLINE_READ_EVENTS_MAX:])


def test_few_but_large_events_are_not_all_read_on_the_reactor_thread(reads: Reads, store: SlowStore) -> None:
    hold(store.real, STREAM, 10, "x" * (INLINE_READ_BYTES_MAX // 4))
    chunk = here(reads.open_stream(STREAM, 0, None))
    assert 1 <= len(chunk.records) <= 4
    assert chunk.total() == 10


def test_a_slow_read_that_met_page_faults_sends_reads_to_threads_for_a_while(
    reads: Reads, store: SlowStore, pool: SteppedPool, clock: Clock
) -> None:
    hold(store.real, STREAM, 1)
    store.read_seconds, store.read_faults = SLOW, 1
    here(reads.open_stream(STREAM, 0, None))
    store.read_seconds = store.read_faults = 0
    assert elsewhere(reads.open_stream(STREAM, 0, None), pool).total() == 1
    assert elsewhere(reads.open_log(BEGINNING, 1), pool).total() == 1
    clock.advance(PAUSE - 0.01)
    assert elsewhere(reads.open_log(BEGINNING, 1), pool).total() == 1
    clock.advance(0.02)
    here(reads.open_stream(STREAM, 0, None))
    here(reads.open_log(BEGINNING, 1))


def test_while_memory_stays_cold_reads_go_to_threads_for_twice_as_long_each_time(
    reads: Reads, store: SlowStore, pool: SteppedPool, clock: Clock
) -> None:
    store.read_seconds, store.read_faults = SLOW, 1
    pauses = [min(PAUSE * 2**times, INLINE_READ_PAUSE_SECONDS_MAX) for times in range(7)]
    assert pauses[-2:] == [INLINE_READ_PAUSE_SECONDS_MAX] * 2
    for pause in pauses:
        here(reads.open_log(BEGINNING, 1))
        clock.advance(pause - 0.01)
        elsewhere(reads.open_log(BEGINNING, 1), pool)
        clock.advance(0.01)


def test_a_cold_place_among_warm_ones_costs_the_others_no_more_than_the_first_did(
    reads: Reads, store: SlowStore, pool: SteppedPool, clock: Clock
) -> None:
    for _ in range(3):
        store.read_seconds, store.read_faults = SLOW, 1
        here(reads.open_log(BEGINNING, 1))
        elsewhere(reads.open_log(BEGINNING, 1), pool)
        clock.advance(PAUSE)
        store.read_seconds = store.read_faults = 0
        here(reads.open_log(BEGINNING, 1))
        clock.advance(PAUSE + 0.001)


def test_page_faults_of_the_past_are_not_held_against_a_slow_read(reads: Reads, store: SlowStore, clock: Clock) -> None:
    store.read_seconds, store.read_faults = SLOW, 1
    here(reads.open_log(BEGINNING, 1))
    clock.advance(PAUSE)
    store.read_faults = 0
    here(reads.open_log(BEGINNING, 1))
    here(reads.open_log(BEGINNING, 1))


def test_a_read_that_is_fast_enough_changes_nothing(reads: Reads, store: SlowStore) -> None:
    store.read_seconds, store.read_faults = INLINE_READ_SECONDS_MAX - 0.0001, 1
    for _ in range(3):
        here(reads.open_log(BEGINNING, 1))


def test_a_read_that_is_slow_without_page_faults_changes_nothing(reads: Reads, store: SlowStore) -> None:
    """On a busy machine any call may take milliseconds."""
    store.read_seconds = SLOW
    for _ in range(3):
        here(reads.open_log(BEGINNING, 1))


def test_a_read_on_a_thread_may_be_slow(reads: Reads, store: SlowStore, pool: SteppedPool) -> None:
    store.read_seconds, store.read_faults = SLOW, 1
    elsewhere(reads.open_log(BEGINNING, INLINE_READ_EVENTS_MAX + 1), pool)
    store.read_seconds = store.read_faults = 0
    here(reads.open_log(BEGINNING, 1))


def test_faults_of_a_read_come_out(reads: Reads, store: SlowStore) -> None:
    store.real.close()
    with pytest.raises(StorageFailed):
        reads.open_log(BEGINNING, 1)


# Pages.


def page_of_log(reads: Reads, limit: int) -> "Answer | Deferred[Answer]":
    """So many events of the log, which a client has asked for."""
    return reads.answer_log(BEGINNING, limit)


def test_a_page_is_read_on_the_reactor_thread(paging: Reads, store: SlowStore, reactor: SteppedReactor) -> None:
    records = hold(store.real, STREAM, CHUNK_EVENTS_MAX)
    assert is_end(here(page_of_log(paging, CHUNK_EVENTS_MAX)), records)
    reactor.turn()
    assert is_end(here(paging.answer_stream(STREAM, 0, CHUNK_EVENTS_MAX)), records)
    reactor.turn()
    assert sent(here(page_of_log(paging, INLINE_READ_EVENTS_MAX + 1))) == array_items(
        records[: INLINE_READ_EVENTS_MAX + 1]
    )


def test_a_page_is_no_more_than_a_chunk(paging: Reads, store: SlowStore, pool: SteppedPool) -> None:
    records = hold(store.real, STREAM, CHUNK_EVENTS_MAX + 1)
    page = here(page_of_log(paging, CHUNK_EVENTS_MAX + 1))
    assert sent(page) == array_items(records[:CHUNK_EVENTS_MAX])
    assert page.rest is not None
    assert is_end(elsewhere(paging.render_on(page.rest), pool), records[CHUNK_EVENTS_MAX:])


def test_large_events_end_a_page_early(paging: Reads, store: SlowStore) -> None:
    hold(store.real, STREAM, 200, "x" * (CHUNK_BYTES_MAX // 100))
    page = here(page_of_log(paging, 200))
    assert CHUNK_BYTES_MAX // 2 < len(sent(page)) <= CHUNK_BYTES_MAX
    assert page.total() == 200


def test_one_page_a_turn_is_read_here(
    paging: Reads, store: SlowStore, pool: SteppedPool, reactor: SteppedReactor
) -> None:
    hold(store.real, STREAM, 100)
    for _ in range(2):
        here(page_of_log(paging, 100))
        assert elsewhere(page_of_log(paging, 100), pool).total() == 100
        assert elsewhere(paging.answer_stream(STREAM, 0, 100), pool).total() == 100
        here(page_of_log(paging, 10))
        reactor.turn()


def test_a_page_that_meets_the_disk_goes_on_on_a_thread_and_the_next_ones_begin_there(
    paging: Reads, store: SlowStore, pool: SteppedPool, reactor: SteppedReactor, clock: Clock
) -> None:
    records = hold(store.real, STREAM, 200)
    store.read_seconds, store.read_faults = 0.001, 1
    assert is_end(elsewhere(page_of_log(paging, 200), pool), records)
    store.read_seconds = store.read_faults = 0
    reactor.turn()
    assert elsewhere(page_of_log(paging, 200), pool).total() == 200
    # Small reads are not concerned.
    here(page_of_log(paging, 10))
    clock.advance(INLINE_READ_PAUSE_TIMES * 0.001)
    assert is_end(here(page_of_log(paging, 200)), records)


def test_faults_of_the_past_are_not_held_against_a_page(paging: Reads, store: SlowStore) -> None:
    records = hold(store.real, STREAM, 100)
    store.faults = 7
    assert is_end(here(page_of_log(paging, 100)), records)


def test_while_small_reads_meet_the_disk_pages_are_read_on_threads(
    paging: Reads, store: SlowStore, pool: SteppedPool
) -> None:
    hold(store.real, STREAM, 100)
    store.read_seconds, store.read_faults = SLOW, 1
    here(page_of_log(paging, 1))
    assert elsewhere(page_of_log(paging, 100), pool).total() == 100


def test_a_page_that_goes_on_on_a_thread_is_no_more_than_a_chunk(
    paging: Reads, store: SlowStore, pool: SteppedPool
) -> None:
    records = hold(store.real, STREAM, CHUNK_EVENTS_MAX + 1)
    store.read_faults = 1
    page = elsewhere(page_of_log(paging, CHUNK_EVENTS_MAX + 1), pool)
    assert sent(page) == array_items(records[:CHUNK_EVENTS_MAX])
    assert page.total() == CHUNK_EVENTS_MAX + 1


def test_a_page_of_large_events_that_goes_on_on_a_thread_is_no_more_than_a_chunk(
    paging: Reads, store: SlowStore, pool: SteppedPool
) -> None:
    hold(store.real, STREAM, 200, "x" * (CHUNK_BYTES_MAX // 100))
    store.read_faults = 1
    page = elsewhere(page_of_log(paging, 200), pool)
    assert CHUNK_BYTES_MAX // 2 < len(sent(page)) <= CHUNK_BYTES_MAX
    assert page.total() == 200


@pytest.mark.parametrize("events", [10, INLINE_READ_EVENTS_MAX + 10])
def test_a_page_whose_last_step_meets_the_disk_is_noticed_too(
    paging: Reads, store: SlowStore, pool: SteppedPool, reactor: SteppedReactor, events: int
) -> None:
    records = hold(store.real, STREAM, events)
    store.read_seconds, store.faults_at = 0.001, (events - 1) // INLINE_READ_EVENTS_MAX
    assert is_end(here(page_of_log(paging, 1000)), records)
    reactor.turn()
    assert is_end(elsewhere(page_of_log(paging, 1000), pool), records)


def test_faults_of_a_page_are_not_held_against_a_small_read(paging: Reads, store: SlowStore, pool: SteppedPool) -> None:
    hold(store.real, STREAM, 100)
    store.faults_at = 0
    elsewhere(page_of_log(paging, 100), pool)
    store.read_seconds = SLOW
    for _ in range(2):
        here(paging.open_log(BEGINNING, 1))


def test_a_page_of_very_large_events_is_one_of_them(paging: Reads, store: SlowStore, reactor: SteppedReactor) -> None:
    records = hold(store.real, STREAM, 3, "x" * 2 * CHUNK_BYTES_MAX)
    page = here(page_of_log(paging, 100))
    assert sent(page) == array_items(records[:1])
    assert page.total() == 3


def test_damage_in_a_later_step_is_told_like_any_other(
    paging: Reads, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(store.real, STREAM, 100)

    def render_on(span: Span, bounds: ReadBounds, render: Render) -> Rendered:
        raise CorruptRecord("damaged")

    monkeypatch.setattr(store, "render_on", render_on)
    with pytest.raises(CorruptRecord):
        page_of_log(paging, 100)


def test_what_nobody_has_just_asked_for_is_read_on_threads(paging: Reads, store: SlowStore, pool: SteppedPool) -> None:
    hold(store.real, STREAM, 100)
    assert elsewhere(paging.open_log(BEGINNING, 100), pool).total() == 100
    assert elsewhere(paging.open_stream(STREAM, 0, 100), pool).total() == 100


def test_page_faults_can_be_counted_here() -> None:
    assert disk_faults() >= 0


# Pages that are read ahead.


def following(records: list[bytes]) -> bytes:
    """Where to go on behind the last of some events."""
    event_id = find_ulid_bytes(id_of(records[-1]))
    assert event_id is not None
    return id_after(event_id)


def turn_all(reactor: SteppedReactor) -> None:
    while reactor.calls:
        reactor.turn()


LONG = 400
"""Events of a page that is read in more than two steps."""


def test_the_third_page_is_there_when_it_is_asked_for(paging: Reads, store: SlowStore, reactor: SteppedReactor) -> None:
    records = hold(store.real, STREAM, 4 * LONG)
    start, begun = BEGINNING, []
    for first in range(0, 4 * LONG, LONG):
        before = store.pages_begun
        page = records[first : first + LONG]
        assert sent(here(paging.answer_log(start, LONG))) == array_items(page)
        begun.append((before, store.pages_begun))
        start = following(page)
        turn_all(reactor)
    assert begun == [(0, 1), (1, 2), (3, 3), (4, 4)]


def test_nothing_is_read_ahead_for_one_of_several_clients(
    paging: Reads, store: SlowStore, pool: SteppedPool, reactor: SteppedReactor
) -> None:
    records = hold(store.real, STREAM, 300)
    here(paging.answer_log(BEGINNING, 100))
    turn_all(reactor)
    paging.company.alone_since = paging.company.now
    elsewhere(paging.answer_log(following(records[:100]), 100), pool)
    turn_all(reactor)
    assert store.pages_begun == 2
    assert not pool.reads


def test_a_page_that_is_read_ahead_from_the_disk_is_there_when_a_thread_has_it(
    paging: Reads, store: SlowStore, pool: SteppedPool, reactor: SteppedReactor, clock: Clock
) -> None:
    records = hold(store.real, STREAM, 4 * LONG)
    pages = [records[first : first + LONG] for first in range(0, 4 * LONG, LONG)]
    here(paging.answer_log(BEGINNING, LONG))
    turn_all(reactor)
    here(paging.answer_log(following(pages[0]), LONG))
    # The first step of the third page meets the disk, and a thread reads the rest.
    store.faults_at = 0
    turn_all(reactor)
    pool.step()
    assert store.pages_begun == 3
    clock.advance(INLINE_READ_PAUSE_SECONDS_MAX)
    assert sent(here(paging.answer_log(following(pages[1]), LONG))) == array_items(pages[2])
    turn_all(reactor)
    assert store.pages_begun == 4
    assert sent(here(paging.answer_log(following(pages[2]), LONG))) == array_items(pages[3])
    assert store.pages_begun == 4
