"""Every live byte of a small database, and what a check says when one bit of it is flipped.

What is live is found here by a second reader of LMDB's pages, which knows nothing of the one under test: it marks the
bytes that LMDB 0.9 or this server ever look at, each by what it is. `python -m tests.storage.bit_flips` flips every bit
of them, one after the other (hours; `--share 100` takes every hundredth), and prints what was not noticed.
"""

import argparse
import os
import random
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eventflowdb.append import Append, StreamAppend
from eventflowdb.consumers import BEGINNING, ConsumerOptions, Create, Settle, Settlement
from eventflowdb.errors import StartRefused
from eventflowdb.events import CheckedEvent
from eventflowdb.ids import find_ulid_bytes
from eventflowdb.queries import Query
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.verify import Verification, check_events, check_pages, open_to_check
from tests.folders import IN_MEMORY

from .samples import Clock, fields_of, records_of

PAGE = 4096
EMPTY_TREE = 2**64 - 1
META_OFFSETS = {"header": (0, 8), "flags": (10, 12), "magic": (16, 24), "address": (24, 32), "transaction": (144, 152)}
TREES = {"free tree": 40, "main tree": 88}


def make_database(folder: Path) -> None:
    """A database with every kind of page, and of entry: some 200 pages."""
    clock = Clock()
    store = LmdbStore.open(folder, map_size=1 << 30, clock_ns=clock)
    streams = [f"00000000-0000-4000-8000-{number:012x}" for number in range(150)]
    for number, stream in enumerate(streams):
        clock.us += 700
        _append(store, stream, 0, [CheckedEvent.of(type=f"type {number % 7}", data="x" * (number % 50))])
    _append(store, streams[0], 1, [CheckedEvent.of(type="many", data="y", tags=("a", f"b{n}")) for n in range(700)])
    _append(store, streams[1], 1, [CheckedEvent.of(type="some", data="z" * 700) for _ in range(9)])
    (first, *_) = _append(
        store, streams[2], 1, [CheckedEvent.of(type="large", data="l" * size) for size in (3000, 9001)]
    )
    cause = fields_of(first)["id"]
    caused = [CheckedEvent.of(type="caused", data="", causation_id=cause, tags=("a",)) for _ in range(400)]
    _append(store, streams[3], 1, caused)
    _append(store, streams[4], 1, [CheckedEvent.of(type="caused", data="", causation_id=cause, correlation_id=cause)])
    for number in range(60):
        part = StreamAppend(streams[5], 1 + number, [CheckedEvent.of(type="requested", data="")])
        records_of(store.append_batch([Append([part], 0, request_id=f"request {number}")])[0])
    given = _append(store, streams[6], 1, [CheckedEvent.of(type="given", data="")] * 300)
    ids = [find_ulid_bytes(fields_of(record)["id"]) or b"" for record in given]
    for name in ("first", "second"):
        store.append_batch([Create(name, 0, Query(types=("given",)), ConsumerOptions(), BEGINNING)])
    retried = tuple(Settlement(event_id, 2, 1_700_000_000_000_000) for event_id in ids[:5])
    parked = tuple(Settlement(event_id, 2, 1_700_000_000_000_000, "a reason") for event_id in ids[5:60])
    store.append_batch([Settle("first", 0, acked=tuple(ids[100:]), retried=retried, parked=parked)])
    store.close()


def _append(store: LmdbStore, stream: str, version: int, events: list[CheckedEvent]) -> list[bytes]:
    return records_of(store.append_batch([Append.to_stream(stream, version, events, 0)])[0])


