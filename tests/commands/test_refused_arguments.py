"""What is wrong with an argument is said in words that name the path and what would be right."""

import json

import pytest

from eventflowdb.commands.subscriptions import SUBSCRIBE
from eventflowdb.errors import InvalidArgument

from .samples import HALF, LARGEST, STREAM, ULID_TEXT, add_argument, event, refusal, stream_refusal, ulid_refusal

NESTED = 100_000
IN_PAIRS = "; escapes from \\ud800 to \\udfff have to come in pairs"
SELECTION = "types, tags, correlation_id, causation_id, since, until, after, before"
FILTERS = f"{SELECTION}, backwards, limit, cursor, wait_ms"
KNOWN = {
    "ADD": "known are stream, version, events, unless, request_id, checkpoint",
    "GET": f"known are {FILTERS}, stream, version",
    "GETALL": f"known are {FILTERS}, offset",
}
EVENT_KNOWN = "known are type, data, metadata, causation_id, correlation_id, tags"
A_VERSION = 'expected a number of events, "any" or "exists"'

NOT_JSON: list[tuple[str | bytes, str]] = [
    ("", "the argument is empty; expected a JSON object"),
    (" ", "the argument is not valid JSON: Expecting value at character 1"),
    ("{", "the argument is not valid JSON: Expecting property name enclosed in double quotes at character 1"),
    *[
        (text, f'the argument is not JSON: expected a JSON object such as {{"stream": ...}}, got {text!r}')
        for text in ("stream", "\0", STREAM, "12-", "NaN", " -Infinity", "'{}'", "=\u00e9")
    ],
    ("s" * 100, f"the argument is not JSON: expected a JSON object such as {{\"stream\": ...}}, got '{'s' * 60}...'"),
    ('{"stream" 1}', "the argument is not valid JSON: Expecting ':' delimiter at character 10"),
    (
        "{'stream':1}",
        "the argument is not valid JSON: Expecting property name enclosed in double quotes at character 1",
    ),
    ("{1:1}", "the argument is not valid JSON: Expecting property name enclosed in double quotes at character 1"),
    ('{"stream":"é', "the argument is not valid JSON: Unterminated string starting at character 10"),
    ('{"stream":"é\n"}', "the argument is not valid JSON: Invalid control character at character 12"),
    ('{"stream":"\0"}', "the argument is not valid JSON: Invalid control character at character 11"),
    ('{"stream":"\\q"}', "the argument is not valid JSON: Invalid \\escape at character 11"),
    ('{"stream":"\\u12"}', "the argument is not valid JSON: Invalid \\uXXXX escape at character 12"),
    (f'{{"stream":"{STREAM}"', "the argument is not valid JSON: Expecting ',' delimiter at character 48"),
    (f'{{"stream":"{STREAM}"}}x', "the argument is not valid JSON: Extra data at character 49"),
    (f'{{"stream":"{STREAM}"}}{{}}', "the argument is not valid JSON: Extra data at character 49"),
    (f'{{"stream":"{STREAM}"}}\0', "the argument is not valid JSON: Extra data at character 49"),
    ('{"version":01}', "the argument is not valid JSON: Expecting ',' delimiter at character 12"),
    ('{"version":+1}', "the argument is not valid JSON: Expecting value at character 11"),
    ('{"version":NaN}', "the argument is not valid JSON: invalid character (byte 11)"),
    (
        '{"version":NaN,"stream":"\\ud83d\\ude00"}',
        "the argument is not valid JSON: invalid character (byte 11)" + IN_PAIRS,
    ),
    ('{"version":-Infinity}', "the argument is not valid JSON: invalid character (byte 12)"),
    (f'\ufeff{{"stream":"{STREAM}"}}', "the argument begins with a byte order mark; send the JSON alone"),
    (f'{{"stream":"{STREAM}"}}'.encode("utf-16"), "the argument is not valid UTF-8 (byte 0)"),
    (b"\xff", "the argument is not valid UTF-8 (byte 0)"),
    (b'{"stream":"\xff"}', "the argument is not valid UTF-8 (byte 11)"),
    (b'{"stream":"\xc3"}', "the argument is not valid UTF-8 (byte 11)"),
    (b'{"stream":"\xed\xa0\x80"}', "the argument is not valid UTF-8 (byte 11)"),
    (b'{"stream":"\xc0\x80"}', "the argument is not valid UTF-8 (byte 11)"),
    (b'{"\xff":1}', "the argument is not valid UTF-8 (byte 2)"),
    (f'{{"stream":"{STREAM}"}}'.encode() + b"\xff", "the argument is not valid UTF-8 (byte 49)"),
]

