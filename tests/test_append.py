"""A request to append: by value, and as its fields."""

import pytest

from eventflowdb.append import Append, StreamAppend
from eventflowdb.events import ANY, NO_METADATA, CheckedEvent, Checkpoint, Unless

STREAM = "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c"
EVENT = CheckedEvent.of(type="t", data="d")
CHECKPOINT = Checkpoint("consumer", "member", bytes(16))
APPEND = Append([StreamAppend(STREAM, 3, [EVENT])], 9, (Unless(tags=("a",)),), "r", CHECKPOINT)
OTHERS = [
    Append([StreamAppend(STREAM, ANY, [EVENT])], 9, APPEND.unless, "r", CHECKPOINT),
    Append([StreamAppend(STREAM[::-1], 3, [EVENT])], 9, APPEND.unless, "r", CHECKPOINT),
    Append([StreamAppend(STREAM, 3, [])], 9, APPEND.unless, "r", CHECKPOINT),
    Append(APPEND.parts, 8, APPEND.unless, "r", CHECKPOINT),
    Append(APPEND.parts, 9, (), "r", CHECKPOINT),
    Append(APPEND.parts, 9, APPEND.unless, None, CHECKPOINT),
    Append(APPEND.parts, 9, APPEND.unless, "r"),
]


def test_an_append_to_one_stream_has_no_further_conditions() -> None:
    append = Append.to_stream(STREAM, 3, [EVENT], 9)
    (part,) = append.parts
    assert (part.stream, part.expected_version, part.events, append.size_bytes) == (STREAM, 3, [EVENT], 9)
    assert (append.unless, append.request_id, append.checkpoint) == ((), None, None)


@pytest.mark.parametrize(
    ("metadata", "content"),
    [
        (None, b'"type":"t","data":"\\"d\\"","metadata":null'),
        ("null", b'"type":"t","data":"\\"d\\"","metadata":"null"'),
    ],
)
def test_an_event_has_the_json_of_its_texts(metadata: str | None, content: bytes) -> None:
    assert CheckedEvent.of("t", '"d"', metadata).content == content
    assert content.endswith(NO_METADATA) is (metadata is None)


def test_appends_are_compared_by_value() -> None:
    assert Append([StreamAppend(STREAM, 3, [EVENT])], 9, APPEND.unless, "r", CHECKPOINT) == APPEND
    assert APPEND.fields() != APPEND


@pytest.mark.parametrize("other", OTHERS)
def test_each_field_makes_another_append(other: Append) -> None:
    assert other != APPEND
    assert Append.of_fields(other.fields()) == other


def test_an_append_says_what_it_holds() -> None:
    assert repr(APPEND) == f"Append{APPEND.fields()}"
    assert repr(APPEND.parts[0]) == f"StreamAppend{(STREAM, 3, [EVENT])}"


def test_another_checkpoint_leaves_the_rest_as_it_is() -> None:
    other = Checkpoint("consumer", "member", bytes(16), is_held=True)
    changed = APPEND.with_checkpoint(other)
    assert changed.fields() == (*APPEND.fields()[:-1], other)
    assert APPEND.checkpoint is CHECKPOINT
