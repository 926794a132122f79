"""A reader of replies in RESP2 and RESP3, of the tests' own; it takes nothing that the specification does not name."""

from typing import Any, NamedTuple


class Refused(NamedTuple):
    """An error reply."""

    text: str


class Verbatim(NamedTuple):
    """A verbatim string."""

    text: str


class Kind(NamedTuple):
    """An aggregate that has no type of its own in Python: a set or a push, in the order it was sent."""

    name: str
    items: list[Any]


def read_all(data: bytes) -> list[Any]:
    """The replies in some bytes: str for simple strings, bytes for bulks, dict for maps, None for any null."""
    replies: list[Any] = []
    offset = 0
    while offset < len(data):
        reply, offset = _read(data, offset)
        replies.append(reply)
    return replies


def read_one(data: bytes) -> Any:
    """The one reply in some bytes."""
    (reply,) = read_all(data)
    return reply


def _read(data: bytes, offset: int) -> tuple[Any, int]:
    end = data.index(b"\r\n", offset)
    kind, line, offset = data[offset : offset + 1].decode(), data[offset + 1 : end].decode(), end + 2
    if kind in "+-:,#_":
        return _scalar(kind, line), offset
    if kind in "$=":
        return _text(kind, int(line), data, offset)
    assert kind in "*%~>", f"{kind!r} at {end}"
    items: list[Any] = []
    for _ in range(int(line) * (2 if kind == "%" else 1)):
        item, offset = _read(data, offset)
        items.append(item)
    if kind == "%":
        return dict(zip(items[::2], items[1::2], strict=True)), offset
    return items if kind == "*" else Kind({"~": "set", ">": "push"}[kind], items), offset


def _scalar(kind: str, line: str) -> Any:
    if kind == "#":
        return {"t": True, "f": False}[line]
    if kind == "_":
        assert not line
        return None
    return {"+": str, "-": Refused, ":": int, ",": float}[kind](line)


def _text(kind: str, length: int, data: bytes, offset: int) -> tuple[Any, int]:
    if length == -1:
        assert kind == "$"
        return None, offset
    end = offset + length
    assert data[end : end + 2] == b"\r\n"
    text = data[offset:end]
    if kind == "$":
        return text, end + 2
    assert text[:4] == b"txt:"
    return Verbatim(text[4:].decode()), end + 2
