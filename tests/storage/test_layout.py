"""The bytes on disk. What stands here literally is what databases in the field hold: it may not change."""

from pathlib import Path

import pytest

from eventflowdb.append import Append, StreamAppend
from eventflowdb.errors import CorruptRecord
from eventflowdb.events import CheckedEvent
from eventflowdb.storage import layout
from eventflowdb.storage.layout import Head
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.records import unseal
from eventflowdb.storage.requests import content_digest

from .samples import OTHER, STREAM, Clock, append_of_events

ID = "019ab22b9d4b" + "0123456789abcdef01"
"""An id in hex but for its last byte: the millisecond of the clock, 2025-11-23T19:23:14.123Z, and a random part."""

GOLDEN_META = {
    b"format": "00000001",
    b"head": "0000000000000004" + ID + "27"
    "1f057d4fa4036c7cd34e1e267d433467d6fc7f10a7724eaf39c1a511c588be44"
    "00064447fa5e6ec1" + "547aff67",
}
GOLDEN_LOG = [
    (
        ID + "24",
        b'\x01{"id":"01KAS2Q7AB04HMASW9NF6YY094","stream":"c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c","version":0,'
        b'"position":1,"type":"opened","data":"{}","metadata":null,"causation_id":"01KAS2Q7AB04HMASW9NF6YY094",'
        b'"correlation_id":"01KAS2Q7AB04HMASW9NF6YY094","added_at":"2025-11-23T19:23:14.123456Z"}\x58\xa1\xf0\xac',
    ),
    (
        ID + "25",
        b'\x01{"id":"01KAS2Q7AB04HMASW9NF6YY095","stream":"c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c","version":1,'
        b'"position":2,"type":"za\xc5\xbc\xc3\xb3\xc5\x82\xc4\x87","data":"\\"\\u0000\\n","metadata":null,'
        b'"causation_id":"01KAS2Q7AB04HMASW9NF6YY095","correlation_id":"01KAS2Q7AB04HMASW9NF6YY095",'
        b'"added_at":"2025-11-23T19:23:14.123456Z"}\x96\x10\xc5\x4f',
    ),
    (
        ID + "26",
        b'\x01{"id":"01KAS2Q7AB04HMASW9NF6YY096","stream":"1f0e2d4b-6c5a-4384-9b8f-3ed9a07384c3","version":0,'
        b'"position":3,"type":"opened","data":"","metadata":"m","causation_id":"01KAS2Q7AB04HMASW9NF6YY096",'
        b'"correlation_id":"01KAS2Q7AB04HMASW9NF6YY096","added_at":"2025-11-23T19:23:14.123456Z"}\x50\x8c\x06\xe3',
    ),
    (
        ID + "27",
        b'\x01{"id":"01KAS2Q7AB04HMASW9NF6YY097","stream":"c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c","version":2,'
        b'"position":4,"type":"closed","data":"\xc3\xa9","metadata":null,"causation_id":"01KAS2A75B04HMASW9NF6YY097",'
        b'"correlation_id":"01KAS2A75B04HMASW9NF6YY097","added_at":"2025-11-23T19:23:14.123457Z"}\xf5\x3d\x65\x1d',
    ),
]
GOLDEN_STREAMS = [
    ("1f0e2d4b6c5a43849b8f3ed9a07384c3", "0000000000000001"),
    ("c3b07384d9a04c9b8f3e5a1f0e2d4b6c", "0000000000000000"),
]
GOLDEN_STREAM_EVENTS = [
    ("0000000000000000", "00000000" + ID + "24"),
    ("0000000000000000", "00000001" + ID + "25"),
    ("0000000000000000", "00000002" + ID + "27"),
    ("0000000000000001", "00000000" + ID + "26"),
]


def entries_of(store: LmdbStore, name: str) -> list[tuple[bytes, bytes]]:
    """All keys and values of one database, in order."""
    with store.environment.env.begin() as txn:
        return list(txn.cursor(getattr(store.environment, name)).iternext())


