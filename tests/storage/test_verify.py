"""The check of a store: it passes what is sound, and names what is not. Every check is shown to be able to fail."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from eventflowdb.errors import StartRefused
from eventflowdb.storage import layout
from eventflowdb.storage.checksum import of_records
from eventflowdb.storage.environment import Environment, id_text
from eventflowdb.storage.layout import Head
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.records import load_record, seal, store_record
from eventflowdb.storage.verify import Check, Report, Verification, check_events, check_pages, verify

from .samples import OTHER, STREAM, THIRD, Clock, append_of, has_open_reads, log_keys, stored

UNKNOWN_STREAM = "2d4b6c5a-3807-4c34-9b8f-3ed9a0731f0e"


@pytest.fixture
def store(damaged_store: LmdbStore, clock: Clock) -> LmdbStore:
    """Six events: STREAM, STREAM, OTHER; then STREAM in the same millisecond; then OTHER and THIRD in a later one."""
    damaged_store.append_batch([append_of(STREAM, 0, "a", "b"), append_of(OTHER, 0, "c")])
    clock.us += 10
    stored(damaged_store, append_of(STREAM, 2, "d"))
    clock.us += 5000
    damaged_store.append_batch([append_of(OTHER, 1, "e"), append_of(THIRD, 0, "f")])
    return damaged_store


class Damage:
    """A sound store of six events in a write transaction, to be damaged in one place."""

    def __init__(self, environment: Environment, txn: Any) -> None:
        self.environment = environment
        self._txn = txn
        self.ids: list[bytes] = list(txn.cursor(environment.log).iternext(values=False))

    def put(self, name: str, key: bytes, value: bytes) -> None:
        """Write any value anywhere."""
        self._txn.put(key, value, db=getattr(self.environment, name))

    def delete(self, name: str, key: bytes, value: bytes = b"") -> None:
        """Take a value out, which must be there."""
        assert self._txn.delete(key, value, db=getattr(self.environment, name))

    def get(self, name: str, key: bytes) -> bytes:
        """What is stored there."""
        value = self._txn.get(key, db=getattr(self.environment, name))
        assert isinstance(value, bytes)
        return value

    def head(self, **fields: Any) -> None:
        """Change fields of the head, and seal it again."""
        head: Head = self.environment.head(self._txn)
        self.put("meta", layout.HEAD_KEY, layout.pack_head(head._replace(**fields)))

    def record(self, place: int, pattern: str, replacement: str) -> None:
        """Change the JSON of the record at a place in the log, and seal it again."""
        record = load_record(self.get("log", self.ids[place]), "it").decode()
        changed, count = re.subn(pattern, replacement, record, count=1)
        assert count == 1
        self.put("log", self.ids[place], store_record(changed.encode()))

    def chain_again(self) -> None:
        """Put the checksum of the log as it is now into the head."""
        values = self._txn.cursor(self.environment.log).iternext(keys=False, values=True)
        self.head(checksum=of_records(load_record(value, "it") for value in values))

    def move_entry(self, old: tuple[int, int, bytes], new: tuple[int, int, bytes]) -> None:
        """Replace an index entry: stream number, version, event id."""
        self.delete("stream_events", layout.pack_number(old[0]), layout.pack_index_entry(*old[1:]))
        self.put("stream_events", layout.pack_number(new[0]), layout.pack_index_entry(*new[1:]))


def flipped(value: bytes, place: int) -> bytes:
    """The value with one bit flipped in the byte at a place."""
    changed = bytearray(value)
    changed[place] ^= 1
    return bytes(changed)


def move_record(damage: Damage) -> None:
    """One record stands behind all others."""
    damage.put("log", b"\x02" * 16, damage.get("log", damage.ids[3]))
    damage.delete("log", damage.ids[3])


def swap_places(damage: Damage) -> None:
    """Two versions of one stream point to each other's events."""
    damage.move_entry((0, 0, damage.ids[0]), (0, 0, damage.ids[1]))
    damage.move_entry((0, 1, damage.ids[1]), (0, 1, damage.ids[0]))


def hide_last_behind_beginning(damage: Damage) -> None:
    """The log has as many entries as before, but one of them is not a possible id."""
    damage.delete("log", damage.ids[5])
    damage.put("log", bytes(16), b"")


def rename_stream(damage: Damage) -> None:
    """All records of THIRD, which is one, name a stream that is no UUID; the checksum of the log is right."""
    damage.record(5, THIRD, THIRD.upper())
    damage.chain_again()


