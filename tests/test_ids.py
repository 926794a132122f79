"""ULIDs and UUIDs in text and bytes, and the rule by which the next ids are chosen."""

import re
import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ulid import ULID

from eventflowdb.ids import (
    ZERO_ULID,
    find_stream_id,
    find_stream_id_bytes,
    find_ulid_bytes,
    next_ids,
    ulid_text,
    ulid_texts,
)

RANDOM_END = 2**80
numbers = st.integers(0, 2**128 - 1)
UUID_TEXT = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
UUID_LIKE = re.compile(UUID_TEXT.replace("A-F", "A-F -"))
"""The same with hyphens in their places, and hyphens and spaces among the digits."""


@given(numbers)
@example(0)
@example(2**128 - 1)
def test_a_ulid_is_written_as_the_ulid_library_writes_it(number: int) -> None:
    assert ulid_text(number) == str(ULID.from_int(number))


@given(numbers)
def test_a_ulid_is_read_in_either_case(number: int) -> None:
    text = ulid_text(number)
    assert find_ulid_bytes(text) == find_ulid_bytes(text.lower()) == number.to_bytes(16, "big")


@given(numbers, numbers)
def test_texts_are_in_the_order_of_their_numbers(one: int, other: int) -> None:
    assert (ulid_text(one) < ulid_text(other)) == (one < other)


def test_the_zero_ulid_is_26_zeros() -> None:
    assert ulid_text(0) == ZERO_ULID == "0" * 26


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 25,
        "0" * 27,
        "8" + "0" * 25,
        "I" * 26,
        "0" * 25 + "L",
        "0" * 25 + "O",
        "0" * 25 + "U",
        "0" * 25 + "-",
        " " + "0" * 25,
        "0" * 26 + "\n",
        "٠" * 26,
        "ı" * 26,
        "0" + "ß" * 12 + "A",
        "0" * 25 + "ſ",
        "01KAS4NVR1SDPXY9PK3ZJ4MDG\ud800",
    ],
    ids=ascii,
)
def test_what_is_no_ulid_is_not_taken_for_one(text: str) -> None:
    assert find_ulid_bytes(text) is None


@given(st.integers(0, 2**127), st.integers(0, 50))
@example(2**20 - 3, 7)
@example(2**80 - 3, 7)
def test_consecutive_ulids_are_written_like_single_ones(first: int, count: int) -> None:
    assert ulid_texts(first, count) == [ulid_text(number) for number in range(first, first + count)]


@given(st.uuids())
def test_a_uuid_is_taken_in_either_case_and_kept_in_lower(stream: uuid.UUID) -> None:
    assert find_stream_id(str(stream)) == find_stream_id(str(stream).upper()) == str(stream)
    assert find_stream_id_bytes(str(stream)) == find_stream_id_bytes(str(stream).upper()) == stream.bytes


@given(st.text("0123456789abcdefABCDEF- \n٠g", min_size=36, max_size=36) | st.from_regex(UUID_LIKE, fullmatch=True))
def test_a_stream_id_is_what_its_grammar_says(text: str) -> None:
    is_one = re.fullmatch(UUID_TEXT, text) is not None and set(text) != {"0", "-"}
    assert find_stream_id(text) == (text.lower() if is_one else None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00000000-0000-0000-0000-000000000000",
        "c3b07384d9a04c9b8f3e5a1f0e2d4b6c",
        "{c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c}",
        "urn:uuid:c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c",
        "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6",
        "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6cc",
        "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6g",
        "c3b073-84d9a0-4c9b-8f3e-5a1f0e2d4b6c",
        "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c\n",
        "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6٠",
        "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b 6",
        "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d  6c",
        "c3b07384-d9a0-4c9b-8f3e--a1f0e2d4b6c",
        " 3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c",
    ],
    ids=ascii,
)
def test_what_is_no_stream_id_is_not_taken_for_one(text: str) -> None:
    assert find_stream_id(text) is None
    assert find_stream_id_bytes(text) is None


def test_a_new_millisecond_begins_at_random_in_the_lower_half_of_its_ids() -> None:
    starts = {next_ids(now_us=5_000_000 + ms * 1000, last_us=0, last_id=0, count=1)[0] for ms in range(20)}
    assert {start >> 80 for start in starts} == set(range(5000, 5020))
    assert len({start % RANDOM_END for start in starts}) == 20
    assert all(start % RANDOM_END < RANDOM_END // 2 for start in starts)


def test_ids_count_on_within_a_millisecond() -> None:
    last_id = (5000 << 80) + 77
    assert next_ids(now_us=5_000_999, last_us=5_000_001, last_id=last_id, count=3) == (last_id + 1, 5_000_999)


@pytest.mark.parametrize("now_us", [5_000_001, 5_000_000, 4_000_000, 0, -1])
def test_time_and_ids_go_on_from_the_last_when_the_clock_stands_still_or_steps_back(now_us: int) -> None:
    last_id = (5000 << 80) + 77
    assert next_ids(now_us, last_us=5_000_001, last_id=last_id, count=3) == (last_id + 1, 5_000_001)


@pytest.mark.parametrize(("left", "count"), [(0, 1), (1, 2), (5, 6), (0, 1000)])
def test_ids_that_would_reach_the_next_millisecond_begin_anew_in_it(left: int, count: int) -> None:
    last_id = (5000 << 80) + RANDOM_END - 1 - left
    first, us = next_ids(now_us=5_000_500, last_us=5_000_001, last_id=last_id, count=count)
    assert us == 5_001_000
    assert first >> 80 == (first + count - 1) >> 80 == 5001


def test_behind_the_largest_id_there_is_none_and_where_none_is_wanted_it_does_not_matter() -> None:
    largest = 2**128 - 1
    assert next_ids(now_us=0, last_us=largest >> 80, last_id=largest, count=0)[0] == largest


@pytest.mark.parametrize(("left", "count"), [(1, 1), (6, 5), (1000, 1000)])
def test_the_ids_of_a_millisecond_are_used_to_the_last(left: int, count: int) -> None:
    last_id = (5000 << 80) + RANDOM_END - 1 - left
    assert next_ids(now_us=5_000_500, last_us=5_000_001, last_id=last_id, count=count) == (last_id + 1, 5_000_500)


last_random_parts = st.integers(0, RANDOM_END - 1) | st.integers(1, 100).map(lambda left: RANDOM_END - left)


@given(
    ms=st.integers(0, 2**47),
    micros=st.integers(0, 999),
    random_part=last_random_parts,
    steps=st.lists(st.tuples(st.integers(-5000, 5000), st.integers(1, 50)), max_size=10),
)
def test_ids_grow_times_never_fall_and_an_id_tells_its_millisecond(
    ms: int, micros: int, random_part: int, steps: list[tuple[int, int]]
) -> None:
    last_us, last_id = ms * 1000 + micros, ms << 80 | random_part
    now_us = last_us
    for step_us, count in steps:
        now_us += step_us
        first, us = next_ids(now_us, last_us, last_id, count)
        assert first > last_id
        assert us >= last_us
        assert us >= now_us
        assert first >> 80 == (first + count - 1) >> 80 == us // 1000
        last_id, last_us = first + count - 1, us
