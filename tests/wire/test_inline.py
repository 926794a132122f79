"""Inline commands are split into words exactly as Redis splits them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventflowdb.wire.inline import UnbalancedQuotes, split_words

from .samples import UNHURRIED

SPACES = b" \t\n\v\f\r"
ESCAPES = {ord("n"): b"\n", ord("r"): b"\r", ord("t"): b"\t", ord("b"): b"\b", ord("a"): b"\a"}
HEX_DIGITS = b"0123456789abcdefABCDEF"

WORDS: list[tuple[bytes, list[bytes]]] = [
    (b"", []),
    (b" \t\r\v\f ", []),
    (b"PING", [b"PING"]),
    (b"  PING\r", [b"PING"]),
    (b"GET a\tb", [b"GET", b"a", b"b"]),
    (b"\xff\x80 \xe2\x82\xac", [b"\xff\x80", b"\xe2\x82\xac"]),
    (b"a\\nb", [b"a\\nb"]),
    (b"a\vb\fc", [b"a\vb\fc"]),
    (b"\va \fb", [b"a", b"b"]),
    (b'""', [b""]),
    (b"''", [b""]),
    (b"\"\" '' x", [b"", b"", b"x"]),
    (b'"a b"', [b"a b"]),
    (b"'a b'", [b"a b"]),
    (b'"a\'b"', [b"a'b"]),
    (b"'a\"b'", [b'a"b']),
    (b'"a\\"b"', [b'a"b']),
    (b"'a\\'b'", [b"a'b"]),
    (b"'a\\\\\\'b'", [b"a\\\\'b"]),
    (b'"\\n\\r\\t\\b\\a"', [b"\n\r\t\b\a"]),
    (b"'\\n\\x41\\\\ '", [b"\\n\\x41\\\\ "]),
    (b'"\\x41\\xfF\\x00"', [b"A\xff\0"]),
    (b'"\\xg1\\x4"', [b"xg1x4"]),
    (b'"\\q\\\\\\\'"', [b"q\\'"]),
    (b'ADD \'{"stream":"a b"}\'', [b"ADD", b'{"stream":"a b"}']),
    (b'ADD "{\\"stream\\":\\"a b\\"}"', [b"ADD", b'{"stream":"a b"}']),
    (b'foo"bar baz"', [b"foobar baz"]),
    (b"foo'bar baz' x", [b"foobar baz", b"x"]),
    (b'"a"\v"b"\f\'c\'', [b"a", b"b", b"c"]),
]
UNBALANCED = [
    b'"',
    b"'",
    b'"a',
    b"'a",
    b'a"',
    b"a'",
    b'"a\\"',
    b"'a\\'",
    b"'a\\\\'",
    b'"a"b',
    b"'a'b",
    b'"a""b"',
    b"'a''b'",
    b"\"a\"'b'",
    b'foo"bar"baz',
    b"x 'y' \"z",
]


def split_as_redis(line: bytes) -> list[bytes] | None:
    """sdssplitargs of Redis's sds.c, statement by statement; None for its NULL. The line holds no NUL."""
    line += b"\0"
    words: list[bytes] = []
    p = 0
    while True:
        while line[p] in SPACES:
            p += 1
        if line[p] == 0:
            return words
        token, p = _token(line, p)
        if token is None:
            return None
        words.append(token)


def _token(line: bytes, p: int) -> tuple[bytes | None, int]:
    current, quote = bytearray(), 0
    while True:
        c, after = line[p], line[p + 1] if line[p] else 0
        if quote == 0:
            if c in b" \n\r\t\0":
                return bytes(current), p
            if c in b"\"'":
                quote = c
            else:
                current.append(c)
        elif c == 0:
            return None, p
        elif c == quote:
            return (None if after and after not in SPACES else bytes(current)), p + 1
        elif quote == ord("'") and c == ord("\\") and after == ord("'"):
            p += 1
            current.append(after)
        elif quote == ord('"') and c == ord("\\") and after == ord("x") and _are_hex(line[p + 2 : p + 4]):
            current.append(int(line[p + 2 : p + 4], 16))
            p += 3
        elif quote == ord('"') and c == ord("\\") and after:
            p += 1
            current += ESCAPES.get(after, bytes([after]))
        else:
            current.append(c)
        p += 1


def _are_hex(digits: bytes) -> bool:
    return len(digits) == 2 and all(digit in HEX_DIGITS for digit in digits)


def quoted(word: bytes) -> bytes:
    """A word as redis-cli would write it (sdscatrepr of Redis's sds.c)."""
    named = {ord("\n"): b"\\n", ord("\r"): b"\\r", ord("\t"): b"\\t", ord("\a"): b"\\a", ord("\b"): b"\\b"}
    pieces = [
        named.get(byte)
        or (b"\\%c" % byte if byte in b'\\"' else b"%c" % byte if 32 <= byte < 127 else b"\\x%02x" % byte)
        for byte in word
    ]
    return b'"' + b"".join(pieces) + b'"'


@pytest.mark.parametrize(("line", "words"), WORDS)
def test_a_line_is_split_into_its_words(line: bytes, words: list[bytes]) -> None:
    assert split_words(line) == words


@pytest.mark.parametrize(("line", "words"), WORDS)
def test_the_table_says_what_redis_does(line: bytes, words: list[bytes]) -> None:
    assert split_as_redis(line) == words


@pytest.mark.parametrize("line", UNBALANCED)
def test_quotes_that_do_not_pair_up_are_refused(line: bytes) -> None:
    assert split_as_redis(line) is None
    with pytest.raises(UnbalancedQuotes):
        split_words(line)


@UNHURRIED
@given(st.lists(st.sampled_from([bytes([byte]) for byte in b" \t\r\v\f\"'\\xn4fa"]), max_size=20).map(b"".join))
@example(b'"\\x4')
@example(b'"\\')
def test_any_line_is_split_as_redis_splits_it(line: bytes) -> None:
    try:
        words: list[bytes] | None = split_words(line)
    except UnbalancedQuotes:
        words = None
    assert words == split_as_redis(line)


@UNHURRIED
@given(st.lists(st.binary(max_size=20)))
def test_words_in_double_quotes_come_back_whatever_they_hold(words: list[bytes]) -> None:
    assert split_words(b" ".join(quoted(word) for word in words)) == words


@UNHURRIED
@given(st.lists(st.binary(max_size=20).filter(lambda word: not word.endswith(b"\\") and b"\n" not in word)))
def test_words_in_single_quotes_come_back_whatever_they_hold(words: list[bytes]) -> None:
    line = b" ".join(b"'" + word.replace(b"'", b"\\'") + b"'" for word in words)
    assert split_words(line) == words


@pytest.mark.parametrize("line", [b"a\0b", b"\0a\0\0b\0", b'"a"\0b'])
def test_a_nul_stands_between_words(line: bytes) -> None:
    # Redis forgets what follows a NUL, since it reads the line as a C string; nothing is to be lost here.
    assert split_words(line) == [b"a", b"b"]


@pytest.mark.parametrize("line", [b'"' + b"\\" * 65533, b"'" + b"\\'" * 32766, b'"a"b' * 16384, b"'\"" * 32768])
def test_the_longest_line_can_be_unbalanced(line: bytes) -> None:
    with pytest.raises(UnbalancedQuotes):
        split_words(line)
