"""What becomes of appends: their records, their refusals, and what other appends see of them."""

import json

import pytest

from eventflowdb.errors import InvalidArgument, WrongExpectedVersion
from eventflowdb.events import CheckedEvent
from eventflowdb.limits import STREAM_EVENTS_MAX
from eventflowdb.storage import layout
from eventflowdb.storage.lmdb_store import LmdbStore

from .samples import (
    OTHER,
    STREAM,
    THIRD,
    Clock,
    append_of,
    append_of_events,
    fields_of,
    log_keys,
    read_log,
    read_stream,
    records_of,
    stored,
)


def test_a_record_holds_every_field_in_the_order_of_the_contract(store: LmdbStore) -> None:
    event = CheckedEvent.of(type="named", data="{}", metadata="m", causation_id="0" * 26, correlation_id="1" * 26)
    (record,) = stored(store, append_of_events(STREAM, 0, event))
    (key,) = log_keys(store)
    expected = {
        "id": fields_of(record)["id"],
        "stream": STREAM,
        "version": 0,
        "position": 1,
        "type": "named",
        "data": "{}",
        "metadata": "m",
        "causation_id": "0" * 26,
        "correlation_id": "1" * 26,
        "added_at": "2025-11-23T19:23:14.123456Z",
    }
    assert record.decode() == json.dumps(expected, separators=(",", ":"))
    assert store.head().last_id == key


def test_metadata_is_null_where_absent_and_data_may_be_empty(store: LmdbStore) -> None:
    (record,) = stored(store, append_of(STREAM, 0, ""))
    assert (fields_of(record)["data"], fields_of(record)["metadata"]) == ("", None)


def test_what_is_read_is_what_the_append_returned(store: LmdbStore) -> None:
    records = stored(store, append_of(STREAM, 0, "a", "b")) + stored(store, append_of(STREAM, 2, "c"))
    assert read_stream(store, STREAM) == records
    assert read_log(store) == records


def test_versions_count_in_the_stream_and_positions_in_the_log(store: LmdbStore) -> None:
    store.append_batch([append_of(STREAM, 0, "a", "b"), append_of(OTHER, 0, "c"), append_of(STREAM, 2, "d")])
    stored(store, append_of(OTHER, 1, "e"))
    places = [(event["position"], event["stream"], event["version"]) for event in map(fields_of, read_log(store))]
    assert places == [(1, STREAM, 0), (2, STREAM, 1), (3, OTHER, 0), (4, STREAM, 2), (5, OTHER, 1)]


def test_all_events_of_a_batch_share_one_time(store: LmdbStore) -> None:
    store.append_batch([append_of(STREAM, 0, "a", "b"), append_of(OTHER, 0, "c")])
    assert {fields_of(record)["added_at"] for record in read_log(store)} == {"2025-11-23T19:23:14.123456Z"}


@pytest.mark.parametrize("expected_version", [0, 1, 3, 4, 2**53 - 1])
def test_an_append_is_refused_unless_it_expects_as_many_events_as_there_are(
    store: LmdbStore, expected_version: int
) -> None:
    stored(store, append_of(STREAM, 0, "a", "b"))
    (refusal,) = store.append_batch([append_of(STREAM, expected_version, "c")])
    assert isinstance(refusal, WrongExpectedVersion)
    assert (refusal.stream, refusal.expected, refusal.actual) == (STREAM, expected_version, 2)
    assert str(refusal).startswith(f"stream={STREAM} expected={expected_version} actual=2: ")
    assert len(read_stream(store, STREAM)) == 2


def test_a_stream_that_does_not_exist_holds_no_events(store: LmdbStore) -> None:
    (refusal,) = store.append_batch([append_of(STREAM, 1, "a")])
    assert isinstance(refusal, WrongExpectedVersion)
    assert refusal.actual == 0
    assert store.stream_count() == 0


def test_the_second_append_of_a_batch_to_one_stream_sees_the_first(store: LmdbStore) -> None:
    first, second = store.append_batch([append_of(STREAM, 0, "a", "b"), append_of(STREAM, 2, "c")])
    assert read_stream(store, STREAM) == records_of(first) + records_of(second)


def test_of_two_appends_of_a_batch_that_expect_the_same_the_first_is_stored(store: LmdbStore) -> None:
    stored(store, append_of(STREAM, 0, "a"))
    first, second = store.append_batch([append_of(STREAM, 1, "b", "c"), append_of(STREAM, 1, "d")])
    assert isinstance(second, WrongExpectedVersion)
    assert (second.expected, second.actual) == (1, 3)
    assert read_stream(store, STREAM, 1) == records_of(first)


def test_a_refusal_hinders_no_other_append_and_leaves_no_gap(store: LmdbStore) -> None:
    stored(store, append_of(STREAM, 0, "a"))
    outcomes = store.append_batch(
        [
            append_of(STREAM, 7, "refused"),
            append_of(OTHER, 0, "b", "c"),
            append_of(THIRD, 1, "refused", "refused"),
            append_of(STREAM, 1, "d"),
            append_of(OTHER, 0, "refused"),
        ]
    )
    assert [isinstance(outcome, list) for outcome in outcomes] == [False, True, False, True, False]
    events = [fields_of(record) for record in read_log(store)]
    assert [(event["position"], event["data"]) for event in events] == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    numbers = [int.from_bytes(key, "big") for key in log_keys(store)]
    assert numbers == list(range(numbers[0], numbers[0] + 4))
    assert store.stream_count() == 2


