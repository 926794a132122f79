"""Whatever the bytes: the server takes an argument if and only if a slow and separate judge does, as the same value."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from eventflowdb.errors import InvalidArgument

from .samples import (
    EVENT_FIELDS,
    LARGEST,
    STREAM,
    ULID_TEXT,
    Object,
    WrongArgument,
    arguments,
    decoded,
    event,
    judged,
    plain,
    write_json,
)

COMMANDS = ("ADD", "GET", "GETALL")
commands = st.sampled_from(COMMANDS)

# Values that fit some field and not others, and what fits none.
numbers = st.sampled_from([0, 1, -1, LARGEST, LARGEST + 1, 2**64, 10**400, 0.0, 1e300, float("inf"), float("nan")])
ids = st.sampled_from(
    [
        *[STREAM, STREAM.upper(), STREAM.replace("-", ""), "00000000-0000-0000-0000-000000000000", "\0" * 36],
        *[ULID_TEXT, ULID_TEXT.lower(), "8" + ULID_TEXT[1:], ULID_TEXT[:-1] + "U", "0" * 25 + "ſ"],
    ]
)
odd_texts = st.sampled_from(["", "t", "é" * 128, "\ud800", "\udc00\ud800"])
scalars = st.one_of(st.none(), st.booleans(), numbers, ids, odd_texts)
names = st.sampled_from(
    ["stream", "version", "events", "limit", "offset", "after", *EVENT_FIELDS, "", "x", "\ud800", "\0"]
)
values = st.recursive(
    st.one_of(scalars, st.text(max_size=5), st.integers()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(st.tuples(names, inner), max_size=6).map(Object)),
    max_leaves=8,
)
near_misses = arguments.flatmap(
    lambda argument: st.tuples(
        st.just(argument[0]),
        st.tuples(st.just(argument[1]), st.integers(0, 3), names, values).map(lambda change: changed(*change)),
    )
)
pieces = st.sampled_from(
    [
        *[
            b'"',
            b"\\",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"0",
            b"-",
            b".",
            b"e",
            b"n",
            b" ",
            b"\n",
            b"\0",
            b"\xff",
            b"\xc3",
        ],
        *[
            b"\\u",
            b"\\ud800",
            b'\\"',
            b"\\\\",
            b"\xed\xa0\x80",
            b"\xef\xbb\xbf",
            b"null",
            b"true",
            b'"data":',
            b'"limit":0,',
        ],
    ]
)


def changed(argument: Object, where: int, name: str, value: Any) -> Object:
    """A right argument with one field more, or another, somewhere."""
    places = [argument]
    for _, field in argument:
        places += [item for item in field if isinstance(item, Object)] if isinstance(field, list) else []
    place = places[where % len(places)]
    kept = [field for field in place if field[0] != name]
    place[:] = [*kept, (name, value)]
    return argument


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


@given(near_misses, st.randoms(use_true_random=False))
def test_an_argument_with_a_field_changed(argument: tuple[str, Object], random: Any) -> None:
    command, value = argument
    agree(command, write_json(value, random).encode("utf-8", "surrogatepass"))


@given(commands, values, st.randoms(use_true_random=False))
def test_any_json(command: str, value: Any, random: Any) -> None:
    agree(command, write_json(value, random).encode("utf-8", "surrogatepass"))


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


@given(commands, st.one_of(st.binary(), st.lists(pieces, max_size=12).map(b"".join)))
@example("GET", b"")
@example("GETALL", b'{"limit":' + b"9" * 5000 + b"}")
@example("ADD", event().encode())
def test_any_bytes(command: str, text: bytes) -> None:
    agree(command, text)
