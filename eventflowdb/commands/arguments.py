"""The JSON arguments: how they are decoded, and the checks that a shape cannot say.

msgspec decodes and checks in one pass. What it cannot see is a repeated field, since the last one wins. Two things
show it, both exact. msgspec writes the shortest JSON there is of a value: a text of that length, which is what most
clients send, has no room for a field twice. For other texts, the number of strings in a valid argument follows from
the decoded value, and the number of unescaped quotes in the text is twice that, unless a field stands there twice.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar, cast

import msgspec
from msgspec import UNSET
from msgspec.structs import astuple

from eventflowdb.append import Append, StreamAppend
from eventflowdb.commands.explain import explain_rejection, find_repeated_field, shortened
from eventflowdb.commands.shapes import (
    AddArgument,
    AddManyArgument,
    CheckpointArgument,
    ConditionsArgument,
    EventArgument,
    GetAllArgument,
    GetArgument,
    LogRead,
    Optional,
    StreamRead,
    UnlessArgument,
)
from eventflowdb.errors import InvalidArgument
from eventflowdb.events import ANY, EXISTS, NO_METADATA, CheckedEvent, Checkpoint, ExpectedVersion, Unless
from eventflowdb.ids import ULID_BYTES, find_stream_id, find_ulid_bytes
from eventflowdb.limits import (
    CONSUMER_NAME_BYTES_MAX,
    EVENT_TAGS_MAX,
    EVENT_TYPE_BYTES_MAX,
    GETALL_LIMIT_DEFAULT,
    REQUEST_ID_BYTES_MAX,
    TAG_BYTES_MAX,
    UNLESS_ITEMS_MAX,
    UNLESS_TYPES_MAX,
    WAIT_MS_MAX,
)

_MEMBER_NAME = re.compile(rf"[A-Za-z0-9._:-]{{1,{CONSUMER_NAME_BYTES_MAX}}}")
_SHORT_TYPE_CHARACTERS_MAX: Final = EVENT_TYPE_BYTES_MAX // 4
"""A type of so many characters is short enough whatever they are."""
_LARGEST_ID = b"\xff" * ULID_BYTES
_BEYOND_ALL_IDS = b"\1" + bytes(ULID_BYTES)

Shape = TypeVar("Shape", bound=msgspec.Struct)
Checked = TypeVar("Checked")
_encode: Final = msgspec.json.Encoder().encode
# What every append asks for; why it is final, says decision 8.
_unset: Final[object] = UNSET
_fields: Final = astuple
_ADD_BYTES: Final[int] = len('{"stream":"5f0c0d8e-8a52-4b3c-9d39-0a2f6f3f7d11","version":,"events":[]}')
_LAST_OF_NULL: Final[int] = ord("l")
_new_tuple: Final = tuple.__new__


def _count_compact_bytes(value: Any, _checked: object) -> int:
    return len(_encode(value))


class ArgumentDecoder(Generic[Shape, Checked]):
    """Turns the text of an argument into a checked value, or refuses it by an InvalidArgument with the path.

    count_strings: how many strings the JSON of a value holds; count_bytes: the length of its shortest form, or less. A
    text that differs in both repeats a field. otherwise: decodes what has another shape, so that the frequent one
    pays nothing for the fields of a rare one.
    """

    def __init__(
        self,
        shape: type[Shape],
        check: Callable[[Shape, int], Checked],
        count_strings: Callable[[Shape], int],
        otherwise: Callable[[bytes], Any] | None = None,
        count_bytes: Callable[[Shape, Checked], int] = _count_compact_bytes,
    ) -> None:
        self.shape = shape
        self._otherwise = otherwise
        self._decode = msgspec.json.Decoder(shape).decode
        self._check = check
        self._count_strings = count_strings
        self._count_bytes = count_bytes

    def decode(self, text: bytes) -> Checked:
        """The checked value; InvalidArgument names what is wrong and what would be right."""
        try:
            value = self._decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as rejection:
            if self._otherwise is not None:
                return cast(Checked, self._otherwise(text))
            raise InvalidArgument(explain_rejection(text, rejection, self.shape)) from None
        try:
            checked = self._check(value, len(text))
        except InvalidArgument:
            # Of a field that is given twice the last one was taken, which may be what is wrong.
            self._require_no_repetition(text, value)
            raise
        if self._count_bytes(value, checked) != len(text):
            self._require_no_repetition(text, value)
        return checked

    def _require_no_repetition(self, text: bytes, value: Shape) -> None:
        if _count_quotes(text) != 2 * self._count_strings(value):
            raise InvalidArgument(f"{find_repeated_field(text)}: the field is given more than once")

    def or_else(self, otherwise: Callable[[bytes], Any]) -> "ArgumentDecoder[Shape, Any]":
        """This decoder, with another for what it cannot decode."""
        return ArgumentDecoder(self.shape, self._check, self._count_strings, otherwise, self._count_bytes)


def _count_quotes(text: bytes) -> int:
    """How many quotes of a valid JSON text are not escaped."""
    if b"\\" not in text:
        return text.count(b'"')
    if b"\\\\" in text:
        text = text.replace(b"\\\\", b"")
    return text.count(b'"') - text.count(b'\\"')


def count_field_strings(value: Any) -> int:
    """How many JSON strings an object holds: its keys, and the values that are strings, or lists of them."""
    count = 0
    for name in value.__struct_fields__:
        field = getattr(value, name)
        if isinstance(field, list):
            count += 1 + len(field)
        elif field is not UNSET:
            count += 2 if isinstance(field, str) else 1
    return count


def _count_add_strings(value: AddArgument) -> int:
    count = 4 + _count_event_strings(value.events)  # "stream" and its value, "version", "events"
    if isinstance(value.version, str):
        count += 1
    if value.unless is UNSET and value.request_id is UNSET and value.checkpoint is UNSET:
        return count
    return count + _count_condition_strings(value)


def _count_add_bytes(value: AddArgument, append: Append) -> int:
    """The length of most, from what is encoded already, and of all others by another encoding.

    Less where a null was given that might have been left out: it cannot be told from one that was.
    """
    if append.unless or append.request_id is not None or append.checkpoint is not None:
        return len(_encode(value))
    part = append.parts[0]
    size = _ADD_BYTES + len(str(part.expected_version)) - 1
    if isinstance(part.expected_version, str):
        size += 2
    for _, content, causation_id, correlation_id, tags in part.events:
        if causation_id is not None or correlation_id is not None or tags:
            return len(_encode(value))
        size += len(content) + 3
        # Metadata that was given ends with a quote.
        if content[len(content) - 1] == _LAST_OF_NULL:
            size -= len(NO_METADATA)
    return size


def _count_add_many_strings(value: AddManyArgument) -> int:
    count = 1 + _count_condition_strings(value)  # "appends"
    for append in value.appends:
        count += 3 + isinstance(append.version, str)  # "stream" and its value, "version"
        if append.events is not UNSET:
            count += 1 + _count_event_strings(append.events or ())
    return count


def _count_event_strings(events: Sequence[EventArgument]) -> int:
    count = 4 * len(events)  # "type" and "data" with their values
    for event in events:
        if event.metadata is not UNSET:
            count += 1 if event.metadata is None else 2
        if event.causation_id is not UNSET:
            count += 1 if event.causation_id is None else 2
        if event.correlation_id is not UNSET:
            count += 1 if event.correlation_id is None else 2
        if event.tags is not UNSET:
            count += 1 + len(event.tags or ())
    return count


def _count_condition_strings(value: ConditionsArgument) -> int:
    count = 0
    if value.request_id is not UNSET:
        count += 1 if value.request_id is None else 2
    if value.checkpoint is not UNSET:
        count += 1 if value.checkpoint is None else 7
    if value.unless is not UNSET:
        count += 1 + sum(map(_count_unless_strings, _as_list(value.unless)))
    return count


def _count_unless_strings(value: UnlessArgument) -> int:
    count = 0
    for field in (value.types, value.tags):
        if field is not UNSET:
            count += 1 + len(field or ())
    if value.after is not UNSET:
        count += 1 if value.after is None else 2
    return count


def _check_add(value: AddArgument, size_bytes: int) -> Append:
    text, version, events, unless, request_id, checkpoint = _fields(value)
    stream = check_stream_id(text)
    if isinstance(version, str):
        version = _check_version_word(version, "version")
    if not events:
        raise InvalidArgument("events: expected at least one event")
    parts = [StreamAppend(stream, version, _check_events(events, ""))]
    if unless is _unset and request_id is _unset and checkpoint is _unset:
        return Append(parts, size_bytes)
    return _check_conditions(parts, value, size_bytes)


def _check_add_many(value: AddManyArgument, size_bytes: int) -> Append:
    if not value.appends:
        raise InvalidArgument("appends: expected at least one append")
    parts: list[StreamAppend] = []
    streams: set[str] = set()
    for index, append in enumerate(value.appends):
        path = f"appends[{index}]."
        stream, version = check_stream_id(append.stream, f"{path}stream"), append.version
        if stream in streams:
            raise InvalidArgument(f"{path}stream: {stream} is named twice; give all its events in one append")
        streams.add(stream)
        if isinstance(version, str):
            version = _check_version_word(version, f"{path}version")
        parts.append(StreamAppend(stream, version, _check_events(given(append.events) or (), path)))
    return _check_conditions(parts, value, size_bytes)


def _check_version_word(word: str, path: str) -> ExpectedVersion:
    if word == ANY:
        return ANY
    if word == EXISTS:
        return EXISTS
    raise InvalidArgument(f'{path}: expected a number of events, "any" or "exists", got {shortened(word)!r}')


def _check_conditions(parts: list[StreamAppend], value: ConditionsArgument, size_bytes: int) -> Append:
    request_id = given(value.request_id)
    if request_id is not None:
        check_length(request_id, "request_id", REQUEST_ID_BYTES_MAX)
    checkpoint = given(value.checkpoint)
    return Append(
        parts,
        size_bytes,
        _check_unless(value.unless),
        request_id,
        None if checkpoint is None else _check_checkpoint(checkpoint),
    )


def _check_checkpoint(value: CheckpointArgument) -> Checkpoint:
    return Checkpoint(
        check_member_name(value.consumer, "checkpoint.consumer"),
        check_member_name(value.member, "checkpoint.member"),
        check_ulid(value.id, "checkpoint.id"),
    )


def _check_unless(value: "UnlessArgument | list[UnlessArgument] | Optional") -> tuple[Unless, ...]:
    items = _as_list(value)
    if len(items) > UNLESS_ITEMS_MAX:
        raise InvalidArgument(f"unless: expected at most {UNLESS_ITEMS_MAX} items, got {len(items)}")
    is_list = isinstance(value, list)
    return tuple([_check_item(item, f"unless[{index}]" if is_list else "unless") for index, item in enumerate(items)])


def _check_item(item: UnlessArgument, path: str) -> Unless:
    types, tags, after = given(item.types) or (), given(item.tags) or (), given(item.after)
    if not types and not tags:
        raise InvalidArgument(f"{path}: expected types, tags or both; an item with neither would rule out every event")
    if len(types) > UNLESS_TYPES_MAX:
        raise InvalidArgument(f"{path}.types: expected at most {UNLESS_TYPES_MAX} types, got {len(types)}")
    for index, name in enumerate(types):
        check_length(name, f"{path}.types[{index}]", EVENT_TYPE_BYTES_MAX)
    check_tags(tags, f"{path}.tags")
    after_bytes = bytes(16) if after is None else check_ulid(after, f"{path}.after")
    return Unless(tuple(types), tuple(tags), after_bytes)


def _as_list(value: "UnlessArgument | list[UnlessArgument] | Optional") -> list[UnlessArgument]:
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, UnlessArgument) else []


def _check_events(events: Sequence[EventArgument], path: str) -> list[CheckedEvent]:
    checked: list[CheckedEvent] = []
    for event in events:
        kind, _, metadata, causation_id, correlation_id, tags = _fields(event)
        if not kind or len(kind) > _SHORT_TYPE_CHARACTERS_MAX:
            check_length(kind, f"{path}events[{len(checked)}].type", EVENT_TYPE_BYTES_MAX)
        if causation_id is _unset and correlation_id is _unset and tags is _unset:
            # Most events are such; a call for each would cost more than the rest of its check.
            encoded: bytes = _encode(event)
            content = encoded[1 : len(encoded) - 1]
            if metadata is _unset:
                content += NO_METADATA
            checked.append(_new_tuple(CheckedEvent, (kind, content, None, None, ())))
        else:
            checked.append(_check_related_event(event, f"{path}events[{len(checked)}]"))
    return checked


def _check_related_event(event: EventArgument, path: str) -> CheckedEvent:
    tags = given(event.tags)
    if tags:
        check_tags(tags, f"{path}.tags")
    return CheckedEvent.of(
        event.type,
        event.data,
        given(event.metadata),
        _check_optional_ulid(event.causation_id, path, "causation_id"),
        _check_optional_ulid(event.correlation_id, path, "correlation_id"),
        tuple(tags) if tags else (),
    )


def check_tags(tags: Sequence[str], path: str) -> None:
    """Refuse too many tags, one of a wrong length, or the same one twice."""
    if len(tags) > EVENT_TAGS_MAX:
        raise InvalidArgument(f"{path}: expected at most {EVENT_TAGS_MAX} tags, got {len(tags)}")
    for index, tag in enumerate(tags):
        check_length(tag, f"{path}[{index}]", TAG_BYTES_MAX)
    if len(set(tags)) < len(tags):
        index = next(index for index, tag in enumerate(tags) if tag in tags[:index])
        raise InvalidArgument(f"{path}[{index}]: the tag {shortened(tags[index])!r} is given twice")


def check_length(text: str, path: str, bytes_max: int) -> None:
    """Refuse a text that is empty, or longer."""
    length = len(text.encode())
    if not 1 <= length <= bytes_max:
        raise InvalidArgument(f"{path}: expected 1 to {bytes_max} bytes, got {length}")


def _check_get(value: GetArgument, _size_bytes: int) -> StreamRead:
    # An absent field is UNSET, which is false like null and 0.
    version, limit = value.version or 0, value.limit or None
    return StreamRead(check_stream_id(value.stream), version, limit, check_wait_ms(value.wait_ms))


def _check_get_all(value: GetAllArgument, _size_bytes: int) -> LogRead:
    start = _start(value)
    limit, wait_ms = given(value.limit) or GETALL_LIMIT_DEFAULT, check_wait_ms(value.wait_ms)
    if start == _BEYOND_ALL_IDS:
        return LogRead(_LARGEST_ID, 0, wait_ms)
    return LogRead(bytes(ULID_BYTES) if start is None else start, limit, wait_ms)


def _start(value: GetAllArgument) -> bytes | None:
    """The smallest id that `offset` or `after` lets through; 2**128 in 17 bytes where none is."""
    offset, after = given(value.offset), given(value.after)
    if offset is not None and after is not None:
        raise InvalidArgument("after: cannot be given together with offset; offset is inclusive, after is exclusive")
    if after is None:
        return None if offset is None else check_ulid(offset, "offset")
    number = int.from_bytes(check_ulid(after, "after"), "big") + 1
    return _BEYOND_ALL_IDS if number >> 128 else number.to_bytes(ULID_BYTES, "big")


def check_wait_ms(field: int | Optional) -> int:
    """How long to wait, if that is not too long."""
    wait_ms = field or 0
    if wait_ms > WAIT_MS_MAX:
        raise InvalidArgument(f"wait_ms: expected at most {WAIT_MS_MAX} (an hour), got {wait_ms}")
    return wait_ms


Field = TypeVar("Field")


def given(field: Field | Optional) -> Field | None:
    """An optional field, None where it is absent."""
    return None if field is UNSET else field


def check_stream_id(text: str, path: str = "stream") -> str:
    """A stream's canonical UUID."""
    stream = find_stream_id(text)
    if stream is None:
        raise InvalidArgument(
            f"{path}: expected a UUID such as 5f0c0d8e-8a52-4b3c-9d39-0a2f6f3f7d11 (not the nil UUID), "
            f"got {shortened(text)!r}"
        )
    return stream


