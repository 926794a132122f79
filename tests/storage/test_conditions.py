"""What an append may ask of the log: expected versions in words, several streams at once, and `unless`."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflowdb.append import Append, StreamAppend
from eventflowdb.errors import ConditionFailed, UnlessMatched, WrongExpectedVersion
from eventflowdb.events import ANY, EXISTS, CheckedEvent, ExpectedVersion, Unless
from eventflowdb.ids import find_ulid_bytes
from eventflowdb.storage.conditions import first_common
from eventflowdb.storage.lmdb_store import LmdbStore

from .samples import OTHER, STREAM, THIRD, append_of, fields_of, read_log, read_stream, records_of, stored


def tagged(*tags: str, kind: str = "tested") -> CheckedEvent:
    """An event with these tags."""
    return CheckedEvent.of(type=kind, data="", tags=tags)


def add(stream: str, version: ExpectedVersion, *events: CheckedEvent, unless: tuple[Unless, ...] = ()) -> Append:
    """An append to one stream."""
    return Append([StreamAppend(stream, version, list(events))], 0, unless)


def id_of(record: bytes) -> bytes:
    """The 16 bytes of a record's id."""
    return find_ulid_bytes(fields_of(record)["id"]) or b""


def outcome_of(store: LmdbStore, append: Append) -> Any:
    """What becomes of an append that is alone in its batch."""
    (outcome,) = store.append_batch([append])
    return outcome


# Expected versions.


@pytest.mark.parametrize("held", [0, 1, 3])
def test_any_version_is_any(store: LmdbStore, held: int) -> None:
    for version in range(held):
        stored(store, append_of(STREAM, version, "x"))
    (record,) = stored(store, add(STREAM, ANY, tagged()))
    assert fields_of(record)["version"] == held


def test_exists_asks_for_at_least_one_event(store: LmdbStore) -> None:
    refusal = outcome_of(store, add(STREAM, EXISTS, tagged()))
    assert isinstance(refusal, WrongExpectedVersion)
    assert (refusal.stream, refusal.expected, refusal.actual) == (STREAM, "exists", 0)
    assert str(refusal).startswith(f"stream={STREAM} expected=exists actual=0: ")
    stored(store, append_of(STREAM, 0, "x"))
    (record,) = stored(store, add(STREAM, EXISTS, tagged()))
    assert fields_of(record)["version"] == 1


def test_exists_sees_what_the_batch_has_staged(store: LmdbStore) -> None:
    outcomes = store.append_batch([append_of(STREAM, 0, "x"), add(STREAM, EXISTS, tagged())])
    assert [len(records_of(outcome)) for outcome in outcomes] == [1, 1]


# Several streams.


def test_an_append_to_several_streams_is_stored_in_order(store: LmdbStore) -> None:
    stored(store, append_of(OTHER, 0, "before"))
    parts = [StreamAppend(STREAM, 0, [tagged(), tagged()]), StreamAppend(OTHER, 1, [tagged()])]
    records = stored(store, Append(parts, 0))
    places = [(fields_of(record)["stream"], fields_of(record)["version"]) for record in records]
    assert places == [(STREAM, 0), (STREAM, 1), (OTHER, 1)]
    assert read_log(store)[1:] == records
    assert read_stream(store, STREAM) == records[:2]


@pytest.mark.parametrize("wrong", [0, 1])
def test_of_several_streams_none_is_written_if_one_is_not_as_expected(store: LmdbStore, wrong: int) -> None:
    stored(store, append_of(THIRD, 0, "x"))
    before = read_log(store)
    parts = [StreamAppend(stream, 0, [tagged()]) for stream in (STREAM, OTHER)]
    parts[wrong] = StreamAppend(THIRD, 7, [tagged()])
    refusal = outcome_of(store, Append(parts, 0))
    assert isinstance(refusal, WrongExpectedVersion)
    assert (refusal.stream, refusal.expected, refusal.actual) == (THIRD, 7, 1)
    assert read_log(store) == before
    assert store.stream_count() == 1


