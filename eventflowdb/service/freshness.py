"""Whether reads see everything that was answered; while nobody reads they need not (writer.py)."""

from collections.abc import Callable
from typing import Protocol

from eventflowdb.errors import StorageFailed
from eventflowdb.service.unseen import Unseen

OnFresh = Callable[[StorageFailed | None], None]
"""Told when reads see everything that was answered, or why they never will until the server has been started anew."""


class Visibility:
    """What those who commit and those who carry out requests tell each other, on the reactor's thread.

    A class of its own, since every request looks here: compiled, that is a few instructions, and some hundred where it
    is not known of which class the writer is.
    """

    __slots__ = ("is_stale", "others")

    def __init__(self) -> None:
        self.is_stale = False
        """Events were answered that reads do not see yet."""
        self.others = 0
        """How many requests were run that are no appends: whoever commits on the reactor's thread has them wait."""


class Freshness(Protocol):
    """What a read asks before it runs. unseen: which events reads do not see yet."""

    visibility: Visibility
    unseen: Unseen

    def freshen(self, call: OnFresh) -> None:
        """Have `call` told, soon, when reads see everything that was answered so far; they are stale now."""
