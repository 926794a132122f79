"""RESP2 replies read back, as a client would: a small decoder that takes nothing on trust."""

from typing import TypeAlias

Value: TypeAlias = "int | bytes | SimpleString | ErrorLine | list[Value]"


class SimpleString(str):
    """`+...`"""

    __slots__ = ()


class ErrorLine(str):
    """`-...`"""

    __slots__ = ()


def decode(data: bytes) -> Value:
    """The one reply that these bytes are; ValueError where they are not exactly one."""
    value, end = _decode(data, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes too many")
    return value


def _decode(data: bytes, start: int) -> tuple[Value, int]:
    end = data.index(b"\r\n", start)
    kind, line, after = data[start : start + 1], data[start + 1 : end], end + 2
    if kind == b"+":
        return SimpleString(line.decode()), after
    if kind == b"-":
        return ErrorLine(line.decode()), after
    number = int(line)
    if line != b"%d" % number:
        raise ValueError(f"not how a number is written: {line!r}")
    if kind == b":":
        return number, after
    if kind == b"$":
        if data[after + number : after + number + 2] != b"\r\n":
            raise ValueError("a bulk string has to end in CRLF")
        return data[after : after + number], after + number + 2
    if kind == b"*":
        items: list[Value] = []
        for _ in range(number):
            item, after = _decode(data, after)
            items.append(item)
        return items, after
    raise ValueError(f"no kind of reply: {kind!r}")