class LiveBytes:
    """The kind of each live byte of a data file, by its place."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.kinds: dict[int, str] = {}
        transactions = [self._number(number * PAGE + 144, 8) for number in (0, 1)]
        newer = transactions.index(max(transactions))
        for number in (0, 1):
            for name, (start, end) in META_OFFSETS.items():
                self._mark(number * PAGE + start, end - start, f"meta: {name}")
        self._mark((1 - newer) * PAGE + 40, 6, "meta: page size and flags")
        at = newer * PAGE
        self._mark(at + 136, 8, "meta: last page")
        self._mark_tree(at + TREES["free tree"], "free list")
        self._mark_tree(at + TREES["main tree"], "main")

    def by_kind(self) -> dict[str, list[int]]:
        """The places of each kind."""
        places: dict[str, list[int]] = {}
        for place, kind in self.kinds.items():
            places.setdefault(kind, []).append(place)
        return places

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self._data[at : at + size], sys.byteorder)

    def _mark(self, at: int, size: int, kind: str) -> None:
        for place in range(at, at + size):
            assert self.kinds.get(place, kind) == kind, (place, kind)
            self.kinds[place] = kind

    def _mark_tree(self, at: int, what: str) -> None:
        """A tree's 48 bytes, and all below."""
        self._mark(at, 48, f"{what}: tree")
        _pad, _flags, depth, *_, root = struct.unpack("=IHHQQQQQ", self._data[at : at + 48])
        if root != EMPTY_TREE:
            self._mark_page(root, depth, what, is_fixed=what.endswith("values"))

    def _mark_page(self, number: int, height: int, what: str, is_fixed: bool) -> None:
        at = number * PAGE
        kind = f"{what}: branch" if height > 1 else f"{what}: fixed leaf" if is_fixed else f"{what}: leaf"
        self._mark(at, 8, f"{kind} header")
        self._mark(at + 10, 6, f"{kind} header")
        count = (self._number(at + 12, 2) - 16) // 2
        if height == 1 and is_fixed:
            size = self._number(at + 8, 2)
            self._mark(at + 8, 2, f"{kind} header")
            self._mark(at + 16, count * size, f"{kind} values")
            return
        self._mark(at + 16, 2 * count, f"{kind} offsets")
        for index in range(count):
            node = at + self._number(at + 16 + 2 * index, 2)
            self._mark(node, 8, f"{kind} nodes")
            key_size = self._number(node + 6, 2)
            if height > 1:
                if index > 0:
                    self._mark(node + 8, key_size, f"{kind} keys")
                child = self._number(node, 4) | self._number(node + 4, 2) << 32
                self._mark_page(child, height - 1, what, is_fixed)
            else:
                # The transactions that freed pages show nowhere else, and matter to readers of that time alone.
                if what != "free list":
                    self._mark(node + 8, key_size, f"{kind} keys")
                self._mark_data(node, key_size, what)

    def _mark_data(self, node: int, key_size: int, what: str) -> None:
        size, flags = self._number(node, 2) | self._number(node + 2, 2) << 16, self._number(node + 4, 2)
        start = node + 8 + key_size
        if flags == 0:
            self._mark(start, size, f"{what}: data")
        elif flags == 1:
            self._mark(start, 8, f"{what}: overflow page number")
            page = self._number(start, 8) * PAGE
            self._mark(page, 8, f"{what}: overflow header")
            self._mark(page + 10, 6, f"{what}: overflow header")
            self._mark(page + 16, size, f"{what}: overflow data")
        elif flags == 2:
            self._mark_tree(start, self._data[node + 8 : start].decode())
        elif flags == 4:
            count, value_size = (self._number(start + 12, 2) - 16) // 2, self._number(start + 8, 2)
            self._mark(start + 8, 8, f"{what}: sub-page header")
            self._mark(start + 16, count * value_size, f"{what}: sub-page values")
        else:
            assert flags == 6
            self._mark_tree(start, f"{what} values")


class FlippedDatabase:
    """A database of which one bit is flipped at a time."""

    def __init__(self, folder: Path) -> None:
        make_database(folder)
        self._file = os.open(folder / "data.mdb", os.O_RDWR)
        self._data = (folder / "data.mdb").read_bytes()
        (folder / "lock.mdb").unlink()
        self._env: Any = open_to_check(folder)
        self.live = LiveBytes(self._data)

    def close(self) -> None:
        """Let go of it."""
        self._env.close()
        os.close(self._file)

    def find_problem(self) -> str | None:
        """What the check says. That of the events comes after that of the pages, which makes it safe."""
        verification = Verification(self._env, (check_pages, check_events))
        try:
            for _ in verification.slices():
                pass
        except StartRefused as refusal:
            return str(refusal)
        return verification.report.first_problem

    def find_problem_of(self, place: int, bit: int) -> str | None:
        """The same, with a bit flipped."""
        os.pwrite(self._file, bytes([self._data[place] ^ 1 << bit]), place)
        try:
            return self.find_problem()
        finally:
            os.pwrite(self._file, self._data[place : place + 1], place)


def sample(live: LiveBytes, each: int, seed: int) -> Iterator[tuple[str, int, int]]:
    """Kind, place and bit: some of every kind."""
    chosen = random.Random(seed)
    for kind, places in sorted(live.by_kind().items()):
        for place in chosen.sample(places, min(each, len(places))):
            yield kind, place, chosen.randrange(8)


def main() -> None:
    """Flip them all."""
    options = argparse.ArgumentParser(prog="python -m tests.storage.bit_flips", description=__doc__)
    options.add_argument("--share", type=int, default=1, help="take one bit of so many")
    options.add_argument("--part", default="0/1", help="the second of four processes takes 1/4")
    given = options.parse_args()
    part, parts = (int(number) for number in given.part.split("/"))
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        database = FlippedDatabase(Path(name))
        assert database.find_problem() is None
        flips = [(place, bit) for place in sorted(database.live.kinds) for bit in range(8)]
        taken = flips[part * given.share :: given.share * parts]
        missed: Counter[str] = Counter()
        for done, (place, bit) in enumerate(taken):
            if database.find_problem_of(place, bit) is None:
                missed[database.live.kinds[place]] += 1
                print(f"not noticed: bit {bit} of byte {place}, {database.live.kinds[place]}", flush=True)
            if done % 1000 == 0:
                print(f"{done} of {len(taken)}", file=sys.stderr, flush=True)
        database.close()
    print(f"{len(taken)} bits flipped, {sum(missed.values())} not noticed: {dict(missed)}")


if __name__ == "__main__":
    main()
