"""Whether reads see everything that was answered; while nobody reads they need not (writer.py)."""

from collections.abc import Callable
from typing import Protocol


class Freshness(Protocol):
    """What a read asks before it runs.

    is_stale: events were answered that reads do not see yet.
    """

    is_stale: bool

    def freshen(self, call: Callable[[], None]) -> None:
        """Have `call` told, soon, when reads see everything that was answered so far; they are stale now."""
