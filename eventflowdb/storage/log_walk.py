"""A walk along the log's leaf pages that are in memory: what a page of events is read with, fast.

LMDB's binding gives the interpreter's lock back and takes it again twice for each event that a cursor passes: a tenth
of what it takes to read the log, and more than half where several read it and fight for the lock. Here leaf pages are
taken from the data file as they are (pages.py draws them) and cut into the same values. Only pages that the kernel has
in memory are, since whoever waits for the disk has to give the lock back. And they are not believed: whatever is not in
memory, or not as it must be, ends the walk, and LMDB's cursor goes on from there. What the values hold is checked by
their own checksums and positions, whoever has read them.
"""

import mmap
import sys
from typing import Any, Final

from eventflowdb.errors import CorruptRecord, StartRefused
from eventflowdb.ids import ULID_BYTES
from eventflowdb.storage import layout
from eventflowdb.storage.file_map import FileMap
from eventflowdb.storage.pages import (
    BRANCH,
    DEPTH_MAX,
    HEADER_BYTES,
    LEAF,
    NODE_OVERFLOW,
    OVERFLOW,
    PageFile,
    Tree,
    overflow_count,
)
from eventflowdb.storage.records import EVENT_KIND, SEAL_BYTES, VALUE_BYTES_MIN, are_sound
from eventflowdb.storage.trees import Snapshot

IS_FASTER: Final[bool] = not __file__.endswith((".py", ".pyc"))
"""Whether a walk is: not while it is plain Python, which takes twice as long for it as for LMDB's cursor."""

_NODE_HEADER_BYTES: Final = 8
_DATA_AT: Final[int] = _NODE_HEADER_BYTES + ULID_BYTES
# Of modules that are not compiled, constants are looked up each time.
_OFFSETS_AT: Final[int] = HEADER_BYTES
_EVENT_KIND: Final[int] = EVENT_KIND[0]
_BRANCH: Final[int] = BRANCH
_LEAF: Final[int] = LEAF
_OVERFLOW: Final[int] = OVERFLOW
_NODE_OVERFLOW: Final[int] = NODE_OVERFLOW
_BRANCHES_MAX: Final = 64
_BLOCK_BITS: Final = 9
_BLOCK_MASK: Final = 511
"""Of 512 pages at once it is asked whether they are in memory: of one it would take nearly as long."""


class _State:
    """The log's tree as one transaction left it, and where it is."""

    def __init__(self, transaction: int, tree: Tree, last_page: int, page_bytes: int, file_map: FileMap) -> None:
        self.transaction = transaction
        self.root = tree.root
        self.depth = tree.depth
        self.last_page = last_page
        self.page_bytes = page_bytes
        self.file_map = file_map
        self.branches: dict[int, bytes] = {}
        """Branch pages that walks came by, by their numbers: they stay what they are."""


class LogWalks:
    """Begins walks in a data file; any thread may. file_map: of that file; None where it could not be mapped."""

    def __init__(self, file: PageFile, file_map: FileMap | None) -> None:
        self._file = file
        # The numbers in pages have the machine's order, and here that of most machines.
        self._map = file_map if sys.byteorder == "little" else None
        self._state: _State | None = None

    def begin(self, txn: Any, bytes_max: int) -> "LogWalk | None":
        """A walk in the state of a read transaction, for as long as that is open; None where it cannot be made out."""
        file_map = self._map
        if file_map is None:
            return None
        transaction: int = txn.id()
        state = self._state
        if state is None or state.transaction != transaction:
            try:
                meta = self._file.find_meta()
                # What is in memory is told of the kernel's pages.
                if meta.page_bytes != mmap.PAGESIZE:
                    self._map = None
                    return None
                # A commit may have come since the transaction began.
                if meta.transaction != transaction:
                    return None
                tree = Snapshot(self._file, meta, txn).find_tree(layout.LOG)
            except StartRefused:
                self._map = None
                return None
            except CorruptRecord:
                return None
            state = _State(transaction, tree, meta.last_page, meta.page_bytes, file_map)
            self._state = state
        return LogWalk(state, bytes_max)