def test_a_refused_append_leaves_nothing_to_those_after_it_in_the_batch(store: LmdbStore) -> None:
    refused = Append([StreamAppend(STREAM, 0, [tagged("t")]), StreamAppend(OTHER, EXISTS, [])], 0)
    outcomes = store.append_batch([refused, add(STREAM, 0, tagged(), unless=(Unless(tags=("t",)),))])
    assert isinstance(outcomes[0], WrongExpectedVersion)
    assert len(records_of(outcomes[1])) == 1


def test_a_check_alone_holds_or_refuses_and_writes_nothing_to_its_stream(store: LmdbStore) -> None:
    stored(store, append_of(OTHER, 0, "x"))
    checked = [StreamAppend(OTHER, 1, []), StreamAppend(STREAM, 0, [tagged()])]
    assert len(stored(store, Append(checked, 0))) == 1
    refused = [StreamAppend(OTHER, 0, []), StreamAppend(STREAM, 1, [tagged()])]
    assert isinstance(outcome_of(store, Append(refused, 0)), WrongExpectedVersion)
    assert outcome_of(store, Append([StreamAppend(OTHER, 1, []), StreamAppend(THIRD, 0, [])], 0)) == []
    assert len(read_stream(store, OTHER)) == 1
    assert store.stream_count() == 2


# Tags.


def test_tags_come_back_after_added_at_and_only_where_given(store: LmdbStore) -> None:
    with_tags, without = stored(store, add(STREAM, 0, tagged("b", "a"), tagged()))
    assert list(fields_of(with_tags))[-2:] == ["added_at", "tags"]
    assert fields_of(with_tags)["tags"] == ["b", "a"]
    assert "tags" not in fields_of(without)


# Unless.


@pytest.mark.parametrize(
    ("unless", "match"),
    [
        (Unless(tags=("a",)), 0),
        (Unless(tags=("b",)), 1),
        (Unless(tags=("a", "b")), 2),
        (Unless(types=("T",)), 3),
        (Unless(types=("U", "T")), 3),
        (Unless(types=("tested", "T")), 0),
        (Unless(types=("T",), tags=("c",)), 4),
        (Unless(types=("tested",), tags=("c",)), None),
        (Unless(tags=("a", "c")), None),
        (Unless(tags=("absent",)), None),
        (Unless(types=("a",)), None),
        (Unless(tags=("T",)), None),
        (Unless(types=("tested",), tags=("a", "b")), 2),
    ],
)
@pytest.mark.parametrize("are_staged", [False, True])
def test_unless_names_the_first_event_it_rules_out(
    store: LmdbStore, unless: Unless, match: int | None, are_staged: bool
) -> None:
    events = [tagged("a"), tagged("b"), tagged("b", "a"), tagged(kind="T"), tagged("c", kind="T"), tagged("a", "b")]
    first, second = add(STREAM, 0, *events), add(OTHER, 0, tagged(), unless=(Unless(tags=("never",)), unless))
    if are_staged:
        stored(store, add(THIRD, 0, tagged(kind="ahead")))
        given_records, outcome = store.append_batch([first, second])
    else:
        given_records, outcome = stored(store, first), outcome_of(store, second)
    if match is None:
        assert len(records_of(outcome)) == 1
        return
    assert isinstance(outcome, UnlessMatched)
    event_id = fields_of(records_of(given_records)[match])["id"]
    assert (outcome.unless, outcome.event) == (1, event_id)
    assert str(outcome).startswith(f"unless=1 event={event_id}: ")
    assert read_stream(store, OTHER) == []


