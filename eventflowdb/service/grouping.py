"""Replies to reads that leave together, where many clients wait for the server at once.

A client that waits sleeps, and as long as a read takes, so does the processor it is on. To send its reply takes the
kernel a quarter of a read longer then: that processor has to be woken, on a virtual machine by way of its host. Where
as many clients as make a group read at the same time, their replies leave one behind the other, and only the first has
to wake anything. None waits longer than for the other reads of its group, nor than the reactor's turn; since all are
read sooner, the one that waits has its reply sooner, too. Where few read at once, their replies leave at once: what the
client does with one goes on beside the next read.
"""

from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

from eventflowdb.limits import GROUP_READS
from eventflowdb.service.outbox import Soon


class Held(Protocol):
    """Who has a reply that is ready. last_round: see Grouping."""

    last_round: int

    def leave(self) -> None:
        """Send it, unless it was sent."""


class Grouping:
    """The replies of one process, on the reactor's thread."""

    _log = Logger()

    def __init__(self, soon: Soon) -> None:
        self._soon = soon
        self._held: list[Held] = []
        self._is_due = False
        self._round = 1
        """A round ends when a client reads that has read in it. Where all wait for the server, they read in turns."""
        self._clients = 0
        """So many have read in this one."""
        self._clients_before = 0
        """And in the one before."""
        self._has_many = False
        """Whether as many as make a group have read in one of the last two: a quick client may end one early."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Have something called at the end of the turn that takes its time: when all that is held has left."""
        self._soon(lambda: self._leave_before(call))

    def is_one_of_many(self, reader: Held) -> bool:
        """Whether as many read at the same time as this one, who has just read."""
        if reader.last_round == self._round:
            self._has_many = max(self._clients, self._clients_before) >= GROUP_READS
            self._round += 1
            self._clients, self._clients_before = 0, self._clients
        reader.last_round = self._round
        self._clients += 1
        return self._has_many

    def hold(self, held: Held) -> None:
        """Have a reply leave with those that follow."""
        self._held.append(held)
        if len(self._held) >= GROUP_READS:
            self._leave()
        elif not self._is_due:
            self._is_due = True
            self._soon(self._end_turn)

    def _leave_before(self, call: Callable[[], None]) -> None:
        self._leave()
        call()

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