WRONG_READS: list[tuple[str, str, str]] = [
    # The whole.
    ("GET", "[]", "the argument: expected an object, got an array"),
    ("GET", "null", "the argument: expected an object, got null"),
    ("GET", "1", "the argument: expected an object, got an integer"),
    ("GET", "1.5", "the argument: expected an object, got a number with a fraction or an exponent"),
    ("GET", '"a"', "the argument: expected an object, got a string"),
    ("GETALL", "true", "the argument: expected an object, got a boolean"),
    ("GET", "{}", "stream: is required"),
    ("GET", '{"version":0}', "stream: is required"),
    ("GET", '{"stream":1,}', "stream: expected a string, got an integer"),
    # Fields nobody knows.
    ("GET", '{"steam":1}', f"steam: unknown field; {KNOWN['GET']}"),
    ("GET", '{"Stream":1}', f"Stream: unknown field; {KNOWN['GET']}"),
    ("GET", '{"events":[]}', f"events: unknown field; {KNOWN['GET']}"),
    ("GETALL", '{"stream":1}', f"stream: unknown field; {KNOWN['GETALL']}"),
    ("ADD", '{"":1}', f": unknown field; {KNOWN['ADD']}"),
    ("GET", '{"é\\n\\u0000":1}', f"é\n\0: unknown field; {KNOWN['GET']}"),
    ("GET", '{"a` - at `$.events[0]":1}', f"events[0].a: unknown field; {KNOWN['GET']}"),
    ("GET", '{"a - at `$.b c":1}', f"a - at `$.b c: unknown field; {KNOWN['GET']}"),
    ("GET", f'{{"{"x" * 60}":1}}', f"{'x' * 60}: unknown field; {KNOWN['GET']}"),
    ("GET", f'{{"{"x" * 61}":1}}', f"{'x' * 60}...: unknown field; {KNOWN['GET']}"),
    ("GET", f'{{"{"x" * 300_000}":1}}', f"{'x' * 60}...: unknown field; {KNOWN['GET']}"),
    # stream
    ("GET", '{"stream":null}', "stream: expected a string, got null"),
    ("GET", '{"stream":1}', "stream: expected a string, got an integer"),
    ("GET", '{"stream":[]}', "stream: expected a string, got an array"),
    ("GET", '{"stream":{}}', "stream: expected a string, got an object"),
    ("GET", '{"stream":false}', "stream: expected a string, got a boolean"),
    ("GET", '{"stream":""}', stream_refusal("''")),
    ("GET", '{"stream":"orders"}', stream_refusal("'orders'")),
    ("GET", '{"stream":"\\n\\u0000\'"}', stream_refusal('"\\n\\x00\'"')),
    (
        "GET",
        '{"stream":"00000000-0000-0000-0000-000000000000"}',
        stream_refusal("'00000000-0000-0000-0000-000000000000'"),
    ),
    ("GET", f'{{"stream":"{STREAM.replace("-", "")}"}}', stream_refusal("'5f0c0d8e8a524b3c9d390a2f6f3f7d11'")),
    ("GET", f'{{"stream":"{{{STREAM}}}"}}', stream_refusal(f"'{{{STREAM}}}'")),
    ("GET", f'{{"stream":"urn:uuid:{STREAM}"}}', stream_refusal(f"'urn:uuid:{STREAM}'")),
    ("GET", f'{{"stream":" {STREAM}"}}', stream_refusal(f"' {STREAM}'")),
    ("GET", f'{{"stream":"{STREAM}\\n"}}', stream_refusal(f"'{STREAM}\\n'")),
    ("GET", f'{{"stream":"{STREAM[:-1]}"}}', stream_refusal(f"'{STREAM[:-1]}'")),
    ("GET", f'{{"stream":"{STREAM}1"}}', stream_refusal(f"'{STREAM}1'")),
    ("GET", f'{{"stream":"{STREAM[:-1]}g"}}', stream_refusal(f"'{STREAM[:-1]}g'")),
    ("GET", f'{{"stream":"{STREAM[:-1]}٣"}}', stream_refusal(f"'{STREAM[:-1]}٣'")),
    (
        "GET",
        '{"stream":"5f0c-0d8e8a52-4b3c-9d39-0a2f6f3f7d11"}',
        stream_refusal("'5f0c-0d8e8a52-4b3c-9d39-0a2f6f3f7d11'"),
    ),
    ("GET", f'{{"stream":"{"x" * 100}"}}', stream_refusal(f"'{'x' * 60}...'")),
    # version and limit
    ("GET", f'{{"stream":"{STREAM}","version":true}}', "version: expected an integer or null, got a boolean"),
    ("GET", f'{{"stream":"{STREAM}","version":"1"}}', "version: expected an integer or null, got a string"),
    ("GET", f'{{"stream":"{STREAM}","limit":{{}}}}', "limit: expected an integer or null, got an object"),
    ("GETALL", '{"limit":1.0}', "limit: expected an integer or null, got a number with a fraction or an exponent"),
    ("GETALL", '{"limit":1e2}', "limit: expected an integer or null, got a number with a fraction or an exponent"),
    ("GETALL", '{"limit":-1}', f"limit: expected an integer from 0 to {LARGEST}"),
    ("GETALL", f'{{"limit":{LARGEST + 1}}}', f"limit: expected an integer from 0 to {LARGEST}"),
    ("GETALL", f'{{"limit":{2**64}}}', f"limit: expected an integer from 0 to {LARGEST}"),
    ("GETALL", f'{{"limit":{10**400}}}', f"limit: expected an integer from 0 to {LARGEST}"),
    ("GETALL", f'{{"limit":-{10**400}}}', f"limit: expected an integer from 0 to {LARGEST}"),
    ("GETALL", f'{{"limit":{"9" * 5000}}}', f"limit: the number is too large; integers are 0 to {LARGEST}"),
    ("GETALL", '{"limit":1e400}', f"limit: the number is too large; integers are 0 to {LARGEST}"),
    # wait_ms
    ("GETALL", '{"wait_ms":3600001}', "wait_ms: expected at most 3600000 (an hour), got 3600001"),
    (
        "GET",
        f'{{"stream":"{STREAM}","wait_ms":{LARGEST}}}',
        f"wait_ms: expected at most 3600000 (an hour), got {LARGEST}",
    ),
    ("GETALL", '{"wait_ms":-1}', "wait_ms: expected an integer from 0 to 3600000"),
    ("GETALL", '{"wait_ms":"1"}', "wait_ms: expected an integer or null, got a string"),
    # offset and after
    ("GETALL", '{"offset":1}', "offset: expected a string or null, got an integer"),
    ("GETALL", '{"after":[]}', "after: expected a string or null, got an array"),
    ("GETALL", '{"after":""}', ulid_refusal("after", "''")),
    ("GETALL", f'{{"offset":"{STREAM}"}}', ulid_refusal("offset", f"'{STREAM}'")),
    *[
        ("GETALL", f'{{"offset":"{wrong}"}}', ulid_refusal("offset", f"'{wrong}'"))
        for wrong in [
            *["I" + ULID_TEXT[1:], *[ULID_TEXT[:-1] + letter for letter in "ILOUilou"]],
            *[ULID_TEXT[:-1], ULID_TEXT + "0", ULID_TEXT + " ", " " + ULID_TEXT, "8" + "0" * 25, "z" * 26],
            *["0" * 25 + "-", "0" * 25 + "ſ", "0" * 25 + "٣", "0" * 25 + "ﬆ"],
        ]
    ],
    ("GETALL", f'{{"after":"8{"0" * 25}"}}', ulid_refusal("after", f"'8{'0' * 25}'")),
    (
        "GETALL",
        f'{{"after":"{ULID_TEXT}","offset":"{ULID_TEXT}"}}',
        "after: cannot be given together with offset; offset is inclusive, after is exclusive",
    ),
    ("GETALL", f'{{"offset":"{"x" * 70}"}}', ulid_refusal("offset", f"'{'x' * 60}...'")),
]

