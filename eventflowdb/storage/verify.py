"""The check of a whole database: that its pages are sound, and that log, head and indexes tell the same story.

Theory of operation. There are two checks, which can run one after the other, or at the same time in two processes:

- of the pages, read as bytes (pages.py): meta pages, the list of free pages and branch pages at once (survey.py),
  then the leaf pages of each database, and the checksum chain of the log up to the head (leaves.py). It cannot be
  harmed by a damaged page.
- of the events, read through LMDB (walks.py): in order of the log seals, encoding, ids, positions, times, and for each
  event its entries in the indexes (indexes.py). A damaged page can end its process.

Each reads the head once and covers all up to it; what is appended meanwhile is left alone, so that a database can be
checked while it is used. But for their beginnings, they go in slices of one short read transaction each, since a long
one would stop LMDB from reusing pages. As many sound entries as there are at all make an index complete. So no list
of ids is needed: memory grows by one byte a page, not with the number of events.
"""

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from eventflowdb.errors import CorruptRecord, StartRefused
from eventflowdb.ids import ULID_BYTES
from eventflowdb.storage import layout
from eventflowdb.storage.environment import DATA_FILE, READERS_FILE, Environment
from eventflowdb.storage.indexes import LinkIndex, RequestWalk, SettlementWalk, StreamIndex, TermIndex, entry_count
from eventflowdb.storage.layout import EMPTY_HEAD, Head
from eventflowdb.storage.leaves import LeafWalk, LogLeafWalk, Shape
from eventflowdb.storage.pages import DUPSORT_DUPFIXED, PageFile, Tree
from eventflowdb.storage.records import unseal
from eventflowdb.storage.survey import Survey, require_equal
from eventflowdb.storage.trees import open_snapshot
from eventflowdb.storage.walks import LogWalk

SLICE_EVENTS_MAX = 500
SLICE_PAGES_MAX = 200

Work = Iterator[float]
"""A check, taken slice by slice: how much of it is done, from 0 to 1. CorruptRecord: the first thing wrong."""

_MAP_SIZE_MAX = 1 << 40
_ANSWER_BYTES = 56
_SETTLEMENT_KEY_BYTES = 8 + ULID_BYTES
_SHAPES = {
    layout.STREAMS: Shape(16, 8),
    layout.STREAM_EVENTS: Shape(8, 20, has_values=True),
    layout.TERMS: Shape(None, 8),
    layout.TERM_EVENTS: Shape(8, ULID_BYTES, has_values=True),
    layout.LINKS: Shape(1 + ULID_BYTES, ULID_BYTES, has_values=True),
    layout.REQUESTS: Shape(None, _ANSWER_BYTES),
    layout.CONSUMERS: Shape(None, None, is_changing=True),
    layout.SETTLEMENTS: Shape(_SETTLEMENT_KEY_BYTES, None, is_changing=True),
    layout.PARKED: Shape(_SETTLEMENT_KEY_BYTES, None, is_changing=True),
}


@dataclass(slots=True)
class Report:
    """What was covered, and the first thing found wrong (None: all is sound).

    checksum: that of the log up to the last event that is counted.
    """

    event_count: int = 0
    stream_count: int = 0
    page_count: int = 0
    byte_count: int = 0
    checksum: str = EMPTY_HEAD.checksum.hex()
    first_problem: str | None = None


class Update(msgspec.Struct, omit_defaults=True):
    """What a check tells while it runs: how much is done, from 0 to 1; at its end the report, or why there is none."""

    done: float = 0.0
    report: Report | None = None
    refusal: str | None = None


def open_to_check(folder: Path) -> Any:
    """The LMDB environment of a folder, for reading alone, also beside the server that owns it.

    Nothing is written: without LMDB's table of readers nobody has it open, and none is made. StartRefused where there
    is nothing to check, CorruptRecord where that is all one can say of it.
    """
    if not (folder / DATA_FILE).is_file():
        raise StartRefused(f"{folder} holds no database")
    try:
        file = PageFile(folder / DATA_FILE)
        try:
            file.find_meta()
        finally:
            file.close()
        return _open_lmdb(folder)
    except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as error:
        raise CorruptRecord(f"LMDB cannot open the database: {error}") from error
    except (lmdb.Error, OSError) as error:
        raise StartRefused(f"{folder} cannot be opened: {error}") from error


