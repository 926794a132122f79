"""The JSON arguments: their shapes, and the checks that a shape cannot say.

msgspec decodes and checks in one pass. What it cannot see is a repeated field, since the last one wins. Two things
show it, both exact. msgspec writes the shortest JSON there is of a value: a text of that length, which is what most
clients send, has no room for a field twice. For other texts, the number of strings in a valid argument follows from
the decoded value, and the number of unescaped quotes in the text is twice that, unless a field stands there twice.
"""

from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from eventflowdb.commands.explain import explain_rejection, find_repeated_field, shortened
from eventflowdb.errors import InvalidArgument
from eventflowdb.events import Append, NewEvent
from eventflowdb.ids import find_stream_id, find_ulid_bytes
from eventflowdb.limits import EVENT_TYPE_BYTES_MAX, GETALL_LIMIT_DEFAULT, INTEGER_MAX, WAIT_MS_MAX

Integer = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Optional = UnsetType | None
"""Absent, or null, which means absent."""


class EventArgument(msgspec.Struct, forbid_unknown_fields=True):
    """One event of an ADD."""

    type: str
    data: str
    metadata: str | Optional = UNSET
    causation_id: str | Optional = UNSET
    correlation_id: str | Optional = UNSET


class AddArgument(msgspec.Struct, forbid_unknown_fields=True):
    """What ADD takes."""

    stream: str
    version: Integer
    events: list[EventArgument]


class GetArgument(msgspec.Struct, forbid_unknown_fields=True):
    """What GET takes."""

    stream: str
    version: Integer | Optional = UNSET
    limit: Integer | Optional = UNSET
    wait_ms: Integer | Optional = UNSET


class GetAllArgument(msgspec.Struct, forbid_unknown_fields=True):
    """What GETALL takes."""

    offset: str | Optional = UNSET
    after: str | Optional = UNSET
    limit: Integer | Optional = UNSET
    wait_ms: Integer | Optional = UNSET


class StreamRead(msgspec.Struct, frozen=True):
    """A checked GET: skip `version` events, then at most `limit` (None: all); where there are none, wait so long."""

    stream: str
    version: int
    limit: int | None
    wait_ms: int = 0


class LogRead(msgspec.Struct, frozen=True):
    """A checked GETALL: from the first id not below `start` (16 bytes) on, at most `limit` events.

    wait_ms: how long to wait where there are none.
    """

    start: bytes
    limit: int
    wait_ms: int = 0


Shape = TypeVar("Shape", bound=msgspec.Struct)
Checked = TypeVar("Checked")
_encode = msgspec.json.Encoder().encode


class ArgumentDecoder(Generic[Shape, Checked]):
    """Turns the text of an argument into a checked value, or refuses it by an InvalidArgument with the path."""

    def __init__(
        self,
        shape: type[Shape],
        check: Callable[[Shape, int], Checked],
        count_strings: Callable[[Shape], int],
    ) -> None:
        self.shape = shape
        self._decode = msgspec.json.Decoder(shape).decode
        self._check = check
        self._count_strings = count_strings

    def decode(self, text: bytes) -> Checked:
        """The checked value; InvalidArgument names what is wrong and what would be right."""
        try:
            value = self._decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as rejection:
            raise InvalidArgument(explain_rejection(text, rejection, self.shape)) from None
        if len(_encode(value)) != len(text) and _count_quotes(text) != 2 * self._count_strings(value):
            raise InvalidArgument(f"{find_repeated_field(text)}: the field is given more than once")
        return self._check(value, len(text))


def _count_quotes(text: bytes) -> int:
    """How many quotes of a valid JSON text are not escaped."""
    if b"\\" not in text:
        return text.count(b'"')
    if b"\\\\" in text:
        text = text.replace(b"\\\\", b"")
    return text.count(b'"') - text.count(b'\\"')


def _count_field_strings(value: Any) -> int:
    """How many JSON strings a flat object holds: its keys, and the values that are strings."""
    count = 0
    for name in value.__struct_fields__:
        field = getattr(value, name)
        if field is not UNSET:
            count += 2 if isinstance(field, str) else 1
    return count