WRONG_QUERIES: list[tuple[str, str]] = [
    ('{"limit":1}', f"limit: unknown field; known are {SELECTION}, stream, version, offset"),
    ('{"wait_ms":1}', f"wait_ms: unknown field; known are {SELECTION}, stream, version, offset"),
    ('{"stream":1}', "stream: expected a string or null, got an integer"),
    ('{"stream":"x"}', stream_refusal("'x'")),
    ('{"version":0}', "version: is a place in a stream; name the stream, or give after or offset"),
    (
        f'{{"version":0,"after":"{ULID_TEXT}"}}',
        "version: is a place in a stream; name the stream, or give after or offset",
    ),
    (
        f'{{"stream":"{STREAM}","version":0,"after":"{ULID_TEXT}"}}',
        "version: cannot be given together with after or offset",
    ),
    (
        f'{{"stream":"{STREAM}","version":0,"offset":"{ULID_TEXT}"}}',
        "version: cannot be given together with after or offset",
    ),
    ('{"after":"x"}', ulid_refusal("after", "'x'")),
    (
        f'{{"after":"{ULID_TEXT}","offset":"{ULID_TEXT}"}}',
        "after: cannot be given together with offset; offset is inclusive, after is exclusive",
    ),
    (f'{{"after":"{ULID_TEXT}","after":null}}', "after: the field is given more than once"),
    ("[]", "the argument: expected an object, got an array"),
    ("", "the argument is empty; expected a JSON object"),
]

