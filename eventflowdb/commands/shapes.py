"""The shapes of JSON arguments as clients send them, and of two reads when they are checked.

Apart from what decodes and checks them: that can be compiled, these are made by msgspec.
"""

from typing import Annotated, final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from eventflowdb.limits import INTEGER_MAX

Integer = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Optional = UnsetType | None
"""Absent, or null, which means absent."""


class EventArgument(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One event of an ADD or ADDMANY."""

    type: str
    data: str
    metadata: str | Optional = UNSET
    causation_id: str | Optional = UNSET
    correlation_id: str | Optional = UNSET
    tags: list[str] | Optional = UNSET


class UnlessArgument(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What must not be in the log: one item of `unless`."""

    types: list[str] | Optional = UNSET
    tags: list[str] | Optional = UNSET
    after: str | Optional = UNSET


class CheckpointArgument(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The event of a consumer that an append acks."""

    consumer: str
    member: str
    id: str


class ConditionsArgument(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """What ADD and ADDMANY take alike, behind their own fields."""

    unless: UnlessArgument | list[UnlessArgument] | Optional = UNSET
    request_id: str | Optional = UNSET
    checkpoint: CheckpointArgument | Optional = UNSET


class AddArgument(ConditionsArgument, gc=False):
    """What ADD takes."""

    stream: str
    version: Integer | str
    events: list[EventArgument]


class StreamAppendArgument(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One stream of an ADDMANY; without events it is a check alone."""

    stream: str
    version: Integer | str
    events: list[EventArgument] | Optional = UNSET


class AddManyArgument(ConditionsArgument, gc=False):
    """What ADDMANY takes."""

    appends: list[StreamAppendArgument]


class GetArgument(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What GET takes."""

    stream: str
    version: Integer | Optional = UNSET
    limit: Integer | Optional = UNSET
    wait_ms: Integer | Optional = UNSET


class GetAllArgument(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What GETALL takes."""

    offset: str | Optional = UNSET
    after: str | Optional = UNSET
    limit: Integer | Optional = UNSET
    wait_ms: Integer | Optional = UNSET


@final
class StreamRead(msgspec.Struct, frozen=True, gc=False):
    """A checked GET: skip `version` events, then at most `limit` (None: all); where there are none, wait so long."""

    stream: str
    version: int
    limit: int | None
    wait_ms: int = 0


class LogRead(msgspec.Struct, frozen=True, gc=False):
    """A checked GETALL: from the first id not below `start` (16 bytes) on, at most `limit` events.

    wait_ms: how long to wait where there are none.
    """

    start: bytes
    limit: int
    wait_ms: int = 0