def _count_add_strings(value: AddArgument) -> int:
    count = 4  # "stream" and its value, "version", "events"
    for event in value.events:
        count += 4  # "type" and "data" with their values
        for field in (event.metadata, event.causation_id, event.correlation_id):
            if field is not UNSET:
                count += 1 if field is None else 2
    return count


def _check_add(value: AddArgument, size_bytes: int) -> Append:
    stream = _stream_id(value.stream)
    if not value.events:
        raise InvalidArgument("events: expected at least one event")
    events = [_check_event(event, index) for index, event in enumerate(value.events)]
    return Append(stream, value.version, events, size_bytes)


def _check_event(event: EventArgument, index: int) -> NewEvent:
    kind, metadata = event.type, event.metadata
    if not kind or len(kind) * 4 > EVENT_TYPE_BYTES_MAX:
        _check_type_length(kind, index)
    if event.causation_id is UNSET and event.correlation_id is UNSET:
        return NewEvent(type=kind, data=event.data, metadata=_given(metadata))
    return NewEvent(
        type=kind,
        data=event.data,
        metadata=_given(metadata),
        causation_id=_optional_ulid(event.causation_id, index, "causation_id"),
        correlation_id=_optional_ulid(event.correlation_id, index, "correlation_id"),
    )


def _check_type_length(kind: str, index: int) -> None:
    length = len(kind.encode())
    if not 1 <= length <= EVENT_TYPE_BYTES_MAX:
        raise InvalidArgument(f"events[{index}].type: expected 1 to {EVENT_TYPE_BYTES_MAX} bytes, got {length}")


def _check_get(value: GetArgument, _size_bytes: int) -> StreamRead:
    version, limit = _given(value.version) or 0, _given(value.limit) or None
    return StreamRead(_stream_id(value.stream), version, limit, _wait_ms(value.wait_ms))


def _check_get_all(value: GetAllArgument, _size_bytes: int) -> LogRead:
    offset, after = _given(value.offset), _given(value.after)
    if offset is not None and after is not None:
        raise InvalidArgument("after: cannot be given together with offset; offset is inclusive, after is exclusive")
    limit, wait_ms = _given(value.limit) or GETALL_LIMIT_DEFAULT, _wait_ms(value.wait_ms)
    if after is None:
        return LogRead(bytes(16) if offset is None else _ulid_bytes(offset, "offset"), limit, wait_ms)
    number = int.from_bytes(_ulid_bytes(after, "after"), "big") + 1
    if number >> 128:
        return LogRead(b"\xff" * 16, 0, wait_ms)
    return LogRead(number.to_bytes(16, "big"), limit, wait_ms)


def _wait_ms(field: int | Optional) -> int:
    wait_ms = _given(field) or 0
    if wait_ms > WAIT_MS_MAX:
        raise InvalidArgument(f"wait_ms: expected at most {WAIT_MS_MAX} (an hour), got {wait_ms}")
    return wait_ms


Field = TypeVar("Field", str, int)


def _given(field: Field | Optional) -> Field | None:
    return None if field is UNSET else field


def _stream_id(text: str) -> str:
    stream = find_stream_id(text)
    if stream is None:
        raise InvalidArgument(
            "stream: expected a UUID such as 5f0c0d8e-8a52-4b3c-9d39-0a2f6f3f7d11 (not the nil UUID), "
            f"got {shortened(text)!r}"
        )
    return stream


def _ulid_bytes(text: str, path: str) -> bytes:
    key = find_ulid_bytes(text)
    if key is None:
        raise InvalidArgument(f"{path}: expected a ULID such as 01JD3V6T0000000000000000AA, got {shortened(text)!r}")
    return key


def _optional_ulid(field: str | Optional, index: int, name: str) -> str | None:
    text = _given(field)
    if text is None:
        return None
    _ulid_bytes(text, f"events[{index}].{name}")
    return text.upper()


ADD = ArgumentDecoder(AddArgument, _check_add, _count_add_strings)
GET = ArgumentDecoder(GetArgument, _check_get, _count_field_strings)
GETALL = ArgumentDecoder(GetAllArgument, _check_get_all, _count_field_strings)
EVERYTHING = LogRead(bytes(16), GETALL_LIMIT_DEFAULT)
"""What GETALL without an argument reads."""