WRONG_EVENTS: list[tuple[str, str]] = [
    ("1", ": expected an object, got an integer"),
    ("null", ": expected an object, got null"),
    ("[]", ": expected an object, got an array"),
    ('"a"', ": expected an object, got a string"),
    ("true", ": expected an object, got a boolean"),
    ("1.5", ": expected an object, got a number with a fraction or an exponent"),
    ("{}", ".type: is required"),
    ('{"type":"t"}', ".data: is required"),
    ('{"data":"d"}', ".type: is required"),
    (event(type="1"), ".type: expected a string, got an integer"),
    (event(type="null"), ".type: expected a string, got null"),
    (event(data="null"), ".data: expected a string, got null"),
    (event(data="{}"), ".data: expected a string, got an object"),
    (event(data="[]"), ".data: expected a string, got an array"),
    (event(metadata="1"), ".metadata: expected a string or null, got an integer"),
    (event(metadata="{}"), ".metadata: expected a string or null, got an object"),
    (event(causation_id="1"), ".causation_id: expected a string or null, got an integer"),
    (event(correlation_id="false"), ".correlation_id: expected a string or null, got a boolean"),
    (event(id='"a"'), f".id: unknown field; {EVENT_KNOWN}"),
    (event(stream='"a"'), f".stream: unknown field; {EVENT_KNOWN}"),
    (event(**{"x" * 100: "1"}), f".{'x' * 60}...: unknown field; {EVENT_KNOWN}"),
    (event(type='""'), ".type: expected 1 to 255 bytes, got 0"),
    (event(type=f'"{"a" * 256}"'), ".type: expected 1 to 255 bytes, got 256"),
    (event(type=f'"{"é" * 128}"'), ".type: expected 1 to 255 bytes, got 256"),
    (event(type=f'"{"€" * 86}"'), ".type: expected 1 to 255 bytes, got 258"),
    (event(type=f'"{"😀" * 64}"'), ".type: expected 1 to 255 bytes, got 256"),
    (event(type=json.dumps("x" * 100_000)), ".type: expected 1 to 255 bytes, got 100000"),
    (event(data='"\\ud800"'), f".data: holds {HALF}"),
    (event(data='"a\\udc00b"'), f".data: holds {HALF}"),
    (event(data='"\\ud800\\u0041"'), f".data: holds {HALF}"),
    (event(data='"\\ud83d\\ud83d\\ude00"'), f".data: holds {HALF}"),
    (event(data='"\\ude00\\ud83d"'), f".data: holds {HALF}"),
    (event(type='"\\uD800"'), f".type: holds {HALF}"),
    (event(metadata='"\\\\\\ud800"'), f".metadata: holds {HALF}"),
    (event(causation_id='"\\udfff"'), f".causation_id: holds {HALF}"),
    (event(**{"\\ud800": "1"}), f": the name of a field holds {HALF}"),
    (event(**{"d\\udc00": '"\\ud800"'}), f": the name of a field holds {HALF}"),
]

