"""Bytes in, requests out: the server's half of RESP, with every limit of Redis's own parser (networking.c).

Sans-I/O: `feed` takes bytes as they come, `next_request` gives what they add up to. The source of the format is
the Redis documentation, "Redis serialization protocol specification". A request is either an array of bulk
strings or an inline command, words on one line.
"""

from typing import NamedTuple

from eventflowdb.errors import EventflowError, InvalidArgument
from eventflowdb.limits import (
    ARGUMENTS_KEPT_MAX,
    ARGUMENTS_MAX,
    BULK_BYTES_MAX,
    LINE_BYTES_MAX,
    MIB,
    UNAUTHENTICATED_ARGUMENTS_MAX,
    UNAUTHENTICATED_BULK_BYTES_MAX,
)
from eventflowdb.wire.inline import UnbalancedQuotes, split_words

_ARRAY, _BULK = ord("*"), ord("$")
_LENGTH_DIGITS_MAX = 10


class ProtocolError(Exception):
    """The bytes are not RESP; nothing after them can be understood. `str()` is Redis's sentence."""


class DroppedRequest(NamedTuple):
    """A well-framed request whose words were not kept, and why it is refused."""

    error: EventflowError


Request = list[bytes] | DroppedRequest
"""The words of a request, the command's name first; never empty."""


class RequestLimits(NamedTuple):
    """What a connection may send: they differ before and after AUTH."""

    arguments_max: int
    bulk_bytes_max: int
    request_bytes_max: int
    prefix: str
    """What Redis puts into its sentences before AUTH."""


UNAUTHENTICATED = RequestLimits(
    UNAUTHENTICATED_ARGUMENTS_MAX, UNAUTHENTICATED_BULK_BYTES_MAX, BULK_BYTES_MAX, "unauthenticated"
)


def authenticated(request_bytes_max: int) -> RequestLimits:
    """The limits after AUTH, or where no password is set."""
    return RequestLimits(ARGUMENTS_MAX, BULK_BYTES_MAX, request_bytes_max, "invalid")


