"""What the JSON arguments may be, and what they mean."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflowdb.append import Append, StreamAppend
from eventflowdb.commands.arguments import EVERYTHING
from eventflowdb.commands.shapes import LogRead, StreamRead
from eventflowdb.commands.subscriptions import SUBSCRIBE, SubscriptionQuery
from eventflowdb.events import ANY, EXISTS, CheckedEvent, ExpectedVersion, Unless
from eventflowdb.queries import Query

from .samples import (
    LARGEST,
    OTHER,
    STREAM,
    ULID_BYTES,
    ULID_TEXT,
    UNHURRIED,
    Object,
    add_argument,
    add_many_argument,
    arguments,
    decoded,
    event,
    judged,
    plain,
    write_json,
)

MAXIMAL_ULID = "7" + "Z" * 25
LETTERS = [chr(ord("A") + number) for number in range(32)]
ULID_AFTER_BYTES = ULID_BYTES[:-1] + bytes([ULID_BYTES[-1] + 1])

READS: list[tuple[str, str, Any]] = [
    ("GET", f'{{"stream":"{STREAM}"}}', StreamRead(STREAM, 0, None)),
    ("GET", f' {{ "stream" : "{STREAM}" }}\r\n\t', StreamRead(STREAM, 0, None)),
    ("GET", f'{{"stream":"{STREAM.upper()}"}}', StreamRead(STREAM, 0, None)),
    ("GET", f'{{"stream":"{STREAM}","version":null,"limit":null}}', StreamRead(STREAM, 0, None)),
    ("GET", f'{{"stream":"{STREAM}","version":0,"limit":0}}', StreamRead(STREAM, 0, None)),
    ("GET", f'{{"stream":"{STREAM}","version":-0}}', StreamRead(STREAM, 0, None)),
    ("GET", f'{{"limit":1,"version":7,"stream":"{STREAM}"}}', StreamRead(STREAM, 7, 1)),
    ("GET", f'{{"stream":"{STREAM}","version":{LARGEST}}}', StreamRead(STREAM, LARGEST, None)),
    ("GET", f'{{"stream":"{STREAM}","limit":{LARGEST}}}', StreamRead(STREAM, 0, LARGEST)),
    ("GET", f'{{"str\\u0065am":"\\u0035{STREAM[1:]}"}}', StreamRead(STREAM, 0, None)),
    ("GET", '{"stream":"00000000-0000-0000-0000-000000000001"}', StreamRead(f"{0:08}-0000-0000-0000-{1:012}", 0, None)),
    (
        "GET",
        '{"stream":"ffffffff-ffff-ffff-ffff-ffffffffffff"}',
        StreamRead("-".join("f" * n for n in (8, 4, 4, 4, 12)), 0, None),
    ),
    ("GET", f'{{"stream":"{STREAM}","wait_ms":3600000}}', StreamRead(STREAM, 0, None, 3_600_000)),
    ("GET", f'{{"stream":"{STREAM}","wait_ms":null}}', StreamRead(STREAM, 0, None)),
    ("GETALL", "{}", LogRead(bytes(16), 100)),
    ("GETALL", '{"wait_ms":1}', LogRead(bytes(16), 100, 1)),
    ("GETALL", f'{{"wait_ms":7,"after":"{MAXIMAL_ULID}"}}', LogRead(b"\xff" * 16, 0, 7)),
    ("GETALL", '{"offset":null,"after":null,"limit":null}', LogRead(bytes(16), 100)),
    ("GETALL", '{"limit":0}', LogRead(bytes(16), 100)),
    ("GETALL", '{"limit":7}', LogRead(bytes(16), 7)),
    ("GETALL", f'{{"limit":{LARGEST}}}', LogRead(bytes(16), LARGEST)),
    ("GETALL", f'{{"offset":"{ULID_TEXT}"}}', LogRead(ULID_BYTES, 100)),
    ("GETALL", f'{{"offset":"{ULID_TEXT.lower()}","after":null}}', LogRead(ULID_BYTES, 100)),
    ("GETALL", f'{{"offset":"{"0" * 26}"}}', LogRead(bytes(16), 100)),
    ("GETALL", f'{{"offset":"{MAXIMAL_ULID}"}}', LogRead(b"\xff" * 16, 100)),
    ("GETALL", f'{{"after":"{ULID_TEXT}","limit":2}}', LogRead(ULID_AFTER_BYTES, 2)),
    ("GETALL", f'{{"after":"{ULID_TEXT.lower()}","offset":null}}', LogRead(ULID_AFTER_BYTES, 100)),
    ("GETALL", f'{{"after":"{"0" * 26}"}}', LogRead(bytes(15) + b"\1", 100)),
    ("GETALL", f'{{"after":"0{"Z" * 25}"}}', LogRead(b"\x20" + bytes(15), 100)),
    ("GETALL", f'{{"after":"{MAXIMAL_ULID}"}}', LogRead(b"\xff" * 16, 0)),
]
QUERIES: list[tuple[str, SubscriptionQuery]] = [
    ("{}", SubscriptionQuery(Query())),
    (' { "stream" : null , "version":null,"offset":null,"after":null}', SubscriptionQuery(Query())),
    ('{"types":[],"tags":null,"since":null,"before":null}', SubscriptionQuery(Query())),
    (f'{{"stream":"{STREAM.upper()}"}}', SubscriptionQuery(Query(STREAM))),
    (f'{{"version":0,"stream":"{STREAM}"}}', SubscriptionQuery(Query(STREAM), True)),
    (f'{{"version":{LARGEST},"stream":"{STREAM}"}}', SubscriptionQuery(Query(STREAM, LARGEST), True)),
    (f'{{"offset":"{ULID_TEXT.lower()}"}}', SubscriptionQuery(Query(start=ULID_BYTES), True)),
    (f'{{"offset":"{"0" * 26}"}}', SubscriptionQuery(Query(), True)),
    (f'{{"after":"{ULID_TEXT}"}}', SubscriptionQuery(Query(start=ULID_AFTER_BYTES), True)),
    (f'{{"after":"{ULID_TEXT}","stream":"{STREAM}"}}', SubscriptionQuery(Query(STREAM, start=ULID_AFTER_BYTES), True)),
    (f'{{"offset":"{MAXIMAL_ULID}"}}', SubscriptionQuery(Query(start=b"\xff" * 16), True)),
    (f'{{"after":"{MAXIMAL_ULID}"}}', SubscriptionQuery(Query(start=b"\xff" * 16), True)),
    ('{"types":["a","b","a"],"tags":["c"]}', SubscriptionQuery(Query(types=("a", "b"), tags=("c",)))),
    (
        f'{{"correlation_id":"{ULID_TEXT.lower()}","causation_id":"{ULID_TEXT}","before":"{ULID_TEXT}"}}',
        SubscriptionQuery(Query(correlation_id=ULID_TEXT, causation_id=ULID_TEXT, end=ULID_BYTES)),
    ),
    ('{"since":"1970-01-01T00:00:01Z"}', SubscriptionQuery(Query(since_us=1_000_000), True)),
    ('{"until":"1970-01-01T00:00:01Z"}', SubscriptionQuery(Query(until_us=1_000_000))),
    (
        f'{{"stream":"{STREAM}","version":3,"types":["a"]}}',
        SubscriptionQuery(Query(STREAM, 3, types=("a",)), True),
    ),
]
EVENTS: list[tuple[str, CheckedEvent]] = [
    (event(), CheckedEvent.of(type="t", data="d")),
    (event(data='""'), CheckedEvent.of(type="t", data="")),
    (event(metadata='""'), CheckedEvent.of(type="t", data="d", metadata="")),
    (event(metadata="null", causation_id="null", correlation_id="null"), CheckedEvent.of(type="t", data="d")),
    ('{"metadata":"m","data":"d","type":"t"}', CheckedEvent.of(type="t", data="d", metadata="m")),
    ('{"d\\u0061ta":"d","\\u0074ype":"t"}', CheckedEvent.of(type="t", data="d")),
    (event(data='"\\u0000\\ud83d\\ude00\\"\\\\\\/"'), CheckedEvent.of(type="t", data='\0😀"\\/')),
    (event(type='"\\u0000"'), CheckedEvent.of(type="\0", data="d")),
    (event(data='"{\\"a\\":\\"\\\\\\"\\"}"'), CheckedEvent.of(type="t", data='{"a":"\\""}')),
    (event(data=json.dumps("x" * 300_000)), CheckedEvent.of(type="t", data="x" * 300_000)),
    (event(type=f'"{"a" * 255}"'), CheckedEvent.of(type="a" * 255, data="d")),
    (event(type=f'"{"é" * 127}a"'), CheckedEvent.of(type="é" * 127 + "a", data="d")),
    (event(type=f'"{"😀" * 63}€"'), CheckedEvent.of(type="😀" * 63 + "€", data="d")),
    (event(causation_id=f'"{ULID_TEXT}"'), CheckedEvent.of(type="t", data="d", causation_id=ULID_TEXT)),
    (event(correlation_id=f'"{ULID_TEXT.lower()}"'), CheckedEvent.of(type="t", data="d", correlation_id=ULID_TEXT)),
    (
        event(causation_id=f'"{MAXIMAL_ULID.lower()}"', correlation_id=f'"{"0" * 26}"', metadata='"m"'),
        CheckedEvent.of(type="t", data="d", metadata="m", causation_id=MAXIMAL_ULID, correlation_id="0" * 26),
    ),
    (event(tags="null"), CheckedEvent.of(type="t", data="d")),
    (event(tags="[]"), CheckedEvent.of(type="t", data="d")),
    (event(tags='["b","a","A"]'), CheckedEvent.of(type="t", data="d", tags=("b", "a", "A"))),
    (event(tags='["\\u0000",",","\\""]'), CheckedEvent.of(type="t", data="d", tags=("\0", ",", '"'))),
    (
        event(tags=json.dumps(["a" * 128, "é" * 64, "😀" * 32])),
        CheckedEvent.of(type="t", data="d", tags=("a" * 128, "é" * 64, "😀" * 32)),
    ),
    (event(tags=json.dumps(LETTERS)), CheckedEvent.of(type="t", data="d", tags=tuple(LETTERS))),
    (
        event(metadata='"m"', tags='["a"]', causation_id=f'"{ULID_TEXT}"'),
        CheckedEvent.of(type="t", data="d", metadata="m", causation_id=ULID_TEXT, tags=("a",)),
    ),
]
UNLESS: list[tuple[str, tuple[Unless, ...]]] = [
    ("null", ()),
    ("[]", ()),
    ('{"types":["a"]}', (Unless(types=("a",)),)),
    ('{"tags":["b","a"]}', (Unless(tags=("b", "a")),)),
    ('[{"tags":["b","a"]}]', (Unless(tags=("b", "a")),)),
    ('{"types":["a","b"],"tags":["c"]}', (Unless(("a", "b"), ("c",)),)),
    ('{"types":["a"],"tags":[],"after":null}', (Unless(("a",)),)),
    ('{"types":null,"tags":["c"]}', (Unless((), ("c",)),)),
    (f'{{"types":["a"],"after":"{ULID_TEXT}"}}', (Unless(("a",), (), ULID_BYTES),)),
    (f'{{"types":["a"],"after":"{ULID_TEXT.lower()}"}}', (Unless(("a",), (), ULID_BYTES),)),
    (f'{{"types":["a"],"after":"{MAXIMAL_ULID}"}}', (Unless(("a",), (), b"\xff" * 16),)),
    ('[{"types":["a"]},{"types":["a"]},{"tags":["b"]}]', (Unless(("a",)), Unless(("a",)), Unless((), ("b",)))),
    (json.dumps({"types": ["a" * 255, "é" * 127], "tags": ["é" * 64]}), (Unless(("a" * 255, "é" * 127), ("é" * 64,)),)),
    (json.dumps({"tags": LETTERS}), (Unless((), tuple(LETTERS)),)),
    (json.dumps({"types": ["a"] * 1000}), (Unless(("a",) * 1000),)),
    (json.dumps([{"types": ["a"]}] * 1000), (Unless(("a",)),) * 1000),
]
APPENDS: list[tuple[str, list[StreamAppend]]] = [
    (f'{{"stream":"{STREAM}","version":0}}', [StreamAppend(STREAM, 0, [])]),
    (f'{{"stream":"{STREAM}","version":"any","events":null}}', [StreamAppend(STREAM, ANY, [])]),
    (f'{{"stream":"{STREAM.upper()}","version":"exists","events":[]}}', [StreamAppend(STREAM, EXISTS, [])]),
    (
        add_argument(event(), event(data='"e"'), version="3") + "," + add_argument(stream=f'"{OTHER}"', version="7"),
        [
            StreamAppend(STREAM, 3, [CheckedEvent.of(type="t", data="d"), CheckedEvent.of(type="t", data="e")]),
            StreamAppend(OTHER, 7, []),
        ],
    ),
    (
        ",".join(add_argument(event(tags='["a"]'), stream=f'"{name}"', version='"any"') for name in (OTHER, STREAM)),
        [StreamAppend(name, ANY, [CheckedEvent.of(type="t", data="d", tags=("a",))]) for name in (OTHER, STREAM)],
    ),
]


@pytest.mark.parametrize(("command", "text", "read"), READS)
def test_a_read_is_taken_as_this(command: str, text: str, read: object) -> None:
    assert decoded(command, text) == read


@pytest.mark.parametrize(("text", "query"), QUERIES)
def test_a_query_of_a_subscription_is_taken_as_this(text: str, query: SubscriptionQuery) -> None:
    assert SUBSCRIBE.decode(text.encode()) == query


@pytest.mark.parametrize(("text", "expected"), EVENTS)
def test_an_event_is_taken_as_this(text: str, expected: CheckedEvent) -> None:
    argument = add_argument(text)
    assert decoded("ADD", argument) == Append.to_stream(STREAM, 0, [expected], len(argument.encode()))


def test_events_keep_their_order() -> None:
    argument = add_argument(*[text for text, _ in EVENTS], version="12", stream=f'"{STREAM.upper()}"')
    events = [value for _, value in EVENTS]
    assert decoded("ADD", argument) == Append.to_stream(STREAM, 12, events, len(argument.encode()))


@pytest.mark.parametrize(
    ("version", "expected"),
    [('"any"', ANY), ('"exists"', EXISTS), ('"\\u0061ny"', ANY), ("0", 0), ("-0", 0), (str(LARGEST), LARGEST)],
)
def test_an_expected_version_is_taken_as_this(version: str, expected: ExpectedVersion) -> None:
    argument = add_argument(event(), version=version)
    plain_event = CheckedEvent.of(type="t", data="d")
    assert decoded("ADD", argument) == Append.to_stream(STREAM, expected, [plain_event], len(argument))


@pytest.mark.parametrize(("text", "unless"), UNLESS)
def test_a_condition_on_the_log_is_taken_as_this(text: str, unless: tuple[Unless, ...]) -> None:
    assert decoded("ADD", add_argument(event(), unless=text)).unless == unless
    assert decoded("ADDMANY", add_many_argument(add_argument(), unless=text)).unless == unless


@pytest.mark.parametrize(
    ("text", "request_id"),
    [("null", None), ('"r"', "r"), ('"\\u0000"', "\0"), (f'"{"a" * 128}"', "a" * 128), (f'"{"é" * 64}"', "é" * 64)],
)
def test_a_request_id_is_taken_as_it_is(text: str, request_id: str | None) -> None:
    assert decoded("ADD", add_argument(event(), request_id=text)).request_id == request_id
    assert decoded("ADDMANY", add_many_argument(add_argument(), request_id=text)).request_id == request_id


@pytest.mark.parametrize(("text", "parts"), APPENDS)
def test_appends_to_several_streams_are_taken_as_these(text: str, parts: list[StreamAppend]) -> None:
    argument = f'{{"appends":[{text}]}}'
    assert decoded("ADDMANY", argument) == Append(parts, len(argument))


def test_getall_without_an_argument_is_getall_with_an_empty_one() -> None:
    assert decoded("GETALL", "{}") == EVERYTHING


@UNHURRIED
@given(arguments, st.randoms(use_true_random=False))
def test_a_right_argument_is_taken_however_it_is_written(argument: tuple[str, Object], random: Any) -> None:
    command, value = argument
    text = write_json(value, random).encode()
    assert plain(decoded(command, text)) == judged(command, text)


@UNHURRIED
@given(arguments, st.booleans())
def test_a_right_argument_is_taken_as_json_libraries_write_it(argument: tuple[str, Object], are_escaped: bool) -> None:
    command, value = argument
    fields = as_dicts(value)
    for separators in ((",", ":"), (", ", ": ")):
        text = json.dumps(fields, ensure_ascii=are_escaped, separators=separators).encode()
        assert plain(decoded(command, text)) == judged(command, text)


def as_dicts(value: Any) -> Any:
    """An argument as a program holds it before it is written."""
    if isinstance(value, Object):
        return {name: as_dicts(field) for name, field in value}
    return [as_dicts(item) for item in value] if isinstance(value, list) else value
