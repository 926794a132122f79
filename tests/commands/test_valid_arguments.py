"""What the JSON arguments may be, and what they mean."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflowdb.commands.arguments import EVERYTHING, LogRead, StreamRead
from eventflowdb.events import Append, NewEvent

from .samples import (
    LARGEST,
    STREAM,
    ULID_BYTES,
    ULID_TEXT,
    UNHURRIED,
    Object,
    add_argument,
    arguments,
    decoded,
    event,
    judged,
    plain,
    write_json,
)

MAXIMAL_ULID = "7" + "Z" * 25
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
EVENTS: list[tuple[str, NewEvent]] = [
    (event(), NewEvent(type="t", data="d")),
    (event(data='""'), NewEvent(type="t", data="")),
    (event(metadata='""'), NewEvent(type="t", data="d", metadata="")),
    (event(metadata="null", causation_id="null", correlation_id="null"), NewEvent(type="t", data="d")),
    ('{"metadata":"m","data":"d","type":"t"}', NewEvent(type="t", data="d", metadata="m")),
    ('{"d\\u0061ta":"d","\\u0074ype":"t"}', NewEvent(type="t", data="d")),
    (event(data='"\\u0000\\ud83d\\ude00\\"\\\\\\/"'), NewEvent(type="t", data='\0😀"\\/')),
    (event(type='"\\u0000"'), NewEvent(type="\0", data="d")),
    (event(data='"{\\"a\\":\\"\\\\\\"\\"}"'), NewEvent(type="t", data='{"a":"\\""}')),
    (event(data=json.dumps("x" * 300_000)), NewEvent(type="t", data="x" * 300_000)),
    (event(type=f'"{"a" * 255}"'), NewEvent(type="a" * 255, data="d")),
    (event(type=f'"{"é" * 127}a"'), NewEvent(type="é" * 127 + "a", data="d")),
    (event(type=f'"{"😀" * 63}€"'), NewEvent(type="😀" * 63 + "€", data="d")),
    (event(causation_id=f'"{ULID_TEXT}"'), NewEvent(type="t", data="d", causation_id=ULID_TEXT)),
    (event(correlation_id=f'"{ULID_TEXT.lower()}"'), NewEvent(type="t", data="d", correlation_id=ULID_TEXT)),
    (
        event(causation_id=f'"{MAXIMAL_ULID.lower()}"', correlation_id=f'"{"0" * 26}"', metadata='"m"'),
        NewEvent(type="t", data="d", metadata="m", causation_id=MAXIMAL_ULID, correlation_id="0" * 26),
    ),
]


@pytest.mark.parametrize(("command", "text", "read"), READS)
def test_a_read_is_taken_as_this(command: str, text: str, read: object) -> None:
    assert decoded(command, text) == read


@pytest.mark.parametrize(("text", "expected"), EVENTS)
def test_an_event_is_taken_as_this(text: str, expected: NewEvent) -> None:
    argument = add_argument(text)
    assert decoded("ADD", argument) == Append(STREAM, 0, [expected], len(argument.encode()))


def test_events_keep_their_order() -> None:
    argument = add_argument(*[text for text, _ in EVENTS], version="12", stream=f'"{STREAM.upper()}"')
    assert decoded("ADD", argument) == Append(STREAM, 12, [value for _, value in EVENTS], len(argument.encode()))


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
    fields: dict[str, Any] = {
        name: [dict(item) for item in field] if isinstance(field, list) else field for name, field in value
    }
    for separators in ((",", ":"), (", ", ": ")):
        text = json.dumps(fields, ensure_ascii=are_escaped, separators=separators).encode()
        assert plain(decoded(command, text)) == judged(command, text)
