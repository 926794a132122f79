"""Whether reads see everything that was answered; while nobody reads they need not (writer.py)."""

from collections.abc import Callable
from typing import Protocol

from eventflowdb.errors import StorageFailed
from eventflowdb.service.unseen import Unseen

OnFresh = Callable[[StorageFailed | None], None]
"""Told when reads see everything that was answered, or why they never will until the server has been started anew."""


class Freshness(Protocol):
    """What a read asks before it runs.

    is_stale: events were answered that reads do not see yet; unseen: which; others: how many requests were run here
    that are no appends, as the dispatcher counts them: whoever commits on the reactor's thread has them wait.
    """

    is_stale: bool
    unseen: Unseen
    others: int

    def freshen(self, call: OnFresh) -> None:
        """Have `call` told, soon, when reads see everything that was answered so far; they are stale now."""
