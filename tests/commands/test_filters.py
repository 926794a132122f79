"""What reads with a filter take, and EVENT, STREAM, STREAMS and TYPES; and how times are read."""

from typing import Any

import pytest

from eventflowdb.commands.filters import FilteredRead, StreamsRead, TypesRead
from eventflowdb.commands.shapes import LogRead, StreamRead
from eventflowdb.commands.times import find_microseconds
from eventflowdb.queries import Query
from eventflowdb.storage.records import rfc3339

from .samples import STREAM, ULID_BYTES, ULID_TEXT, decoded, refusal, stream_refusal, ulid_refusal

MOMENT = "2025-11-23T19:23:14.123456Z"
MOMENT_US = 1_763_925_794_123_456
NEXT = ULID_BYTES[:-1] + bytes([ULID_BYTES[-1] + 1])

TAKEN: list[tuple[str, str, Any]] = [
    ("GETALL", '{"types":["a","b","a"]}', FilteredRead(Query(types=("a", "b")), 100)),
    ("GETALL", '{"types":["a"],"limit":0}', FilteredRead(Query(types=("a",)), 100)),
    ("GETALL", '{"tags":["a","b"],"limit":7}', FilteredRead(Query(tags=("a", "b")), 7)),
    ("GETALL", '{"types":[],"tags":null,"backwards":false,"cursor":null}', LogRead(bytes(16), 100)),
    ("GETALL", f'{{"after":"{ULID_TEXT}","types":["a"]}}', FilteredRead(Query(types=("a",), start=NEXT), 100)),
    ("GETALL", f'{{"offset":"{ULID_TEXT}","types":["a"]}}', FilteredRead(Query(types=("a",), start=ULID_BYTES), 100)),
    ("GETALL", f'{{"before":"{ULID_TEXT}"}}', FilteredRead(Query(end=ULID_BYTES), 100)),
    ("GETALL", '{"backwards":true}', FilteredRead(Query(is_backwards=True), 100)),
    ("GETALL", '{"cursor":true}', FilteredRead(Query(), 100, has_cursor=True)),
    (
        "GETALL",
        f'{{"correlation_id":"{ULID_TEXT.lower()}","causation_id":"{ULID_TEXT}"}}',
        FilteredRead(Query(correlation_id=ULID_TEXT, causation_id=ULID_TEXT), 100),
    ),
    (
        "GETALL",
        f'{{"since":"{MOMENT}","until":"{MOMENT}","wait_ms":5}}',
        FilteredRead(Query(since_us=MOMENT_US, until_us=MOMENT_US), 100, wait_ms=5),
    ),
    ("GET", f'{{"stream":"{STREAM}","types":["a"]}}', FilteredRead(Query(STREAM, types=("a",)), 100)),
    ("GET", f'{{"stream":"{STREAM}","after":"{ULID_TEXT}"}}', FilteredRead(Query(STREAM, start=NEXT), 100)),
    ("GET", f'{{"stream":"{STREAM}","version":2,"since":"1970-01-01T00:00:00Z"}}', FilteredRead(Query(STREAM, 2), 100)),
    # Backwards and cursor alone are no filter.
    ("GET", f'{{"stream":"{STREAM}","backwards":true}}', FilteredRead(Query(STREAM, is_backwards=True), None)),
    ("GET", f'{{"stream":"{STREAM}","cursor":true,"limit":3}}', FilteredRead(Query(STREAM), 3, has_cursor=True)),
    ("GET", f'{{"stream":"{STREAM}","types":null,"limit":2}}', StreamRead(STREAM, 0, 2)),
    ("EVENT", f'{{"id":"{ULID_TEXT.lower()}"}}', ULID_BYTES),
    ("STREAM", f'{{"stream":"{STREAM.upper()}"}}', STREAM),
    ("STREAMS", "{}", StreamsRead(Query(), None, 100)),
    ("STREAMS", f'{{"after":"{STREAM}","limit":1000,"tags":["a"]}}', StreamsRead(Query(tags=("a",)), STREAM, 1000)),
    ("TYPES", "{}", TypesRead("", 1000)),
    ("TYPES", '{"after":"a","limit":10000}', TypesRead("a", 10_000)),
]
REFUSED: list[tuple[str, str, str]] = [
    ("GETALL", '{"types":"a"}', "types: expected an array or null, got a string"),
    ("GETALL", '{"types":[1]}', "types[0]: expected a string, got an integer"),
    ("GETALL", '{"types":["a",""]}', "types[1]: expected 1 to 255 bytes, got 0"),
    ("GETALL", '{"tags":["a","a"]}', "tags[1]: the tag 'a' is given twice"),
    ("GETALL", '{"tags":[""]}', "tags[0]: expected 1 to 128 bytes, got 0"),
    ("GETALL", '{"backwards":1}', "backwards: expected a boolean or null, got an integer"),
    ("GETALL", '{"correlation_id":"x"}', ulid_refusal("correlation_id", "'x'")),
    ("GETALL", '{"causation_id":"x"}', ulid_refusal("causation_id", "'x'")),
    ("GETALL", '{"before":"x"}', ulid_refusal("before", "'x'")),
    ("GETALL", '{"since":"now"}', "since: expected a time such as 2026-11-23T19:23:14.000001Z (RFC 3339), got 'now'"),
    ("GETALL", '{"since":""}', "since: expected a time such as 2026-11-23T19:23:14.000001Z (RFC 3339), got ''"),
    ("GETALL", '{"until":""}', "until: expected a time such as 2026-11-23T19:23:14.000001Z (RFC 3339), got ''"),
    (
        "GETALL",
        f'{{"types":["a"],"after":"{ULID_TEXT}","offset":"{ULID_TEXT}"}}',
        "after: cannot be given together with offset; offset is inclusive, after is exclusive",
    ),
    (
        "GETALL",
        '{"backwards":true,"wait_ms":1}',
        "wait_ms: cannot be given together with backwards; one waits for what comes last",
    ),
    (
        "GETALL",
        '{"cursor":true,"wait_ms":1}',
        "wait_ms: cannot be given together with cursor; a read that waits ends at the log's end",
    ),
    ("GETALL", '{"types":["a"],"types":["a"]}', "types: the field is given more than once"),
    ("EVENT", "{}", "id: is required"),
    ("EVENT", '{"id":"x"}', ulid_refusal("id", "'x'")),
    ("STREAM", '{"stream":"x"}', stream_refusal("'x'")),
    ("STREAMS", '{"after":"x"}', stream_refusal("'x'", "after")),
    ("STREAMS", '{"limit":1001}', "limit: expected at most 1000, got 1001; page with after"),
    ("TYPES", '{"limit":10001}', "limit: expected at most 10000, got 10001; page with after"),
]


