"""The walks of a check (verify.py) along the leaf pages of the databases: that LMDB can be let near them.

What the entries say is compared elsewhere, through LMDB (walks.py, indexes.py); here it is made sure that every page
has the form that LMDB takes for granted, and that there are as many entries as are counted. Only the checksum of the
log is computed here, since this check has the time for it while the other one runs.
"""

from collections.abc import Callable
from typing import NamedTuple

from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import ULID_BYTES
from eventflowdb.storage import layout
from eventflowdb.storage.checksum import EMPTY, of_records
from eventflowdb.storage.environment import id_text
from eventflowdb.storage.layout import Head
from eventflowdb.storage.pages import (
    NODE_OVERFLOW,
    NODE_VALUES,
    NODE_VALUES_TREE,
    Node,
    Tree,
    damaged,
    fixed_values,
    sub_page_values,
)
from eventflowdb.storage.records import load_page
from eventflowdb.storage.survey import Survey, require_equal, value_tree
from eventflowdb.storage.trees import Snapshot


class Shape(NamedTuple):
    """What the entries of a database look like.

    key_bytes: the length of keys, None where they differ; value_bytes: that of values, likewise; has_values: a key can
    have several; is_changing: entries go away again, so that they are counted in one transaction.
    """

    key_bytes: int | None
    value_bytes: int | None
    has_values: bool = False
    is_changing: bool = False


class LeafWalk:
    """The walk along the leaf pages of one database, which has checked `page_count` pages so far.

    is_early: whether an entry, given its value, was there at the time of the survey; those that came since
    are not counted. None where that cannot be told.
    """

    def __init__(self, name: bytes, shape: Shape, survey: Survey, is_early: Callable[[bytes], bool] | None) -> None:
        self._name = name
        self._shape = shape
        self._survey = survey
        self._is_early = is_early
        self._key: bytes | None = None
        self._entry_count = self._early_count = 0
        self.page_count = 0

    def check_slice(self, snapshot: Snapshot, pages_max: int) -> bool:
        """Check the next pages, at least one; False when there are no more, and as many entries as there should be."""
        pages_end = self.page_count + pages_max
        tree = snapshot.find_tree(self._name)
        for number, low in snapshot.leaves(tree, self._key):
            if self.page_count >= pages_end and not self._shape.is_changing:
                return True
            self.page_count += 1
            page, nodes = snapshot.nodes(number, low)
            after = self._key
            for node in nodes:
                if after is None or node[0] > after:
                    self._check_node(snapshot, number, page, node)
            self._key = nodes[-1][0]
        self._check_end(tree if self._shape.is_changing else self._survey.trees[self._name])
        return False

    def _check_node(self, snapshot: Snapshot, number: int, page: bytes, node: Node) -> None:
        shape = self._shape
        key, flags, start, size = node
        if shape.key_bytes is not None and len(key) != shape.key_bytes:
            raise damaged(number, f"it has a key of {len(key)} bytes, not {shape.key_bytes}")
        if flags == 0 and shape.value_bytes in (None, size):
            self._count([page[start : start + size]])
        elif flags == NODE_VALUES and shape.has_values and shape.value_bytes is not None:
            self._count(sub_page_values(number, page[start : start + size], shape.value_bytes))
        elif flags == NODE_VALUES_TREE and shape.has_values and shape.value_bytes is not None:
            self._check_values(snapshot, number, page[start : start + size], shape.value_bytes)
        else:
            raise damaged(number, f"it has an entry of {size} bytes with the flags {flags:#x}")

    def _check_values(self, snapshot: Snapshot, number: int, stored: bytes, value_bytes: int) -> None:
        """The tree of one key's values, all at once."""
        tree = value_tree(number, stored)
        if tree.pad != value_bytes:
            raise damaged(number, f"the tree of a key's values is of values of {tree.pad} bytes, not {value_bytes}")
        value_count = 0
        for leaf, low in snapshot.leaves(tree):
            values = fixed_values(leaf, snapshot.file.page(leaf), value_bytes)
            if low is not None and values[0] != low:
                raise damaged(leaf, "it does not begin with the value that its parent says")
            value_count += len(values)
            self.page_count += 1
            self._count(values)
        require_equal(f"values of a key on page {number}", value_count, tree.entries)

    def _count(self, values: list[bytes]) -> None:
        self._entry_count += len(values)
        is_early = self._is_early
        if is_early is None:
            return
        # The values of a key came in their order.
        if is_early(values[-1]):
            self._early_count += len(values)
        else:
            self._early_count += sum(map(is_early, values))

    def _check_end(self, tree: Tree) -> None:
        what = self._name.decode()
        if self._is_early is not None:
            require_equal(f"entries of {what}", self._early_count, tree.entries)
        elif self._entry_count < tree.entries or self._shape.is_changing:
            require_equal(f"entries of {what}", self._entry_count, tree.entries)


class LogLeafWalk:
    """The same along the log, up to the head: its records can have pages of their own, and they have a checksum."""

    def __init__(self, survey: Survey, head: Head) -> None:
        self._survey = survey
        self._head = head
        self._key = b""
        self._checksum = EMPTY
        self._event_count = self._overflow_page_count = 0
        self.page_count = 0

    def check_slice(self, snapshot: Snapshot, pages_max: int) -> bool:
        """See LeafWalk."""
        pages_end = self.page_count + pages_max
        for number, low in snapshot.leaves(snapshot.find_tree(layout.LOG), self._key):
            if self.page_count >= pages_end:
                return True
            self.page_count += 1
            page, nodes = snapshot.nodes(number, low)
            self._check_leaf(snapshot, number, page, nodes)
            self._key = nodes[-1][0]
        self._check_end()
        return False

    def _check_leaf(self, snapshot: Snapshot, number: int, page: bytes, nodes: list[Node]) -> None:
        after, last_id = self._key, self._head.last_id
        keys: list[bytes] = []
        values: list[bytes] = []
        for node in nodes:
            key, flags, start, size = node
            if len(key) != ULID_BYTES or flags not in (0, NODE_OVERFLOW):
                raise damaged(number, f"it has a key of {len(key)} bytes, with the flags {flags:#x}")
            # What came after the head was read may stand in pages that the survey knows otherwise.
            if after < key <= last_id:
                keys.append(key)
                values.append(self._long_value(snapshot, page, node) if flags else page[start : start + size])
        self._event_count += len(keys)
        # Their seals are looked at in the other check, too; here that names the one that spoils the checksum.
        self._checksum = of_records(load_page(values, keys), self._checksum)

    def _long_value(self, snapshot: Snapshot, page: bytes, node: Node) -> bytes:
        """A value in pages of its own, which are counted."""
        pages = snapshot.overflow_pages(page, node)
        self._survey.use(pages, f"event {id_text(node[0])}")
        self._overflow_page_count += len(pages)
        return snapshot.data(page, node)

    def _check_end(self) -> None:
        require_equal("entries of log", self._event_count, self._survey.trees[layout.LOG].entries)
        overflow_pages = self._survey.trees[layout.LOG].overflow_pages
        require_equal("overflow pages of log", self._overflow_page_count, overflow_pages)
        if self._checksum != self._head.checksum:
            raise CorruptRecord("the checksum in the head is not that of the log")
