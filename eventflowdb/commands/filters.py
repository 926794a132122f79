"""The arguments of reads that ask for some events only, or backwards, and of EVENT, STREAM, STREAMS and TYPES."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from eventflowdb.commands import arguments
from eventflowdb.commands.arguments import (
    ArgumentDecoder,
    check_length,
    check_stream_id,
    check_tags,
    check_ulid,
    check_wait_ms,
    count_field_strings,
    given,
)
from eventflowdb.commands.explain import shortened
from eventflowdb.commands.shapes import GetAllArgument, GetArgument, Integer, LogRead, Optional, StreamRead
from eventflowdb.commands.times import find_microseconds
from eventflowdb.errors import InvalidArgument
from eventflowdb.ids import id_after
from eventflowdb.limits import (
    EVENT_TYPE_BYTES_MAX,
    FILTERED_LIMIT_DEFAULT,
    GETALL_LIMIT_DEFAULT,
    QUERY_TYPES_MAX,
    STREAMS_LIMIT_DEFAULT,
    STREAMS_LIMIT_MAX,
    TYPES_LIMIT_DEFAULT,
    TYPES_LIMIT_MAX,
)
from eventflowdb.queries import Query


class TermsArgument(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the indexes know of an event."""

    types: list[str] | Optional = UNSET
    tags: list[str] | Optional = UNSET
    correlation_id: str | Optional = UNSET
    causation_id: str | Optional = UNSET


class SelectionArgument(TermsArgument, kw_only=True):
    """What reads and subscriptions take alike."""

    since: str | Optional = UNSET
    until: str | Optional = UNSET
    after: str | Optional = UNSET
    before: str | Optional = UNSET


class FilterArgument(SelectionArgument, kw_only=True):
    """What GET and GETALL take alike."""

    backwards: bool | Optional = UNSET
    limit: Integer | Optional = UNSET
    cursor: bool | Optional = UNSET
    wait_ms: Integer | Optional = UNSET


class FilteredGetArgument(FilterArgument, kw_only=True):
    """What GET takes."""

    stream: str
    version: Integer | Optional = UNSET


class FilteredGetAllArgument(FilterArgument, kw_only=True):
    """What GETALL takes."""

    offset: str | Optional = UNSET


class EventArgument(msgspec.Struct, forbid_unknown_fields=True):
    """What EVENT takes."""

    id: str


class StreamArgument(msgspec.Struct, forbid_unknown_fields=True):
    """What STREAM takes."""

    stream: str


class StreamsArgument(TermsArgument, kw_only=True):
    """What STREAMS takes."""

    after: str | Optional = UNSET
    limit: Integer | Optional = UNSET


class TypesArgument(msgspec.Struct, forbid_unknown_fields=True):
    """What TYPES takes."""

    after: str | Optional = UNSET
    limit: Integer | Optional = UNSET


class FilteredRead(msgspec.Struct, frozen=True):
    """A checked GET or GETALL with a filter, backwards or in pages: at most `limit` events (None: all).

    has_cursor: it may end at a bound, and says where to go on; wait_ms: how long to wait where there are none.
    """

    query: Query
    limit: int | None
    has_cursor: bool = False
    wait_ms: int = 0


class StreamsRead(msgspec.Struct, frozen=True):
    """A checked STREAMS: streams that hold an event the query asks for, behind the stream `after`, if given."""

    query: Query
    after: str | None
    limit: int


class TypesRead(msgspec.Struct, frozen=True):
    """A checked TYPES: those behind `after`."""

    after: str
    limit: int


_FILTERS = ("types", "tags", "correlation_id", "causation_id", "since", "until", "after", "before")


def _check_filtered_get(value: FilteredGetArgument, _size_bytes: int) -> FilteredRead | StreamRead:
    stream, version = check_stream_id(value.stream), given(value.version) or 0
    is_backwards = given(value.backwards) or False
    query = check_selection(value, given(value.after), None, stream, version, is_backwards=is_backwards)
    limit = given(value.limit) or None
    has_filter = any(given(getattr(value, name)) for name in _FILTERS)
    if not (has_filter or query.is_backwards or given(value.cursor)):
        return StreamRead(stream, version, limit, check_wait_ms(value.wait_ms))
    return _filtered(value, query, limit or (FILTERED_LIMIT_DEFAULT if has_filter else None))


def _check_filtered_get_all(value: FilteredGetAllArgument, _size_bytes: int) -> FilteredRead | LogRead:
    is_backwards = given(value.backwards) or False
    query = check_selection(value, given(value.after), given(value.offset), None, 0, is_backwards=is_backwards)
    limit = given(value.limit) or GETALL_LIMIT_DEFAULT
    if query == Query(start=query.start) and not given(value.cursor):
        return LogRead(query.start, limit, check_wait_ms(value.wait_ms))
    return _filtered(value, query, limit)


def _filtered(value: FilterArgument, query: Query, limit: int | None) -> FilteredRead:
    wait_ms = check_wait_ms(value.wait_ms)
    has_cursor = given(value.cursor) or False
    if wait_ms and query.is_backwards:
        raise InvalidArgument("wait_ms: cannot be given together with backwards; one waits for what comes last")
    if wait_ms and has_cursor:
        raise InvalidArgument("wait_ms: cannot be given together with cursor; a read that waits ends at the log's end")
    return FilteredRead(query, limit, has_cursor, wait_ms)


