"""The arguments of CONSUMER, FETCH, ACK and NACK."""

import re

import msgspec
from msgspec import UNSET

from eventflowdb.commands.arguments import (
    ArgumentDecoder,
    check_length,
    check_member_name,
    check_stream_id,
    check_ulid,
    check_wait_ms,
    count_field_strings,
    given,
)
from eventflowdb.commands.explain import shortened
from eventflowdb.commands.filters import TermsArgument, check_terms
from eventflowdb.commands.shapes import Integer, Optional
from eventflowdb.consumers import BEGINNING, ConsumerOptions
from eventflowdb.errors import InvalidArgument
from eventflowdb.limits import (
    ACK_IDS_MAX,
    CONSUMER_QUERY_BYTES_MAX,
    CONSUMER_TIMEOUT_MS_MAX,
    FETCH_LIMIT_DEFAULT,
    FETCH_LIMIT_MAX,
    PARKED_LIMIT_DEFAULT,
    PARKED_LIMIT_MAX,
    REASON_BYTES_MAX,
    RETRY_MS_MAX,
    TRIES_MAX,
)
from eventflowdb.queries import Query


class ConsumerQueryArgument(TermsArgument, kw_only=True):
    """Which events a consumer is for."""

    stream: str | Optional = UNSET


class ConsumerArgument(msgspec.Struct, forbid_unknown_fields=True):
    """What CONSUMER takes: one of the first five, and what goes with it."""

    create: str | Optional = UNSET
    delete: str | Optional = UNSET
    reset: str | Optional = UNSET
    parked: str | Optional = UNSET
    replay: str | Optional = UNSET
    query: ConsumerQueryArgument | Optional = UNSET
    after: str | Optional = UNSET
    timeout_ms: Integer | Optional = UNSET
    retry_ms: Integer | Optional = UNSET
    tries_max: Integer | Optional = UNSET
    limit: Integer | Optional = UNSET
    ids: list[str] | Optional = UNSET


class FetchArgument(msgspec.Struct, forbid_unknown_fields=True):
    """What FETCH takes."""

    consumer: str
    member: str
    limit: Integer | Optional = UNSET
    wait_ms: Integer | Optional = UNSET


class AckArgument(msgspec.Struct, forbid_unknown_fields=True):
    """What ACK takes."""

    consumer: str
    member: str
    ids: list[str] | Optional = UNSET
    extend: list[str] | Optional = UNSET


class NackArgument(msgspec.Struct, forbid_unknown_fields=True):
    """What NACK takes."""

    consumer: str
    member: str
    ids: list[str] | Optional = UNSET
    delay_ms: Integer | Optional = UNSET
    reason: str | Optional = UNSET
    park: bool | Optional = UNSET
    release: bool | Optional = UNSET


class CreateConsumer(msgspec.Struct, frozen=True):
    """A checked CONSUMER create. after: 16 bytes; None: the end of the log."""

    name: str
    query: Query
    options: ConsumerOptions
    after: bytes | None


class DeleteConsumer(msgspec.Struct, frozen=True):
    """A checked CONSUMER delete."""

    name: str


class ResetConsumer(msgspec.Struct, frozen=True):
    """A checked CONSUMER reset; after as in create."""

    name: str
    after: bytes | None


class ListParked(msgspec.Struct, frozen=True):
    """A checked CONSUMER parked: at most `limit` events after this one."""

    name: str
    after: bytes
    limit: int


class ReplayParked(msgspec.Struct, frozen=True):
    """A checked CONSUMER replay: of these events, or of all."""

    name: str
    ids: tuple[bytes, ...] | None


class ListConsumers(msgspec.Struct, frozen=True):
    """CONSUMER LIST."""


class Fetch(msgspec.Struct, frozen=True):
    """A checked FETCH: at most `limit` events; where there are none, wait so long."""

    consumer: str
    member: str
    limit: int
    wait_ms: int


class Ack(msgspec.Struct, frozen=True):
    """A checked ACK. extend: events that the member still works at."""

    consumer: str
    member: str
    ids: tuple[bytes, ...]
    extend: tuple[bytes, ...]


