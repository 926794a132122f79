"""The shapes of events: the order of keys on the wire, and what may be left out."""

import json

import msgspec
import pytest

from eventflowdb.events import NewEvent, RecordedEvent

RECORDED = RecordedEvent(
    id="01KAS2Q7AB04HMASW9NF6YY094",
    stream="c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c",
    version=0,
    position=1,
    type="opened",
    data="{}",
    metadata=None,
    causation_id="01KAS2Q7AB04HMASW9NF6YY094",
    correlation_id="01KAS2Q7AB04HMASW9NF6YY094",
    added_at="2025-11-23T19:23:14.123456Z",
)


def test_a_recorded_event_has_its_keys_in_the_order_of_the_contract() -> None:
    keys = "id stream version position type data metadata causation_id correlation_id added_at"
    assert list(json.loads(msgspec.json.encode(RECORDED))) == keys.split()


def test_a_recorded_event_comes_back_from_its_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(RECORDED), type=RecordedEvent) == RECORDED


def test_keys_that_come_later_are_ignored() -> None:
    later = msgspec.json.encode(RECORDED)[:-1] + b',"erased_at":["a"]}'
    assert msgspec.json.decode(later, type=RecordedEvent) == RECORDED


def test_tags_stand_after_added_at_where_there_are_any() -> None:
    tagged = msgspec.structs.replace(RECORDED, tags=("a", "b"))
    assert msgspec.json.encode(tagged) == msgspec.json.encode(RECORDED)[:-1] + b',"tags":["a","b"]}'
    assert msgspec.json.decode(msgspec.json.encode(tagged), type=RecordedEvent) == tagged


@pytest.mark.parametrize("key", [key for key in RECORDED.__struct_fields__ if key != "tags"])
def test_no_key_of_a_recorded_event_may_be_missing(key: str) -> None:
    fields = json.loads(msgspec.json.encode(RECORDED))
    del fields[key]
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert(fields, RecordedEvent)


def test_a_new_event_needs_type_and_data_only() -> None:
    event = msgspec.json.decode(b'{"type":"opened","data":""}', type=NewEvent)
    assert event == NewEvent(type="opened", data="")
    assert (event.metadata, event.causation_id, event.correlation_id) == (None, None, None)


def test_what_a_new_event_leaves_out_is_not_written() -> None:
    assert msgspec.json.encode(NewEvent(type="opened", data="")) == b'{"type":"opened","data":""}'
    assert b'"metadata":"m"' in msgspec.json.encode(NewEvent(type="opened", data="", metadata="m"))


@pytest.mark.parametrize("value", [RECORDED, NewEvent(type="opened", data="")])
def test_events_are_values(value: msgspec.Struct) -> None:
    with pytest.raises(AttributeError):
        value.type = "changed"  # type: ignore[attr-defined]
    assert hash(value) == hash(msgspec.structs.replace(value))
