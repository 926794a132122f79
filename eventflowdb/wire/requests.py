"""Bytes in, requests out: the server's half of RESP, with every limit of Redis's own parser (networking.c).

Sans-I/O: `feed` takes bytes as they come, `next_request` gives what they add up to. The source of the format is
the Redis documentation, "Redis serialization protocol specification". A request is either an array of bulk
strings or an inline command, words on one line.
"""

from typing import Final, NamedTuple

from eventflowdb.errors import EventflowError, InvalidArgument
from eventflowdb.limits import (
    ARGUMENTS_KEPT_MAX,
    ARGUMENTS_MAX,
    BULK_BYTES_MAX,
    LINE_BYTES_MAX,
    UNAUTHENTICATED_ARGUMENTS_MAX,
    UNAUTHENTICATED_BULK_BYTES_MAX,
)
from eventflowdb.wire.inline import UnbalancedQuotes, split_words

_ARRAY, _BULK = ord("*"), ord("$")
_LENGTH_DIGITS_MAX = 10
_HEADER_BYTES_MAX = len("$\r\n") + _LENGTH_DIGITS_MAX
# Looking a header up costs a fourth of reading it. All that stands here is within the limits before AUTH, which
# are the lowest there are.
_SHORT_COUNTS = {b"*%d\r\n" % count: count for count in range(1, UNAUTHENTICATED_ARGUMENTS_MAX)}
_SHORT_LENGTHS = {b"$%d" % length: length for length in range(4096)}
_SHORT_HEADERS: Final = tuple(_SHORT_LENGTHS)
_CR: Final = 13
_LF: Final = 10
_ALONE_BYTES_MAX: Final = UNAUTHENTICATED_BULK_BYTES_MAX
_REPEATED_BYTES_MAX: Final = 32


class ProtocolError(Exception):
    """The bytes are not RESP; nothing after them can be understood. `str()` is Redis's sentence."""


