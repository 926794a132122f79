"""Which events a read or a subscription is for, as a program says it: keywords that all clients share."""

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, TypedDict

import msgspec

from eventflowdb.errors import InvalidArgument

Time = datetime | str
"""A datetime with a time zone, or RFC 3339."""


class Terms(TypedDict, total=False):
    """Which events are meant: they must meet all that are given.

    types: of one of these; tags: carry all of these; correlation_id, causation_id: name this id (ULID).
    """

    types: Sequence[str]
    tags: Sequence[str]
    correlation_id: str
    causation_id: str


class Filters(Terms, total=False):
    """Which events are meant: they must meet all that are given.

    since, until: added then or later, and before then; before: the id (ULID) that they all come before.
    """

    since: Time
    until: Time
    before: str


class FilterFields(msgspec.Struct, omit_defaults=True):
    """The same as a request has them, and the fields that stand beside them."""

    stream: str | None = None
    version: int = 0
    offset: str | None = None
    after: str | None = None
    types: Sequence[str] = ()
    tags: Sequence[str] = ()
    correlation_id: str | None = None
    causation_id: str | None = None
    since: str | None = None
    until: str | None = None
    before: str | None = None
    limit: int | None = None
    backwards: bool = False
    cursor: bool = False
    wait_ms: int = 0


def fields_of(filters: Filters | Terms, **others: Any) -> FilterFields:
    """Filters and other fields together; TypeError for a keyword that is none of them."""
    given: dict[str, Any] = {**filters}
    unknown = given.keys() - Filters.__annotations__.keys() - Terms.__annotations__.keys()
    if unknown:
        raise TypeError(f"{min(unknown)!r} is no filter; there are {', '.join(_NAMES)}")
    for name in ("since", "until"):
        if isinstance(given.get(name), datetime):
            given[name] = rfc3339(given[name])
    return FilterFields(**given, **others)


def rfc3339(time: datetime) -> str:
    """A time as the server reads it. One without a zone could mean several, and is refused."""
    if time.tzinfo is None:
        raise InvalidArgument(f"expected a time with its zone, such as datetime.now(timezone.utc), got {time!r}")
    return time.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


_NAMES = (*Terms.__annotations__, *(name for name in Filters.__annotations__ if name not in Terms.__annotations__))
