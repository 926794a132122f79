"""Event ids (ULID, github.com/ulid/spec) and stream ids (UUID, RFC 9562): text, bytes, and their order.

Inside the server an event id is its 16 bytes, big-endian, so that the order of bytes is the order of ids.
"""

import os
from typing import Final

ULID_BYTES: Final = 16
ZERO_ULID = "0" * 26
_ID_MAX: Final = (1 << 128) - 1
_RANDOM_BITS = 80
_RANDOM_END = 1 << _RANDOM_BITS
_40_BITS: Final[int] = (1 << 40) - 1
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]
_DIGITS: Final = bytes([b"0123456789ABCDEFGHIJKLMNOPQRSTUV!"[_ALPHABET.find(chr(byte).upper())] for byte in range(256)])
"""Of each character of a ULID, either case, the digit that int() knows for it; of any other one that it refuses."""
_ULID_CHARACTERS: Final = 26
_NEXT_BYTE: Final = [bytes([number]) for number in range(1, 256)]
_UUID_CHARACTERS: Final = 36
_UUID_BYTES: Final = 16
_NIL_UUID: Final = bytes(_UUID_BYTES)
_from_hex: Final = bytes.fromhex
_random_bytes: Final = os.urandom
_STREAMS_KEPT: Final[int] = 1024
_streams: Final[dict[str, tuple[str, bytes]]] = {}
"""Ids that were parsed: a request names its stream once, and it is asked for several times while the request is carried
out. As many are kept as may be under way at once."""


def find_ulid_bytes(text: str) -> bytes | None:
    """The 16 bytes of a ULID in its 26 characters, either case; None where the text is not one."""
    if len(text) != _ULID_CHARACTERS or not text.isascii():
        return None
    try:
        return int(text.encode().translate(_DIGITS), 32).to_bytes(ULID_BYTES, "big")
    except (ValueError, OverflowError):
        # 26 digits hold two bits more than a ULID has.
        return None


def id_after(event_id: bytes) -> bytes:
    """The smallest id above one. The largest of all, which is never given out, has none and is returned."""
    if len(event_id) == ULID_BYTES and event_id[ULID_BYTES - 1] < 255:
        # A number of 128 bits would cost as much as finding the id.
        return event_id[: ULID_BYTES - 1] + _NEXT_BYTE[event_id[ULID_BYTES - 1]]
    number = int.from_bytes(event_id, "big")
    return min(number + 1, _ID_MAX).to_bytes(ULID_BYTES, "big")


def ulid_text(number: int) -> str:
    """The 26 upper-case characters of a ULID given as a 128-bit integer."""
    # In numbers of one machine word: each step with one of 128 bits costs as much as all steps with these.
    time, middle, low = number >> 80, (number >> 40) & _40_BITS, number & _40_BITS
    pairs = _PAIRS
    return (
        f"{pairs[time >> 40 & 1023]}{pairs[time >> 30 & 1023]}{pairs[time >> 20 & 1023]}{pairs[time >> 10 & 1023]}"
        f"{pairs[time & 1023]}{pairs[middle >> 30]}{pairs[middle >> 20 & 1023]}{pairs[middle >> 10 & 1023]}"
        f"{pairs[middle & 1023]}{pairs[low >> 30]}{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )


def ulid_texts(first: int, count: int) -> list[str]:
    """The texts of `count` consecutive ULIDs from `first` on; most of each text is shared by 2^20 neighbours."""
    if count == 1:
        return [ulid_text(first)]
    texts: list[str] = []
    pairs, add = _PAIRS, texts.append
    high, low = first >> 20, first & 0xFFFFF
    while count > 0:
        # Counted in small numbers: one with 128 bits costs as much as all the rest.
        prefix, end = ulid_text(high << 20)[:22], min(low + count, 1 << 20)
        count -= end - low
        for number in range(low, end):
            add(f"{prefix}{pairs[number >> 10]}{pairs[number & 1023]}")
        high, low = high + 1, 0
    return texts


def next_ids(now_us: int, last_us: int, last_id: int, count: int) -> tuple[int, int]:
    """Where the next `count` consecutive ids start, and the time (microseconds since 1970) they carry.

    Ids grow strictly and times never fall, also when the clock stands still or steps back: then the last
    time is kept and the ids count on from the last one. An id's first 48 bits are its time in milliseconds.
    """
    us = max(now_us, last_us)
    if us // 1000 > last_id >> _RANDOM_BITS:
        # The random part starts in its lower half, so that counting on cannot reach the next millisecond.
        return (us // 1000) << _RANDOM_BITS | int.from_bytes(_random_bytes(10), "big") >> 1, us
    if last_id % _RANDOM_END + count >= _RANDOM_END:
        # Only after 2^79 ids in one millisecond, or a log that came from elsewhere: go on in the next one.
        us = ((last_id >> _RANDOM_BITS) + 1) * 1000
        return (us // 1000) << _RANDOM_BITS | int.from_bytes(_random_bytes(9), "big"), us
    return min(last_id + 1, _ID_MAX), us


def find_stream_id(text: str) -> str | None:
    """A stream's UUID in canonical lower-case text; None where the text is no UUID, or the nil UUID."""
    found = _find_stream(text)
    return None if found is None else found[0]


def find_stream_id_bytes(text: str) -> bytes | None:
    """The 16 bytes of a stream's UUID; None where the text is no UUID, or the nil UUID."""
    found = _find_stream(text)
    return None if found is None else found[1]


def _find_stream(text: str) -> tuple[str, bytes] | None:
    # What is longer must not be kept, nor hashed.
    if len(text) != _UUID_CHARACTERS:
        return None
    found = _streams.get(text)
    if found is None:
        found = _parse_stream_id(text)
        if found is not None:
            if len(_streams) >= _STREAMS_KEPT:
                # All at once: to keep them in the order of their use costs more than to parse the few in use again.
                _streams.clear()
            _streams[text] = found
    return found


def _parse_stream_id(text: str) -> tuple[str, bytes] | None:
    """The canonical text and the bytes of a stream's UUID, given in 36 characters; None where it is none, or nil."""
    if text[8] != "-" or text[13] != "-" or text[18] != "-" or text[23] != "-":
        return None
    try:
        # fromhex passes over white space; then there are fewer than 16 bytes, as with one more hyphen.
        parsed = _from_hex(text.replace("-", ""))
    except ValueError:
        return None
    return (text.lower(), parsed) if len(parsed) == _UUID_BYTES and parsed != _NIL_UUID else None
