"""Replies of any shape, in RESP2 or RESP3: for the commands of the Redis connection protocol.

RESP3 has types that RESP2 lacks. Until HELLO 3 they go out as Redis sends them in RESP2: a map as a flat array, a
set as an array, null as a null bulk string, a boolean as 1 or 0, a double and a verbatim text as bulk strings.
Source: the Redis documentation, "Redis serialization protocol specification".
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

RESP2, RESP3 = 2, 3


class Simple(NamedTuple):
    """A simple string such as OK: ASCII, no line breaks."""

    text: str


class Verbatim(NamedTuple):
    """Text for people."""

    text: str


class Members(NamedTuple):
    """A set."""

    members: Sequence["Value"]


class Push(NamedTuple):
    """Something the client did not ask for."""

    elements: Sequence["Value"]


Value = (
    None
    | bool
    | int
    | float
    | str
    | bytes
    | Simple
    | Verbatim
    | Members
    | Push
    | Sequence["Value"]
    | Mapping[str, "Value"]
)


def encode(value: "Value", protocol: int) -> bytes:
    """The reply in RESP2 or RESP3; a text is a bulk string."""
    pieces: list[bytes] = []
    _add(value, protocol == RESP3, pieces)
    return b"".join(pieces)


def _add(value: "Value", is_resp3: bool, pieces: list[bytes]) -> None:
    if isinstance(value, Simple):
        pieces.append(b"+%b\r\n" % value.text.encode())
    elif isinstance(value, Verbatim):
        text = value.text.encode()
        pieces.append(b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text) if is_resp3 else _bulk(text))
    elif isinstance(value, Members):
        _add_elements(b"~" if is_resp3 else b"*", value.members, is_resp3, pieces)
    elif isinstance(value, Push):
        _add_elements(b">" if is_resp3 else b"*", value.elements, is_resp3, pieces)
    elif isinstance(value, Mapping):
        flat = [item for pair in value.items() for item in pair]
        pieces.append(b"%%%d\r\n" % len(value) if is_resp3 else b"*%d\r\n" % len(flat))
        for item in flat:
            _add(item, is_resp3, pieces)
    elif isinstance(value, (str, bytes)):
        pieces.append(_bulk(value.encode() if isinstance(value, str) else value))
    elif isinstance(value, Sequence):
        _add_elements(b"*", value, is_resp3, pieces)
    else:
        pieces.append(_scalar(value, is_resp3))


def _add_elements(kind: bytes, elements: Sequence["Value"], is_resp3: bool, pieces: list[bytes]) -> None:
    pieces.append(b"%b%d\r\n" % (kind, len(elements)))
    for element in elements:
        _add(element, is_resp3, pieces)


def _scalar(value: float | None, is_resp3: bool) -> bytes:
    if value is None:
        return b"_\r\n" if is_resp3 else b"$-1\r\n"
    if isinstance(value, bool):
        word = b"#t\r\n" if value else b"#f\r\n"
        return word if is_resp3 else b":%d\r\n" % value
    if isinstance(value, int):
        return b":%d\r\n" % value
    text = repr(value).encode()
    return b",%b\r\n" % text if is_resp3 else _bulk(text)


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)
