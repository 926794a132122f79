"""The trees of pages in one state of the data file, walked without LMDB (pages.py says why).

A state stays as it is while a read transaction of its number is open.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import lt
from typing import Any

from eventflowdb.errors import CorruptRecord
from eventflowdb.storage.pages import (
    DEPTH_MAX,
    META_PAGES,
    NO_ROOT,
    NODE_OVERFLOW,
    TREE_BYTES,
    Meta,
    Node,
    PageFile,
    Tree,
    branch_children,
    damaged,
    leaf_nodes,
    overflow_count,
    overflow_data,
    overflow_number,
    unpack_tree,
)

_SNAPSHOT_TRIES_MAX = 1000
_SNAPSHOT_PAUSE_SECONDS = 0.001


class Snapshot:
    """One state of the data file, readable while its transaction is open."""

    def __init__(self, file: PageFile, meta: Meta, txn: Any) -> None:
        self.file = file
        self.meta = meta
        self.txn = txn

    def leaves(
        self, tree: Tree, after: bytes | None = None, on_branch: Callable[[int], None] | None = None
    ) -> Iterator[tuple[int, bytes | None]]:
        """The leaf pages of a tree, from the one that holds what follows the key `after`.

        Each with the key that its parents say it begins with; None for the first of the tree.
        """
        if tree.root == NO_ROOT:
            return
        if not 1 <= tree.depth <= DEPTH_MAX:
            raise CorruptRecord(f"a tree of pages says that it is {tree.depth} deep")
        self._require_page(tree.root, "the root of a tree")
        yield from self._leaves_under(tree.root, tree.depth, None, after, on_branch)

    def find_tree(self, name: bytes) -> Tree:
        """A named database; CorruptRecord where it is missing."""
        for number, low in self.leaves(self.meta.main):
            page, nodes = self.nodes(number, low)
            for node in nodes:
                key, _flags, _start, size = node
                if key == name and size == TREE_BYTES:
                    return unpack_tree(self.data(page, node))
        raise CorruptRecord(f"the database {name.decode()} is missing")

    def nodes(self, number: int, low: bytes | None) -> tuple[bytes, list[Node]]:
        """A leaf page and its entries; `low` is the key that it must begin with."""
        page = self.file.page(number)
        nodes = leaf_nodes(number, page)
        if low is not None and nodes[0][0] != low:
            raise damaged(number, "it does not begin with the key that its parent says")
        keys = [node[0] for node in nodes]
        if not all(map(lt, keys, keys[1:])):
            raise damaged(number, "its keys are not in order")
        return page, nodes

    def data(self, page: bytes, node: Node) -> bytes:
        """The data of an entry."""
        _key, flags, start, size = node
        if flags & NODE_OVERFLOW:
            return overflow_data(self.file, self.overflow_pages(page, node)[0], size)
        return page[start : start + size]

    def overflow_pages(self, page: bytes, node: Node) -> range:
        """The overflow pages of an entry that has some."""
        _key, _flags, start, size = node
        first = overflow_number(page, start)
        pages = range(first, first + overflow_count(size, self.meta.page_bytes))
        self._require_page(pages[0], "an entry")
        self._require_page(pages[-1], "an entry")
        return pages

    def _leaves_under(
        self,
        number: int,
        height: int,
        low: bytes | None,
        after: bytes | None,
        on_branch: Callable[[int], None] | None,
    ) -> Iterator[tuple[int, bytes | None]]:
        if height == 1:
            yield number, low
            return
        if on_branch is not None:
            on_branch(number)
        keys, children = branch_children(number, self.file.page(number))
        self._require_page(min(children), f"page {number}")
        self._require_page(max(children), f"page {number}")
        first = 0 if after is None else bisect_right(keys, after, 1) - 1
        if height > 2:
            for index in range(first, len(children)):
                child_low, child_after = keys[index] if index else low, after if index == first else None
                yield from self._leaves_under(children[index], height - 1, child_low, child_after, on_branch)
            return
        # As below for height 1, without a generator for each leaf.
        yield children[first], keys[first] if first else low
        yield from zip(children[first + 1 :], keys[first + 1 :], strict=True)

    def _require_page(self, number: int, what: str) -> None:
        if not META_PAGES <= number <= self.meta.last_page:
            raise CorruptRecord(f"{what} points to page {number}, and there are pages up to {self.meta.last_page}")


@contextmanager
def open_snapshot(env: Any, file: PageFile) -> Iterator[Snapshot]:
    """The present state, which stays readable inside the context."""
    for _ in range(_SNAPSHOT_TRIES_MAX):
        with env.begin() as txn:
            meta = file.find_meta()
            if meta.transaction == txn.id():
                yield Snapshot(file, meta, txn)
                return
        # A commit came between. Readers take the number from LMDB's lock file, which is written last.
        time.sleep(_SNAPSHOT_PAUSE_SECONDS)
    raise CorruptRecord(f"the meta pages do not hold transaction {txn.id()}, which readers are told to read")
