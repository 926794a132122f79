"""The link between a front process and the core: frames over a local stream, both ways. No I/O.

A frame, integers with the least significant byte first:

    offset  bytes  what
    0       4      how many bytes follow this field
    4       1      kind, see below
    5       8      number
    13      ...    body

    kind        way            number                 body
    1 REQUEST   front to core  of the request         protocol (1 byte: 2 or 3), then each word: size (4 bytes), bytes
    2 ANSWER    core to front  of the request         the reply as the client gets it
    3 CANCEL    front to core  of the request         1 byte: 1 if the client is gone, 0 if it only waits no longer
    4 GREW      core to front  1: in these streams,   the streams, 36 characters each
                               0: nobody said which
    5 WATCHES   front to core  1 or 0                 nothing; whether anyone there waits for events
    6 ASK       both           of the question        the question (service/questions.py)
    7 TOLD      both           of the question        the answer
    8 MONITORS  both           1 or 0                 nothing; whether there is a MONITOR to show commands to
    9 SHOWN     both           0                      a line for MONITOR
    10 SHUTDOWN front to core  0                      nothing; a client asked for the end of the server
    11 APPENDS  front to core  how many               checked appends, MessagePack: [[number, fields of Append] ...]
    12 OUTCOMES core to front  how many               what became of them, MessagePack: [[number, outcome] ...]; an
                                                      outcome is a list of records, a Collision, or any other error as
                                                      the client gets it

Requests and questions are numbered by whoever sends them, and have nothing to do with each other. Whoever gets the
outcome of an append can read it: GREW and OUTCOMES are sent after the commit, GREW first.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from eventflowdb.append import Append, AppendFields
from eventflowdb.events import Collision

REQUEST: Final = 1
ANSWER: Final = 2
CANCEL: Final = 3
GREW: Final = 4
WATCHES: Final = 5
ASK: Final = 6
TOLD: Final = 7
MONITORS: Final = 8
SHOWN: Final = 9
SHUTDOWN: Final = 10
APPENDS: Final = 11
OUTCOMES: Final = 12

Outcome = list[bytes] | Collision | bytes
"""What became of an append: its records, or why it was refused, most errors as the client gets them."""

_HEADER = struct.Struct("<IBQ")
_SIZE = struct.Struct("<I")
_SIZE_BYTES = 4
_HEADER_BYTES = 13
_STREAM_BYTES = 36


def _in_tuples(item: object) -> object:
    """An item as MessagePack has it, where it is of no type that is known there."""
    assert isinstance(item, Append)
    return item.fields()


_encode = msgspec.msgpack.Encoder(enc_hook=_in_tuples).encode
_decode_appends = msgspec.msgpack.Decoder(list[tuple[int, AppendFields]]).decode

decode_outcomes = msgspec.msgpack.Decoder(list[tuple[int, Outcome]]).decode
"""The numbers of requests, and what became of each: the body of OUTCOMES."""


class Frame(NamedTuple):
    """One frame."""

    kind: int
    number: int
    body: bytes


def encode_frame(kind: int, number: int, body: bytes = b"") -> bytes:
    """A frame as bytes."""
    return _HEADER.pack(len(body) + _HEADER_BYTES - _SIZE_BYTES, kind, number) + body


def encode_request(number: int, protocol: int, words: Sequence[bytes]) -> bytes:
    """The frame of a request."""
    pieces = [b"", b"\x03" if protocol == 3 else b"\x02"]
    size = _HEADER_BYTES - _SIZE_BYTES + 1
    for word in words:
        length = len(word)
        size += _SIZE_BYTES + length
        pieces.append(_SIZE.pack(length))
        pieces.append(word)
    pieces[0] = _HEADER.pack(size, REQUEST, number)
    return b"".join(pieces)


def decode_request(body: bytes) -> tuple[int, list[bytes]]:
    """The protocol and the words of a request."""
    words = []
    offset, end = 1, len(body)
    while offset < end:
        begin = offset + _SIZE_BYTES
        offset = begin + int(_SIZE.unpack_from(body, offset)[0])
        words.append(body[begin:offset])
    return body[0], words


def encode_items(kind: int, items: Sequence[tuple[int, object]]) -> bytes:
    """A frame of numbered items, APPENDS or OUTCOMES: one for many costs a fraction of as many frames."""
    return encode_frame(kind, len(items), _encode(items))


def encode_grew(streams: Iterable[str] | None) -> bytes:
    """The frame that tells of a commit; None: nobody said which streams grew."""
    return encode_frame(GREW, 0) if streams is None else encode_frame(GREW, 1, "".join(streams).encode())


def decode_appends(body: bytes) -> list[tuple[int, Append]]:
    """The numbers of requests, and what each appends, from the body of APPENDS."""
    return [(number, Append.of_fields(fields)) for number, fields in _decode_appends(body)]


def decode_grew(frame: Frame) -> set[str] | None:
    """The streams that grew, or None."""
    if not frame.number:
        return None
    text = frame.body.decode()
    return {text[at : at + _STREAM_BYTES] for at in range(0, len(text), _STREAM_BYTES)}


class FrameReader:
    """Cuts frames out of a stream of bytes, however it is dealt out."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._wanted_bytes = _HEADER_BYTES

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete, in order."""
        if self._pieces:
            # Joined when there is enough, or a large frame in small pieces would be copied over and over.
            self._pieces.append(data)
            self._held_bytes += len(data)
            if self._held_bytes < self._wanted_bytes:
                return []
            data = b"".join(self._pieces)
            self._pieces, self._held_bytes = [], 0
        frames = []
        offset, end = 0, len(data)
        self._wanted_bytes = _HEADER_BYTES
        while end - offset >= _HEADER_BYTES:
            size, kind, number = _HEADER.unpack_from(data, offset)
            next_offset = offset + _SIZE_BYTES + size
            if next_offset > end:
                self._wanted_bytes = next_offset - offset
                break
            frames.append(Frame(kind, number, data[offset + _HEADER_BYTES : next_offset]))
            offset = next_offset
        if offset < end:
            rest = data[offset:] if offset else data
            self._pieces, self._held_bytes = [rest], len(rest)
        return frames