def test_a_batch_of_refusals_changes_nothing(store: LmdbStore, clock: Clock) -> None:
    stored(store, append_of(STREAM, 0, "a"))
    head, transaction = store.head(), store.environment.env.info()["last_txnid"]
    clock.us += 1_000_000
    store.append_batch([append_of(STREAM, 0, "b"), append_of(OTHER, 5, "c")])
    assert store.head() == head
    assert store.environment.env.info()["last_txnid"] == transaction


def test_an_empty_batch_has_no_outcomes(store: LmdbStore) -> None:
    assert store.append_batch([]) == []
    assert store.event_count() == 0


def test_an_append_without_events_makes_no_stream(store: LmdbStore) -> None:
    nothing, outcome = store.append_batch([append_of(STREAM, 0), append_of(OTHER, 0, "a")])
    assert (nothing, len(records_of(outcome))) == ([], 1)
    assert store.stream_count() == 1
    assert store.open_stream(STREAM, 0, None).records == []


def test_a_fault_in_the_middle_of_a_batch_stores_nothing_of_it(store: LmdbStore) -> None:
    stored(store, append_of(STREAM, 0, "a"))
    head = store.head()
    with pytest.raises(UnicodeEncodeError):
        store.append_batch([append_of(OTHER, 0, "b"), append_of(STREAM, 1, "c", "half a pair: \ud800")])
    assert store.head() == head
    assert (store.event_count(), store.stream_count()) == (1, 1)
    stored(store, append_of(STREAM, 1, "d"))


def test_a_stream_takes_no_more_events_than_versions_have_numbers(damaged_store: LmdbStore) -> None:
    stored(damaged_store, append_of(STREAM, 0, "a"))
    last_but_one = layout.pack_index_entry(STREAM_EVENTS_MAX - 2, log_keys(damaged_store)[0])
    with damaged_store.environment.env.begin(write=True) as txn:
        txn.put(layout.pack_number(0), last_but_one, db=damaged_store.environment.stream_events)
    one_too_many, last = damaged_store.append_batch(
        [append_of(STREAM, STREAM_EVENTS_MAX - 1, "b", "c"), append_of(STREAM, STREAM_EVENTS_MAX - 1, "b")]
    )
    assert isinstance(one_too_many, InvalidArgument)
    assert fields_of(records_of(last)[0])["version"] == STREAM_EVENTS_MAX - 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "a\0b\0",
        "\x01\x1f\x7f\x80",
        '"quoted" and \\escaped\\',
        "line\r\nline\u2028line\u2029",
        "zażółć gęślą jaźń",
        "日本語",
        "👩‍🚀 \U0010ffff \ufffd \ufeff",
        "e\u0301 is not \u00e9",
        "/" * 100_000,
    ],
    ids=ascii,
)
def test_any_text_comes_back_as_it_went_in(store: LmdbStore, text: str) -> None:
    stored(store, append_of_events(STREAM, 0, CheckedEvent.of(type="named", data=text, metadata=text)))
    (record,) = read_stream(store, STREAM)
    assert (fields_of(record)["data"], fields_of(record)["metadata"]) == (text, text)


def test_counts_are_those_of_what_was_stored(store: LmdbStore) -> None:
    assert (store.event_count(), store.stream_count()) == (0, 0)
    store.append_batch([append_of(STREAM, 0, "a", "b"), append_of(OTHER, 0, "c"), append_of(THIRD, 9, "refused")])
    assert (store.event_count(), store.stream_count()) == (3, 2)
    stored(store, append_of(STREAM, 2, "d"))
    assert (store.event_count(), store.stream_count()) == (4, 2)


def test_the_size_is_that_of_the_pages_in_use(store: LmdbStore) -> None:
    page_bytes = store.environment.env.stat()["psize"]
    empty = store.size_bytes()
    stored(store, append_of(STREAM, 0, "a" * 1_000_000))
    assert empty % page_bytes == store.size_bytes() % page_bytes == 0
    assert 1_000_000 < store.size_bytes() - empty < 1_100_000


def test_indexes_leave_no_page_half_empty(store: LmdbStore) -> None:
    environment = store.environment
    cause = "0" * 26
    for version in range(0, 6000, 60):
        events = [CheckedEvent.of(type="tested", data="{}", causation_id=cause) for _ in range(60)]
        stored(store, append_of_events(STREAM, version, *events))
    page_bytes = environment.env.stat()["psize"]
    with environment.env.begin() as txn:
        for index, entry_bytes in ((environment.stream_events, 20), (environment.term_events, 16)):
            full_pages = 6000 * entry_bytes / page_bytes
            assert full_pages < txn.stat(index)["leaf_pages"] < 1.1 * full_pages
        entries_of_both = txn.stat(environment.links)
    # By correlation id, which is the causing id here, and by causation id.
    assert entries_of_both["entries"] == 12000
    assert entries_of_both["leaf_pages"] < 1.1 * 12000 * 16 / page_bytes


def test_streams_are_numbered_in_order_of_their_first_append(store: LmdbStore) -> None:
    store.append_batch([append_of(STREAM, 0, "a"), append_of(THIRD, 1, "refused"), append_of(OTHER, 0, "b")])
    stored(store, append_of(THIRD, 0, "c"))
    with store.environment.env.begin() as txn:
        numbers = [txn.get(layout.stream_key(name), db=store.environment.streams) for name in (STREAM, OTHER, THIRD)]
    assert numbers == [layout.pack_number(number) for number in range(3)]