WRONG_ADDS: list[tuple[str, str]] = [
    ("{}", "stream: is required"),
    (f'{{"stream":"{STREAM}"}}', "version: is required"),
    (f'{{"stream":"{STREAM}","version":0}}', "events: is required"),
    (f'{{"stream":"{STREAM}","events":[]}}', "version: is required"),
    (f'{{"stream":"{STREAM}","version":0,"events":null}}', "events: expected an array, got null"),
    (f'{{"stream":"{STREAM}","version":0,"events":{event()}}}', "events: expected an array, got an object"),
    (f'{{"stream":"{STREAM}","version":0,"events":"a"}}', "events: expected an array, got a string"),
    (add_argument(), "events: expected at least one event"),
    (add_argument(stream='"a"'), stream_refusal("'a'")),
    (add_argument(event(), version="null"), f"version: {A_VERSION}, got null"),
    (add_argument(event(), version="true"), f"version: {A_VERSION}, got a boolean"),
    (add_argument(event(), version="{}"), f"version: {A_VERSION}, got an object"),
    (add_argument(event(), version='["any"]'), f"version: {A_VERSION}, got an array"),
    (add_argument(event(), version='"0"'), f"version: {A_VERSION}, got '0'"),
    (add_argument(event(), version='""'), f"version: {A_VERSION}, got ''"),
    (add_argument(event(), version='"Any"'), f"version: {A_VERSION}, got 'Any'"),
    (add_argument(event(), version='"exists "'), f"version: {A_VERSION}, got 'exists '"),
    (add_argument(event(), version=f'"{"x" * 61}"'), f"version: {A_VERSION}, got '{'x' * 60}...'"),
    (add_argument(event(), version='"\\ud800"'), f"version: holds {HALF}"),
    (add_argument(event(), version="1e400"), f"version: the number is too large; integers are 0 to {LARGEST}"),
    (add_argument(event(), version="-1"), f"version: expected an integer from 0 to {LARGEST}"),
    (add_argument(event(), version=f"{LARGEST + 1}"), f"version: expected an integer from 0 to {LARGEST}"),
    (add_argument(event(), version="0.0"), f"version: {A_VERSION}, got a number with a fraction or an exponent"),
    (add_argument(event(), stream='"\\ud800"'), f"stream: holds {HALF}"),
    (f'{{"\\ud800":1,"stream":"{STREAM}"}}', f"the argument: the name of a field holds {HALF}"),
    ('"\\ud800"', f"the argument: holds {HALF}"),
    # Too long for a second look: what the validator itself says has to do.
    (
        add_argument(event(data=f'"{"x" * 300_000}\\ud800"')),
        "the argument is not valid JSON: Input data was truncated" + IN_PAIRS,
    ),
    (
        add_argument(event(data=f'"{"x" * 300_000}\t"')),
        "the argument is not valid JSON: invalid character (byte 300091)",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), NOT_JSON)