def check_member_name(text: str, path: str) -> str:
    """The name of a consumer or of a member."""
    if _MEMBER_NAME.fullmatch(text) is None:
        raise InvalidArgument(
            f"{path}: expected a name of 1 to {CONSUMER_NAME_BYTES_MAX} letters, digits and ._:- such as "
            f"send-mail or worker-7, got {shortened(text)!r}"
        )
    return text


def check_ulid(text: str, path: str) -> bytes:
    """The 16 bytes of a ULID."""
    key = find_ulid_bytes(text)
    if key is None:
        raise InvalidArgument(f"{path}: expected a ULID such as 01JD3V6T0000000000000000AA, got {shortened(text)!r}")
    return key


def _check_optional_ulid(field: str | Optional, path: str, name: str) -> str | None:
    if field is UNSET or field is None:
        return None
    check_ulid(field, f"{path}.{name}")
    return field.upper()


ADD: ArgumentDecoder[AddArgument, Append] = ArgumentDecoder(
    AddArgument, _check_add, _count_add_strings, count_bytes=_count_add_bytes
)
ADDMANY: ArgumentDecoder[AddManyArgument, Append] = ArgumentDecoder(
    AddManyArgument, _check_add_many, _count_add_many_strings
)
GET: ArgumentDecoder[GetArgument, StreamRead] = ArgumentDecoder(GetArgument, _check_get, count_field_strings)
GETALL: ArgumentDecoder[GetAllArgument, LogRead] = ArgumentDecoder(GetAllArgument, _check_get_all, count_field_strings)
EVERYTHING = LogRead(bytes(16), GETALL_LIMIT_DEFAULT)
"""What GETALL without an argument reads."""