def _open_lmdb(folder: Path) -> Any:
    has_readers = (folder / READERS_FILE).exists()
    map_size = _MAP_SIZE_MAX
    while True:
        try:
            return lmdb.open(
                os.fspath(folder),
                map_size=map_size,
                max_dbs=16,
                readonly=True,
                create=False,
                lock=has_readers,
                lib_version=0,
            )
        except (lmdb.MemoryError, OverflowError):
            # Some platforms refuse so much address space.
            map_size //= 2
            if map_size < (folder / DATA_FILE).stat().st_size:
                raise


def verify(environment: Environment) -> Report:
    """Check a whole open database at once; for one in use, see Verification."""
    verification = Verification(environment.env)
    for _ in verification.slices():
        pass
    return verification.report


class Verification:
    """Both checks of a database, one after the other, or one of them; `report` is final when `slices` has ended."""

    def __init__(
        self,
        env: Any,
        checks: "tuple[Check, ...] | None" = None,
        *,
        slice_events_max: int = SLICE_EVENTS_MAX,
        slice_pages_max: int = SLICE_PAGES_MAX,
    ) -> None:
        self._env = env
        self._checks = checks or (check_pages, check_events)
        self._slice_events_max = slice_events_max
        self._slice_pages_max = slice_pages_max
        self.report = Report()

    def slices(self) -> Work:
        """Check one slice a step, on whichever thread takes it; yields how much is done, from 0 to 1.

        Between steps no transaction is open. The steps end at the first problem. StartRefused where there is no
        database of a known format.
        """
        try:
            for number, check in enumerate(self._checks):
                slice_max = self._slice_pages_max if check is check_pages else self._slice_events_max
                for done in check(self._env, self.report, slice_max):
                    yield (number + done) / len(self._checks)
        except CorruptRecord as problem:
            self.report.first_problem = str(problem)
        except (lmdb.Error, OSError) as problem:
            self.report.first_problem = f"the database cannot be read: {problem}"
        except (ArithmeticError, LookupError, MemoryError, ValueError, struct.error) as problem:
            # What LMDB gives of a damaged page can be anything.
            self.report.first_problem = f"the database makes no sense: {type(problem).__name__}: {problem}"


Check = Callable[[Any, Report, int], Work]
"""Checks an LMDB environment in slices of so many pages or events, and puts into the report what it covers."""


def check_pages(env: Any, report: Report, slice_pages_max: int) -> Work:
    """The check of the pages."""
    file = PageFile(Path(env.path()) / DATA_FILE)
    try:
        survey, head = _survey(env, file, report)
        indexes = [_leaf_walk(name, shape, survey, head) for name, shape in _SHAPES.items()]
        walks: list[LeafWalk | LogLeafWalk] = [*indexes, LogLeafWalk(survey, head)]
        all_pages = max(1, sum(tree.leaf_pages for tree in survey.trees.values()))
        for walk in walks:
            has_more = True
            while has_more:
                with open_snapshot(env, file) as snapshot:
                    has_more = walk.check_slice(snapshot, slice_pages_max)
                # Pages that came since count too, so that it might be more than all.
                yield min(1.0, sum(walk.page_count for walk in walks) / all_pages)
        survey.require_all_used()
        yield 1.0
    finally:
        file.close()


