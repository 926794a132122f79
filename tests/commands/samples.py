"""JSON arguments as any client might write them, and a judge of them that shares nothing with the server's."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from math import ceil
from random import Random
from typing import Any, NoReturn
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from ulid import ULID

from eventflowdb.append import Append, StreamAppend
from eventflowdb.commands.table import COMMANDS
from eventflowdb.errors import InvalidArgument
from eventflowdb.events import CheckedEvent

STREAM = "5f0c0d8e-8a52-4b3c-9d39-0a2f6f3f7d11"
OTHER = "9a1b7c52-0d1e-4f6a-8b3c-5d7e9f00a1b2"
ULID_TEXT = "01JD3V6T0000000000000000AA"
ULID_BYTES = bytes.fromhex("019347b368000000000000000000014a")
LARGEST = 2**53 - 1
EVENT_FIELDS = ("type", "data", "metadata", "causation_id", "correlation_id", "tags")
GUARD_FIELDS = ("unless", "request_id", "checkpoint")
FILTER_FIELDS = (
    *("types", "tags", "correlation_id", "causation_id", "since", "until", "before"),
    *("backwards", "cursor"),
)
HALF = "half of a surrogate pair, which is not a Unicode character; send both halves or none"

_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}")


class Object(list[tuple[str, Any]]):
    """A JSON object, whose fields may be repeated."""


class WrongArgument(Exception):
    """What the judge has against an argument."""


def decoded(command: str, text: str | bytes) -> Any:
    """What the server makes of an argument."""
    decode = COMMANDS[command].decode
    assert decode is not None
    return decode(text.encode() if isinstance(text, str) else text)


def refusal(command: str, text: str | bytes) -> str:
    """Why the server refuses an argument, which it has to."""
    try:
        value = decoded(command, text)
    except InvalidArgument as error:
        return str(error)
    raise AssertionError(f"{command} took it for {value}")


def stream_refusal(shown: str, path: str = "stream") -> str:
    """What is said of a stream that is none."""
    return f"{path}: expected a UUID such as {STREAM} (not the nil UUID), got {shown}"


def ulid_refusal(path: str, shown: str) -> str:
    """What is said of a ULID that is none."""
    return f"{path}: expected a ULID such as {ULID_TEXT}, got {shown}"


FIELDS: dict[type, tuple[str, ...]] = {
    Append: ("parts", "size_bytes", "unless", "request_id", "checkpoint"),
    StreamAppend: ("stream", "expected_version", "events"),
}


def plain(value: Any) -> Any:
    """A decoded argument without its types, and without the size of its text."""
    if isinstance(value, CheckedEvent):
        related = {name: plain(getattr(value, name)) for name in ("causation_id", "correlation_id", "tags")}
        return {**json.loads(b"{%b}" % value.content), **related}
    names = FIELDS.get(type(value)) or getattr(value, "__struct_fields__", ())
    if names:
        return {name: plain(getattr(value, name)) for name in names if name != "size_bytes"}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def add_argument(*events: str, stream: str = f'"{STREAM}"', version: str = "0", **more: str) -> str:
    """An argument of ADD, or one append of an ADDMANY, with these events and fields, all given as JSON."""
    return _object(stream=stream, version=version, events=f"[{','.join(events)}]", **more)


def add_many_argument(*appends: str, **more: str) -> str:
    """An argument of ADDMANY with these appends and fields, all given as JSON."""
    return _object(appends=f"[{','.join(appends)}]", **more)


def event(**fields: str) -> str:
    """An event as JSON; the fields are given as JSON, too."""
    return _object(**{"type": '"t"', "data": '"d"', **fields})


def _object(**fields: str) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"


def places(value: Any, path: str = "") -> Iterator[tuple[str, Object]]:
    """Every object in an argument, with what stands before the names of its fields in a path."""
    if isinstance(value, Object):
        yield path, value
        for name, field in value:
            yield from places(field, f"{path}{name}.")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, f"{path.removesuffix('.')}[{index}].")


def write_json(value: Any, random: Random) -> str:
    """A value in one of the many ways to write it: with any white space, any escapes, and fields in any order."""

    def space() -> str:
        return "".join(random.choice(" \t\r\n") for _ in range(random.choice((0, 0, 0, 1, 3))))

    if isinstance(value, str):
        return '"' + "".join(_write_character(character, random) for character in value) + '"'
    if isinstance(value, Object):
        shuffled = random.sample(value, len(value))
        fields = [f"{space()}{write_json(n, random)}{space()}:{space()}{write_json(v, random)}" for n, v in shuffled]
        return "{" + ",".join(fields) + space() + "}"
    if isinstance(value, list):
        return "[" + ",".join(f"{space()}{write_json(item, random)}{space()}" for item in value) + "]"
    return json.dumps(value)


def _write_character(character: str, random: Random) -> str:
    if character in _SHORT_ESCAPES and random.random() < 0.7:
        return _SHORT_ESCAPES[character]
    if character < " " or character in '"\\' or random.random() < 0.1:
        return _escaped(character, random)
    return character


def _escaped(character: str, random: Random) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    if random.random() < 0.5:
        units = units.upper()
    return "".join(f"\\u{units[index : index + 4]}" for index in range(0, len(units), 4))


def judged(command: str, text: bytes) -> Any:
    """What an argument means, found out slowly; WrongArgument where it means nothing."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_without_repeats, parse_constant=_refuse)
    except ValueError as error:
        raise WrongArgument from error
    return _JUDGES[command](value)