class Nack(msgspec.Struct, frozen=True):
    """A checked NACK. ids: with is_release None, all that the member holds; delay_ms: None, as the consumer has it."""

    consumer: str
    member: str
    ids: tuple[bytes, ...] | None
    delay_ms: int | None
    reason: str
    is_park: bool
    is_release: bool


ConsumerCommand = CreateConsumer | DeleteConsumer | ResetConsumer | ListParked | ReplayParked | ListConsumers

_FIELDS = {
    "create": ("query", "after", "timeout_ms", "retry_ms", "tries_max"),
    "delete": (),
    "reset": ("after",),
    "parked": ("after", "limit"),
    "replay": ("ids",),
}
"""What may be asked for, and what goes with it."""
_ALL_FIELDS = tuple(dict.fromkeys(name for names in _FIELDS.values() for name in names))
_WORD = re.compile(rb"\s*([a-z]+)\s*", re.IGNORECASE)
_ENDS = {"beginning": BEGINNING, "end": None}
_encode = msgspec.json.Encoder().encode


def decode_consumer(text: bytes) -> ConsumerCommand:
    """The argument of CONSUMER: JSON, or the word LIST."""
    word = _WORD.fullmatch(text)
    if word is None:
        return CONSUMER.decode(text)
    if word[1].upper() != b"LIST":
        raise InvalidArgument(f"expected LIST or a JSON object, got {shortened(word[1].decode())}")
    return ListConsumers()


def _check_consumer(value: ConsumerArgument, _size_bytes: int) -> ConsumerCommand:
    asked = [name for name in _FIELDS if given(getattr(value, name)) is not None]
    if len(asked) != 1:
        raise InvalidArgument(
            f"expected one of {', '.join(_FIELDS)}, each with the name of a consumer, or LIST; got {len(asked)} of them"
        )
    (what,) = asked
    for field in _ALL_FIELDS:
        if field not in _FIELDS[what] and given(getattr(value, field)) is not None:
            raise InvalidArgument(f"{field}: does not go with {what}")
    name = check_member_name(getattr(value, what), what)
    match what:
        case "create":
            return CreateConsumer(name, _check_query(given(value.query)), _check_options(value), _check_after(value))
        case "delete":
            return DeleteConsumer(name)
        case "reset":
            return ResetConsumer(name, _check_after(value))
        case "parked":
            after = given(value.after)
            limit = _check_limit(value.limit, PARKED_LIMIT_DEFAULT, PARKED_LIMIT_MAX, "page with after")
            return ListParked(name, BEGINNING if after is None else check_ulid(after, "after"), limit)
        case _:
            ids = given(value.ids)
            return ReplayParked(name, None if ids is None else _check_ids(ids, "ids"))


def _check_query(value: ConsumerQueryArgument | None) -> Query:
    if value is None:
        return Query()
    types, tags, correlation_id, causation_id = check_terms(value)
    stream = given(value.stream)
    query = Query(
        stream=None if stream is None else check_stream_id(stream, "query.stream"),
        types=types,
        tags=tags,
        correlation_id=correlation_id,
        causation_id=causation_id,
    )
    length = len(_encode(query))
    if length > CONSUMER_QUERY_BYTES_MAX:
        raise InvalidArgument(f"query: expected at most {CONSUMER_QUERY_BYTES_MAX} bytes as JSON, got {length}")
    return query


def _check_options(value: ConsumerArgument) -> ConsumerOptions:
    given_options = {
        "timeout_ms": _check_integer(value.timeout_ms, "timeout_ms", 1, CONSUMER_TIMEOUT_MS_MAX),
        "retry_ms": _check_integer(value.retry_ms, "retry_ms", 0, RETRY_MS_MAX),
        "tries_max": _check_integer(value.tries_max, "tries_max", 0, TRIES_MAX),
    }
    return ConsumerOptions(**{name: number for name, number in given_options.items() if number is not None})


