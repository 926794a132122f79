"""The layout of the database on disk, drawn once: format 1.

DATA/data.mdb is an LMDB 0.9 environment of eleven named databases; all integers are big-endian but the CRC.

    meta            "format"   format number, 4 bytes
                    "id"       database id, 16 random bytes | CRC-32C, 4
                    "head"     the sealed head, see below
                    "consumer" number of the next consumer, 8 | CRC-32C, 4
    log             ULID, 16   record kind, 1 | the event's JSON as it is returned | CRC-32C, 4 (little-endian)
    streams         UUID, 16   stream number, 8, given out in order of first append: 0, 1, 2 ...
    stream_events   number, 8  version, 4 | ULID, 16            (DUPSORT, DUPFIXED: one value an event)
    terms           kind, 1 | text, UTF-8
                               term number, 8, given out in order of first use: 0, 1, 2 ...
    term_events     number, 8  ULID, 16                         (DUPSORT, DUPFIXED: one value an event and term)
    links           kind, 1 | ULID, 16
                               ULID, 16                         (DUPSORT, DUPFIXED: one value an event and link)
    requests        request id, UTF-8, 1 to 128
                               the sealed answer, see below
    consumers       name, ASCII, 1 to 64
                               JSON of a StoredConsumer (consumers.py) | CRC-32C, 4, of the name and it
    settlements     number, 8 | ULID, 16
                               a settlement: of an acked event behind the checkpoint, or of one that failed, see below
    parked          number, 8 | ULID, 16
                               a settlement of an event that is given out no more

    head            position, 8 | last ULID, 16 | checksum, 32 | last added_at in microseconds, 8 | CRC-32C, 4
    answer          SHA-256 of the content, 32 | ULID of the first event, 16 | number of events, 4 | CRC-32C, 4, of the
                    request id and these: a request id that has changed would be found by nobody, and stored again
    settlement      tries, 4 | time in microseconds, 8 (both 0: acked) | reason, UTF-8, up to 1024 | CRC-32C, 4, of
                    the key and these

A term is what events are looked up by: its kind is "t" for an event type, "g" for a tag. A link leads from an id to
the events that name it: kind "c" as their correlation id, "k" as their causation id, except where it is their own id,
as in every event that was given none. The events of one request stand in the log side by side. Its content is the
JSON of its appends and conditions as content_digest (requests.py) writes them.

Entries of `log` = number of events = position of the last one; entries of `streams` = number of streams.
Stream numbers keep a batch of appends on few pages: with the random UUIDs as keys each event dirties a page of
its own (15,000 against 46,000 events/s in batches of 64). How records are sealed stands in records.py.

DATA/journal-0 and DATA/journal-1 hold what the data file may lack after a power loss; journal.py draws them.
DATA/lock.mdb is LMDB's table of readers; DATA/lock carries the flock of the server that owns the folder.
"""

import struct
from typing import Final, NamedTuple

import msgspec

from eventflowdb.consumers import Settlement, StoredConsumer
from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import ULID_BYTES, find_stream_id_bytes, find_ulid_bytes
from eventflowdb.storage.records import seal, unseal

FORMAT = 1
META, LOG, STREAMS, STREAM_EVENTS = b"meta", b"log", b"streams", b"stream_events"
TERMS, TERM_EVENTS, LINKS, REQUESTS = b"terms", b"term_events", b"links", b"requests"
CONSUMERS, SETTLEMENTS, PARKED = b"consumers", b"settlements", b"parked"
PLAIN_DATABASES = (LOG, STREAMS, TERMS, REQUESTS, CONSUMERS, SETTLEMENTS, PARKED)
INDEX_DATABASES = (STREAM_EVENTS, TERM_EVENTS, LINKS)
"""Those with several values a key (DUPSORT, DUPFIXED)."""
DATABASES = (META, *PLAIN_DATABASES, *INDEX_DATABASES)
"""All of them; in the journal each has the number of its place here."""
TYPE_KIND, TAG_KIND = b"t", b"g"
CORRELATION_KIND, CAUSATION_KIND = b"c", b"k"
FORMAT_KEY, DATABASE_ID_KEY, HEAD_KEY, NEXT_CONSUMER_KEY = b"format", b"id", b"head", b"consumer"
META_KEYS = frozenset((FORMAT_KEY, DATABASE_ID_KEY, HEAD_KEY, NEXT_CONSUMER_KEY))
DATABASE_ID_BYTES = 16
"""Without its CRC."""

_HEAD = struct.Struct(">Q16s32sQ")
_pack_head_fields: Final = _HEAD.pack
_INDEX_ENTRY = struct.Struct(">I16s")
INDEX_ENTRY_BYTES: Final[int] = _INDEX_ENTRY.size
"""Of one event in `stream_events`."""
NUMBER_BYTES: Final = 8
"""Of a stream or a term."""
_ANSWER = struct.Struct(">32s16sI")
_SETTLEMENT = struct.Struct(">IQ")


class Head(NamedTuple):
    """Where the log stands: the number of events and, of the last one, id, chained checksum and time."""

    position: int
    last_id: bytes
    checksum: bytes
    added_at_us: int


