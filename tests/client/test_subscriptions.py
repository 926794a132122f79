"""What a subscription sends next, and when; without I/O."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from eventflowdb.client.filters import fields_of, rfc3339
from eventflowdb.client.refusals import ClientClosed, ConnectionLost, NotConnected, UnexpectedReply
from eventflowdb.client.retries import RECONNECT_SECONDS_FIRST, RECONNECT_SECONDS_MAX
from eventflowdb.client.subscriptions import Subscription
from eventflowdb.errors import CorruptRecord, EventflowError, InvalidArgument, TryAgain, WrongPassword

from .samples import EVENT, EVENT_JSON, STREAM, event_json

CONFIRMED = [b"subscribe", b"{}", 1]
FAR = "9000-01-01T00:00:00Z"
NOTHING: dict[str, Any] = {"stream": None, "version": None, "offset": None, "after": None}


def subscription(*, is_patient: bool = False, **fields: Any) -> Subscription:
    """A subscription to these."""
    places = {name: fields.pop(name, None) for name in NOTHING}
    return Subscription(fields, is_patient=is_patient, **places)  # type: ignore[arg-type]


def asked(subscription: Subscription) -> Any:
    """The query that it sends next."""
    return json.loads(subscription.query())


@pytest.mark.parametrize(
    ("fields", "query", "has_place"),
    [
        ({}, {}, False),
        ({"types": ["a"], "tags": ("b",)}, {"types": ["a"], "tags": ["b"]}, False),
        ({"stream": STREAM}, {"stream": STREAM}, False),
        (
            {"before": EVENT.id, "until": "2030-01-01T00:00:00Z"},
            {"before": EVENT.id, "until": "2030-01-01T00:00:00Z"},
            False,
        ),
        ({"stream": STREAM, "version": 0}, {"stream": STREAM, "version": 0}, True),
        ({"after": EVENT.id}, {"after": EVENT.id}, True),
        ({"offset": EVENT.id, "correlation_id": EVENT.id}, {"offset": EVENT.id, "correlation_id": EVENT.id}, True),
        ({"since": "2026-01-01T00:00:00Z"}, {"since": "2026-01-01T00:00:00Z"}, True),
    ],
)
def test_the_query_says_what_was_given(fields: dict[str, Any], query: dict[str, Any], has_place: bool) -> None:
    made = subscription(**fields)
    assert asked(made) == query
    assert made.has_place is has_place


@pytest.mark.parametrize(
    "fields", [{}, {"offset": EVENT.id}, {"after": EVENT.id}, {"stream": STREAM, "version": 3}, {"types": ["Opened"]}]
)
def test_after_an_event_it_goes_on_behind_that_one(fields: dict[str, Any]) -> None:
    made = subscription(**fields)
    assert made.event_of(CONFIRMED) is None
    assert made.event_of([b"message", b"{}", EVENT_JSON]) == EVENT
    event = made.event_of([b"message", b"{}", event_json(7)])
    assert event is not None
    kept = {name: value for name, value in fields.items() if name in ("stream", "types")}
    assert asked(made) == {**kept, "after": event.id}


@pytest.mark.parametrize("reply", [CONFIRMED, [b"pong", b""], [b"unsubscribe", b"{}", 0]])
def test_what_is_no_message_is_no_event(reply: object) -> None:
    assert subscription().event_of(reply) is None


@pytest.mark.parametrize("reply", [b"OK", 1, None, [], [1, 2], [b"message", b"{}", b"{}"], [b"message", b"{}", None]])
def test_what_no_server_sends_is_told(reply: object) -> None:
    with pytest.raises(UnexpectedReply):
        subscription().event_of(reply)


def test_an_error_is_raised() -> None:
    with pytest.raises(CorruptRecord):
        subscription().event_of(CorruptRecord("a flipped bit"))


LOST = ConnectionLost.because("reset")


@pytest.mark.parametrize("error", [LOST, NotConnected.because("refused"), TryAgain("shutting down")])
def test_once_it_was_confirmed_it_is_taken_up_again_after_pauses_that_grow(error: EventflowError) -> None:
    made = subscription()
    with pytest.raises(type(error)):
        made.pause_after(error)
    made.event_of(CONFIRMED)
    pauses = [made.pause_after(error) for _ in range(12)]
    bounds = [min(RECONNECT_SECONDS_FIRST * 2**index, RECONNECT_SECONDS_MAX) for index in range(12)]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    made.event_of(CONFIRMED)
    assert made.pause_after(error) <= RECONNECT_SECONDS_FIRST


def test_a_patient_one_waits_for_a_server_that_was_never_there() -> None:
    assert subscription(is_patient=True).pause_after(NotConnected.because("refused")) <= RECONNECT_SECONDS_FIRST


@pytest.mark.parametrize(
    "error",
    [WrongPassword("no"), CorruptRecord("a flipped bit"), InvalidArgument("types: no"), ClientClosed.because("closed")],
)
def test_what_would_not_pass_ends_it(error: EventflowError) -> None:
    made = subscription(is_patient=True)
    made.event_of(CONFIRMED)
    with pytest.raises(type(error)):
        made.pause_after(error)


def test_a_time_may_be_a_datetime_with_its_zone() -> None:
    moment = datetime(2026, 11, 23, 20, 23, 14, 5, timezone(timedelta(hours=1)))
    assert rfc3339(moment) == "2026-11-23T19:23:14.000005Z"
    assert fields_of({"since": moment, "until": moment}).until == rfc3339(moment)
    with pytest.raises(InvalidArgument, match="with its zone"):
        fields_of({"since": datetime(2026, 11, 23)})


def test_a_keyword_that_is_no_filter_is_refused_by_its_name() -> None:
    with pytest.raises(TypeError, match="'typs' is no filter"):
        fields_of({"typs": ["a"]})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'limit' is no filter"):
        fields_of({"limit": 7})  # type: ignore[arg-type]