def check_events(env: Any, report: Report, slice_events_max: int) -> Work:
    """The check of the events."""
    environment = Environment(env)
    with env.begin() as txn:
        head = environment.head(txn)
        require_equal("events in the log", entry_count(txn, environment.log), head.position)
        require_equal("events in the index", entry_count(txn, environment.stream_events), head.position)
        streams = StreamIndex(environment, txn)
        indexes = (streams, TermIndex(environment, txn), LinkIndex(environment, txn))
        request_count = entry_count(txn, environment.requests)
    report.event_count, report.checksum = head.position, head.checksum.hex()
    log, requests = LogWalk(environment, head, indexes), RequestWalk(environment, head)
    settlements = SettlementWalk(environment, environment.settlements)
    parked = SettlementWalk(environment, environment.parked)
    for walk in (log, requests, settlements, parked):
        has_more = True
        while has_more:
            with env.begin() as txn:
                has_more = walk.check_slice(txn, slice_events_max)
            report.stream_count = streams.stream_count
            done = log.event_count + requests.request_count
            yield min(1.0, done / max(1, head.position + request_count))
    yield 1.0


def _survey(env: Any, file: PageFile, report: Report) -> tuple[Survey, Head]:
    with open_snapshot(env, file) as snapshot:
        survey = Survey(snapshot)
        report.page_count = survey.page_count
        report.byte_count = survey.page_count * file.page_bytes
        names = {layout.META, layout.LOG, *_SHAPES}
        if not names & set(survey.trees):
            raise StartRefused("the file is an LMDB database, and not one of EventflowDB")
        for name in sorted(names ^ set(survey.trees)):
            is_known = name in names
            raise CorruptRecord(f"the database {name!r} " + ("is missing" if is_known else "does not belong there"))
        head = _check_meta(dict(survey.entries(survey.trees[layout.META], "meta")))
        _require_flags("meta", survey.trees[layout.META], 0)
        for name, shape in _SHAPES.items():
            what, tree = name.decode(), survey.trees[name]
            _require_flags(what, tree, DUPSORT_DUPFIXED if shape.has_values else 0)
            survey.count_pages(tree, what)
        _require_flags("log", survey.trees[layout.LOG], 0)
        survey.count_pages(survey.trees[layout.LOG], "log", has_late_overflow_pages=True)
    require_equal("events in the log", survey.trees[layout.LOG].entries, head.position)
    return survey, head


def _check_meta(stored: Mapping[bytes, bytes]) -> Head:
    number = layout.unpack_format(stored.get(layout.FORMAT_KEY, b""))
    if number > layout.FORMAT:
        raise StartRefused(f"the database is of format {number}, and this version knows format {layout.FORMAT}")
    if number != layout.FORMAT:
        raise CorruptRecord(f"the format is not {layout.FORMAT}")
    if len(unseal(stored.get(layout.DATABASE_ID_KEY, b""), "the id of the database")) != layout.DATABASE_ID_BYTES:
        raise CorruptRecord("the id of the database has the wrong length")
    for key in stored.keys() - layout.META_KEYS:
        raise CorruptRecord(f"meta has a key {key!r}, which means nothing")
    if layout.NEXT_CONSUMER_KEY in stored:
        unseal(stored[layout.NEXT_CONSUMER_KEY], "the number of the next consumer")
    head = stored.get(layout.HEAD_KEY)
    return EMPTY_HEAD if head is None else layout.unpack_head(head)


def _require_flags(what: str, tree: Tree, flags: int) -> None:
    if (tree.flags, tree.pad) != (flags, 0):
        raise CorruptRecord(f"the database {what} has the flags {tree.flags:#x} and the pad {tree.pad:#x}")


def _leaf_walk(name: bytes, shape: Shape, survey: Survey, head: Head) -> LeafWalk:
    """The walk along the leaves of one database; a value shows by an id or a number whether it came since."""
    tree: Tree = survey.trees[name]
    number_end = layout.pack_number(tree.entries)
    last_id = head.last_id
    is_early: Callable[[bytes], bool] | None
    if name == layout.REQUESTS or shape.is_changing:
        # A request that stored no events names an id that comes later, whenever it was answered.
        is_early = None
    elif name in (layout.STREAMS, layout.TERMS):
        is_early = number_end.__gt__
    else:
        is_early = lambda value: value[-ULID_BYTES:] <= last_id  # noqa: E731
    return LeafWalk(name, shape, survey, is_early)