EMPTY_HEAD = Head(0, bytes(16), bytes(32), 0)
_new_tuple: Final = tuple.__new__
_VERSION_BYTES: Final = 4


def head_of(position: int, last_id: bytes, checksum: bytes, added_at_us: int) -> Head:
    """A head: to call its class runs a function in Python, which takes ten times as long; there are two in a commit."""
    return _new_tuple(Head, (position, last_id, checksum, added_at_us))


def pack_format(number: int) -> bytes:
    """The stored form of a format number."""
    return number.to_bytes(4, "big")


def unpack_format(stored: bytes) -> int:
    """The format number of a stored form."""
    return int.from_bytes(stored, "big")


def pack_head(head: Head) -> bytes:
    """The stored form of the head, sealed like a record."""
    position, last_id, checksum, added_at_us = head
    return seal(_pack_head_fields(position, last_id, checksum, added_at_us))


def unpack_head(stored: bytes) -> Head:
    """The head of a stored form; CorruptRecord where its checksum is wrong."""
    body = unseal(stored, "the head of the log")
    return Head._make(_HEAD.unpack(body))


def stream_key(stream: str) -> bytes:
    """The key of a stream in `streams`: the 16 bytes of its UUID. CorruptRecord where a record named something else."""
    key = find_stream_id_bytes(stream)
    if key is None:
        raise CorruptRecord(f"{stream!r}, which a record names as its stream, is not one; restore from a backup")
    return key


def pack_number(number: int) -> bytes:
    """The number of a stream, the key in `stream_events`; or that of a term, the key in `term_events`."""
    return number.to_bytes(NUMBER_BYTES, "big")


def type_key(name: str) -> bytes:
    """The key of an event type in `terms`."""
    return TYPE_KIND + name.encode()


def tag_key(tag: str) -> bytes:
    """The key of a tag in `terms`."""
    return TAG_KIND + tag.encode()


def link_key(kind: bytes, event_id: str) -> bytes:
    """The key of a correlation or causation id (a ULID's text) in `links`."""
    return kind + (find_ulid_bytes(event_id) or b"")


pack_index_entry = _INDEX_ENTRY.pack
"""The value of one event in `stream_events`: of its version and its id."""


def unpack_index_entry(stored: bytes) -> tuple[int, bytes]:
    """Version and event id of a value in `stream_events`."""
    version, event_id = _INDEX_ENTRY.unpack(stored)
    return version, event_id


def pack_version(version: int) -> bytes:
    """The beginning of the index entry of a version: where reading from that version on starts."""
    return version.to_bytes(_VERSION_BYTES, "big")


def unpack_version(entry: bytes) -> int:
    """The version at the beginning of an index entry."""
    if len(entry) < _VERSION_BYTES:
        return int.from_bytes(entry, "big")  # it is damaged, as whoever looks at the event will find
    # A number is made of bytes by a method that is called by its name, which takes ten times as long.
    return entry[0] << 24 | entry[1] << 16 | entry[2] << 8 | entry[3]


class Answer(NamedTuple):
    """What a request was answered: the digest of its content, and where its events stand in the log."""

    digest: bytes
    first_id: bytes
    event_count: int


def pack_answer(answer: Answer, request_id: str) -> bytes:
    """The stored form of an answer, sealed like a record together with the id that it is found by."""
    key = request_id.encode()
    return seal(key + _ANSWER.pack(*answer))[len(key) :]


def unpack_answer(stored: bytes, request_id: str) -> Answer:
    """The answer of a stored form; CorruptRecord where its checksum is wrong."""
    key = request_id.encode()
    body = unseal(key + stored, f"the answer to request {request_id!r}")
    return Answer._make(_ANSWER.unpack_from(body, len(key)))


def pack_consumer(consumer: StoredConsumer) -> bytes:
    """The stored form of a consumer, sealed together with its name."""
    key = consumer.name.encode()
    return seal(key + _encode(consumer))[len(key) :]


def unpack_consumer(stored: bytes, key: bytes) -> StoredConsumer:
    """The consumer of a stored form; CorruptRecord where its checksum is wrong."""
    return _decode_consumer(unseal(key + stored, f"consumer {key.decode('ascii', 'replace')}")[len(key) :])


def settlement_key(number: int, event_id: bytes) -> bytes:
    """The key of an event in `settlements` and `parked`."""
    return pack_number(number) + event_id


def pack_settlement(key: bytes, settlement: Settlement) -> bytes:
    """The stored form of a settlement, sealed together with its key."""
    body = _SETTLEMENT.pack(settlement.tries, settlement.at_us) + settlement.reason.encode()
    return seal(key + body)[len(key) :]


def unpack_settlement(key: bytes, stored: bytes) -> Settlement:
    """The settlement of a stored form; CorruptRecord where its checksum is wrong."""
    body = unseal(key + stored, "the settlement of an event")[len(key) :]
    tries, at_us = _SETTLEMENT.unpack_from(body)
    return Settlement(key[-ULID_BYTES:], tries, at_us, body[_SETTLEMENT.size :].decode())


_encode = msgspec.json.Encoder().encode
_decode_consumer = msgspec.json.Decoder(StoredConsumer).decode
