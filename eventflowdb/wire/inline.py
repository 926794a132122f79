"""Inline commands: words on one line, quoted as redis-cli quotes them (sdssplitargs in Redis's sds.c).

"double quotes" take the escapes \\n \\r \\t \\b \\a \\xHH and a backslash before any other character;
'single quotes' take only \\'. A closing quote must be followed by a space or the end.
"""

import re

_SPACE = re.compile(rb"[ \t\r\n\v\f\0]+")
# As in Redis, a vertical tab or a form feed inside a word does not end it.
_BARE = re.compile(rb"[^ \t\r\n\0\"']+")
_DOUBLE = re.compile(rb'"((?:[^"\\]|\\.)*)"(?=[ \t\r\n\v\f\0]|$)', re.DOTALL)
_SINGLE = re.compile(rb"'((?:[^'\\]|\\'|\\(?!'))*)'(?=[ \t\r\n\v\f\0]|$)", re.DOTALL)
_DOUBLE_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


class UnbalancedQuotes(ValueError):
    """A quote is not closed, or something other than a space follows a closing one."""


def split_words(line: bytes) -> list[bytes]:
    """The words of a line; UnbalancedQuotes where its quotes do not pair up."""
    words: list[bytes] = []
    offset = 0
    while True:
        space = _SPACE.match(line, offset)
        if space is not None:
            offset = space.end()
        if offset >= len(line):
            return words
        word, offset = _read_word(line, offset)
        words.append(word)


def _read_word(line: bytes, offset: int) -> tuple[bytes, int]:
    """The word that begins at `offset`, and where it ends."""
    bare = _BARE.match(line, offset)
    if bare is None:
        return _read_quoted(line, offset)
    if line[bare.end() : bare.end() + 1] not in (b'"', b"'"):
        return bare.group(), bare.end()
    quoted, end = _read_quoted(line, bare.end())
    return bare.group() + quoted, end


def _read_quoted(line: bytes, offset: int) -> tuple[bytes, int]:
    double = _DOUBLE.match(line, offset)
    if double is not None:
        return _DOUBLE_ESCAPE.sub(_unescape, double.group(1)), double.end()
    single = _SINGLE.match(line, offset)
    if single is not None:
        return single.group(1).replace(b"\\'", b"'"), single.end()
    raise UnbalancedQuotes


def _unescape(escape: "re.Match[bytes]") -> bytes:
    if escape.group(1) is not None:
        return bytes([int(escape.group(1), 16)])
    return _NAMED.get(escape.group(2), escape.group(2))
