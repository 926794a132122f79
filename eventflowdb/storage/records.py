"""How a record is sealed against flipped bits, and how a whole page of records is checked with one call.

LMDB 0.9 keeps no checksum of its pages, so every record ends in a CRC-32C (Castagnoli, RFC 3720) of its bytes.
The CRC is not started at zero but at SEAL, the residue of the polynomial: the CRC of any bytes followed by
their own CRC, little-endian. After a sound record the running value is therefore SEAL again, ready for the next
one: ANY records, in any order, joined to one string, are sound if the string's CRC is SEAL. A single damaged
record cannot be cancelled by the ones after it (for fixed bytes a CRC maps differing values to differing
values). One call a page of 1,000 costs 41 ns a record where a call a record costs 155.
"""

import struct
import time
from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from typing import Final

import google_crc32c
import msgspec

from eventflowdb.errors import CorruptRecord
from eventflowdb.events import RecordedEvent
from eventflowdb.ids import ulid_text

SEAL: Final = 0x48674BC7
SEAL_BYTES: Final = 4
EVENT_KIND: Final = b"\x01"
"""Kind 2 is kept for an erased event: id, stream, version, position, added_at and the SHA-256 of the record."""
ID_AT: Final = len('{"id":"')
"""Where the id stands in the JSON of any event."""
STREAM_AT: Final = len('{"id":"01KAS4NVR1SDPXY9PK3ZJ4MDGB","stream":"')
STREAM_END: Final = STREAM_AT + 36
"""Where the stream stands in the JSON of any event."""
_ID_END: Final = ID_AT + 26

VALUE_BYTES_MIN: Final[int] = len(EVENT_KIND) + SEAL_BYTES
"""The length of a value of the log without its event."""

_RECORD_AT: Final = len(EVENT_KIND)
"""Where the event's JSON begins in a value of the log."""

_crc32c: Final = google_crc32c.extend
_pack_crc: Final = struct.Struct("<I").pack
_KIND_CRC: Final = _crc32c(SEAL, EVENT_KIND)

_encode: Final = msgspec.json.Encoder().encode
encode_record = _encode
"""The JSON of a RecordedEvent: the bytes that are stored, hashed and returned."""


def make_record(
    event_id: str,
    stream: bytes,
    version: int,
    position: int,
    content: bytes,
    causation_id: str,
    correlation_id: str,
    added_at: bytes,
    tags: Sequence[str],
) -> bytes:
    """The same of an event whose content is encoded (CheckedEvent), without a second encoding of its texts."""
    return (
        b'{"id":"%b","stream":"%b","version":%d,"position":%d,%b,"causation_id":"%b","correlation_id":"%b","added_at":"%b"%b}'
        % (
            event_id.encode(),
            stream,
            version,
            position,
            content,
            causation_id.encode(),
            correlation_id.encode(),
            added_at,
            b',"tags":' + _encode(tags) if tags else b"",
        )
    )


decode_record = msgspec.json.Decoder(RecordedEvent).decode
"""The event of a record; msgspec.DecodeError where the bytes are not one."""


def seal(body: bytes) -> bytes:
    """`body` followed by its CRC."""
    return body + _pack_crc(_crc32c(SEAL, body))


def unseal(sealed: bytes, what: str) -> bytes:
    """The body of a sealed value; CorruptRecord naming `what` where the CRC is wrong."""
    if len(sealed) < SEAL_BYTES or _crc32c(SEAL, sealed) != SEAL:
        raise CorruptRecord(f"{what} does not match its checksum; restore from a backup")
    return sealed[:-SEAL_BYTES]


def store_record(record: bytes) -> bytes:
    """The value in the log for an event's JSON."""
    # With two sums the record would be copied twice.
    return b"".join((EVENT_KIND, record, _pack_crc(_crc32c(_KIND_CRC, record))))


def load_record(stored: bytes, what: str) -> bytes:
    """The event's JSON from a value in the log."""
    return unseal(stored, what)[1:]


def are_sound(pieces: Sequence[bytes]) -> bool:
    """Whether pieces are sealed values, one after the other."""
    return bool(_crc32c(SEAL, b"".join(pieces)) == SEAL)


def load_page(stored: list[bytes], keys: Sequence[bytes] | None = None) -> list[bytes]:
    """The JSON of a page of events, checked with one call.

    keys: the events' ids where the caller has them, to name the damaged one in CorruptRecord.
    """
    if are_sound(stored):
        records: list[bytes] = []
        for value in stored:
            if len(value) < VALUE_BYTES_MIN:
                break  # it leaves no trace in the string, or less than a seal
            records.append(value[_RECORD_AT:-SEAL_BYTES])
        else:
            return records
    for value, key in zip(stored, keys or repeat(None), strict=False):
        unseal(value, _name(value, key))
    raise CorruptRecord("a page of records does not match its checksums; restore from a backup")


def _name(value: bytes, key: bytes | None) -> str:
    if key is None:
        return f"a record like {value[:60]!r}"
    return f"the record of event {ulid_text(int.from_bytes(key, 'big'))}"


def id_of(record: bytes) -> str:
    """The id in an event's JSON."""
    return record[ID_AT:_ID_END].decode()


def position_of(record: bytes) -> int:
    """The position in an event's JSON, found without reading the rest: a record can be as large as a request."""
    # {"id":"...","stream":"...","version":N,"position":N, all within the first 160 bytes, without other commas.
    return int(record[:160].split(b",", 4)[3][len(b'"position":') :])


def rfc3339(us: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC, to the microsecond: 2026-11-23T19:23:14.000001Z."""
    # A number with a one before its zeros: a format would cost more than all of this.
    return f"{_date_time(us // 1_000_000)}.{str(1_000_000 + us % 1_000_000)[1:]}Z"


@lru_cache(maxsize=16)
def _date_time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
