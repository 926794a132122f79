"""The layout of the database on disk, drawn once: format 1.

DATA/data.mdb is an LMDB 0.9 environment of four named databases; all integers are big-endian but the CRC.

    meta            "format"   format number, 4 bytes
                    "id"       database id, 16 random bytes
                    "head"     the sealed head, see below
    log             ULID, 16   record kind, 1 | the event's JSON as it is returned | CRC-32C, 4 (little-endian)
    streams         UUID, 16   stream number, 8, given out in order of first append: 0, 1, 2 ...
    stream_events   number, 8  version, 4 | ULID, 16            (DUPSORT, DUPFIXED: one value an event)

    head            position, 8 | last ULID, 16 | checksum, 32 | last added_at in microseconds, 8 | CRC-32C, 4

Entries of `log` = number of events = position of the last one; entries of `streams` = number of streams.
Stream numbers keep a batch of appends on few pages: with the random UUIDs as keys each event dirties a page of
its own (15,000 against 46,000 events/s in batches of 64). How records are sealed stands in records.py.

DATA/lock.mdb is LMDB's table of readers; DATA/lock carries the flock of the server that owns the folder.
"""

import struct
from typing import NamedTuple

from eventflowdb.storage.records import seal, unseal

FORMAT = 1
META, LOG, STREAMS, STREAM_EVENTS = b"meta", b"log", b"streams", b"stream_events"
FORMAT_KEY, DATABASE_ID_KEY, HEAD_KEY = b"format", b"id", b"head"
DATABASE_ID_BYTES = 16

_HEAD = struct.Struct(">Q16s32sQ")
_INDEX_ENTRY = struct.Struct(">I16s")


class Head(NamedTuple):
    """Where the log stands: the number of events and, of the last one, id, chained checksum and time."""

    position: int
    last_id: bytes
    checksum: bytes
    added_at_us: int


EMPTY_HEAD = Head(0, bytes(16), bytes(32), 0)


def pack_format(number: int) -> bytes:
    """The stored form of a format number."""
    return number.to_bytes(4, "big")


def unpack_format(stored: bytes) -> int:
    """The format number of a stored form."""
    return int.from_bytes(stored, "big")


def pack_head(head: Head) -> bytes:
    """The stored form of the head, sealed like a record."""
    return seal(_HEAD.pack(*head))


def unpack_head(stored: bytes) -> Head:
    """The head of a stored form; CorruptRecord where its checksum is wrong."""
    body = unseal(stored, "the head of the log")
    return Head._make(_HEAD.unpack(body))


def stream_key(stream: str) -> bytes:
    """The key of a stream in `streams`: the 16 bytes of its canonical UUID."""
    return bytes.fromhex(stream.replace("-", ""))


def pack_stream_number(number: int) -> bytes:
    """The key of a stream in `stream_events`."""
    return number.to_bytes(8, "big")


def pack_index_entry(version: int, event_id: bytes) -> bytes:
    """The value of one event in `stream_events`."""
    return _INDEX_ENTRY.pack(version, event_id)


def unpack_index_entry(stored: bytes) -> tuple[int, bytes]:
    """Version and event id of a value in `stream_events`."""
    version, event_id = _INDEX_ENTRY.unpack(stored)
    return version, event_id


def pack_version(version: int) -> bytes:
    """The beginning of the index entry of a version: where reading from that version on starts."""
    return version.to_bytes(4, "big")


def unpack_version(entry: bytes) -> int:
    """The version at the beginning of an index entry."""
    return int.from_bytes(entry[:4], "big")
