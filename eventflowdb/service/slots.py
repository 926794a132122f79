"""What all fronts know of each other without asking: a few numbers in memory that they share.

Each front writes its own slot and reads all. Two fronts may take in a connection at the same moment, so that at most as
many too many come as there are other fronts. The memory is the supervisor's: the ids that a front has given out are
still there for the one that takes its place.
"""

import mmap
import struct
from collections.abc import Callable

from eventflowdb.service.clients import Clients
from eventflowdb.service.session import Session

_SLOT = struct.Struct("<QQQ")
"""1 while the front takes connections; how many it has; how many ids it has given out."""


def slots_bytes(workers: int) -> int:
    """The size of the memory for so many fronts."""
    return workers * _SLOT.size


class Slots:
    """The slots of all fronts, in shared memory that is zeros at first."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self.count = len(memory) // _SLOT.size

    def read(self, index: int) -> tuple[bool, int, int]:
        """Whether a front takes connections, how many it has, and how many ids it has given out."""
        is_open, connections, ids = _SLOT.unpack_from(self._memory, index * _SLOT.size)
        return bool(is_open), connections, ids

    def write(self, index: int, is_open: bool, connections: int, ids: int) -> None:
        """Say so of one front."""
        _SLOT.pack_into(self._memory, index * _SLOT.size, is_open, connections, ids)

    def clear(self, index: int) -> None:
        """A front is gone, with its connections."""
        self.write(index, False, 0, self.read(index)[2])

    def connections(self) -> int:
        """How many all fronts have."""
        return sum([self.read(index)[1] for index in range(self.count)])


class SharedClients(Clients):
    """The open connections of one front. Ids are unique among all fronts; clients_max is the bound of all together.

    on_monitor_lost: told when a connection with MONITOR has ended.
    """

    def __init__(self, clients_max: int, slots: Slots, index: int) -> None:
        super().__init__(clients_max)
        self._slots = slots
        self._index = index
        self._is_open = False
        self.on_monitor_lost: Callable[[], None] = lambda: None
        self._ids_given = slots.read(index)[2]

    @property
    def has_room(self) -> bool:
        """Whether one more connection may come."""
        return self._slots.connections() < self.clients_max

    def next_id(self) -> int:
        """The id of a new connection."""
        number = 1 + self._index + self._slots.count * self._ids_given
        self._ids_given += 1
        return number

    def add(self, session: Session) -> None:
        """A connection has begun."""
        super().add(session)
        self._write()

    def remove(self, session: Session) -> None:
        """A connection has ended."""
        super().remove(session)
        self._write()
        if session.is_monitor:
            self.on_monitor_lost()

    def open(self) -> None:
        """From now on this front takes connections."""
        self._is_open = True
        self._write()

    def stands_back(self, coming: int) -> bool:
        """Whether this front, with so many just coming, has clearly more connections than another."""
        mine = len(self) + coming
        if mine == 0:
            return False
        others = [self._slots.read(index) for index in range(self._slots.count) if index != self._index]
        least = min([connections for is_open, connections, _ in others if is_open], default=mine)
        return mine > least + least // 8

    def _write(self) -> None:
        self._slots.write(self._index, self._is_open, len(self), self._ids_given)