def check_selection(
    value: SelectionArgument,
    after: str | None,
    offset: str | None,
    stream: str | None,
    version: int,
    *,
    is_backwards: bool,
) -> Query:
    """The query that these fields make."""
    if after is not None and offset is not None:
        raise InvalidArgument("after: cannot be given together with offset; offset is inclusive, after is exclusive")
    types, tags, correlation_id, causation_id = check_terms(value)
    before, since, until = given(value.before), given(value.since), given(value.until)
    start = bytes(16)
    if offset is not None:
        start = check_ulid(offset, "offset")
    elif after is not None:
        start = id_after(check_ulid(after, "after"))
    return Query(
        stream=stream,
        version=version,
        types=types,
        tags=tags,
        correlation_id=correlation_id,
        causation_id=causation_id,
        start=start,
        end=None if before is None else check_ulid(before, "before"),
        since_us=0 if since is None else _check_time(since, "since"),
        until_us=None if until is None else _check_time(until, "until"),
        is_backwards=is_backwards,
    )


def check_terms(value: TermsArgument) -> tuple[tuple[str, ...], tuple[str, ...], str | None, str | None]:
    """The types, each once, the tags, the correlation id and the causation id."""
    types, tags = given(value.types) or (), given(value.tags) or ()
    _check_types(types)
    check_tags(tags, "tags")
    correlation_id, causation_id = given(value.correlation_id), given(value.causation_id)
    return (
        tuple(dict.fromkeys(types)),
        tuple(tags),
        None if correlation_id is None else _check_ulid_text(correlation_id, "correlation_id"),
        None if causation_id is None else _check_ulid_text(causation_id, "causation_id"),
    )


def _check_types(types: Sequence[str]) -> None:
    if len(types) > QUERY_TYPES_MAX:
        raise InvalidArgument(f"types: expected at most {QUERY_TYPES_MAX} types, got {len(types)}")
    for index, name in enumerate(types):
        check_length(name, f"types[{index}]", EVENT_TYPE_BYTES_MAX)


def _check_ulid_text(text: str, path: str) -> str:
    check_ulid(text, path)
    return text.upper()


def _check_time(text: str, path: str) -> int:
    us = find_microseconds(text)
    if us is None:
        raise InvalidArgument(
            f"{path}: expected a time such as 2026-11-23T19:23:14.000001Z (RFC 3339), got {shortened(text)!r}"
        )
    return us


def _check_event(value: EventArgument, _size_bytes: int) -> bytes:
    return check_ulid(value.id, "id")


def _check_stream(value: StreamArgument, _size_bytes: int) -> str:
    return check_stream_id(value.stream)


def _check_streams(value: StreamsArgument, _size_bytes: int) -> StreamsRead:
    types, tags, correlation_id, causation_id = check_terms(value)
    query = Query(types=types, tags=tags, correlation_id=correlation_id, causation_id=causation_id)
    after = given(value.after)
    limit = _check_limit(value.limit, STREAMS_LIMIT_DEFAULT, STREAMS_LIMIT_MAX)
    return StreamsRead(query, None if after is None else check_stream_id(after, "after"), limit)


def _check_types_argument(value: TypesArgument, _size_bytes: int) -> TypesRead:
    after = given(value.after) or ""
    if after:
        check_length(after, "after", EVENT_TYPE_BYTES_MAX)
    return TypesRead(after, _check_limit(value.limit, TYPES_LIMIT_DEFAULT, TYPES_LIMIT_MAX))


def _check_limit(field: int | Optional, default: int, largest: int) -> int:
    limit = given(field) or default
    if limit > largest:
        raise InvalidArgument(f"limit: expected at most {largest}, got {limit}; page with after")
    return limit


GET: ArgumentDecoder[GetArgument, StreamRead | FilteredRead] = arguments.GET.or_else(
    ArgumentDecoder(FilteredGetArgument, _check_filtered_get, count_field_strings).decode
)
GETALL: ArgumentDecoder[GetAllArgument, LogRead | FilteredRead] = arguments.GETALL.or_else(
    ArgumentDecoder(FilteredGetAllArgument, _check_filtered_get_all, count_field_strings).decode
)
EVENT: ArgumentDecoder[EventArgument, bytes] = ArgumentDecoder(EventArgument, _check_event, count_field_strings)
STREAM: ArgumentDecoder[StreamArgument, str] = ArgumentDecoder(StreamArgument, _check_stream, count_field_strings)
STREAMS: ArgumentDecoder[StreamsArgument, StreamsRead] = ArgumentDecoder(
    StreamsArgument, _check_streams, count_field_strings
)
TYPES: ArgumentDecoder[TypesArgument, TypesRead] = ArgumentDecoder(
    TypesArgument, _check_types_argument, count_field_strings
)
EVERY_STREAM = StreamsRead(Query(), None, STREAMS_LIMIT_DEFAULT)
"""What STREAMS without an argument asks for."""
EVERY_TYPE = TypesRead("", TYPES_LIMIT_DEFAULT)
"""What TYPES without an argument asks for."""