def test_unless_looks_only_behind_the_event_it_names(store: LmdbStore) -> None:
    records = stored(store, add(STREAM, 0, tagged("a"), tagged("x"), tagged("a")))
    after_first = add(OTHER, 0, tagged(), unless=(Unless(tags=("a",), after=id_of(records[0])),))
    refusal = outcome_of(store, after_first)
    assert isinstance(refusal, UnlessMatched)
    assert refusal.event == fields_of(records[2])["id"]
    assert len(stored(store, add(OTHER, 0, tagged(), unless=(Unless(tags=("a",), after=id_of(records[2])),)))) == 1


def test_unless_after_the_largest_of_all_ids_holds(store: LmdbStore) -> None:
    stored(store, add(STREAM, 0, tagged("a")))
    assert len(stored(store, add(OTHER, 0, tagged(), unless=(Unless(tags=("a",), after=b"\xff" * 16),)))) == 1


def test_of_two_that_rule_each_other_out_one_is_stored(store: LmdbStore) -> None:
    """The username that two people want at once."""
    append = add(STREAM, ANY, tagged("name:ada"), unless=(Unless(tags=("name:ada",)),))
    outcomes = store.append_batch([append, append])
    assert len(records_of(outcomes[0])) == 1
    assert isinstance(outcomes[1], UnlessMatched)


def test_an_append_does_not_rule_itself_out(store: LmdbStore) -> None:
    assert len(stored(store, add(STREAM, 0, tagged("a"), unless=(Unless(tags=("a",)),)))) == 1


@given(st.data())
def test_the_first_common_id_is_what_a_look_at_every_id_finds(data: st.DataObject) -> None:
    lists = data.draw(st.lists(st.lists(st.integers(1, 30), unique=True).map(sorted), min_size=1, max_size=4))
    start = data.draw(st.integers(0, 31))

    def seek_of(ids: list[int]) -> Any:
        return lambda at: next((b"%02d" % number for number in ids if b"%02d" % number >= at), None)

    expected = next((n for n in range(start, 31) if all(n in ids for ids in lists)), None)
    found = first_common([seek_of(ids) for ids in lists], b"%02d" % start)
    assert found == (None if expected is None else b"%02d" % expected)


def is_ruled_out(event: CheckedEvent, unless: Unless) -> bool:
    """What `unless` means, said once more."""
    return (not unless.types or event.type in unless.types) and set(unless.tags) <= set(event.tags)


@pytest.mark.parametrize("seed", range(40))
def test_unless_agrees_with_a_look_at_every_event(store: LmdbStore, seed: int) -> None:
    chance = Random(seed)

    def some(names: str, least: int = 0) -> tuple[str, ...]:
        return tuple(sorted(chance.sample(names, chance.randint(least, len(names)))))

    log: list[tuple[bytes, CheckedEvent]] = []
    for _ in range(30):
        appends = []
        for _ in range(chance.randint(1, 3)):
            given_events = [CheckedEvent.of(type=chance.choice("TU"), data="", tags=some("abc")) for _ in range(2)]
            after = chance.choice([bytes(16), *[key for key, _ in log[-4:]]])
            conditions = [Unless(types=some("TUV"), tags=some("abcd", least=1), after=after) for _ in range(2)]
            appends.append(add(STREAM, ANY, *given_events, unless=tuple(conditions)))
        for append, outcome in zip(appends, store.append_batch(appends), strict=True):
            matches = [
                (index, key)
                for index, unless in enumerate(append.unless)
                for key, event in log
                if key > unless.after and is_ruled_out(event, unless)
            ]
            if not matches:
                keys = [id_of(record) for record in records_of(outcome)]
                log.extend(zip(keys, append.parts[0].events, strict=True))
                continue
            assert isinstance(outcome, UnlessMatched)
            assert (outcome.unless, find_ulid_bytes(outcome.event or "")) == matches[0]


def test_every_refusal_of_a_condition_has_the_code_of_concurrency() -> None:
    assert {WrongExpectedVersion.code, UnlessMatched.code, ConditionFailed.code} == {"CONCURRENCY"}
