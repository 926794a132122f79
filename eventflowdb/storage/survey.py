"""The survey of a data file: that each of its pages has exactly one user, or is free.

Theory of operation. Branch pages name the pages below them, so that reading these few tells of nearly all pages who
uses them: short enough for one read transaction. Left out are the overflow pages of the log. Events are never
rewritten, so those in use now stay where they are, and are counted later, when the walk along the log comes to them.
"""

import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from eventflowdb.errors import CorruptRecord
from eventflowdb.storage.pages import (
    DUPFIXED,
    DUPSORT_DUPFIXED,
    META_PAGES,
    NODE_OVERFLOW,
    NODE_TREE,
    NODE_VALUES_TREE,
    TREE_BYTES,
    Tree,
    damaged,
    leaf_nodes,
    unpack_tree,
)
from eventflowdb.storage.trees import Snapshot

_FREE_LIST, _MAIN = "the list of free pages", "the list of databases"


@dataclass(slots=True)
class _Counts:
    branch_pages: int = 0
    leaf_pages: int = 0
    overflow_pages: int = 0
    entries: int = 0


class Survey:
    """Who uses each page of one state.

    trees: the named databases; page_count: of the whole file.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.page_count = snapshot.meta.last_page + 1
        self.trees: dict[bytes, Tree] = {}
        self._used = bytearray(self.page_count)
        self._used_count = 0
        self.use(range(META_PAGES), "the file itself")
        self._survey_free_pages()
        for name, stored in self.entries(snapshot.meta.main, _MAIN, flags=NODE_TREE):
            if len(stored) != TREE_BYTES:
                raise CorruptRecord(f"{_MAIN} has an entry {name!r} that is not a database")
            self.trees[name] = unpack_tree(stored)

    def use(self, pages: range, user: str) -> None:
        """Count pages that nobody else may use."""
        for number in pages:
            if number >= self.page_count or self._used[number]:
                raise CorruptRecord(f"page {number} is in use by {user}, and it is free or in use by another, too")
            self._used[number] = 1
        self._used_count += len(pages)

    def require_all_used(self) -> None:
        """Every page must have been found in use or free, when all users have been counted."""
        unused_count = self.page_count - self._used_count
        if unused_count:
            first = self._used.index(0)
            raise CorruptRecord(f"{unused_count} pages are neither free nor in use, the first is page {first}")

    def entries(
        self, tree: Tree, what: str, order: Callable[[bytes], Any] = bytes, flags: int = 0
    ) -> Iterator[tuple[bytes, bytes]]:
        """Key and data of every entry of a small tree, all of whose pages are counted.

        order: what the keys are in the order of; flags: those of the entries, but that their data may be in pages of
        its own.
        """
        counts, last = _Counts(), None
        for number, low in self._leaves(tree, what, counts):
            # The first key of a leaf may have been deleted since its parent was told of it.
            page = self._snapshot.file.page(number)
            for node in leaf_nodes(number, page):
                key, found_flags, _start, _size = node
                if found_flags not in (flags, flags | NODE_OVERFLOW):
                    raise damaged(number, f"it has an entry with the flags {found_flags:#x}")
                if (last is not None and order(key) <= last) or (low is not None and order(key) < order(low)):
                    raise damaged(number, "its keys are not in order")
                last = order(key)
                if found_flags & NODE_OVERFLOW:
                    pages = self._snapshot.overflow_pages(page, node)
                    self.use(pages, what)
                    counts.overflow_pages += len(pages)
                counts.entries += 1
                yield key, self._snapshot.data(page, node)
        _require_counts(tree, what, counts)

    def count_pages(self, tree: Tree, what: str, has_late_overflow_pages: bool = False) -> None:
        """Count the pages of a tree, and compare their number with what the tree says.

        has_late_overflow_pages: it may have overflow pages, which are counted later.
        """
        counts = _Counts(entries=tree.entries)
        counts.overflow_pages = tree.overflow_pages if has_late_overflow_pages else 0
        for number, _low in self._leaves(tree, what, counts):
            if tree.flags == DUPSORT_DUPFIXED:
                self._count_value_trees(number, what, counts)
        _require_counts(tree, what, counts)

    def _count_value_trees(self, number: int, what: str, counts: _Counts) -> None:
        page, nodes = self._snapshot.nodes(number, None)
        for node in nodes:
            if node[1] == NODE_VALUES_TREE:
                tree = value_tree(number, self._snapshot.data(page, node))
                own = _Counts(entries=tree.entries)
                for _ in self._leaves(tree, what, own):
                    pass
                _require_counts(tree, what, own)
                counts.branch_pages += own.branch_pages
                counts.leaf_pages += own.leaf_pages

    def _survey_free_pages(self) -> None:
        transaction = self._snapshot.meta.transaction
        for key, stored in self.entries(self._snapshot.meta.free, _FREE_LIST, _native):
            if len(key) != 8 or not 1 <= _native(key) <= transaction or len(stored) % 8 or not stored:
                raise CorruptRecord(f"{_FREE_LIST} has an entry that is none")
            count, *pages = struct.unpack(f"={len(stored) // 8}Q", stored)
            if count != len(pages) or pages != sorted(pages, reverse=True):
                raise CorruptRecord(f"{_FREE_LIST} has an entry that is not in order")
            for page in pages:
                self.use(range(page, page + 1), _FREE_LIST)

    def _leaves(self, tree: Tree, what: str, counts: _Counts) -> Iterator[tuple[int, bytes | None]]:
        """The leaf pages of a tree; they and its branch pages are counted."""

        def use_branch(number: int) -> None:
            self.use(range(number, number + 1), what)
            counts.branch_pages += 1

        for number, low in self._snapshot.leaves(tree, on_branch=use_branch):
            self.use(range(number, number + 1), what)
            counts.leaf_pages += 1
            yield number, low


def value_tree(number: int, stored: bytes) -> Tree:
    """The tree of a key's values, which a node on page `number` describes."""
    if len(stored) != TREE_BYTES:
        raise damaged(number, "the values of a key are said to be in a tree, which is not described")
    tree = unpack_tree(stored)
    if tree.flags != DUPFIXED:
        raise damaged(number, f"the tree of a key's values has the flags {tree.flags:#x}")
    return tree


def require_equal(what: str, actual: int, expected: int) -> None:
    """CorruptRecord where two counts of the same thing differ."""
    if actual != expected:
        raise CorruptRecord(f"{what}: {actual}, expected {expected}")


def _require_counts(tree: Tree, what: str, counts: _Counts) -> None:
    require_equal(f"branch pages of {what}", counts.branch_pages, tree.branch_pages)
    require_equal(f"leaf pages of {what}", counts.leaf_pages, tree.leaf_pages)
    require_equal(f"overflow pages of {what}", counts.overflow_pages, tree.overflow_pages)
    require_equal(f"entries of {what}", counts.entries, tree.entries)


def _native(key: bytes) -> int:
    """A key of the list of free pages: a number in the machine's byte order."""
    return int.from_bytes(key, sys.byteorder)
