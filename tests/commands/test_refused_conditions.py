"""What is wrong with the tags, conditions and several streams of an append is said with the path to it, too."""

import json

import pytest

from .samples import (
    HALF,
    LARGEST,
    OTHER,
    STREAM,
    ULID_TEXT,
    add_argument,
    add_many_argument,
    event,
    refusal,
    stream_refusal,
    ulid_refusal,
)

NEITHER = "expected types, tags or both; an item with neither would rule out every event"
KNOWN = "known are types, tags, after"
A_VERSION = 'expected a number of events, "any" or "exists"'
AN_UNLESS = "expected an object, an array of objects or null"
LETTERS = [chr(ord("A") + number) for number in range(33)]

WRONG_TAGS: list[tuple[str, str]] = [
    ("1", ": expected an array or null, got an integer"),
    ('"a"', ": expected an array or null, got a string"),
    ("{}", ": expected an array or null, got an object"),
    ("[1]", "[0]: expected a string, got an integer"),
    ('["a",null]', "[1]: expected a string, got null"),
    ('["a","b",["c"]]', "[2]: expected a string, got an array"),
    ('[""]', "[0]: expected 1 to 128 bytes, got 0"),
    ('["a","b",""]', "[2]: expected 1 to 128 bytes, got 0"),
    (json.dumps(["a" * 129]), "[0]: expected 1 to 128 bytes, got 129"),
    (json.dumps(["a", "é" * 64 + "a"]), "[1]: expected 1 to 128 bytes, got 129"),
    (json.dumps(["😀" * 33]), "[0]: expected 1 to 128 bytes, got 132"),
    (json.dumps(LETTERS), ": expected at most 32 tags, got 33"),
    (json.dumps(["a"] * 33), ": expected at most 32 tags, got 33"),
    ('["a","a"]', "[1]: the tag 'a' is given twice"),
    ('["b","a","c","\\u0061"]', "[3]: the tag 'a' is given twice"),
    (json.dumps(["x" * 61, "y", "x" * 61]), f"[2]: the tag '{'x' * 60}...' is given twice"),
    ('["\\ud800"]', f"[0]: holds {HALF}"),
    ('["a","\\ud83d\\ude00","b\\udc00"]', f"[2]: holds {HALF}"),
]
WRONG_TYPES: list[tuple[str, str]] = [
    ('"a"', ": expected an array or null, got a string"),
    ("[1]", "[0]: expected a string, got an integer"),
    ('["a",null]', "[1]: expected a string, got null"),
    ('[""]', "[0]: expected 1 to 255 bytes, got 0"),
    (json.dumps(["a", "é" * 128]), "[1]: expected 1 to 255 bytes, got 256"),
    (json.dumps(["a"] * 1001), ": expected at most 1000 types, got 1001"),
    ('["a","\\udfff"]', f"[1]: holds {HALF}"),
]
WRONG_ITEMS: list[tuple[str, str]] = [
    ("{}", f": {NEITHER}"),
    ('{"types":[]}', f": {NEITHER}"),
    ('{"tags":[]}', f": {NEITHER}"),
    ('{"types":null,"tags":[]}', f": {NEITHER}"),
    (f'{{"after":"{ULID_TEXT}"}}', f": {NEITHER}"),
    ('{"type":["a"]}', f".type: unknown field; {KNOWN}"),
    ('{"tags":["a"],"stream":"a"}', f".stream: unknown field; {KNOWN}"),
    ('{"tags":["a"],"After":null}', f".After: unknown field; {KNOWN}"),
    (f'{{"{"x" * 61}":1}}', f".{'x' * 60}...: unknown field; {KNOWN}"),
    ('{"tags":["a"],"after":1}', ".after: expected a string or null, got an integer"),
    ('{"tags":["a"],"after":[]}', ".after: expected a string or null, got an array"),
    ('{"tags":["a"],"after":""}', f"{ulid_refusal('.after', repr(''))}"),
    (f'{{"tags":["a"],"after":"{STREAM}"}}', ulid_refusal(".after", f"'{STREAM}'")),
    (f'{{"types":["a"],"after":"8{"0" * 25}"}}', ulid_refusal(".after", f"'8{'0' * 25}'")),
    ('{"types":["a"],"after":"\\ud800"}', f".after: holds {HALF}"),
    *[(f'{{"tags":{text}}}', f".tags{sentence}") for text, sentence in WRONG_TAGS],
    *[(f'{{"types":["a"],"tags":{text}}}', f".tags{sentence}") for text, sentence in WRONG_TAGS],
    *[(f'{{"types":{text}}}', f".types{sentence}") for text, sentence in WRONG_TYPES],
    *[(f'{{"tags":["a"],"types":{text}}}', f".types{sentence}") for text, sentence in WRONG_TYPES],
]
WRONG_GUARDS: list[tuple[str, str, str]] = [
    ("unless", "1", f"unless: {AN_UNLESS}, got an integer"),
    ("unless", '"a"', f"unless: {AN_UNLESS}, got a string"),
    ("unless", "false", f"unless: {AN_UNLESS}, got a boolean"),
    ("unless", "1.5", f"unless: {AN_UNLESS}, got a number with a fraction or an exponent"),
    ("unless", "[null]", "unless[0]: expected an object, got null"),
    ("unless", '[{"tags":["a"]},["a"]]', "unless[1]: expected an object, got an array"),
    ("unless", json.dumps([{"tags": ["a"]}] * 1001), "unless: expected at most 1000 items, got 1001"),
    ("request_id", "1", "request_id: expected a string or null, got an integer"),
    ("request_id", "[]", "request_id: expected a string or null, got an array"),
    ("request_id", '""', "request_id: expected 1 to 128 bytes, got 0"),
    ("request_id", f'"{"a" * 129}"', "request_id: expected 1 to 128 bytes, got 129"),
    ("request_id", f'"{"é" * 64}a"', "request_id: expected 1 to 128 bytes, got 129"),
    ("request_id", '"\\udc00"', f"request_id: holds {HALF}"),
    ("requestId", '"a"', "requestId: unknown field; "),
    ("checkpoint", "1", "checkpoint: expected an object or null, got an integer"),
    ("checkpoint", '{"consumer":"c","member":"m"}', "checkpoint.id: is required"),
    ("checkpoint", '{"consumer":"c","member":"m","id":"x"}', ulid_refusal("checkpoint.id", "'x'")),
    (
        "checkpoint",
        f'{{"consumer":"a b","member":"m","id":"{ULID_TEXT}"}}',
        "checkpoint.consumer: expected a name of 1 to 64 letters, digits and ._:- such as send-mail or worker-7, "
        "got 'a b'",
    ),
]
WRONG_APPENDS: list[tuple[str, str]] = [
    ("1", ": expected an object, got an integer"),
    ("null", ": expected an object, got null"),
    ("[]", ": expected an object, got an array"),
    ("{}", ".stream: is required"),
    ('{"version":0}', ".stream: is required"),
    (f'{{"stream":"{OTHER}"}}', ".version: is required"),
    (add_argument(stream="null"), ".stream: expected a string, got null"),
    (add_argument(stream='"a"'), stream_refusal("'a'", ".stream")),
    (add_argument(stream='"\\ud800"'), f".stream: holds {HALF}"),
    (add_argument(version="null"), f".version: {A_VERSION}, got null"),
    (add_argument(version="{}"), f".version: {A_VERSION}, got an object"),
    (add_argument(stream=f'"{OTHER}"', version='"none"'), f".version: {A_VERSION}, got 'none'"),
    (add_argument(version="-1"), f".version: expected an integer from 0 to {LARGEST}"),
    (add_argument(version=f"{LARGEST + 1}"), f".version: expected an integer from 0 to {LARGEST}"),
    (f'{{"stream":"{OTHER}","version":0,"events":{{}}}}', ".events: expected an array or null, got an object"),
    (add_argument(unless="null"), ".unless: unknown field; known are stream, version, events"),
    (add_argument(request_id='"r"'), ".request_id: unknown field; known are stream, version, events"),
    (add_argument("1"), ".events[0]: expected an object, got an integer"),
    (add_argument(event(), '{"type":"t"}'), ".events[1].data: is required"),
    (add_argument(event(type='""'), stream=f'"{OTHER}"'), ".events[0].type: expected 1 to 255 bytes, got 0"),
    (
        add_argument(event(), event(id='"a"')),
        ".events[1].id: unknown field; known are type, data, metadata, causation_id, correlation_id, tags",
    ),
    (
        add_argument(event(), event(causation_id='"a"'), stream=f'"{OTHER}"'),
        ulid_refusal(".events[1].causation_id", "'a'"),
    ),
    *[
        (add_argument(event(tags=text), stream=f'"{OTHER}"'), f".events[0].tags{sentence}")
        for text, sentence in WRONG_TAGS
    ],
]
WRONG_WHOLES: list[tuple[str, str]] = [
    ("[]", "the argument: expected an object, got an array"),
    ("{}", "appends: is required"),
    ('{"request_id":"r"}', "appends: is required"),
    ('{"appends":null}', "appends: expected an array, got null"),
    (f'{{"appends":{add_argument(event())}}}', "appends: expected an array, got an object"),
    ('{"appends":[]}', "appends: expected at least one append"),
    (add_argument(event()), "stream: unknown field; known are appends, unless, request_id, checkpoint"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG_TAGS)
@pytest.mark.parametrize("index", [0, 3])
def test_wrong_tags_are_refused_by_the_place_of_their_event(text: str, sentence: str, index: int) -> None:
    argument = add_argument(*[event()] * index, event(tags=text), event())
    assert refusal("ADD", argument) == f"events[{index}].tags{sentence}"


@pytest.mark.parametrize(("text", "sentence"), WRONG_ITEMS)
def test_a_wrong_item_of_unless_is_refused_by_its_place(text: str, sentence: str) -> None:
    alone, second = f"unless{sentence}", f"unless[1]{sentence}"
    listed = f'[{{"types":["a"]}},{text}]'
    assert refusal("ADD", add_argument(event(), unless=text)) == alone
    assert refusal("ADD", add_argument(event(), unless=listed)) == second
    assert refusal("ADDMANY", add_many_argument(add_argument(), unless=text)) == alone
    assert refusal("ADDMANY", add_many_argument(add_argument(), unless=listed)) == second


@pytest.mark.parametrize(("name", "text", "sentence"), WRONG_GUARDS)
def test_what_guards_an_append_is_checked_alike_in_both_commands(name: str, text: str, sentence: str) -> None:
    known = {
        "ADD": "known are stream, version, events, unless, request_id, checkpoint",
        "ADDMANY": "known are appends, unless, request_id, checkpoint",
    }
    for command, argument in (
        ("ADD", add_argument(event(), **{name: text})),
        ("ADDMANY", add_many_argument(add_argument(), **{name: text})),
    ):
        assert refusal(command, argument) == sentence + (known[command] if sentence.endswith("; ") else "")


@pytest.mark.parametrize(("text", "sentence"), WRONG_WHOLES)
def test_a_wrong_argument_of_addmany_is_refused(text: str, sentence: str) -> None:
    assert refusal("ADDMANY", text) == sentence


@pytest.mark.parametrize(("text", "sentence"), WRONG_APPENDS)
def test_a_wrong_append_is_refused_by_its_place(text: str, sentence: str) -> None:
    assert refusal("ADDMANY", add_many_argument(text)) == f"appends[0]{sentence}"
    assert refusal("ADDMANY", add_many_argument(add_argument(event()), text)) == f"appends[1]{sentence}"


@pytest.mark.parametrize("again", [STREAM, STREAM.upper()])
@pytest.mark.parametrize("first", [STREAM, STREAM.upper()])
def test_a_stream_named_twice_is_refused_in_either_case_of_letters(first: str, again: str) -> None:
    appends = [add_argument(event(), stream=f'"{name}"') for name in (first, OTHER, again)]
    assert refusal("ADDMANY", add_many_argument(*appends)) == (
        f"appends[2].stream: {STREAM} is named twice; give all its events in one append"
    )


def test_a_check_alone_does_not_let_its_stream_be_named_again() -> None:
    sentence = refusal("ADDMANY", add_many_argument(add_argument(event()), add_argument(version='"any"')))
    assert sentence.startswith(f"appends[1].stream: {STREAM} is named twice")


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        ('{"appends":', "appends"),
        ('{"appends":[', "appends[0]"),
        ('{"appends":[{"version":', f"appends[0].version: {A_VERSION}, got an "),
        ('{"appends":[{"events":[', "appends[0].events[0]"),
        ('{"appends":[{"events":[{"tags":[', "appends[0].events[0].tags[0]: expected a string, got an "),
    ],
)
def test_no_nesting_inside_appends_is_too_deep_to_be_refused(opening: str, before: str, sentence: str) -> None:
    assert refusal("ADDMANY", before + opening * 100_000).startswith(sentence)