def give_away_record(damage: Damage) -> None:
    """The only record of THIRD says that it belongs to a stream that nobody knows; the checksum is right."""
    damage.record(5, THIRD, UNKNOWN_STREAM)
    damage.chain_again()


DAMAGES: dict[str, tuple[Callable[[Damage], None], str]] = {
    # The format and the database id.
    "other format": (lambda d: d.put("meta", b"format", b"\0\0\0\0"), "the format is not 1"),
    "no format": (lambda d: d.delete("meta", b"format"), "the format is not 1"),
    "no id": (lambda d: d.delete("meta", b"id"), "the id of the database does not match its checksum"),
    "short id": (
        lambda d: d.put("meta", b"id", b"15 bytes long.."),
        "the id of the database does not match its checksum",
    ),
    # The head.
    "head flipped": (
        lambda d: d.put("meta", b"head", flipped(d.get("meta", b"head"), 30)),
        "the head of the log does not match its checksum",
    ),
    "no head": (lambda d: d.delete("meta", b"head"), "events in the log: 6, expected 0"),
    "head ahead": (lambda d: d.head(position=7), "events in the log: 6, expected 7"),
    "head behind": (lambda d: d.head(position=5), "events in the log: 6, expected 5"),
    "other last id": (lambda d: d.head(last_id=b"\x02" * 16), "the head names 0208.* as the last event, it is 01KAS"),
    "other checksum": (lambda d: d.head(checksum=b"\x02" * 32), "the checksum in the head is not that of the log"),
    "other time": (lambda d: d.head(added_at_us=1), "the time in the head is not that of the last event"),
    # The log.
    "record flipped": (
        lambda d: d.put("log", d.ids[3], flipped(d.get("log", d.ids[3]), 200)),
        "the record of event {3} does not match its checksum",
    ),
    "record short": (lambda d: d.put("log", d.ids[3], b"\1{}"), "the record of event {3} does not match its checksum"),
    "record empty": (lambda d: d.put("log", d.ids[3], b""), "the record of event {3} (is of unknown|does not match)"),
    "other kind": (lambda d: d.put("log", d.ids[3], seal(b"\2{}")), "the record of event {3} is of unknown kind 02"),
    "not JSON": (lambda d: d.record(3, "^{", "["), "the record of event {3} is not an event: "),
    "field missing": (lambda d: d.record(3, '"type":"tested",', ""), "the record of event {3} is not an event: .*type"),
    "spaced": (lambda d: d.record(3, '":', '": '), "the record of event {3} is not encoded as records are"),
    "field too many": (lambda d: d.record(3, "}$", ',"x":1}'), "the record of event {3} is not encoded as records are"),
    "other id": (lambda d: d.record(3, '"id":"..', '"id":"02'), "the record of event {3} has the id 02"),
    "position ahead": (lambda d: d.record(3, '"position":4', '"position":5'), "event {3} has position 5, not 4"),
    "record moved": (
        move_record,
        "event {4} has position 5, not 4",
    ),
    "no time": (
        lambda d: d.record(3, '"added_at":"2025-11', '"added_at":"2025-13'),
        "event {3} was added at '2025-13-23T19:23:14.123466Z', which is not a time",
    ),
    "time to the millisecond": (lambda d: d.record(3, "123466Z", "123Z"), "event {3} was added at .* is not a time"),
    "time elsewhere": (lambda d: d.record(3, '466Z"', '466z"'), "event {3} was added at .* is not a time"),
    "time falls": (
        lambda d: d.record(3, "123466Z", "123455Z"),
        "event {3} was added at 2025-11-23T19:23:14.123455Z, before the event ahead of it",
    ),
    "time not of the id": (
        lambda d: d.record(3, "123466Z", "124466Z"),
        "event {3} was added at 2025-11-23T19:23:14.124466Z, which is not the time of its id",
    ),
    "other content": (lambda d: d.record(3, '"data":"d"', '"data":"D"'), "the checksum in the head is not that of"),
    "last record missing": (lambda d: d.delete("log", d.ids[5]), "events in the log: 5, expected 6"),
    "record missing": (lambda d: d.delete("log", d.ids[2]), "events in the log: 5, expected 6"),
    "record too many": (lambda d: d.put("log", b"\x02" * 16, b""), "events in the log: 7, expected 6"),
    "log ends early": (hide_last_behind_beginning, "the log ends after 5 of 6 events"),
    # The streams.
    "stream missing": (
        lambda d: d.delete("streams", layout.stream_key(OTHER)),
        f"stream {OTHER} of event {{2}} has no number",
    ),
    "other number": (
        lambda d: d.put("streams", layout.stream_key(OTHER), layout.pack_number(7)),
        f"stream {OTHER} has the number 7, it must be 1",
    ),
    "number twice": (
        lambda d: d.put("streams", layout.stream_key(OTHER), layout.pack_number(0)),
        f"stream {OTHER} has the number 0, it must be 1",
    ),
    "stream too many": (
        lambda d: d.put("streams", layout.stream_key(UNKNOWN_STREAM), layout.pack_number(3)),
        "streams in the index: 4, expected 3",
    ),
    "stream that nobody knows": (give_away_record, f"stream {UNKNOWN_STREAM} of event {{5}} has no number"),
    "stream that is no UUID": (rename_stream, f"event {{5}} names '{THIRD.upper()}' as its stream, which is not one"),
    # The index.
    "entry missing": (
        lambda d: d.delete("stream_events", bytes(8), layout.pack_index_entry(1, d.ids[1])),
        "events in the index: 5, expected 6",
    ),
    "entry too many": (
        lambda d: d.put("stream_events", bytes(8), layout.pack_index_entry(3, d.ids[4])),
        "events in the index: 7, expected 6",
    ),
    "version gap": (
        lambda d: d.move_entry((0, 2, d.ids[3]), (0, 3, d.ids[3])),
        f"the index of stream {STREAM} has version 3, event {{3}}, where version 2, event {{3}}, belongs",
    ),
    "version twice": (
        lambda d: d.move_entry((0, 2, d.ids[3]), (0, 1, d.ids[3])),
        f"the index of stream {STREAM} has version 1, event {{3}}, where version 2, event {{3}}, belongs",
    ),
    "first version missing": (
        lambda d: d.move_entry((0, 0, d.ids[0]), (0, 3, d.ids[0])),
        f"the index of stream {STREAM} has version 1, event {{1}}, where version 0, event {{0}}, belongs",
    ),
    "unknown event": (
        lambda d: d.move_entry((0, 1, d.ids[1]), (0, 1, b"\x01" * 16)),
        f"the index of stream {STREAM} has version 1, event 01040G2081040G2081040G2081, where version 1, event {{1}}",
    ),
    "event of another stream": (
        lambda d: d.move_entry((0, 1, d.ids[1]), (0, 1, d.ids[2])),
        f"the index of stream {STREAM} has version 1, event {{2}}, where version 1, event {{1}}, belongs",
    ),
    "events of one stream swapped": (
        swap_places,
        f"the index of stream {STREAM} has version 0, event {{1}}, where version 0, event {{0}}, belongs",
    ),
    "event twice": (
        lambda d: d.move_entry((0, 2, d.ids[3]), (0, 2, d.ids[1])),
        f"the index of stream {STREAM} has version 2, event {{1}}, where version 2, event {{3}}, belongs",
    ),
    "event beyond the head": (
        lambda d: d.move_entry((0, 2, d.ids[3]), (0, 2, b"\x02" * 16)),
        f"the index of stream {STREAM} has version 2, event 02081040G2081040G2081040G2, where version 2, event",
    ),
    "number gap": (
        lambda d: d.move_entry((2, 0, d.ids[5]), (3, 0, d.ids[5])),
        f"the index of stream {THIRD} has nothing where version 0, event {{5}}, belongs",
    ),
    "entry under another number": (
        lambda d: d.move_entry((2, 0, d.ids[5]), (1, 2, d.ids[5])),
        f"the index of stream {THIRD} has nothing where version 0, event {{5}}, belongs",
    ),
}


