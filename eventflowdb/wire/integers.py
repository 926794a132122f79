"""Integers as words of a request, in the one form that Redis takes (util.c, string2ll)."""

import re

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")


def read_integer(word: bytes) -> int | None:
    """The number, of 64 bits with a sign; None where the word is none: no plus sign, no space, no leading zero."""
    if _INTEGER.fullmatch(word) is None:
        return None
    number = int(word)
    return number if -(1 << 63) <= number < 1 << 63 else None
