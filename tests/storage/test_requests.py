"""request_id: the same request is answered the same events for ever, and stored once."""

from typing import Any

import pytest

from eventflowdb.append import Append, StreamAppend
from eventflowdb.errors import RequestConflict, UnlessMatched, WrongExpectedVersion
from eventflowdb.events import ANY, EXISTS, CheckedEvent, Unless
from eventflowdb.storage import layout
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.requests import content_digest

from .samples import OTHER, STREAM, OpenDatabase, append_of, read_log, records_of, stored

APPEND = Append(
    [StreamAppend(STREAM, 0, [CheckedEvent.of(type="t", data="d"), CheckedEvent.of(type="t", data="e", tags=("a",))])],
    0,
    (Unless(tags=("a",)),),
    "r-1",
)


def changed(**fields: Any) -> Append:
    """The append with other fields."""
    own = {"parts": APPEND.parts, "size_bytes": 0, "unless": APPEND.unless, "request_id": APPEND.request_id}
    return Append(**{**own, **fields})


def test_a_repeated_request_is_answered_the_same_and_stored_once(store: LmdbStore) -> None:
    records = stored(store, APPEND)
    stored(store, append_of(OTHER, 0, "between"))
    assert stored(store, APPEND) == records
    assert store.event_count() == 3


def test_also_within_one_batch(store: LmdbStore) -> None:
    first, second = store.append_batch([APPEND, APPEND])
    assert records_of(first) == records_of(second)
    assert store.event_count() == 2


def test_also_when_the_database_was_opened_anew(database: OpenDatabase) -> None:
    records = stored(database.store, APPEND)
    assert stored(database.reopen(), APPEND) == records


def test_the_weight_of_the_request_is_not_its_content(store: LmdbStore) -> None:
    assert stored(store, APPEND) == stored(store, changed(size_bytes=99))


@pytest.mark.parametrize(
    "other",
    [
        changed(unless=()),
        changed(unless=(Unless(tags=("b",)),)),
        changed(parts=[StreamAppend(OTHER, 0, APPEND.parts[0].events)]),
        changed(parts=[StreamAppend(STREAM, ANY, APPEND.parts[0].events)]),
        changed(parts=[StreamAppend(STREAM, 0, APPEND.parts[0].events[:1])]),
        changed(parts=[*APPEND.parts, StreamAppend(OTHER, 0, [])]),
    ],
)
def test_another_content_under_the_same_id_is_a_conflict(store: LmdbStore, other: Append) -> None:
    records = stored(store, APPEND)
    (outcome,) = store.append_batch([other])
    assert isinstance(outcome, RequestConflict)
    assert "'r-1'" in str(outcome)
    assert read_log(store) == records


def test_a_conflict_is_seen_within_one_batch(store: LmdbStore) -> None:
    _, outcome = store.append_batch([APPEND, changed(unless=())])
    assert isinstance(outcome, RequestConflict)


def test_only_success_is_remembered(store: LmdbStore) -> None:
    early = changed(parts=[StreamAppend(STREAM, 1, [CheckedEvent.of(type="t", data="late")])], unless=())
    (outcome,) = store.append_batch([early])
    assert isinstance(outcome, WrongExpectedVersion)
    stored(store, append_of(STREAM, 0, "x"))
    assert len(stored(store, early)) == 1


def test_without_an_id_nothing_is_deduplicated_or_remembered(store: LmdbStore) -> None:
    append = Append([StreamAppend(STREAM, ANY, [CheckedEvent.of(type="t", data="d")])], 0)
    assert stored(store, append) != stored(store, append)
    with store.environment.env.begin() as txn:
        assert txn.stat(store.environment.requests)["entries"] == 0


def test_different_ids_are_different_requests(store: LmdbStore) -> None:
    stored(store, APPEND)
    (outcome,) = store.append_batch([changed(request_id="r-2")])
    assert isinstance(outcome, WrongExpectedVersion)
    (outcome,) = store.append_batch([changed(request_id="r-2", parts=[StreamAppend(STREAM, 2, [])])])
    assert isinstance(outcome, UnlessMatched)


def test_a_check_alone_is_remembered_too(store: LmdbStore) -> None:
    check = Append([StreamAppend(STREAM, 0, [])], 0, (), "check")
    assert stored(store, check) == []
    stored(store, append_of(STREAM, 0, "x"))
    assert stored(store, check) == []


def test_an_answer_of_many_large_events_comes_back_whole(store: LmdbStore) -> None:
    events = [CheckedEvent.of(type="t", data=f"{number}" + "x" * 10_000) for number in range(200)]
    append = Append([StreamAppend(STREAM, 0, events[:150]), StreamAppend(OTHER, 0, events[150:])], 0, (), "é" * 64)
    records = stored(store, append)
    stored(store, append_of(STREAM, 150, "after"))
    assert stored(store, append) == records


def test_the_form_in_which_contents_are_compared_is_that_of_the_layout() -> None:
    """Digests are stored: were this form to change, every repeated request would become a conflict."""
    event = CheckedEvent.of(
        type="t", data="d", metadata="m", causation_id="0" * 26, correlation_id="1" * 26, tags=("a",)
    )
    parts = [StreamAppend(STREAM, EXISTS, [event, CheckedEvent.of(type="t", data="")]), StreamAppend(OTHER, 3, [])]
    append = Append(parts, 5, (Unless(types=("T",), after=bytes(range(16))), Unless(tags=("a", "b"))), "r")
    assert content_digest(append).hex() == "4189ed96f13dea1b07992d87b9c9bc336b9a8a0dc1940cc7daa515c065f50e3c"


def test_an_answer_is_stored_in_these_bytes(store: LmdbStore) -> None:
    stored(store, APPEND)
    with store.environment.env.begin() as txn:
        value = txn.get(b"r-1", db=store.environment.requests)
        first = next(iter(txn.cursor(store.environment.log).iternext(values=False)))
    assert value[:-4] == content_digest(APPEND) + first + b"\0\0\0\2"
    assert layout.unpack_answer(value, "r-1") == (content_digest(APPEND), first, 2)