def _refuse(what: str) -> NoReturn:
    raise WrongArgument(what)


def _without_repeats(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in fields}) != len(fields):
        _refuse("repeated")
    return dict(fields)


def _fields(value: Any, *known: str) -> list[Any]:
    if not isinstance(value, dict) or not set(value) <= set(known):
        _refuse("not such an object")
    return [value.get(name) for name in known]


def _text(value: Any) -> str:
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        _refuse("not a text")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST:
        _refuse("not an integer")
    return value


def _stream(value: Any) -> str:
    text = _text(value).lower() if _text(value).isascii() else ""
    if not _UUID.fullmatch(text) or not set(text) - set("0-"):
        _refuse("not a stream")
    return text


def _ulid(value: Any) -> str:
    if not _ULID.fullmatch(_text(value)):
        _refuse("not a ULID")
    return str(value).upper()


def _word(value: Any, bytes_max: int) -> str:
    if not 1 <= len(_text(value).encode()) <= bytes_max:
        _refuse("empty or too long")
    return str(value)


def _items(value: Any, count_max: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (count_max is not None and len(value) > count_max):
        _refuse("not a list, or too long")
    return value


def _judge_add(value: Any) -> Any:
    stream, version, events, *guards = _fields(value, "stream", "version", "events", *GUARD_FIELDS)
    if not events:
        _refuse("no events")
    append = {"stream": stream, "version": version, "events": events}
    return _judge_appends([append], *guards)


def _judge_add_many(value: Any) -> Any:
    return _judge_appends(*_fields(value, "appends", *GUARD_FIELDS))


def _judge_appends(appends: Any, unless: Any, request_id: Any, checkpoint: Any) -> Any:
    parts = [_judge_append(item) for item in _items(appends)]
    if not parts or len({part["stream"] for part in parts}) < len(parts):
        _refuse("no streams, or one twice")
    items = [unless] if isinstance(unless, dict) else [] if unless is None else _items(unless, 1000)
    return {
        "parts": parts,
        "unless": [_judge_condition(item) for item in items],
        "request_id": None if request_id is None else _word(request_id, 128),
        "checkpoint": None if checkpoint is None else _judge_checkpoint(checkpoint),
    }


def _judge_checkpoint(value: Any) -> Any:
    consumer, member, event_id = _fields(value, "consumer", "member", "id")
    if not all(re.fullmatch("[-A-Za-z0-9._:]{1,64}", _text(name)) for name in (consumer, member)):
        _refuse("no name")
    return {"consumer": consumer, "member": member, "id": ULID.from_str(_ulid(event_id)).bytes, "is_held": False}


def _judge_append(value: Any) -> Any:
    stream, version, events = _fields(value, "stream", "version", "events")
    return {
        "stream": _stream(stream),
        "expected_version": version if version in ("any", "exists") else _integer(version),
        "events": [] if events is None else [_judge_event(item) for item in _items(events)],
    }


def _judge_event(value: Any) -> Any:
    kind, data, metadata, causation_id, correlation_id, tags = _fields(value, *EVENT_FIELDS)
    return {
        "type": _word(kind, 255),
        "data": _text(data),
        "metadata": None if metadata is None else _text(metadata),
        "causation_id": None if causation_id is None else _ulid(causation_id),
        "correlation_id": None if correlation_id is None else _ulid(correlation_id),
        "tags": _judge_tags(tags),
    }


def _judge_tags(value: Any) -> list[str]:
    tags = [] if value is None else [_word(item, 128) for item in _items(value, 32)]
    if len(set(tags)) < len(tags):
        _refuse("a tag twice")
    return tags


def _judge_condition(value: Any) -> Any:
    types, tags, after = _fields(value, "types", "tags", "after")
    if not types and not tags:
        _refuse("rules out every event")
    return {
        "types": [] if types is None else [_word(item, 255) for item in _items(types, 1000)],
        "tags": _judge_tags(tags),
        "after": bytes(16) if after is None else ULID.from_str(_ulid(after)).bytes,
    }


def _judge_get(value: Any) -> Any:
    stream, version, after, *rest = _fields(value, "stream", "version", "after", *FILTER_FIELDS, "limit", "wait_ms")
    place = {"stream": _stream(stream), "version": 0 if version is None else _integer(version)}
    *given, backwards, cursor, limit, wait_ms = rest
    wanted = {"limit": (0 if limit is None else _integer(limit)) or None, "wait_ms": _wait(wait_ms)}
    query = {**place, **_judge_filter(given, _flag(backwards)), "start": bytes(16) if after is None else _after(after)}
    has_filter = after is not None or any(given)
    if not has_filter and not _flag(cursor) and not _flag(backwards):
        return {**place, **wanted}
    if has_filter:
        wanted["limit"] = wanted["limit"] or 100
    return {"query": query, **wanted, "has_cursor": _without_wait(wait_ms, backwards, cursor)}


def _wait(value: Any) -> int:
    wait_ms = 0 if value is None else _integer(value)
    if wait_ms > 3_600_000:
        _refuse("too long")
    return wait_ms


def _judge_filter(given: list[Any], is_backwards: bool) -> dict[str, Any]:
    types, tags, correlation_id, causation_id, since, until, before = given
    return {
        "types": list(dict.fromkeys(_names(types, 255, 1000))),
        "tags": _distinct(_names(tags, 128, 32)),
        "correlation_id": None if correlation_id is None else _ulid(correlation_id),
        "causation_id": None if causation_id is None else _ulid(causation_id),
        "end": None if before is None else ULID.from_str(_ulid(before)).bytes,
        "since_us": 0 if since is None else _microseconds(since),
        "until_us": None if until is None else _microseconds(until),
        "is_backwards": is_backwards,
    }


def _names(value: Any, bytes_max: int, count_max: int) -> list[str]:
    names = [] if value is None else value
    if not isinstance(names, list) or len(names) > count_max:
        _refuse("not names")
    if not all(1 <= len(_text(name).encode()) <= bytes_max for name in names):
        _refuse("too long or empty")
    return names


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        _refuse("the same twice")
    return names


def _after(value: Any) -> bytes:
    return min(int(ULID.from_str(_ulid(value))) + 1, 2**128 - 1).to_bytes(16, "big")


def _flag(value: Any) -> bool:
    if value not in (None, True, False) or isinstance(value, int | float) is not isinstance(value, bool):
        _refuse("not a boolean")
    return value is True


def _without_wait(wait_ms: Any, backwards: Any, cursor: Any) -> bool:
    if wait_ms and (backwards or cursor):
        _refuse("what cannot wait")
    return _flag(cursor)


def _microseconds(value: Any) -> int:
    """Of a time as `times` writes it."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", _text(value), re.ASCII)
    if found is None:
        _refuse("not a time")
    day, clock, fraction, zone = found.groups()
    moment = datetime.fromisoformat(f"{day}T{clock}{zone.replace('Z', '+00:00')}")
    whole = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(seconds=1)
    return max(0, ceil((whole + Fraction(f"0{fraction or ''}")) * 1_000_000))


def _judge_get_all(value: Any) -> Any:
    offset, after, *others, limit, wait_ms = _fields(value, "offset", "after", *FILTER_FIELDS, "limit", "wait_ms")
    rest = {"limit": (0 if limit is None else _integer(limit)) or 100, "wait_ms": _wait(wait_ms)}
    *given, backwards, cursor = others
    query = {"stream": None, "version": 0, **_judge_filter(given, _flag(backwards)), "start": bytes(16)}
    if query != {"stream": None, "version": 0, **_judge_filter([None] * 7, False), "start": bytes(16)} or _flag(cursor):
        if after is not None:
            query["start"] = _after(after)
        if offset is not None:
            if after is not None:
                _refuse("two places to start")
            query["start"] = ULID.from_str(_ulid(offset)).bytes
        return {"query": query, **rest, "has_cursor": _without_wait(wait_ms, backwards, cursor)}
    if after is None:
        return {"start": bytes(16) if offset is None else ULID.from_str(_ulid(offset)).bytes, **rest}
    start = int(ULID.from_str(_ulid(after))) + 1
    if offset is not None:
        _refuse("two places to start")
    if start == 2**128:
        return {**rest, "start": b"\xff" * 16, "limit": 0}
    return {**rest, "start": start.to_bytes(16, "big")}


_JUDGES = {"ADD": _judge_add, "ADDMANY": _judge_add_many, "GET": _judge_get, "GETALL": _judge_get_all}

# Texts with much in them that JSON, or the counting of quotes, could stumble over.
texts = st.text(
    st.one_of(st.sampled_from('"\\/\n\0 é€😀u0{}:,'), st.characters(exclude_categories=["Cs"])), max_size=12
)
names = texts.filter(bool)
times = st.builds(
    lambda moment, fraction, zone: f"{moment.isoformat(timespec='seconds')}{fraction}{zone}",
    st.datetimes(datetime(1960, 1, 1), datetime(9000, 1, 1)),
    st.sampled_from(["", ".5", ".000001", ".0000001", ".9999999", ".123456000", ".123456001"]),
    st.sampled_from(["Z", "+00:00", "-00:00", "+05:30", "-11:59"]),
)
integers = st.one_of(st.integers(0, 3), st.integers(0, LARGEST))
waits = st.one_of(st.integers(0, 3), st.integers(0, 3_600_000))
either_case = st.sampled_from([str.upper, str.lower])
streams = st.builds(lambda number, case: case(str(UUID(int=number))), st.integers(1, 2**128 - 1), either_case)
ulids = st.builds(lambda number, case: case(str(ULID.from_int(number))), st.integers(0, 2**128 - 1), either_case)


def objects(required: dict[str, Any], optional: dict[str, Any]) -> Any:
    """Objects of these fields; those that are optional may be absent or null."""
    given = {name: st.one_of(st.none(), values) for name, values in optional.items()}
    return st.fixed_dictionaries(required, optional=given).map(lambda fields: Object(fields.items()))


def name_lists(min_size: int = 0) -> Any:
    """Lists of names, no two alike."""
    return st.lists(names, min_size=min_size, max_size=3, unique=True)


events = objects(
    {"type": names, "data": texts},
    {"metadata": texts, "causation_id": ulids, "correlation_id": ulids, "tags": name_lists()},
)
conditions = st.one_of(
    objects({"types": name_lists(1)}, {"tags": name_lists(), "after": ulids}),
    objects({"tags": name_lists(1)}, {"types": name_lists(), "after": ulids}),
)
member_names = st.sampled_from(["m", "send-mail", "a.b:C_9", "x" * 64])
guards = {
    "unless": st.one_of(conditions, st.lists(conditions, max_size=2)),
    "request_id": names,
    "checkpoint": objects({"consumer": member_names, "member": member_names, "id": ulids}, {}),
}
expected_versions = st.one_of(integers, st.sampled_from(["any", "exists"]))
addressed = {"stream": streams, "version": expected_versions}
appends = objects(addressed, {"events": st.lists(events, max_size=2)})
filters = {
    "types": st.lists(names.filter(lambda name: len(name.encode()) <= 255), max_size=3),
    "tags": st.lists(names.filter(lambda name: len(name.encode()) <= 128), max_size=3, unique=True),
    "correlation_id": ulids,
    "causation_id": ulids,
    "since": times,
    "until": times,
    "before": ulids,
    "backwards": st.booleans(),
    "cursor": st.booleans(),
}
ARGUMENTS = {
    "ADD": objects({**addressed, "events": st.lists(events, min_size=1, max_size=3)}, guards),
    "ADDMANY": objects(
        {"appends": st.lists(appends, min_size=1, max_size=3, unique_by=lambda item: dict(item)["stream"].lower())},
        guards,
    ),
    "GET": st.one_of(
        objects({"stream": streams}, {"version": integers, "limit": integers, "wait_ms": waits}),
        objects({"stream": streams}, {"version": integers, "after": ulids, "limit": integers, **filters}),
        objects({"stream": streams}, {**filters, "wait_ms": waits, "backwards": st.just(False), "cursor": st.none()}),
    ),
    "GETALL": st.one_of(
        objects({}, {"after": ulids, "limit": integers, **filters}),
        objects({}, {"offset": ulids, "limit": integers, **filters}),
        objects({}, {**filters, "wait_ms": waits, "backwards": st.just(False), "cursor": st.none()}),
        objects({}, {"offset": ulids, "limit": integers, "wait_ms": waits}),
        objects({}, {"after": ulids, "limit": integers, "wait_ms": waits}),
    ),
}
"""Right arguments of each command."""
arguments = st.one_of([st.tuples(st.just(command), values) for command, values in ARGUMENTS.items()])
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How long a machine takes to think of an example says nothing of the server."""