def find_problem(environment: Environment, checks: tuple[Check, ...], slice_max: int) -> str | None:
    """What these checks find."""
    verification = Verification(environment.env, checks, slice_events_max=slice_max, slice_pages_max=slice_max)
    for _ in verification.slices():
        pass
    return verification.report.first_problem


@pytest.mark.parametrize(("damage", "problem"), DAMAGES.values(), ids=list(DAMAGES))
def test_damage_in_one_place_is_named(store: LmdbStore, damage: Callable[[Damage], None], problem: str) -> None:
    texts = [id_text(key) for key in log_keys(store)]
    with store.environment.env.begin(write=True) as txn:
        damage(Damage(store.environment, txn))
    expected = re.sub(r"\{(\d)\}", lambda place: texts[int(place[1])], problem)
    for slice_max in (1, 2, 1000):
        # What is wrong with the pages, as counts of entries, is found first; the events know more.
        found = find_problem(store.environment, (check_events,), slice_max)
        found = found or find_problem(store.environment, (check_pages,), slice_max)
        assert found is not None
        assert re.match(expected, found), found
        assert len(found.splitlines()) == 1
    assert verify(store.environment).first_problem is not None


def test_a_later_format_is_refused_as_such(store: LmdbStore) -> None:
    with store.environment.env.begin(write=True) as txn:
        Damage(store.environment, txn).put("meta", b"format", b"\0\0\0\2")
    with pytest.raises(StartRefused, match="the database is of format 2, and this version knows format 1"):
        verify(store.environment)


