"""Causation and correlation ids: the event's own id, or what the cause had, or what the writer gave."""

from typing import Any

from eventflowdb.events import CheckedEvent
from eventflowdb.ids import ulid_text
from eventflowdb.storage.lmdb_store import LmdbStore

from .samples import OTHER, STREAM, Clock, append_of_events, fields_of, log_keys, records_of, stored

GIVEN = "01KAS4NVR1SDPXY9PK3ZJ4MDGB"
UNKNOWN = "01KAS4NVR1SDPXY9PK3ZJ4MDGC"


def event_of(causation_id: str | None = None, correlation_id: str | None = None) -> CheckedEvent:
    """An event with these ids."""
    return CheckedEvent.of(type="tested", data="", causation_id=causation_id, correlation_id=correlation_id)


def links_of(record: bytes) -> tuple[Any, Any]:
    """Causation and correlation id of a record."""
    fields = fields_of(record)
    return fields["causation_id"], fields["correlation_id"]


def id_of(record: bytes) -> str:
    """The id of a record."""
    return str(fields_of(record)["id"])


def upcoming_ids(store: LmdbStore, clock: Clock) -> list[str]:
    """The ids of the next few events: while the clock stands still they count on from the last one."""
    stored(store, append_of_events(OTHER, 0, event_of()))
    last = int.from_bytes(log_keys(store)[-1], "big")
    assert last >> 80 == clock.us // 1000
    return [ulid_text(last + ahead) for ahead in range(1, 5)]


def test_an_event_without_a_cause_is_its_own_cause_and_begins_a_correlation(store: LmdbStore) -> None:
    for record in stored(store, append_of_events(STREAM, 0, event_of(), event_of())):
        assert links_of(record) == (id_of(record), id_of(record))


def test_given_ids_are_kept(store: LmdbStore) -> None:
    (record,) = stored(store, append_of_events(STREAM, 0, event_of(UNKNOWN, GIVEN)))
    assert links_of(record) == (UNKNOWN, GIVEN)


def test_a_correlation_may_be_given_without_a_cause(store: LmdbStore) -> None:
    (record,) = stored(store, append_of_events(STREAM, 0, event_of(None, GIVEN)))
    assert links_of(record) == (id_of(record), GIVEN)


def test_the_correlation_is_that_of_a_cause_in_the_log(store: LmdbStore) -> None:
    (cause,) = stored(store, append_of_events(STREAM, 0, event_of(None, GIVEN)))
    (effect,) = stored(store, append_of_events(OTHER, 0, event_of(id_of(cause))))
    (next_effect,) = stored(store, append_of_events(OTHER, 1, event_of(id_of(effect))))
    assert links_of(effect) == (id_of(cause), GIVEN)
    assert links_of(next_effect) == (id_of(effect), GIVEN)


def test_a_given_correlation_beats_that_of_the_cause(store: LmdbStore) -> None:
    (cause,) = stored(store, append_of_events(STREAM, 0, event_of()))
    (effect,) = stored(store, append_of_events(STREAM, 1, event_of(id_of(cause), GIVEN)))
    assert links_of(effect) == (id_of(cause), GIVEN)


def test_the_correlation_is_the_causation_where_the_cause_is_not_in_the_log(store: LmdbStore) -> None:
    (record,) = stored(store, append_of_events(STREAM, 0, event_of(UNKNOWN)))
    assert links_of(record) == (UNKNOWN, UNKNOWN)


def test_the_correlation_is_that_of_a_cause_in_an_earlier_append_of_the_batch(store: LmdbStore, clock: Clock) -> None:
    cause, _, effect = upcoming_ids(store, clock)[:3]
    _, outcome = store.append_batch(
        [
            append_of_events(STREAM, 0, event_of(None, GIVEN), event_of()),
            append_of_events(STREAM, 2, event_of(cause), event_of(effect)),
        ]
    )
    first, second = records_of(outcome)
    assert id_of(first) == effect
    assert links_of(first) == (cause, GIVEN)
    assert links_of(second) == (effect, GIVEN)


def test_the_correlation_is_that_of_a_cause_earlier_in_the_append(store: LmdbStore, clock: Clock) -> None:
    cause, effect = upcoming_ids(store, clock)[:2]
    append = append_of_events(STREAM, 0, event_of(None, GIVEN), event_of(cause), event_of(effect))
    assert [links_of(record)[1] for record in stored(store, append)] == [GIVEN, GIVEN, GIVEN]


def test_an_event_that_names_itself_as_its_cause_correlates_to_itself(store: LmdbStore, clock: Clock) -> None:
    own = upcoming_ids(store, clock)[0]
    (record,) = stored(store, append_of_events(STREAM, 0, event_of(own)))
    assert id_of(record) == own
    assert links_of(record) == (own, own)


def test_an_event_that_names_a_later_one_as_its_cause_correlates_to_that(store: LmdbStore, clock: Clock) -> None:
    later = upcoming_ids(store, clock)[1]
    effect, cause = stored(store, append_of_events(STREAM, 0, event_of(later), event_of(None, GIVEN)))
    assert id_of(cause) == later
    assert links_of(effect) == (later, later)


def test_a_refused_append_is_no_cause(store: LmdbStore, clock: Clock) -> None:
    cause = upcoming_ids(store, clock)[0]
    _, outcome = store.append_batch(
        [append_of_events(STREAM, 9, event_of(None, GIVEN)), append_of_events(STREAM, 0, event_of(cause))]
    )
    assert [links_of(record) for record in records_of(outcome)] == [(cause, cause)]