def test_what_is_not_json_is_refused(text: str | bytes, sentence: str) -> None:
    assert refusal("GET", text) == sentence


@pytest.mark.parametrize(("command", "text", "sentence"), WRONG_READS)
def test_a_wrong_read_is_refused(command: str, text: str, sentence: str) -> None:
    assert refusal(command, text) == sentence


@pytest.mark.parametrize(("text", "sentence"), WRONG_QUERIES)
def test_a_wrong_query_of_a_subscription_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        SUBSCRIBE.decode(text.encode())
    assert str(refused.value) == sentence


@pytest.mark.parametrize(("text", "sentence"), WRONG_ADDS)
def test_a_wrong_append_is_refused(text: str, sentence: str) -> None:
    assert refusal("ADD", text) == sentence


@pytest.mark.parametrize(("text", "sentence"), WRONG_EVENTS)
@pytest.mark.parametrize("index", [0, 3, 12])
def test_a_wrong_event_is_refused_by_its_place(text: str, sentence: str, index: int) -> None:
    assert refusal("ADD", add_argument(*[event()] * index, text, event())) == f"events[{index}]{sentence}"


@pytest.mark.parametrize("name", ["causation_id", "correlation_id"])
@pytest.mark.parametrize("wrong", ["", STREAM, "I" * 26, "8" + "0" * 25, ULID_TEXT + "0", "0" * 25 + "ſ", "x" * 61])
def test_a_wrong_id_of_another_event_is_refused_by_its_path(name: str, wrong: str) -> None:
    shown = repr(wrong if len(wrong) < 61 else wrong[:60] + "...")
    sentence = refusal("ADD", add_argument(event(), event(**{name: f'"{wrong}"'})))
    assert sentence == ulid_refusal(f"events[1].{name}", shown)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("ending", ["", "1", "]"])
@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        ("", "the argument: expected an object, got an array"),
        ('{"stream":', "stream: expected a string, got an "),
        ('{"version":', f"version: {A_VERSION}, got an "),
        ('{"events":', "events"),
        ('{"events":[', "events[0]"),
        ('{"events":[{"data":', "events[0].data: expected a string, got an "),
        ('{"events":[{"metadata":', "events[0].metadata: expected a string or null, got an "),
        ('{"events":[{"tags":', "events[0].tags"),
        ('{"events":[{"tags":[', "events[0].tags[0]: expected a string, got an "),
        ('{"request_id":', "request_id: expected a string or null, got an "),
        ('{"unless":', "unless"),
        ('{"unless":[', "unless[0]"),
        ('{"unless":{"types":', "unless.types"),
        ('{"unless":[{"tags":[', "unless[0].tags[0]: expected a string, got an "),
        ('{"unless":[{"x":', "unless[0].x: unknown field"),
        ('{"x":', "x: unknown field"),
        ('{"events":[{"x":', "events[0].x: unknown field"),
        ('{"stream":"\\ud800","stream":', "the argument is not valid JSON: unexpected end of escaped utf-16"),
    ],
)
def test_no_nesting_is_too_deep_to_be_refused(opening: str, ending: str, before: str, sentence: str) -> None:
    given = refusal("ADD", before + opening * NESTED + ending)
    assert given.startswith(sentence) or (not before and given.startswith("a: unknown field"))


@pytest.mark.parametrize("depth", range(100, 1100, 50))
def test_half_a_surrogate_pair_is_found_or_not_but_nothing_breaks_below_any_depth(depth: int) -> None:
    text = '{"stream":"\\ud800","stream":' + "[" * depth + "]" * depth + "}"
    assert refusal("GET", text) in (
        f"stream: holds {HALF}",
        "the argument is not valid JSON: unexpected end of escaped utf-16 surrogate pair (byte 17)" + IN_PAIRS,
    )
