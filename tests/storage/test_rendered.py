"""Chunks as they are sent: the same events as records, whatever the parts they are checked in."""

from typing import NamedTuple

import pytest

from eventflowdb.errors import CorruptRecord
from eventflowdb.queries import Query
from eventflowdb.storage import layout
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.queries import QueryRead
from eventflowdb.storage.spans import CHUNK, NOTHING_RENDERED, Chunk, ReadBounds, Rendered

from .samples import ALL, FIRST, OTHER, STREAM, THIRD, append_of, has_open_reads, log_keys, replace_entry, stored

PARTS = 16
"""Events that are checked at once."""
COUNT = 130
"""So many that pages of the log are read without LMDB where that is compiled."""


class Held(NamedTuple):
    """What a store holds, and a way to read it from its first event on."""

    store: LmdbStore
    records: list[bytes]
    is_log: bool

    def read(self, bounds: ReadBounds) -> Chunk:
        """Its records."""
        store = self.store
        return store.open_log(FIRST, ALL, bounds) if self.is_log else store.open_stream(STREAM, 0, None, bounds)

    def render(self, bounds: ReadBounds = CHUNK, version: int = 0) -> Rendered:
        """The same from a version on, rendered."""
        if self.is_log:
            return self.store.render_log(log_keys(self.store)[version], ALL, bounds, render)
        return self.store.render_stream(STREAM, version, None, bounds, render)


def render(records: list[bytes]) -> bytes:
    """Records on lines."""
    assert records
    return b"".join([record + b"\n" for record in records])


def hold(store: LmdbStore, count: int, is_log: bool) -> Held:
    """So many events of STREAM, of different sizes."""
    records = stored(store, append_of(STREAM, 0, *["x" * (version * 37 % 100) for version in range(count)]))
    return Held(store, records, is_log)


@pytest.fixture(params=[True, False], ids=["log", "stream"])
def held(store: LmdbStore, request: pytest.FixtureRequest) -> Held:
    """Several parts of events, and one that is not full."""
    return hold(store, COUNT, request.param)


@pytest.mark.parametrize("count", [1, PARTS - 1, PARTS, PARTS + 1, 2 * PARTS, 300])
@pytest.mark.parametrize("is_log", [True, False], ids=["log", "stream"])
def test_all_events_are_rendered_in_order(store: LmdbStore, count: int, is_log: bool) -> None:
    held = hold(store, count, is_log)
    rendered = held.render()
    assert b"".join(rendered.pieces) == render(held.records)
    assert rendered.event_count == rendered.total() == count
    assert rendered.rest is None
    assert all(piece.count(b"\n") <= PARTS for piece in rendered.pieces)


@pytest.mark.parametrize("events_max", [1, PARTS - 1, PARTS, PARTS + 1, 40, 120, 1000])
@pytest.mark.parametrize("events_of_bytes", [0, 1, PARTS, PARTS + 1, 40, 120, 1000])
@pytest.mark.parametrize("shortfall", [0, 1])
def test_chunks_are_those_of_a_read_of_records(
    held: Held, events_max: int, events_of_bytes: int, shortfall: int
) -> None:
    size = sum([len(record) + 5 for record in held.records[:events_of_bytes]])
    bounds = ReadBounds(events_max, max(1, size - shortfall))
    chunk, rendered = held.read(bounds), held.render(bounds)
    while True:
        assert b"".join(rendered.pieces) == render(chunk.records)
        assert rendered.event_count == len(chunk.records)
        assert rendered.total() == chunk.total()
        assert rendered.rest == chunk.rest
        if chunk.rest is None or rendered.rest is None:
            break
        chunk = held.store.read_on(chunk.rest, bounds)
        rendered = held.store.render_on(rendered.rest, bounds, render)
    assert not has_open_reads(held.store)


@pytest.mark.parametrize("version", [1, PARTS, COUNT - 1])
def test_a_read_may_begin_anywhere(held: Held, version: int) -> None:
    assert b"".join(held.render(version=version).pieces) == render(held.records[version:])