class LogWalk:
    """A walk in one state of the data file.

    bytes_left: there is room for so many, of values as they are stored; is_full: the next one had no room.
    """

    def __init__(self, state: _State, bytes_max: int) -> None:
        self.bytes_left = bytes_max
        self.is_full = False
        self._map = state.file_map
        self._view = state.file_map.view
        self._page_bytes = state.page_bytes
        self._last_page = state.last_page
        self._root = state.root
        self._depth = state.depth
        self._resident: dict[int, bytes] = {}
        """What was told of blocks of pages; see FileMap.resident."""
        self._known = state.branches
        self._branches: list[bytes] = []
        """The branch pages above the leaf, from the root on."""
        self._places: list[int] = []
        """Which of their children is the branch below, or the leaf."""
        self._leaf = b""
        self._node = 0
        """The next one in the leaf."""
        self._node_count = 0

    def find(self, start: bytes) -> bytes | None:
        """Go to the first event whose id is not below `start`; its id, None where the walk ends."""
        try:
            if not (1 <= self._depth <= DEPTH_MAX and self._descend(self._root, start)):
                return None
            while self._node < self._node_count:
                key = self._key()
                if key >= start:
                    return key
                self._node += 1
            # All of the next leaf comes after it, or a page is damaged.
            if self._enter_next_leaf():
                key = self._key()
                if key >= start:
                    return key
            return None
        except (IndexError, OSError):  # What is no such page points outside itself.
            return None

    def _key(self) -> bytes:
        key_at = _offset(self._leaf, self._node) + _NODE_HEADER_BYTES
        return self._leaf[key_at : key_at + ULID_BYTES]

    def take(self, count: int, events_min: int) -> list[bytes]:
        """The JSON of the next events: at most so many, and `events_min` of them even if there is no room.

        Fewer only where the next one has no room, or the walk ends; nothing is to be taken after that.
        """
        bytes_left = self.bytes_left
        records: list[bytes] = []
        pieces: list[bytes] = []
        try:
            while len(records) < count and (self._node < self._node_count or self._enter_next_leaf()):
                at = _offset(self._leaf, self._node)
                left = bytes_left - _uint32(self._leaf, at)
                if left < 0 and len(records) >= events_min:
                    self.is_full = True
                    break
                record = self._cut_out(at, pieces)
                if record is None:
                    break
                records.append(record)
                bytes_left = left
                self._node += 1
        except (IndexError, OSError):
            pass
        if not are_sound(pieces):
            return []
        self.bytes_left = bytes_left
        return records

    def _cut_out(self, at: int, pieces: list[bytes]) -> bytes | None:
        """The record of a node of the leaf; to `pieces` its whole value. None where it is not as it must be."""
        leaf = self._leaf
        value, start = leaf, at + _DATA_AT
        size, flags = _uint32(leaf, at), _uint16(leaf, at + 4)
        if flags == _NODE_OVERFLOW:
            value, start = self._long_value(_uint48(leaf, start), size), 0
        elif flags != 0:
            return None
        seal_at = start + size - SEAL_BYTES
        if _uint16(leaf, at + 6) != ULID_BYTES or size < VALUE_BYTES_MIN or seal_at + SEAL_BYTES > len(value):
            return None
        if value[start] != _EVENT_KIND:
            return None
        # Cut out without kind and seal at once: to cut out all of it, and then the middle, takes longer.
        record = value[start + 1 : seal_at]
        pieces.append(EVENT_KIND)
        pieces.append(record)
        pieces.append(value[seal_at : seal_at + SEAL_BYTES])
        return record

    def _enter_next_leaf(self) -> bool:
        """Go on to the next leaf; whether there is one, in memory and as it must be."""
        while self._branches:
            branch = self._branches[-1]
            place = self._places[-1] + 1
            if place < _count(branch):
                self._places[-1] = place
                return self._descend(_uint48(branch, _offset(branch, place)), b"")
            self._branches.pop()
            self._places.pop()
        return False

    def _descend(self, number: int, start: bytes) -> bool:
        """Go down from a page to the leaf that holds what is not below `start`; whether that can be done."""
        while len(self._branches) < self._depth - 1:
            branch = self._known.get(number)
            if branch is None:
                branch = self._page(number, _BRANCH)
                if not branch:
                    return False
                if len(self._known) >= _BRANCHES_MAX:
                    self._known.clear()
                self._known[number] = branch
            place, end = 0, _count(branch)
            # The first key is below all, whatever stands there.
            while end - place > 1:
                middle = (place + end) // 2
                key_at = _offset(branch, middle) + _NODE_HEADER_BYTES
                if branch[key_at : key_at + ULID_BYTES] <= start:
                    place = middle
                else:
                    end = middle
            self._branches.append(branch)
            self._places.append(place)
            number = _uint48(branch, _offset(branch, place))
        self._leaf = self._page(number, _LEAF)
        self._node = 0
        self._node_count = _count(self._leaf) if self._leaf else 0
        return self._node_count > 0

    def _long_value(self, number: int, size: int) -> bytes:
        """A value in overflow pages from this one on; nothing where they are not in memory, or no such pages."""
        first = self._page(number, _OVERFLOW)
        count = overflow_count(size, self._page_bytes)
        if not first or _uint32(first, 12) != count:
            return b""
        for following in range(number + 1, number + count):
            if not self._is_resident(following):
                return b""
        start = number * self._page_bytes + HEADER_BYTES
        return self._view[start : start + size].tobytes()

    def _page(self, number: int, flags: int) -> bytes:
        """A page with these flags; nothing where it is not in memory, or no such page."""
        if not self._is_resident(number):
            return b""
        start = number * self._page_bytes
        page = self._view[start : start + self._page_bytes].tobytes()
        return page if _uint48(page, 0) == number and _uint16(page, 10) == flags else b""

    def _is_resident(self, number: int) -> bool:
        if number > self._last_page:
            return False
        block = number >> _BLOCK_BITS
        resident = self._resident.get(block)
        if resident is None:
            first = block << _BLOCK_BITS
            count = min(1 << _BLOCK_BITS, self._last_page + 1 - first)
            resident = self._map.resident(first * self._page_bytes, count * self._page_bytes)
            self._resident[block] = resident
        return resident[number & _BLOCK_MASK] & 1 == 1


def _count(page: bytes) -> int:
    """How many nodes a branch or leaf page has."""
    return (_uint16(page, 12) - _OFFSETS_AT) // 2


def _offset(page: bytes, node: int) -> int:
    """Where in its page a node begins."""
    return _uint16(page, _OFFSETS_AT + 2 * node)


def _uint16(page: bytes, at: int) -> int:
    return page[at] | page[at + 1] << 8


def _uint32(page: bytes, at: int) -> int:
    return _uint16(page, at) | _uint16(page, at + 2) << 16


def _uint48(page: bytes, at: int) -> int:
    return _uint32(page, at) | _uint16(page, at + 4) << 32