class RequestParser:
    """One connection's requests. After a ProtocolError nothing more may be fed or asked.

    Between calls the parser is between requests (`_words_left` 0), before a bulk's header, or inside a bulk
    (`_bulk_left` above 0). A bulk that is not complete is kept as the list of its chunks and joined once:
    joining as they come would copy a large bulk over and over.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits
        self._buffer = b""
        self._offset = 0
        self._words: list[bytes] = []
        self._words_left = 0
        self._bulk_left = 0
        """Bytes of the current bulk, its final CRLF included, that have not come yet."""
        self._chunks: list[bytes] = []
        self._chunk_bytes = 0
        self._word_bytes = 0
        self._dropped: EventflowError | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes as they come from the connection."""
        if self._offset < len(self._buffer):
            self._buffer = self._buffer[self._offset :] + data
        else:
            self._buffer = data
        self._offset = 0

    @property
    def held_bytes(self) -> int:
        """How much is kept of requests that were not given out yet."""
        return len(self._buffer) - self._offset + self._chunk_bytes + self._word_bytes

    @property
    def has_unread(self) -> bool:
        """Whether there are bytes that `next_request` has not looked at."""
        return self._offset < len(self._buffer)

    def next_request(self) -> Request | None:
        """The next complete request, or None: need more data. ProtocolError where the bytes are not RESP."""
        while True:
            if self._words_left == 0:
                request = self._begin()
                if request is not None or self._words_left == 0:
                    return request
            if not self._read_words():
                return None
            return self._finish()

    def drop_current(self, error: EventflowError) -> bool:
        """Give up the words of the unfinished request; its rest is read and dropped, then it is refused.

        False where no request is unfinished.
        """
        if self._words_left == 0:
            return False
        self._drop(error)
        return True

    def _begin(self) -> list[bytes] | None:
        """Read an array's header, or a whole inline command. None with `_words_left` 0: need more data."""
        while self._offset < len(self._buffer):
            if self._buffer[self._offset] != _ARRAY:
                words = self._read_inline()
                if words is None or words:
                    return words
                continue
            line = self._read_line("too big mbulk count string")
            if line is None:
                return None
            count = _length(line, ARGUMENTS_MAX)
            if count is None:
                raise ProtocolError("invalid multibulk length")
            if count > self.limits.arguments_max:
                raise ProtocolError(f"{self.limits.prefix} multibulk length")
            if count > 0:
                self._words_left = count
                if count > ARGUMENTS_KEPT_MAX:
                    self._drop(InvalidArgument(f"the request has {count} words; the most is {ARGUMENTS_KEPT_MAX}"))
                return None
        return None

    def _read_words(self) -> bool:
        """Read bulks until the request is complete; False: need more data."""
        while self._words_left:
            if self._bulk_left == 0:
                length = self._read_bulk_length()
                if length is None:
                    return False
                end = self._offset + length
                if end + 2 <= len(self._buffer):
                    if self._buffer[end : end + 2] != b"\r\n":
                        raise ProtocolError("expected CRLF after a bulk string")
                    if self._dropped is None:
                        self._words.append(self._buffer[self._offset : end])
                        self._word_bytes += length
                    self._offset = end + 2
                    self._words_left -= 1
                    continue
                self._bulk_left = length + 2
            if not self._read_bulk_rest():
                return False
        return True

    def _read_bulk_length(self) -> int | None:
        """Read a bulk's header; None: need more data."""
        if self._offset >= len(self._buffer):
            return None
        if self._buffer[self._offset] != _BULK:
            found = chr(self._buffer[self._offset])
            raise ProtocolError(f"expected '$', got '{found if found.isprintable() else '?'}'")
        line = self._read_line("too big bulk count string")
        if line is None:
            return None
        length = _length(line, BULK_BYTES_MAX)
        if length is None or length < 0:
            raise ProtocolError("invalid bulk length")
        if length > self.limits.bulk_bytes_max:
            raise ProtocolError(f"{self.limits.prefix} bulk length")
        request_bytes = self._word_bytes + length
        if request_bytes > self.limits.request_bytes_max and self._dropped is None:
            self._drop(
                InvalidArgument(
                    f"the request is larger than MAX_REQUEST_BYTES ({self.limits.request_bytes_max} bytes); "
                    "send fewer events at a time, or raise it"
                )
            )
        return length

    def _read_bulk_rest(self) -> bool:
        """Move what has come of the current bulk into its chunks; True when that completes it."""
        piece = self._buffer[self._offset : self._offset + self._bulk_left]
        self._offset += len(piece)
        self._bulk_left -= len(piece)
        # Of a dropped bulk only the end is kept, for the check of its CRLF.
        self._chunks.append(piece)
        self._chunk_bytes += len(piece)
        if self._dropped is not None:
            tail = b"".join(self._chunks)[-2:]
            self._chunks, self._chunk_bytes = [tail], len(tail)
        if self._bulk_left:
            return False
        bulk = b"".join(self._chunks)
        self._chunks, self._chunk_bytes = [], 0
        if not bulk.endswith(b"\r\n"):
            raise ProtocolError("expected CRLF after a bulk string")
        if self._dropped is None:
            self._words.append(bulk[:-2])
            self._word_bytes += len(bulk) - 2
        self._words_left -= 1
        return True

    def _finish(self) -> Request:
        words, dropped = self._words, self._dropped
        self._words, self._word_bytes, self._dropped = [], 0, None
        return words if dropped is None else DroppedRequest(dropped)

    def _drop(self, error: EventflowError) -> None:
        self._dropped = error
        self._words, self._word_bytes = [], 0
        tail = b"".join(self._chunks)[-2:]
        self._chunks, self._chunk_bytes = ([tail], len(tail)) if tail else ([], 0)

    def _read_line(self, too_long: str) -> bytes | None:
        """Read a header line without its first character and its CRLF; None: need more data."""
        end = self._buffer.find(b"\r\n", self._offset, self._offset + LINE_BYTES_MAX)
        if end < 0:
            if len(self._buffer) - self._offset >= LINE_BYTES_MAX:
                raise ProtocolError(too_long)
            return None
        line = self._buffer[self._offset + 1 : end]
        self._offset = end + 2
        return line

    def _read_inline(self) -> list[bytes] | None:
        """Read an inline command: its words, [] for an empty line; None: need more data."""
        end = self._buffer.find(b"\n", self._offset, self._offset + LINE_BYTES_MAX)
        if end < 0:
            if len(self._buffer) - self._offset >= LINE_BYTES_MAX:
                raise ProtocolError("too big inline request")
            return None
        line = self._buffer[self._offset : end]
        self._offset = end + 1
        try:
            return split_words(line)
        except UnbalancedQuotes as error:
            raise ProtocolError("unbalanced quotes in request") from error


def _length(digits: bytes, maximum: int) -> int | None:
    """A length as RESP writes it, negative ones included; None where it is no number or above `maximum`."""
    magnitude = digits[1:] if digits[:1] == b"-" else digits
    if not magnitude.isdigit() or len(magnitude) > _LENGTH_DIGITS_MAX:
        return None
    number = int(digits)
    return None if number > maximum else number


DEFAULT_LIMITS = authenticated(16 * MIB)