def counts(report: Report) -> tuple[int, int, str | None]:
    """Events, streams and the first problem."""
    return report.event_count, report.stream_count, report.first_problem


def test_a_sound_store_has_no_problem(store: LmdbStore) -> None:
    report = verify(store.environment)
    assert counts(report) == (6, 3, None)
    assert report.checksum == store.head().checksum.hex()
    assert report.byte_count == store.size_bytes()
    assert report.page_count * 4096 == report.byte_count


def test_an_empty_store_has_no_problem(damaged_store: LmdbStore) -> None:
    assert counts(verify(damaged_store.environment)) == (0, 0, None)


def test_records_of_any_size_and_text_have_no_problem(damaged_store: LmdbStore) -> None:
    stored(damaged_store, append_of(STREAM, 0, "", "zażółć \0 \u2028", "x" * 5_000_000, "y" * 5_000_000, '"'))
    assert counts(verify(damaged_store.environment)) == (5, 1, None)


def test_an_environment_that_cannot_be_read_is_a_problem(store: LmdbStore) -> None:
    store.close()
    problem = verify(store.environment).first_problem
    assert problem is not None
    assert problem.startswith("the database cannot be read: ")


@pytest.mark.parametrize("slice_max", [1, 2, 4, 6, 1000])
def test_the_work_done_grows_from_slice_to_slice_up_to_all_of_it(store: LmdbStore, slice_max: int) -> None:
    for checks in ((check_pages,), (check_events,), (check_pages, check_events)):
        verification = Verification(
            store.environment.env, checks, slice_events_max=slice_max, slice_pages_max=slice_max
        )
        done = list(verification.slices())
        assert done[-1] == 1
        assert all(0 <= before <= after <= 1 for before, after in pairwise([0.0, *done]))


def test_a_slice_of_the_log_is_no_larger_than_asked_for(store: LmdbStore) -> None:
    done = list(Verification(store.environment.env, (check_events,), slice_events_max=2).slices())
    assert all(after - before <= 2 / 6 + 1e-9 for before, after in pairwise([0.0, *done]))


def test_no_transaction_is_open_between_slices(store: LmdbStore) -> None:
    for _ in Verification(store.environment.env, slice_events_max=2, slice_pages_max=1).slices():
        assert not has_open_reads(store)


def test_each_slice_may_run_on_a_thread_of_its_own(store: LmdbStore) -> None:
    verification = Verification(store.environment.env, slice_events_max=2, slice_pages_max=1)
    slices = verification.slices()
    done: float | None = 0.0
    while done is not None:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(next, slices, None).result()
    assert counts(verification.report) == (6, 3, None)


@pytest.mark.parametrize("slice_max", [1, 2, 3])
def test_what_is_appended_during_a_check_is_left_to_the_next_one(
    store: LmdbStore, clock: Clock, slice_max: int
) -> None:
    for check in (check_pages, check_events):
        head = store.head()
        verification = Verification(
            store.environment.env, (check,), slice_events_max=slice_max, slice_pages_max=slice_max
        )
        for count, _ in enumerate(verification.slices()):
            clock.us += 700
            append_each = [append_of(str(uuid4()), 0, "g" * 5000, "h"), append_of(str(uuid4()), 0, "h", "i" * 100)]
            assert all(isinstance(outcome, list) for outcome in store.append_batch(append_each))
            if count > 200:
                break
        assert verification.report.first_problem is None
        assert check is check_pages or verification.report.event_count == head.position
        assert store.head().position >= head.position + 8
    assert verify(store.environment).first_problem is None


def test_a_check_writes_nothing(store: LmdbStore) -> None:
    before = store.environment.env.info()["last_txnid"]
    verify(store.environment)
    assert store.environment.env.info()["last_txnid"] == before
