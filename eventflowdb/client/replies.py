"""RESP2 replies from bytes, without I/O: bytes in, whole replies out, however the bytes were cut.

It stands in for txredisapi's own framing, which goes through the reactor once and stops and starts reading for
every bulk string: 55,000 events of 380 bytes a second where this parser frames 700,000.
"""

from typing import TypeAlias

from eventflowdb.client.refusals import UnexpectedReply, error_of
from eventflowdb.errors import EventflowError

Reply: TypeAlias = "str | int | bytes | EventflowError | list[Reply] | None"
"""A simple string, an integer, a bulk string, an error, an array, a null. An error is a value here, never raised."""

LINE_BYTES_MAX = 64 * 1024
"""A simple string, an error, or the header of a bulk string or an array; Redis's bound on a line."""
NESTING_MAX = 32


class ReplyParser:
    """One connection's replies.

    `_buffer[_position:]` begins with a header line, or is empty. Bytes that came since wait in `_chunks` until
    what is held could be enough for the next element, so that a bulk string of many chunks is joined once.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self._chunks: list[bytes] = []
        self._held_bytes = 0
        self._wanted_bytes = 1
        self._open_arrays: list[tuple[list[Reply], int]] = []

    def receive(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes, in order. Raises UnexpectedReply where the bytes are not RESP2."""
        self._chunks.append(data)
        self._held_bytes += len(data)
        if self._held_bytes < self._wanted_bytes:
            return []
        self._buffer = b"".join([self._buffer[self._position :], *self._chunks])
        self._position = 0
        self._chunks = []
        return self._parse()

    def _parse(self) -> list[Reply]:
        """One loop, since this is the client's hot path: an array of events costs a turn for each event."""
        replies: list[Reply] = []
        buffer, position, size = self._buffer, 0, len(self._buffer)
        wanted = 1
        value: Reply
        while position < size:
            line_end = buffer.find(b"\r\n", position)
            if line_end < 0:
                wanted = _wanted_for_line(size - position)
                break
            kind = buffer[position]
            if kind == 0x24:  # $
                length = _integer(buffer[position + 1 : line_end])
                if length < 0:
                    value = None
                    position = line_end + 2
                else:
                    end = line_end + 2 + length
                    if end + 2 > size:
                        wanted = end + 2 - position
                        break
                    value = buffer[line_end + 2 : end]
                    position = end + 2
            else:
                line = buffer[position + 1 : line_end]
                position = line_end + 2
                if kind == 0x2A and (count := _integer(line)) > 0:  # *
                    self._open_array(count)
                    continue
                value = _value_of_line(kind, line)
            self._place(value, replies)
        self._position, self._held_bytes, self._wanted_bytes = position, size - position, wanted
        return replies

    def _open_array(self, count: int) -> None:
        if len(self._open_arrays) == NESTING_MAX:
            raise UnexpectedReply(f"the server's reply has more than {NESTING_MAX} arrays inside each other")
        self._open_arrays.append(([], count))

    def _place(self, value: Reply, replies: list[Reply]) -> None:
        """Put an element where it belongs: into the innermost open array, which may complete it and others."""
        while self._open_arrays:
            items, count = self._open_arrays[-1]
            items.append(value)
            if len(items) < count:
                return
            self._open_arrays.pop()
            value = items
        replies.append(value)


def _wanted_for_line(held: int) -> int:
    if held > LINE_BYTES_MAX:
        raise UnexpectedReply(f"the server sent a line of more than {LINE_BYTES_MAX} bytes: it does not speak RESP")
    return held + 1


def _value_of_line(kind: int, line: bytes) -> Reply:
    """An element that is one line; of arrays, those without elements."""
    if kind == 0x2B:  # +
        return line.decode("utf-8", "replace")
    if kind == 0x2D:  # -
        return error_of(line.decode("utf-8", "replace"))
    if kind == 0x3A:  # :
        return _integer(line)
    if kind == 0x2A:  # *
        return [] if _integer(line) == 0 else None
    raise UnexpectedReply(f"the server sent {bytes([kind]) + line[:60]!r}, which is not RESP2")


def _integer(digits: bytes) -> int:
    try:
        return int(digits)
    except ValueError:
        raise UnexpectedReply(f"the server sent {digits[:60]!r} where RESP has a number") from None
