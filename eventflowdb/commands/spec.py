"""What a command is: one frozen CommandSpec each."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Order(enum.Enum):
    """When a command may run, of those that wait on one connection."""

    AT_ONCE = "answered from memory"
    APPEND = "joins the appends under way"
    READ = "after every earlier append of its connection is on disk"


class Group(enum.Enum):
    """What a command is about."""

    EVENTS = "events"
    CONNECTION = "connection"
    SERVER = "server"
    PUBSUB = "pubsub"


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """One row of the command table.

    words_min, words_max: how many words a request may have, the name included. decode: from the bytes of the
    one JSON argument to a checked value; None where the words are taken as they are.
    """

    name: str
    summary: str
    argument: str
    reply: str
    order: Order
    words_min: int = 1
    words_max: int = 1
    decode: Callable[[bytes], Any] | None = None
    is_decoded_late: bool = False
    """Whoever answers it decodes it, if that is not spared."""
    group: Group = Group.EVENTS
    hint: str = ""
    """The argument as redis-cli shows it while one types."""
    since: str = "0.1.0"
    has_secrets: bool = False
    """Its words are shown to nobody."""
    is_for_anyone: bool = False
    """Answered before AUTH."""
    is_for_subscribers: bool = False
    """Answered on a connection in RESP2 that has subscriptions."""
