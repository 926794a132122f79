"""Replies to reads that leave together, where many clients wait for the server at once.

A client that waits sleeps, and as long as a read takes, so does the processor it is on. To send its reply takes the
kernel a quarter of a read longer then: that processor has to be woken, on a virtual machine by way of its host. Where
as many clients as make a group read at the same time, their replies leave one behind the other, and only the first has
to wake anything. None waits longer than for the other reads of its group, nor than the reactor's turn; since all are
read sooner, the one that waits has its reply sooner, too. Where few read at once, their replies leave at once: what the
client does with one goes on beside the next read.
"""

from typing import Protocol

from twisted.logger import Logger

from eventflowdb.limits import GROUP_READS
from eventflowdb.service.outbox import Soon


class Held(Protocol):
    """Who has a reply that is ready."""

    def leave(self) -> None:
        """Send it, unless it was sent."""


class Grouping:
    """The replies of one process, on the reactor's thread."""

    _log = Logger()

    def __init__(self, soon: Soon) -> None:
        self._soon = soon
        self._held: list[Held] = []
        self._is_due = False
        self.reads = 0
        """How many there were. Between two of one client, so many others as there are clients who read as often."""

    def hold(self, held: Held) -> None:
        """Have a reply leave with those that follow."""
        self._held.append(held)
        if len(self._held) >= GROUP_READS:
            self._leave()
        elif not self._is_due:
            self._is_due = True
            self._soon(self._end_turn)

    def _end_turn(self) -> None:
        self._is_due = False
        self._leave()

    def _leave(self) -> None:
        group, self._held = self._held, []
        for held in group:
            try:
                held.leave()
            except Exception:
                # Or the fault of one connection would leave all others without a reply, for ever.
                self._log.failure("a reply could not be sent")