@pytest.mark.parametrize(("command", "text", "value"), TAKEN)
def test_an_argument_means(command: str, text: str, value: Any) -> None:
    assert decoded(command, text) == value


@pytest.mark.parametrize(("command", "text", "sentence"), REFUSED)
def test_a_wrong_argument_is_refused(command: str, text: str, sentence: str) -> None:
    assert refusal(command, text) == sentence


def test_so_many_types_may_be_asked_for_and_no_more() -> None:
    names = ",".join(f'"{number}"' for number in range(1000))
    assert len(decoded("GETALL", f'{{"types":[{names}]}}').query.types) == 1000
    assert refusal("GETALL", f'{{"types":[{names},"x"]}}') == "types: expected at most 1000 types, got 1001"


@pytest.mark.parametrize(
    ("text", "us"),
    [
        (MOMENT, MOMENT_US),
        ("2025-11-23t19:23:14.123456z", MOMENT_US),
        ("2025-11-23T21:23:14.123456+02:00", MOMENT_US),
        ("2025-11-23T13:53:14.123456-05:30", MOMENT_US),
        ("2025-11-23T19:23:14.1234560000Z", MOMENT_US),
        ("2025-11-23T19:23:14.1234560001Z", MOMENT_US + 1),
        ("2025-11-23T19:23:14.999999999Z", MOMENT_US // 1_000_000 * 1_000_000 + 1_000_000),
        ("2025-11-23T19:23:14Z", MOMENT_US // 1_000_000 * 1_000_000),
        ("2025-11-23T19:23:14.1Z", MOMENT_US // 1_000_000 * 1_000_000 + 100_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1969-12-31T23:59:59Z", 0),
        ("0001-01-01T00:00:00+23:59", 0),
        ("9999-12-31T23:59:59.9999999-23:59", 253_402_300_799_999_999),
    ],
)
def test_a_time_is_read_to_the_microsecond_and_rounded_up(text: str, us: int) -> None:
    assert find_microseconds(text) == us


@pytest.mark.parametrize("us", [0, 1, 999_999, MOMENT_US, 253_402_300_799_999_999])
def test_a_time_that_the_server_writes_is_read_as_the_same(us: int) -> None:
    assert find_microseconds(rfc3339(us)) == us


@pytest.mark.parametrize(
    "text",
    [
        *["", "2025-11-23", "2025-11-23T19:23:14", "2025-11-23 19:23:14Z", "2025-11-23T19:23Z", "20251123T192314Z"],
        *["2025-11-23T19:23:14.Z", "2025-11-23T19:23:14,5Z", "2025-11-23T19:23:14+0200", "2025-11-23T19:23:14+2:00"],
        *["2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z", "2025-11-31T00:00:00Z", "0000-01-01T00:00:00Z"],
        *["2025-11-23T24:00:00Z", "2025-11-23T00:60:00Z", "2025-11-23T00:00:61Z", "2025-11-23T00:00:00+24:00"],
        *["2025-11-23T00:00:00+00:60", MOMENT + "\n", " " + MOMENT, "٢025-11-23T19:23:14Z", str(MOMENT_US)],
    ],
)
def test_what_is_no_time_is_told_apart(text: str) -> None:
    assert find_microseconds(text) is None