class ForeignProtocol(ProtocolError):
    """The bytes are HTTP: most likely a browser's, which a page has sent here to have commands carried out."""


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
    (`_bulk_left` above 0). What has come of a bulk that is not complete is in `_bulk`: left in the buffer it
    would be copied over and over, and a list of the pieces as they came outweighs them many times if they are
    small.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits
        self._buffer = b""
        self._offset = 0
        self._words: list[bytes] = []
        self._words_left = 0
        self._words_bytes = 0
        self._bulk = bytearray()
        self._bulk_left = 0
        """Bytes of the current bulk, its final CRLF included, that have not come yet."""
        self._refusal: EventflowError | None = None
        """Why the words of the current request are not kept."""
        self._repeated, self._repeated_word = b"*1\r\n$4\r\nPING\r\n", b"PING"
        """The last short request of one word that came alone, and the word: most that send one send it again."""

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
        return len(self._buffer) - self._offset + len(self._bulk) + self._words_bytes

    @property
    def has_unread(self) -> bool:
        """Whether there are bytes that `next_request` has not looked at."""
        return self._offset < len(self._buffer)

    @property
    def is_between_requests(self) -> bool:
        """Whether all that has come was given out."""
        return self._words_left == 0 and self._offset >= len(self._buffer)

    def read_alone(self, data: bytes) -> list[bytes] | None:
        """The request that these bytes are, if they are one of one or two words, whole, with nothing behind it.

        Only between requests, instead of `feed`: most requests come so, and are cut with a handful of operations.
        There is no rule of its own here: where anything is unusual or wrong it gives None, and has done nothing.
        """
        size = len(data)
        if size > _ALONE_BYTES_MAX or size > self.limits.request_bytes_max:
            return None
        if size <= _REPEATED_BYTES_MAX and data == self._repeated:
            return [self._repeated_word]
        # Not the argument: to look for line breaks in it takes longer than to copy it. A name that holds one makes
        # other pieces.
        pieces = data.split(b"\r\n", 4)
        if len(pieces) == 5:
            name, rest = pieces[2], pieces[4]
            length = len(rest) - 2
            if (
                pieces[0] == b"*2"
                and length >= 0
                and rest[length] == _CR
                and rest[length + 1] == _LF
                and pieces[1] == _bulk_header(len(name))
                and pieces[3] == _bulk_header(length)
            ):
                return [name, rest[:length]]
        elif len(pieces) == 4 and pieces[0] == b"*1" and not pieces[3]:
            name = pieces[2]
            if pieces[1] == _bulk_header(len(name)):
                if size <= _REPEATED_BYTES_MAX:
                    self._repeated, self._repeated_word = data, name
                return [name]
        return None

    def next_request(self) -> Request | None:
        """The next complete request, or None: need more data. ProtocolError where the bytes are not RESP."""
        request: Request | None = None
        if self._offset < len(self._buffer):
            request = (self._read_whole() if self._words_left == 0 else None) or self._read_on()
        if request is None:
            # An idle connection must not pin the whole buffer for the sake of its last bytes.
            self._buffer, self._offset = self._buffer[self._offset :], 0
        return request

    def drop_current(self, error: EventflowError) -> bool:
        """Give up the words of the unfinished request; its rest is read and dropped, then it is refused.

        False where no request is unfinished. The first reason to drop it stays.
        """
        if self._words_left == 0:
            return False
        if self._refusal is None:
            self._drop(error)
        return True

    def _read_whole(self) -> list[bytes] | None:
        """The next request, if it lies whole in the buffer and is what most are: an array of a few words.

        It takes a third of the time of the general way and has no rule of its own: where anything is unusual or
        wrong it gives None, and has done nothing.
        """
        buffer, start, limits = self._buffer, self._offset, self.limits
        count = _SHORT_COUNTS.get(buffer[start : start + 4])
        if count is None:
            return None
        words: list[bytes] = []
        end = start + 4
        for _ in range(count):
            header = end
            end = buffer.find(b"\r\n", header, header + _HEADER_BYTES_MAX)
            if end < 0:
                return None
            length = _SHORT_LENGTHS.get(buffer[header:end])
            if length is None:
                length = _bulk_length(buffer[header:end])
                if length is None or length > limits.bulk_bytes_max:
                    return None
            begin = end + 2
            end = begin + length
            if buffer[end : end + 2] != b"\r\n":
                return None
            words.append(buffer[begin:end])
            end += 2
        if end - start > limits.request_bytes_max:
            return None
        self._offset = end
        return words

    def _read_on(self) -> Request | None:
        """The next complete request, whatever it is and wherever its reading stopped; None: need more data."""
        if self._words_left == 0:
            request = self._begin()
            if self._words_left == 0:
                return request
        while self._words_left:
            if self._bulk_left == 0 and not self._begin_bulk():
                return None
            if not self._read_bulk():
                return None
        words, refusal = self._words, self._refusal
        self._words, self._words_bytes, self._refusal = [], 0, None
        return words if refusal is None else DroppedRequest(refusal)

    def _begin(self) -> Request | None:
        """Read an array's header, or a whole inline command. None with `_words_left` 0: need more data."""
        while self._offset < len(self._buffer):
            if self._buffer[self._offset] != _ARRAY:
                words = self._read_inline()
                if words is None:
                    return None
                if words:
                    refusal = self._find_refusal(sum(map(len, words)))
                    return words if refusal is None else DroppedRequest(refusal)
                continue
            line = self._read_line("too big mbulk count string")
            if line is None:
                return None
            count = _length(line[1:], ARGUMENTS_MAX)
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

    def _begin_bulk(self) -> bool:
        """Read a bulk's header; False: need more data."""
        if self._offset >= len(self._buffer):
            return False
        if self._buffer[self._offset] != _BULK:
            found = chr(self._buffer[self._offset])
            raise ProtocolError(f"expected '$', got '{found if found.isprintable() else ' '}'")
        line = self._read_line("too big bulk count string")
        if line is None:
            return False
        length = _bulk_length(line)
        if length is None:
            raise ProtocolError("invalid bulk length")
        if length > self.limits.bulk_bytes_max:
            raise ProtocolError(f"{self.limits.prefix} bulk length")
        if self._refusal is None:
            refusal = self._find_refusal(self._words_bytes + length)
            if refusal is not None:
                self._drop(refusal)
        self._bulk_left = length + 2
        return True

    def _read_bulk(self) -> bool:
        """Read what has come of the current bulk; True when that completes it."""
        bulk: bytes | bytearray = self._buffer[self._offset : self._offset + self._bulk_left]
        self._offset += len(bulk)
        self._bulk_left -= len(bulk)
        if self._bulk or self._bulk_left:
            self._bulk += bulk
            if self._refusal is not None:
                self._keep_tail()
            if self._bulk_left:
                return False
            bulk, self._bulk = self._bulk, bytearray()
        if bulk[-2:] != b"\r\n":
            raise ProtocolError("expected CRLF after a bulk string")
        if self._refusal is None:
            self._words.append(bytes(memoryview(bulk)[:-2]))
            self._words_bytes += len(bulk) - 2
        self._words_left -= 1
        return True

    def _find_refusal(self, request_bytes: int) -> InvalidArgument | None:
        """Why a request of such a size is not taken, if it is not."""
        if request_bytes <= self.limits.request_bytes_max:
            return None
        return InvalidArgument(
            f"the request is larger than MAX_REQUEST_BYTES ({self.limits.request_bytes_max} bytes); "
            "send fewer events at a time, or raise it"
        )

    def _drop(self, error: EventflowError) -> None:
        self._refusal = error
        self._words, self._words_bytes = [], 0
        self._keep_tail()

    def _keep_tail(self) -> None:
        """Of a dropped bulk only the end is kept, for the check of its CRLF."""
        del self._bulk[:-2]

    def _read_line(self, too_long: str) -> bytes | None:
        """Read a header line without its CRLF; None: need more data."""
        end = self._buffer.find(b"\r\n", self._offset, self._offset + LINE_BYTES_MAX)
        if end < 0:
            if len(self._buffer) - self._offset >= LINE_BYTES_MAX:
                raise ProtocolError(too_long)
            return None
        line = self._buffer[self._offset : end]
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
            words = split_words(line)
        except UnbalancedQuotes as error:
            raise ProtocolError("unbalanced quotes in request") from error
        if _is_http(words):
            raise ForeignProtocol("this is HTTP; the server speaks the Redis protocol, and runs nothing that comes so")
        return words


def _is_http(words: list[bytes]) -> bool:
    """Whether a line is the first one of an HTTP request, or the header that each of them has.

    Any page may have a browser send text to any port of its machine. The lines before that text must end the
    connection, or it would be carried out as commands.
    """
    if not words:
        return False
    return words[0].lower() in (b"post", b"host:") or (len(words) == 3 and words[2].startswith(b"HTTP/"))


def _bulk_header(length: int) -> bytes:
    """The header of a bulk of such a length, without its CRLF."""
    return _SHORT_HEADERS[length] if length < 4096 else b"$%d" % length


def _bulk_length(header: bytes) -> int | None:
    """What a bulk's header says; None where it is not one, or says too much."""
    length = _length(header[1:], BULK_BYTES_MAX) if header[:1] == b"$" else None
    return None if length is None or length < 0 else length


def _length(digits: bytes, maximum: int) -> int | None:
    """A length as RESP writes it, negative ones included; None where it is no number or above `maximum`."""
    if not digits.removeprefix(b"-").isdigit() or len(digits) > _LENGTH_DIGITS_MAX:
        return None
    number = int(digits)
    # As in Redis there is one way to write a number: no zeros before it, and no -0.
    return number if number <= maximum and digits == b"%d" % number else None