def hex_of(entries: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """The same keys and values in hex."""
    return [(key.hex(), value.hex()) for key, value in entries]


def test_the_layout_is_what_it_was_byte_for_byte(store: LmdbStore, clock: Clock) -> None:
    # Ids count on from one of the same millisecond, so that nothing but the database id is random here.
    before = Head(0, bytes.fromhex(ID + "23"), bytes(32), clock.us)
    with store.environment.env.begin(write=True) as txn:
        txn.put(layout.HEAD_KEY, layout.pack_head(before), db=store.environment.meta)
    store.append_batch(
        [
            append_of_events(
                STREAM, 0, CheckedEvent.of(type="opened", data="{}"), CheckedEvent.of(type="zażółć", data='"\0\n')
            ),
            append_of_events(OTHER, 0, CheckedEvent.of(type="opened", data="", metadata="m")),
        ]
    )
    clock.us += 1
    cause = "01KAS2A75B04HMASW9NF6YY097"
    store.append_batch([append_of_events(STREAM, 2, CheckedEvent.of(type="closed", data="é", causation_id=cause))])

    meta = dict(entries_of(store, "meta"))
    assert len(unseal(meta.pop(b"id"), "the id")) == 16
    assert {key: value.hex() for key, value in meta.items()} == GOLDEN_META
    assert [(key.hex(), value) for key, value in entries_of(store, "log")] == GOLDEN_LOG
    assert hex_of(entries_of(store, "streams")) == GOLDEN_STREAMS
    assert hex_of(entries_of(store, "stream_events")) == GOLDEN_STREAM_EVENTS


def test_the_indexes_and_the_answers_are_what_they_were_byte_for_byte(store: LmdbStore, clock: Clock) -> None:
    before = Head(0, bytes.fromhex(ID + "23"), bytes(32), clock.us)
    with store.environment.env.begin(write=True) as txn:
        txn.put(layout.HEAD_KEY, layout.pack_head(before), db=store.environment.meta)
    event = CheckedEvent.of(type="opened", data="", tags=("b", "a:é"))
    caused = CheckedEvent.of(type="closed", data="", causation_id="01KAS2A75B04HMASW9NF6YY097", tags=("b",))
    append = Append([StreamAppend(STREAM, 0, [event, caused])], 0, (), "r-1")
    clock.us += 1
    store.append_batch([append])
    assert entries_of(store, "terms") == [
        (b"ga:\xc3\xa9", bytes(7) + b"\3"),
        (b"gb", bytes(7) + b"\2"),
        (b"tclosed", bytes(7) + b"\1"),
        (b"topened", bytes(8)),
    ]
    first, second = bytes.fromhex(ID + "24"), bytes.fromhex(ID + "25")
    numbers = [(0, first), (1, second), (2, first), (2, second), (3, first)]
    assert entries_of(store, "term_events") == [(number.to_bytes(8, "big"), key) for number, key in numbers]
    cause = "019ab2251cab0123456789abcdef0127"
    assert hex_of(entries_of(store, "links")) == [("63" + cause, second.hex()), ("6b" + cause, second.hex())]
    ((request_id, answer),) = entries_of(store, "requests")
    assert request_id == b"r-1"
    assert answer.hex() == content_digest(append).hex() + first.hex() + "00000002" + "eb4a75e6"


def test_the_environment_holds_these_databases_and_nothing_else(store: LmdbStore) -> None:
    names = b"consumers links log meta parked requests settlements stream_events streams term_events terms"
    with store.environment.env.begin() as txn:
        assert list(txn.cursor().iternext(values=False)) == names.split()


def test_each_database_has_an_id_of_its_own(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        store = LmdbStore.open(tmp_path / name, map_size=1 << 20)
        ids.add(dict(entries_of(store, "meta"))[b"id"])
        store.close()
    assert len(ids) == 2


def test_the_head_comes_back_as_it_was_packed() -> None:
    head = Head(2**53 - 1, b"\xff" * 16, bytes(range(32)), 2**63)
    assert layout.unpack_head(layout.pack_head(head)) == head


def test_any_flipped_bit_in_a_head_is_found() -> None:
    packed = layout.pack_head(Head(1, b"\1" * 16, b"\2" * 32, 3))
    assert len(packed) == 68
    for bit in range(8 * len(packed)):
        flipped = bytearray(packed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptRecord):
            layout.unpack_head(bytes(flipped))


@pytest.mark.parametrize("version", [0, 1, 255, 256, 2**32 - 1])
def test_index_entries_are_in_order_of_their_versions(version: int) -> None:
    entry = layout.pack_index_entry(version, b"\x80" * 16)
    assert layout.unpack_index_entry(entry) == (version, b"\x80" * 16)
    assert layout.unpack_version(entry) == version
    assert layout.pack_version(version) <= entry < layout.pack_version(version) + b"\xff" * 17
