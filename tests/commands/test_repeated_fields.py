"""A field that stands twice is refused by name, whatever else the text holds; one that stands once never is."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from .samples import (
    ARGUMENTS,
    LARGEST,
    OTHER,
    STREAM,
    ULID_TEXT,
    UNHURRIED,
    Object,
    add_argument,
    add_many_argument,
    arguments,
    decoded,
    event,
    places,
    plain,
    refusal,
    write_json,
)

TWICE = "the field is given more than once"
CHECKPOINT = f'{{"consumer":"c","member":"m","id":"{ULID_TEXT}"}}'

REPEATED: list[tuple[str, str, str]] = [
    ("GET", f'{{"stream":"{STREAM}","stream":"{STREAM}"}}', "stream"),
    ("GET", f'{{"stream":"","stream":"{STREAM}"}}', "stream"),
    ("GET", f'{{"stream":"{STREAM}","str\\u0065am":"{STREAM}"}}', "stream"),
    ("GET", f'{{"stream":"{STREAM}","version":1,"version":1}}', "version"),
    ("GET", f'{{"stream":"{STREAM}","limit":null,"version":1,"limit":null}}', "limit"),
    ("GET", f'{{"limit":1,"stream":"{STREAM}","limit":null}}', "limit"),
    ("GETALL", '{"limit":1,"limit":1}', "limit"),
    ("GETALL", '{"after":null,"after":null}', "after"),
    ("GETALL", f'{{"after":"{ULID_TEXT}","limit":1,"after":null}}', "after"),
    ("GETALL", f'{{"offset":null,"after":null,"offset":"{ULID_TEXT}"}}', "offset"),
    ("GETALL", '{"limit":1,"limit":2,"after":null,"after":null}', "limit"),
    ("ADD", add_argument(event())[:-1] + ',"version":0}', "version"),
    ("ADD", add_argument(event())[:-1] + f',"stream":"{STREAM}"}}', "stream"),
    ("ADD", add_argument(event())[:-1] + f',"events":[{event()}]}}', "events"),
    ("ADD", add_argument()[:-1] + f',"events":[{event()}]}}', "events"),
    ("ADD", add_argument(event())[:-1] + ',"events":[]}', "events"),
    ("ADD", add_argument('{"type":"t","data":"d","data":"d"}'), "events[0].data"),
    ("ADD", add_argument('{"type":"t","data":"d","d\\u0061ta":"d"}'), "events[0].data"),
    ("ADD", add_argument('{"type":"t","type":"t","data":"d"}'), "events[0].type"),
    ("ADD", add_argument('{"type":"t","data":"d","metadata":null,"metadata":null}'), "events[0].metadata"),
    ("ADD", add_argument('{"metadata":"m","type":"t","data":"d","metadata":null}'), "events[0].metadata"),
    ("ADD", add_argument('{"type":"t","data":"d","causation_id":null,"causation_id":null}'), "events[0].causation_id"),
    (
        "ADD",
        add_argument('{"correlation_id":null,"type":"t","data":"d","correlation_id":null}'),
        "events[0].correlation_id",
    ),
    ("ADD", add_argument(*[event()] * 11, event()[:-1] + ',"type":"t"}', event()), "events[11].type"),
    # Escaped quotes and backslashes, which the counting of quotes has to see through.
    ("ADD", add_argument('{"type":"t","data":"\\"","data":"\\\\"}'), "events[0].data"),
    ("ADD", add_argument('{"type":"t","data":"\\\\","data":"\\\\"}'), "events[0].data"),
    ("ADD", add_argument('{"type":"t","data":"\\\\\\"","data":"\\\\\\\\"}'), "events[0].data"),
    ("ADD", add_argument('{"type":"t","data":"\\"\\"\\"\\"","metadata":"\\\\","metadata":null}'), "events[0].metadata"),
    ("ADD", add_argument('{"type":"\\\\\\\\","data":"\\\\","metadata":null,"metadata":null}'), "events[0].metadata"),
    ("ADD", add_argument('{"type":"t","data":"\\u0022\\u005c","data":"d"}'), "events[0].data"),
    ("ADD", add_argument('{"type":"t","data":",\\"data\\":","data":"d"}'), "events[0].data"),
    # Versions in words, tags and conditions.
    ("ADD", add_argument(event(), version='"any"')[:-1] + ',"version":0}', "version"),
    ("ADD", add_argument(event())[:-1] + ',"version":"exists"}', "version"),
    ("ADD", add_argument(event(), request_id="null")[:-1] + ',"request_id":"r"}', "request_id"),
    ("ADD", add_argument(event(), request_id='"r"')[:-1] + ',"request_id":null}', "request_id"),
    ("ADD", add_argument(event(tags='["a"]')[:-1] + ',"tags":["a"]}'), "events[0].tags"),
    ("ADD", add_argument(event(tags='["a"]')[:-1] + ',"tags":null}'), "events[0].tags"),
    ("ADD", add_argument(event(), event(tags="null")[:-1] + ',"t\\u0061gs":[]}'), "events[1].tags"),
    ("ADD", add_argument(event(), unless="null")[:-1] + ',"unless":[]}', "unless"),
    ("ADD", add_argument(event(), unless='{"tags":["a"]}')[:-1] + ',"unless":{"tags":["a"]}}', "unless"),
    ("ADD", add_argument(event(), unless='{"types":["a"],"types":["b"]}'), "unless.types"),
    ("ADD", add_argument(event(), unless='{"types":null,"tags":["b"],"types":null}'), "unless.types"),
    ("ADD", add_argument(event(), unless='{"tags":[],"tags":["b"]}'), "unless.tags"),
    ("ADD", add_argument(event(), unless=f'{{"after":"{ULID_TEXT}","tags":["b"],"after":null}}'), "unless.after"),
    ("ADD", add_argument(event(), unless='[{"tags":["a"]},{"tags":["b"],"tags":["b"]}]'), "unless[1].tags"),
    ("ADD", add_argument(event(), unless='[{"after":null,"types":["a"],"after":null}]'), "unless[0].after"),
    ("ADD", add_argument(event(), checkpoint="null")[:-1] + ',"checkpoint":null}', "checkpoint"),
    ("ADD", add_argument(event(), checkpoint=CHECKPOINT[:-1] + ',"member":"m"}'), "checkpoint.member"),
    # Several streams.
    ("ADDMANY", add_many_argument(add_argument())[:-1] + ',"appends":[]}', "appends"),
    ("ADDMANY", '{"appends":[],' + add_many_argument(add_argument())[1:], "appends"),
    ("ADDMANY", add_many_argument(add_argument(), unless="null")[:-1] + ',"unless":null}', "unless"),
    ("ADDMANY", add_many_argument(add_argument(), request_id='"r"')[:-1] + ',"request_id":"r"}', "request_id"),
    ("ADDMANY", add_many_argument(add_argument()[:-1] + f',"stream":"{OTHER}"}}'), "appends[0].stream"),
    ("ADDMANY", add_many_argument(add_argument()[:-1] + ',"version":"any"}'), "appends[0].version"),
    ("ADDMANY", add_many_argument(add_argument()[:-1] + ',"events":null}'), "appends[0].events"),
    (
        "ADDMANY",
        add_many_argument(add_argument(), add_argument(stream=f'"{OTHER}"')[:-1] + ',"events":[]}'),
        "appends[1].events",
    ),
    (
        "ADDMANY",
        add_many_argument(add_argument(), add_argument(event(), event()[:-1] + ',"type":"t"}', stream=f'"{OTHER}"')),
        "appends[1].events[1].type",
    ),
    ("ADDMANY", add_many_argument(add_argument(event(tags="[]")[:-1] + ',"tags":[]}')), "appends[0].events[0].tags"),
    ("ADDMANY", add_many_argument(add_argument(), unless='[{"tags":["a"],"tags":["a"]}]'), "unless[0].tags"),
]
ONCE = [
    event(data='"\\""'),
    event(data='"\\\\"'),
    event(data='"\\\\\\""'),
    event(data='"\\\\\\\\"'),
    event(data='"\\\\\\\\\\""'),
    event(data='"\\u0022\\u005c\\u0022"'),
    event(data='"\\u005c\\""'),
    event(data=json.dumps(event(data=json.dumps(event(data='"\\\\\\""'))))),
    event(data='",\\"data\\":\\"d\\""'),
    event(metadata='"\\\\"', data='"\\\\"'),
    event(metadata="null", causation_id="null"),
    event(tags="null"),
    event(tags="[]"),
    event(tags='["\\"","\\\\","tags","\\",\\"tags\\":[]"]'),
]
GUARDS: list[dict[str, str]] = [
    {"unless": "null", "request_id": "null"},
    {"unless": "[]", "request_id": '"\\"\\\\"'},
    {"unless": '{"types":["a","\\""],"tags":null,"after":null}'},
    {"unless": f'{{"tags":["\\\\","b"],"types":[],"after":"{ULID_TEXT}"}}'},
    {"unless": '[{"types":["a"]},{"tags":["a"]},{"types":["a","b"],"tags":["a","\\\\\\""]}]'},
    {"version": '"any"'},
    {"version": '"exists"', "request_id": '"version"'},
    {"checkpoint": "null"},
    {"checkpoint": CHECKPOINT, "request_id": '"checkpoint"'},
]


@pytest.mark.parametrize(("command", "text", "path"), REPEATED)
def test_a_repeated_field_is_named_with_its_path(command: str, text: str, path: str) -> None:
    assert refusal(command, text) == f"{path}: {TWICE}"


@pytest.mark.parametrize("text", ONCE)
def test_quotes_and_backslashes_in_texts_are_no_fields(text: str) -> None:
    argument = add_argument(text, text)
    assert decoded("ADD", argument).parts == decoded("ADD", argument + " ").parts
    assert refusal("ADD", argument[:-1] + ',"version":0}') == f"version: {TWICE}"
    assert refusal("ADD", argument[:-1] + ',"x":0}').startswith("x: unknown field")


@pytest.mark.parametrize("fields", GUARDS)
def test_conditions_and_words_are_no_repeated_fields(fields: dict[str, str]) -> None:
    argument = add_argument(event(), **fields)
    assert plain(decoded("ADD", argument)) == plain(decoded("ADD", argument + " "))
    assert refusal("ADD", argument[:-1] + ',"version":0}') == f"version: {TWICE}"


@pytest.mark.parametrize("fields", GUARDS)
@pytest.mark.parametrize("events", ["", ',"events":null', ',"events":[]', f',"events":[{event(tags="[]")}]'])
def test_appends_to_several_streams_are_no_repeated_fields(fields: dict[str, str], events: str) -> None:
    guards = {name: value for name, value in fields.items() if name != "version"}
    appends = [f'{{"stream":"{name}","version":{fields.get("version", 0)}{events}}}' for name in (STREAM, OTHER)]
    argument = add_many_argument(*appends, **guards)
    assert plain(decoded("ADDMANY", argument)) == plain(decoded("ADDMANY", argument + " "))
    assert refusal("ADDMANY", argument[:-1] + ',"appends":[]}') == f"appends: {TWICE}"


@UNHURRIED
@given(arguments, st.randoms(use_true_random=False), st.booleans(), st.data())
def test_any_one_field_given_twice_is_refused_by_its_path(
    argument: tuple[str, Object], random: Any, is_compact: bool, data: st.DataObject
) -> None:
    command, value = argument
    value = value or Object([("limit", 1)])
    path, place = data.draw(st.sampled_from(list(places(value))))
    name, old = data.draw(st.sampled_from(place))
    again = data.draw(st.sampled_from([old, *values_like(name)]))
    place.insert(data.draw(st.integers(0, len(place))), (name, again))
    text = _compact(value) if is_compact else write_json(value, random)
    assert refusal(command, text) == f"{path}{name}: {TWICE}"


def values_like(name: str) -> list[Any]:
    """Values of a kind that a field may have."""
    if name in ("version", "limit", "wait_ms"):
        return [0, LARGEST]
    if name in ("backwards", "cursor"):
        return [None, True]
    if name in (
        "metadata",
        "causation_id",
        "correlation_id",
        "offset",
        "after",
        "before",
        "since",
        "until",
        "request_id",
    ):
        return [None, '"\\']
    if name in ("tags", "types"):
        return [None, [], ['"\\', "", ""]]
    if name == "unless":
        return [None, [], Object(), Object([("after", None)])]
    if name == "checkpoint":
        return [None, Object([("consumer", "c"), ("member", "m"), ("id", ULID_TEXT)])]
    return [[]] if name in ("events", "appends") else ["", '\\"', "\\"]


def _compact(value: Any) -> str:
    """As short as JSON can be: what the quick way to see that nothing is repeated goes by."""
    if isinstance(value, Object):
        return "{" + ",".join(f'"{name}":{_compact(item)}' for name, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_compact, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def test_no_text_can_be_written_shorter_than_the_encoder_writes_it() -> None:
    # A shorter text would leave room for a repeated field that the comparison of lengths could not see.
    encode = msgspec.json.Encoder().encode
    for code in range(0x110000):
        character = chr(code)
        if 0xD800 <= code <= 0xDFFF:
            continue
        if character in '"\\\b\f\n\r\t':
            shortest = 2
        elif code < 0x20:
            shortest = len("\\u0000")
        else:
            shortest = 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4
        assert len(encode(character)) == len('""') + shortest


@UNHURRIED
@given(st.integers(0, LARGEST))
@example(0)
@example(LARGEST)
def test_no_number_can_be_written_shorter_than_the_encoder_writes_it(number: int) -> None:
    assert msgspec.json.Encoder().encode(number) == str(number).encode()


def test_in_a_text_too_long_to_look_at_twice_the_field_is_not_named() -> None:
    text = add_argument(event(data=f'"{"x" * 300_000}"'), '{"type":"t","data":"d","data":"d"}')
    assert refusal("ADD", text) == f"a field of the argument: {TWICE}"


def test_there_are_arguments_of_every_command_to_try() -> None:
    assert sorted(ARGUMENTS) == ["ADD", "ADDMANY", "GET", "GETALL"]
