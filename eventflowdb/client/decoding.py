"""The typed values that replies hold. Each decoder takes a reply and raises UnexpectedReply where it is another.

Shared by all clients: nothing here may import Twisted or a Redis library. A library's reply may hold text as bytes
or as str, and an error inside an array as any exception, which is raised; both are understood.
"""

import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from eventflowdb.client.refusals import UnexpectedReply
from eventflowdb.events import RecordedEvent

T = TypeVar("T")


class Size(NamedTuple):
    """How much of the disk the database takes. words: the same for people, "12.3 kB"."""

    bytes: int
    words: str


class Checksum(NamedTuple):
    """What the log is up to an event. event_id: ULID of the latest; checksum: 64 hex digits, of the whole log."""

    event_id: str
    checksum: str


class Page(NamedTuple):
    """Events of a read, and the id to go on from; None at its end."""

    events: list[RecordedEvent]
    cursor: str | None


_decode_event = msgspec.json.Decoder(RecordedEvent).decode


def decode_event(record: object) -> RecordedEvent:
    """An event, from its JSON; UnexpectedReply if it is something else."""
    (event,) = events([record])
    return event


def full_or_last(reply: object, limit: int) -> Page:
    """Events of a read without a cursor: where there are as many as were asked for, there may be more."""
    found = events(reply)
    return Page(found, found[-1].id if len(found) == limit else None)


def page(reply: object) -> Page:
    """Events of a read with a cursor, and the cursor."""
    found, cursor = pair(reply)
    return Page(events(found), None if cursor is None else text(cursor))


def optional(shape: type[T]) -> Callable[[object], T | None]:
    """A decoder of the JSON of one, or of null."""
    decode = one(shape)
    return lambda reply: None if reply is None else decode(reply)


def list_of(shape: type[T]) -> Callable[[object], list[T]]:
    """A decoder of an array of the JSON of each."""
    decode = one(shape)
    return lambda reply: [decode(item) for item in array(reply)]


def one(shape: type[T]) -> Callable[[object], T]:
    """A decoder of the JSON of one."""
    decoder = msgspec.json.Decoder(shape)

    def decode(reply: object) -> T:
        try:
            return decoder.decode(text(reply))
        except msgspec.DecodeError as error:
            raise UnexpectedReply(f"the server sent something else than it should: {error}") from error

    return decode


def events(reply: object) -> list[RecordedEvent]:
    """An array of events."""
    items = array(reply)
    try:
        return [_decode_event(item) for item in items]
    except msgspec.DecodeError as error:
        raise UnexpectedReply(f"the server sent something else than an event: {error}") from error
    except TypeError:
        raise _unexpected("an array of events", items) from None


def array(reply: object) -> list[Any]:
    """An array; raises the error that stands in the place of an item."""
    if not isinstance(reply, list):
        raise _unexpected("an array", reply)
    for item in reply:
        if isinstance(item, Exception):
            raise item
    return reply


def text(reply: object) -> str:
    """A string, simple or bulk."""
    if isinstance(reply, bytes):
        try:
            return reply.decode()
        except UnicodeDecodeError:
            raise _unexpected("UTF-8", reply) from None
    if isinstance(reply, str):
        return reply
    raise _unexpected("a string", reply)


def integer(reply: object) -> int:
    """An integer."""
    if type(reply) is int:
        return reply
    raise _unexpected("an integer", reply)


def size(reply: object) -> Size:
    """What SIZE answers."""
    number, words = pair(reply)
    return Size(integer(number), text(words))


def checksum(reply: object) -> Checksum:
    """What CHECKSUM answers."""
    event_id, digits = pair(reply)
    return Checksum(text(event_id), text(digits))


def pair(reply: object) -> tuple[object, object]:
    """An array of two."""
    items = array(reply)
    if len(items) != 2:
        raise _unexpected("an array of two", reply)
    return items[0], items[1]


def _unexpected(wanted: str, reply: object) -> UnexpectedReply:
    return UnexpectedReply(f"expected {wanted} from the server, got {reprlib.repr(reply)}")
