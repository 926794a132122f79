"""What the server knows of one connection and its user."""

import enum
from collections.abc import Iterator
from typing import Protocol

from eventflowdb.wire.values import RESP2


class Peer(Protocol):
    """The other end of a session, for those who have something to tell it besides replies."""

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for the server: for a commit, or a read."""

    @property
    def is_blocked(self) -> bool:
        """Whether it waits for events to come."""

    @property
    def may_push(self) -> bool:
        """Whether the client takes what it is sent, and is in the middle of no reply."""

    def push_messages(self, data: bytes) -> None:
        """Send messages now; only if may_push."""

    def break_off(self, data: bytes) -> None:
        """End the connection, with a last word if it can be said."""

    def push(self, data: bytes) -> None:
        """Send bytes that no request asked for; dropped if the client does not keep up."""

    def kill(self) -> None:
        """Close the connection when its replies are out."""


class Subscriber(Protocol):
    """The subscriptions of a session, of which there is at least one."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[bytes]:
        """Their channels."""

    def remove(self, channel: bytes) -> None:
        """End one."""

    def pull(self) -> None:
        """Send what there is."""

    def close(self) -> None:
        """End all."""


class Muting(enum.Enum):
    """Which replies CLIENT REPLY suppresses."""

    NOTHING = "on"
    NEXT = "skip: the reply of the command after this one"
    THIS = "skip: the reply of the command under way"
    ALL = "off"


class Session:
    """One connection, from its beginning to its end. Times are seconds of a monotonic clock.

    has_changed: set by whoever changes what the conversation must follow, so that it looks; has_read: by a GET that
    reads the store, when it runs.
    """

    __slots__ = (
        "address",
        "began_at",
        "commands",
        "has_changed",
        "has_read",
        "id",
        "is_authenticated",
        "is_ending",
        "is_monitor",
        "last_command",
        "last_used_at",
        "library_name",
        "library_version",
        "local_address",
        "muting",
        "name",
        "peer",
        "protocol",
        "subscriber",
    )

    def __init__(self, number: int, address: str, local_address: str, is_authenticated: bool, now: float) -> None:
        self.id = number
        self.address = address
        self.local_address = local_address
        self.is_authenticated = is_authenticated
        self.began_at = now
        self.last_used_at = now
        self.last_command = ""
        self.commands = 0
        self.peer: Peer | None = None
        self.is_ending = False
        self.has_changed = False
        self.has_read = False
        self.library_name = ""
        self.library_version = ""
        self.subscriber: Subscriber | None = None
        self.reset(is_authenticated)

    def reset(self, is_authenticated: bool) -> None:
        """As a new connection is; the name of the client's library stays (Redis's RESET)."""
        self.is_authenticated = is_authenticated
        self.name = ""
        self.protocol = RESP2
        self.muting = Muting.NOTHING
        self.is_monitor = False
        self.has_changed = True
        if self.subscriber is not None:
            self.subscriber.close()

    @property
    def is_limited(self) -> bool:
        """Whether it may only do what subscribers may: in RESP2 a message cannot be told from a reply."""
        return self.subscriber is not None and self.protocol == RESP2

    def authenticate(self) -> None:
        """From now on the connection may do what its user may."""
        self.is_authenticated = True
        self.has_changed = True

    def end(self) -> None:
        """Nothing more is taken, and the connection closes when its replies are out."""
        self.is_ending = True
        self.has_changed = True

    def mute(self, muting: Muting) -> None:
        """Suppress replies."""
        self.muting = muting
        self.has_changed = True
