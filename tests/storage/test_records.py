"""Seals: what is sound passes in any order, and what is damaged is found and named."""

import random

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflowdb.errors import CorruptRecord
from eventflowdb.events import CheckedEvent, RecordedEvent
from eventflowdb.ids import ulid_text
from eventflowdb.storage.records import (
    SEAL,
    decode_record,
    encode_record,
    load_page,
    load_record,
    make_record,
    position_of,
    seal,
    store_record,
    unseal,
)

texts = st.text(max_size=40)
events = st.builds(
    RecordedEvent,
    id=st.integers(0, 2**128 - 1).map(ulid_text),
    stream=st.uuids().map(str),
    version=st.integers(0, 2**32 - 1),
    position=st.integers(1, 2**53 - 1),
    type=texts,
    data=texts,
    metadata=st.none() | texts,
    causation_id=st.integers(0, 2**128 - 1).map(ulid_text),
    correlation_id=st.integers(0, 2**128 - 1).map(ulid_text),
    added_at=st.datetimes().map(lambda moment: f"{moment.isoformat(timespec='microseconds')}Z"),
    tags=st.lists(texts, max_size=3).map(tuple),
)


def flip(stored: bytes, bit: int) -> bytes:
    """The same bytes but for one bit."""
    flipped = bytearray(stored)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


@given(events)
def test_an_event_comes_back_from_its_record(event: RecordedEvent) -> None:
    assert decode_record(encode_record(event)) == event


@given(events)
def test_a_record_made_of_an_encoded_content_is_the_same(event: RecordedEvent) -> None:
    checked = CheckedEvent.of(event.type, event.data, event.metadata)
    made = make_record(
        event.id,
        event.stream.encode(),
        event.version,
        event.position,
        checked.content,
        event.causation_id,
        event.correlation_id,
        event.added_at.encode(),
        event.tags,
    )
    assert made == encode_record(event)


@given(events)
def test_the_position_is_found_without_reading_the_whole_record(event: RecordedEvent) -> None:
    assert position_of(encode_record(event)) == event.position


def test_the_crc_is_castagnolis() -> None:
    # RFC 3720, B.4: 32 bytes of zeros.
    assert google_crc32c.extend(0, bytes(32)) == 0x8A9136AA


@given(st.lists(st.binary(max_size=50)))
def test_sealed_bytes_joined_in_any_order_end_where_the_crc_began(bodies: list[bytes]) -> None:
    sealed = [seal(body) for body in bodies]
    assert google_crc32c.extend(SEAL, b"".join(sealed)) == SEAL
    assert google_crc32c.extend(SEAL, b"".join(reversed(sealed))) == SEAL
    assert [unseal(value, "it") for value in sealed] == bodies


@given(st.binary(max_size=100))
def test_a_stored_record_is_its_kind_its_json_and_its_seal(record: bytes) -> None:
    stored = store_record(record)
    assert stored == seal(b"\x01" + record)
    assert load_record(stored, "it") == record


@given(st.lists(st.binary(max_size=50)))
def test_a_page_of_sound_records_is_loaded_in_order(records: list[bytes]) -> None:
    assert load_page([store_record(record) for record in records]) == records


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6), st.data())
def test_a_flipped_bit_anywhere_in_a_page_is_found_and_its_record_named(
    records: list[bytes], data: st.DataObject
) -> None:
    page = [store_record(record) for record in records]
    keys = [number.to_bytes(16, "big") for number in range(len(page))]
    damaged = data.draw(st.integers(0, len(page) - 1))
    page[damaged] = flip(page[damaged], data.draw(st.integers(0, 8 * len(page[damaged]) - 1)))
    with pytest.raises(CorruptRecord, match=f"the record of event {ulid_text(damaged)} does not match"):
        load_page(page, keys)
    with pytest.raises(CorruptRecord, match="does not match"):
        load_page(page)


@pytest.mark.parametrize("at", [0, 1, 2, 4, -4, -1])
def test_a_record_in_two_pieces_is_found_though_their_string_is_sound(at: int) -> None:
    sound, whole = store_record(b"{}"), store_record(b'{"a":1}')
    cut = at % len(whole)
    with pytest.raises(CorruptRecord, match="does not match"):
        load_page([sound, whole[:cut], whole[cut:]])


def test_every_single_flipped_bit_of_a_page_is_found() -> None:
    page = [store_record(random.Random(seed).randbytes(60)) for seed in range(3)]
    for place, stored in enumerate(page):
        for bit in range(8 * len(stored)):
            with pytest.raises(CorruptRecord):
                load_page([*page[:place], flip(stored, bit), *page[place + 1 :]])


@given(events, st.data())
def test_a_flipped_bit_in_one_record_is_found(event: RecordedEvent, data: st.DataObject) -> None:
    stored = store_record(encode_record(event))
    with pytest.raises(CorruptRecord, match="the record of event X does not match its checksum"):
        load_record(flip(stored, data.draw(st.integers(0, 8 * len(stored) - 1))), "the record of event X")


@pytest.mark.parametrize("length", range(4))
def test_less_than_a_seal_is_not_sealed(length: int) -> None:
    with pytest.raises(CorruptRecord):
        unseal(bytes(length), "it")


def test_what_a_page_says_of_damage_is_one_line() -> None:
    stored = flip(store_record(b"\r\n\xff" * 40), 9)
    with pytest.raises(CorruptRecord) as caught:
        load_page([store_record(b"sound"), stored])
    assert len(str(caught.value).splitlines()) == 1
