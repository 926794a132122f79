"""Whatever the bytes: the server takes an argument if and only if a slow and separate judge does, as the same value."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from eventflowdb.errors import InvalidArgument

from .samples import (
    EVENT_FIELDS,
    GUARD_FIELDS,
    LARGEST,
    STREAM,
    ULID_TEXT,
    UNHURRIED,
    Object,
    WrongArgument,
    arguments,
    conditions,
    decoded,
    event,
    judged,
    places,
    plain,
    write_json,
)


def changed(argument: tuple[str, Object], where: int, name: str, value: Any) -> tuple[str, Object]:
    """A right argument with one field more, or another, somewhere."""
    command, whole = argument
    objects = [place for _, place in places(whole)]
    place = objects[where % len(objects)]
    place[:] = [*[field for field in place if field[0] != name], (name, value)]
    return command, whole


COMMANDS = ("ADD", "ADDMANY", "GET", "GETALL")
commands = st.sampled_from(COMMANDS)

# Values that fit some field and not others, and what fits none.
numbers = st.sampled_from([0, 1, -1, LARGEST, LARGEST + 1, 2**64, 10**400, 0.0, 1e300, float("inf"), float("nan")])
ids = st.sampled_from(
    [
        *[STREAM, STREAM.upper(), STREAM.replace("-", ""), "00000000-0000-0000-0000-000000000000", "\0" * 36],
        *[ULID_TEXT, ULID_TEXT.lower(), "8" + ULID_TEXT[1:], ULID_TEXT[:-1] + "U", "0" * 25 + "ſ"],
    ]
)
odd_texts = st.sampled_from(
    ["", "t", "any", "exists", "é" * 64, "é" * 64 + "a", "é" * 127 + "a", "é" * 128, "\ud800", "\udc00\ud800"]
)
scalars = st.one_of(st.none(), st.booleans(), numbers, ids, odd_texts)
names = st.sampled_from(
    [
        *["stream", "version", "events", "limit", "offset", "after", "wait_ms"],
        *["appends", *GUARD_FIELDS, "consumer", "member", "id"],
        *["types", "since", "until", "before", "backwards", "cursor"],
        *[*EVENT_FIELDS, "", "x", "\ud800", "\0"],
    ]
)
lists_of_texts = st.one_of(
    st.lists(odd_texts, max_size=3), st.integers(31, 34).map(lambda count: [str(number) for number in range(count)])
)
values = st.recursive(
    st.one_of(scalars, st.text(max_size=5), st.integers(), lists_of_texts, conditions),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(st.tuples(names, inner), max_size=6).map(Object)),
    max_leaves=8,
)
near_misses = st.builds(changed, arguments, st.integers(0, 11), names, values)
marks = [bytes([byte]) for byte in b'"\\{}[],:0-.en \n\0\xff\xc3']
pieces = st.sampled_from(
    [
        *marks,
        b"\\u",
        b"\\ud800",
        b'\\"',
        b"\\\\",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"null",
        b'"data":',
        b'"limit":0,',
        b'"tags":',
    ]
)


def agree(command: str, text: bytes) -> None:
    """The server and the judge make the same of a text."""
    try:
        expected = judged(command, text)
    except WrongArgument:
        expected = None
    try:
        found = plain(decoded(command, text))
    except InvalidArgument:
        found = None
    assert found == expected


@UNHURRIED
@given(near_misses, st.randoms(use_true_random=False))
def test_an_argument_with_a_field_changed(argument: tuple[str, Object], random: Any) -> None:
    command, value = argument
    agree(command, write_json(value, random).encode("utf-8", "surrogatepass"))


@UNHURRIED
@given(commands, values, st.randoms(use_true_random=False))
def test_any_json(command: str, value: Any, random: Any) -> None:
    agree(command, write_json(value, random).encode("utf-8", "surrogatepass"))


@UNHURRIED
@given(
    arguments,
    st.randoms(use_true_random=False),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), pieces), max_size=3),
)
def test_a_text_with_pieces_put_in_and_cut_out(
    argument: tuple[str, Object], random: Any, changes: list[tuple[float, int, bytes]]
) -> None:
    command, value = argument
    text = write_json(value, random).encode()
    for place, cut_bytes, piece in changes:
        at = int(place * len(text))
        text = text[:at] + piece + text[at + cut_bytes :]
    agree(command, text)


@UNHURRIED
@given(commands, st.one_of(st.binary(), st.lists(pieces, max_size=12).map(b"".join)))
@example("GET", b"")
@example("GETALL", b'{"limit":' + b"9" * 5000 + b"}")
@example("ADD", event().encode())
@example("ADDMANY", b'{"appends":[]}')
@example("ADDMANY", b'{"appends":[{}]}')
def test_any_bytes(command: str, text: bytes) -> None:
    agree(command, text)