def test_an_event_larger_than_a_chunk_is_a_chunk_alone(store: LmdbStore) -> None:
    """Also where it is the first of a part that is not the first one."""
    datas = ["a"] * PARTS + ["b" * CHUNK.bytes_max, "c"]
    records = stored(store, append_of(STREAM, 0, *datas))
    for rendered in (
        store.render_log(FIRST, ALL, CHUNK, render),
        store.render_stream(STREAM, 0, None, CHUNK, render),
    ):
        assert b"".join(rendered.pieces) == render(records[:PARTS])
        assert rendered.rest is not None
        large = store.render_on(rendered.rest, CHUNK, render)
        assert large.pieces == [render(records[PARTS : PARTS + 1])]
        assert large.rest is not None
        assert store.render_on(large.rest, CHUNK, render)[:3] == ([render(records[-1:])], 1, None)


def test_nothing_is_rendered_of_what_holds_nothing(store: LmdbStore) -> None:
    assert store.render_log(FIRST, ALL, CHUNK, render) is NOTHING_RENDERED
    assert store.render_stream(THIRD, 0, None, CHUNK, render) is NOTHING_RENDERED
    hold(store, 1, is_log=False)
    assert store.render_stream(STREAM, 1, None, CHUNK, render) is NOTHING_RENDERED
    assert store.render_log(FIRST, 0, CHUNK, render) is NOTHING_RENDERED


def test_what_a_search_found_is_rendered(store: LmdbStore) -> None:
    held = hold(store, COUNT, is_log=True)
    stored(store, append_of(OTHER, 0, "another"))
    page = QueryRead(store, Query(types=("tested",), stream=STREAM), None).step(ReadBounds(10, 1 << 20))
    assert page is not None
    assert page.chunk.rest is not None
    rendered = store.render_on(page.chunk.rest, CHUNK, render)
    assert b"".join(rendered.pieces) == render(held.records[10:])
    assert rendered.event_count == COUNT - 10
    assert rendered.rest is None


@pytest.mark.parametrize("damaged", [0, 1, PARTS - 1, PARTS, PARTS + 1, 3 * PARTS, COUNT - 1])
def test_damage_is_found_in_every_part(held: Held, damaged: int) -> None:
    environment = held.store.environment
    key = log_keys(held.store)[damaged]
    with environment.env.begin() as txn:
        sound = txn.get(key, db=environment.log)
    flipped = bytearray(sound)
    flipped[150] ^= 4
    with environment.env.begin(write=True) as txn:
        txn.put(key, bytes(flipped), db=environment.log)
    with pytest.raises(CorruptRecord):
        held.render()
    # The log from an id on begins with the next event where that one is missing.
    if damaged or not held.is_log:
        with environment.env.begin(write=True) as txn:
            assert txn.delete(key, db=environment.log)
        with pytest.raises(CorruptRecord):
            held.render()
    with environment.env.begin(write=True) as txn:
        txn.put(key, sound, db=environment.log)
    assert held.render().total() == COUNT


@pytest.mark.parametrize("version", [0, 1, PARTS - 1, PARTS, PARTS + 1, 3 * PARTS, COUNT - 1])
def test_no_event_is_rendered_in_the_place_of_another(store: LmdbStore, version: int) -> None:
    held = hold(store, COUNT, is_log=False)
    stored(store, append_of(OTHER, 0, "another"))
    keys = log_keys(store)
    right = layout.pack_index_entry(version, keys[version])
    for key in {keys[0], keys[version - 1], keys[PARTS], keys[COUNT - 1], keys[-1]} - {keys[version]}:
        wrong = layout.pack_index_entry(version, key)
        replace_entry(store, store.environment.stream_events, layout.pack_number(0), right, wrong)
        with pytest.raises(CorruptRecord, match=f"the index of stream {STREAM} is damaged"):
            held.render()
        replace_entry(store, store.environment.stream_events, layout.pack_number(0), wrong, right)
    assert held.render().total() == COUNT
