"""Replies as bytes, RESP2.

An array of events goes out in three kinds of pieces, so that a long one is never built whole: `array_start`,
then `array_items` any number of times, then ARRAY_END. Inside, each item carries the CRLF that ends what stands
before it, which spares the copy of cutting it off.
"""

from collections.abc import Sequence
from typing import Final

from eventflowdb.errors import EventflowError

OK = b"+OK\r\n"
PONG: Final = b"+PONG\r\n"
ARRAY_END: Final = b"\r\n"
_ERROR_CHARACTERS_MAX = 1000
"""Some clients close the connection on a line over 16 KiB, and a refused field's name may be of any length."""
_LINE_BREAKS = str.maketrans("\r\n", "  ")
# Formatting a header costs twice as much as looking it up.
_HEADERS: Final = 4096
_ITEM_HEADERS: Final = tuple([b"\r\n$%d\r\n" % length for length in range(_HEADERS)])


def integer(number: int) -> bytes:
    """An integer."""
    return b":%d\r\n" % number


def bulk(value: bytes) -> bytes:
    """A bulk string."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def array(replies: Sequence[bytes]) -> bytes:
    """An array of replies that are already encoded."""
    return b"*%d\r\n" % len(replies) + b"".join(replies)


def bulk_array(values: Sequence[bytes]) -> bytes:
    """A whole array of bulk strings."""
    count = len(values)
    if count == 1:
        # What most appends are answered.
        value = values[0]
        return b"*1\r\n$%d\r\n%b\r\n" % (len(value), value)
    pieces = [array_start(count)]
    _add_items(pieces, values)
    pieces.append(ARRAY_END)
    return b"".join(pieces)


def array_start(count: int) -> bytes:
    """The beginning of an array of `count` bulk strings."""
    return b"*%d" % count


def array_items(values: Sequence[bytes]) -> bytes:
    """Some bulk strings of an array that has begun."""
    pieces: list[bytes] = []
    _add_items(pieces, values)
    return b"".join(pieces)


def _add_items(pieces: list[bytes], values: Sequence[bytes]) -> None:
    """The headers of bulk strings, and themselves, by turns."""
    for value in values:
        length = len(value)
        pieces.append(_ITEM_HEADERS[length] if length < _HEADERS else b"\r\n$%d\r\n" % length)
        pieces.append(value)


def message_prefix(channel: bytes, is_push: bool) -> bytes:
    """What stands before the payload of every message of a channel; `is_push`: as RESP3 has it."""
    return b"%b3\r\n$7\r\nmessage\r\n$%d\r\n%b" % (b">" if is_push else b"*", len(channel), channel)


def messages(prefix: bytes, payloads: Sequence[bytes]) -> bytes:
    """Messages of one channel, a payload each; at least one."""
    pieces: list[bytes] = []
    add = pieces.append
    next_prefix = b"\r\n" + prefix
    for payload in payloads:
        length = len(payload)
        add(next_prefix if pieces else prefix)
        add(_ITEM_HEADERS[length] if length < _HEADERS else b"\r\n$%d\r\n" % length)
        add(payload)
    add(b"\r\n")
    return b"".join(pieces)


def error(refusal: EventflowError) -> bytes:
    """`-CODE text`, on one line whatever the text holds."""
    return error_line(f"{refusal.code} {refusal}")


def error_line(text: str) -> bytes:
    """An error whose text begins with its code."""
    if len(text) > _ERROR_CHARACTERS_MAX:
        text = text[:_ERROR_CHARACTERS_MAX] + "..."
    if "\n" in text or "\r" in text:
        text = text.translate(_LINE_BREAKS)
    return b"-%b\r\n" % text.encode("utf-8", "backslashreplace")