def _check_integer(field: int | Optional, path: str, smallest: int, largest: int) -> int | None:
    number = given(field)
    if number is not None and not smallest <= number <= largest:
        raise InvalidArgument(f"{path}: expected {smallest} to {largest}, got {number}")
    return number


def _check_after(value: ConsumerArgument) -> bytes | None:
    """Where to begin: 16 bytes; None: the end of the log."""
    after = given(value.after)
    if after is None:
        return BEGINNING
    if after in _ENDS:
        return _ENDS[after]
    try:
        return check_ulid(after, "after")
    except InvalidArgument:
        raise InvalidArgument(
            f'after: expected the ULID of an event, "beginning" or "end", got {shortened(after)!r}'
        ) from None


def _check_ids(ids: list[str], path: str) -> tuple[bytes, ...]:
    if len(ids) > ACK_IDS_MAX:
        raise InvalidArgument(f"{path}: expected at most {ACK_IDS_MAX} ids, got {len(ids)}")
    return tuple(dict.fromkeys([check_ulid(text, f"{path}[{index}]") for index, text in enumerate(ids)]))


def _check_limit(field: int | Optional, default: int, largest: int, advice: str) -> int:
    limit = given(field) or default
    if limit > largest:
        raise InvalidArgument(f"limit: expected at most {largest}, got {limit}; {advice}")
    return limit


def _check_fetch(value: FetchArgument, _size_bytes: int) -> Fetch:
    return Fetch(
        check_member_name(value.consumer, "consumer"),
        check_member_name(value.member, "member"),
        _check_limit(value.limit, FETCH_LIMIT_DEFAULT, FETCH_LIMIT_MAX, "FETCH again for more"),
        check_wait_ms(value.wait_ms),
    )


def _check_ack(value: AckArgument, _size_bytes: int) -> Ack:
    ids, extend = given(value.ids), given(value.extend)
    if ids is None and extend is None:
        raise InvalidArgument("expected ids, the events that are done, or extend, those that are still worked at")
    return Ack(
        check_member_name(value.consumer, "consumer"),
        check_member_name(value.member, "member"),
        _check_ids(ids or [], "ids"),
        _check_ids(extend or [], "extend"),
    )


def _check_nack(value: NackArgument, _size_bytes: int) -> Nack:
    ids, reason = given(value.ids), given(value.reason) or ""
    is_park, is_release = given(value.park) or False, given(value.release) or False
    delay_ms = _check_integer(value.delay_ms, "delay_ms", 0, RETRY_MS_MAX)
    if ids is None and not is_release:
        raise InvalidArgument("ids: expected the events that failed; only with release they may be left out")
    if reason:
        check_length(reason, "reason", REASON_BYTES_MAX)
    if is_release and (is_park or delay_ms is not None or reason):
        raise InvalidArgument("release: gives events back as if they had not been given out; nothing else goes with it")
    if is_park and delay_ms is not None:
        raise InvalidArgument("delay_ms: does not go with park; what is parked is not tried again by itself")
    return Nack(
        check_member_name(value.consumer, "consumer"),
        check_member_name(value.member, "member"),
        None if ids is None else _check_ids(ids, "ids"),
        delay_ms,
        reason,
        is_park,
        is_release,
    )


def _count_consumer_strings(value: ConsumerArgument) -> int:
    query = given(value.query)
    return count_field_strings(value) + (0 if query is None else count_field_strings(query))


CONSUMER: ArgumentDecoder[ConsumerArgument, ConsumerCommand] = ArgumentDecoder(
    ConsumerArgument, _check_consumer, _count_consumer_strings
)
FETCH: ArgumentDecoder[FetchArgument, Fetch] = ArgumentDecoder(FetchArgument, _check_fetch, count_field_strings)
ACK: ArgumentDecoder[AckArgument, Ack] = ArgumentDecoder(AckArgument, _check_ack, count_field_strings)
NACK: ArgumentDecoder[NackArgument, Nack] = ArgumentDecoder(NackArgument, _check_nack, count_field_strings)
