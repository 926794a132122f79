"""The pages of LMDB 0.9's data file, read as bytes: what each must look like, drawn byte by byte.

LMDB keeps no checksum of its pages and believes what they say: one flipped bit in a page header can make it read
outside the file (SIGBUS), or overwrite a page in use. So a check must not look at pages through LMDB. Here they are
read from the file, and every byte that LMDB relies on is compared with what it has to be. Source: mdb.c of LMDB
0.9.36, and files it wrote. Integers have the byte order and width of the machine (here: 64 bits).

    page        number, 8 | pad, 2 | flags, 2 | lower, 2 | upper, 2 | ...   each as long as any, at number x length
                pages 0 and 1 are the meta pages: transaction n writes page n mod 2, the later one counts
    meta        16: magic BEEFC0DE, 4 | version 1, 4 | address, 8 | map size, 8 | free tree, 48 | main tree, 48
                | last page, 8 | transaction, 8     (the free tree's pad is the page size, its flags are the file's)
    tree        pad, 4 | flags, 2 | depth, 2 | branch pages, 8 | leaf pages, 8 | overflow pages, 8
                | entries, 8 | root, 8
    branch      flags 1; 16: offset of each node, 2 each, up to `lower`; the nodes fill the page from `upper` to its end
                node: child, low 32 bits | middle 16 bits | high 16 bits | key size, 2 | key, padded to even length
                the first key is not looked at; each other is the first key of its child's subtree
    leaf        flags 2; as a branch, with
                node: data size, low 16 bits | high 16 bits | flags, 2 | key size, 2 | key | data, padded to even length
                node flags: 0 data; 1 data in overflow pages, the number of the first, 8, stands here; 2 data is a tree
                (a named database); 4 data is a sub-page of the key's values; 6 data is the tree of the key's values
    fixed leaf  flags 34; keys of `pad` bytes one after the other, in the trees of a key's values; one key takes 2 bytes
                from `lower` and the rest from `upper`, which is how LMDB counts the room that is left
    sub-page    flags 114: a fixed leaf inside a node, as long as the node's data; its number means nothing
    overflow    flags 4, and the number of pages, 4, in place of `lower` and `upper`; then data; only the first of them
                has a header

Not live, since neither LMDB nor this server reads them: what stands between `lower` and `upper`; the byte that pads
a node; `pad` of all but fixed leaves; the first key of a branch page; what follows the data in overflow pages and
the meta in meta pages; free pages (but not the list of them); the map size in the meta pages (the server gives its
own); of the older meta page all but its header, magic, version, page size, flags, address and transaction. One number
that matters cannot be checked, since nothing else tells it: in the list of free pages, which transaction freed them. It
matters to readers alone that were reading then, and a closed database has none.
"""

import os
import struct
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from eventflowdb.errors import CorruptRecord, StartRefused

HEADER_BYTES = 16
META_PAGES = 2
TREE_BYTES = 48
BRANCH, LEAF, OVERFLOW, META = 0x01, 0x02, 0x04, 0x08
FIXED_LEAF = LEAF | 0x20
SUB_PAGE = FIXED_LEAF | 0x50  # P_SUBP, and P_DIRTY, which LMDB leaves there
NODE_OVERFLOW, NODE_TREE, NODE_VALUES = 1, 2, 4
NODE_VALUES_TREE = NODE_VALUES | NODE_TREE
DUPSORT_DUPFIXED, DUPFIXED, INTEGERKEY = 0x14, 0x10, 0x08
MADE_WITHOUT_FOLDER = 0x4000  # MDB_NOSUBDIR, kept in the file and never looked at again
NO_ROOT = 2**64 - 1
DEPTH_MAX = 32

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = struct.Struct("=QHHHH")
_OVERFLOW_HEADER = struct.Struct("=QHHI")
_META = struct.Struct("=IIQQ48s48sQQ")
_TREE = struct.Struct("=IHHQQQQQ")
_LEAF_NODE = struct.Struct("=HHHH")
_BRANCH_NODE = struct.Struct("=IHH")
_PAGE_NUMBER = struct.Struct("=Q")
_PAGE_BYTES_MIN, _PAGE_BYTES_MAX = 256, 32768


class Tree(NamedTuple):
    """Where a tree of pages is, and what it says of itself."""

    pad: int
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


class Meta(NamedTuple):
    """One state of the whole file, as a transaction left it."""

    transaction: int
    page_bytes: int
    last_page: int
    free: Tree
    main: Tree


Node = tuple[bytes, int, int, int]
"""An entry of a leaf page: key, flags, where in the page its data starts, and the size of the data.

A plain tuple: there is one for each event of a check. Data in overflow pages does not start there, but their number.
"""


def damaged(number: int, what: str) -> CorruptRecord:
    """What to raise about a page."""
    return CorruptRecord(f"page {number} is damaged: {what}")


def unpack_tree(stored: bytes) -> Tree:
    """The tree that 48 bytes describe."""
    return Tree(*_TREE.unpack(stored))


class PageFile:
    """The data file, read page by page: a damaged one cannot harm the process that reads it so. OSError."""

    _file = -1

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.page_bytes = 0
        """Known once `find_meta` has been called."""

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back, if that has not been done."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def fileno(self) -> int:
        """The descriptor."""
        return self._file

    def page(self, number: int) -> bytes:
        """One page."""
        return self.extent(number, 1)

    def extent(self, number: int, count: int) -> bytes:
        """Some pages in a row."""
        return self._read(number * self.page_bytes, count * self.page_bytes, number)

    def find_meta(self) -> Meta:
        """The state that the later meta page tells of; both must be sound.

        StartRefused where the file is not a database of LMDB 0.9 at all, or an empty one.
        """
        if os.fstat(self._file).st_size == 0:
            raise StartRefused(f"{self._path} is empty")
        stored = self._read_metas()
        while stored != (again := self._read_metas()):
            # A commit came between; it writes the older page, so that the later of two equal reads is whole.
            stored = again
        metas = _check_meta(0, stored[0], self.page_bytes), _check_meta(1, stored[1], self.page_bytes)
        older, newer = sorted(metas)
        if newer.transaction == 0 and newer.main.root == NO_ROOT:
            raise StartRefused(f"{self._path} holds nothing yet")
        if older.free.flags != newer.free.flags:
            raise CorruptRecord("the meta pages are damaged: their flags differ")
        if newer.transaction - older.transaction != 1 or older.transaction % META_PAGES != metas.index(older):
            raise CorruptRecord(
                f"the meta pages are damaged: they are of transactions {metas[0].transaction} and "
                f"{metas[1].transaction}, which do not follow one another"
            )
        self._check_newer(newer)
        return newer

    def _read_metas(self) -> tuple[bytes, bytes]:
        first = self._read(0, HEADER_BYTES + _META.size, 0)
        self.page_bytes = _find_page_bytes(first) or _find_page_bytes(self._find_second()) or 0
        if self.page_bytes == 0:
            raise StartRefused(f"{self._path} is not a data file of LMDB 0.9")
        return first, self._read(self.page_bytes, HEADER_BYTES + _META.size, 1)

    def _find_second(self) -> bytes:
        """The second meta page where the first one does not say where it is."""
        size = _PAGE_BYTES_MIN
        while size <= _PAGE_BYTES_MAX:
            found = os.pread(self._file, HEADER_BYTES + _META.size, size)
            if _find_page_bytes(found) == size:
                return found
            size *= 2
        return b""

    def _check_newer(self, meta: Meta) -> None:
        number = meta.transaction % META_PAGES
        if meta.main.flags != 0 or meta.main.pad != 0:
            raise damaged(number, "the flags of its main tree are wrong")
        if meta.last_page < META_PAGES - 1 or (meta.last_page + 1) * self.page_bytes > os.fstat(self._file).st_size:
            raise damaged(number, f"it says that page {meta.last_page} is the last one, and the file is shorter")

    def _read(self, offset: int, size: int, number: int) -> bytes:
        try:
            found = os.pread(self._file, size, offset)
        except (OSError, OverflowError) as error:
            raise CorruptRecord(f"page {number} cannot be read: {error}") from error
        if len(found) != size:
            raise damaged(number, "the file ends before it does")
        return found


def _find_page_bytes(stored: bytes) -> int | None:
    """The page size that a meta page gives; None where it is no meta page."""
    if len(stored) < HEADER_BYTES + _META.size:
        return None
    magic, version, _, _, free, _, _, _ = _META.unpack_from(stored, HEADER_BYTES)
    size = unpack_tree(free).pad
    is_possible = size & (size - 1) == 0 and _PAGE_BYTES_MIN <= size <= _PAGE_BYTES_MAX
    return size if (magic, version) == (_MAGIC, _VERSION) and is_possible else None


def _check_meta(number: int, stored: bytes, page_bytes: int) -> Meta:
    found, _pad, flags, _lower, _upper = _HEADER.unpack_from(stored)
    magic, version, address, _map_size, free, main, last_page, transaction = _META.unpack_from(stored, HEADER_BYTES)
    is_meta = found == number and flags == META and (magic, version, address) == (_MAGIC, _VERSION, 0)
    if not is_meta or _find_page_bytes(stored) != page_bytes:
        raise damaged(number, "it is not the meta page that belongs there")
    meta = Meta(transaction, page_bytes, last_page, unpack_tree(free), unpack_tree(main))
    if meta.free.flags not in (INTEGERKEY, INTEGERKEY | MADE_WITHOUT_FOLDER):
        raise damaged(number, f"its flags are {meta.free.flags:#x}")
    return meta


def _check_header(number: int, page: bytes, flags: int) -> tuple[int, int, int]:
    """Number of nodes, and lower and upper, of a page that must have these flags."""
    found, _pad, found_flags, lower, upper = _HEADER.unpack_from(page)
    if found != number:
        raise damaged(number, f"it says that it is page {found}")
    if found_flags != flags:
        raise damaged(number, f"its flags are {found_flags:#x}, not {flags:#x}")
    count, is_odd = divmod(lower - HEADER_BYTES, 2)
    if count < 1 or is_odd or not lower <= upper <= len(page):
        raise damaged(number, f"its bounds are wrong: {lower} and {upper}")
    return count, lower, upper


@cache
def _offsets(count: int) -> Any:
    return struct.Struct(f"={count}H").unpack_from


@lru_cache(maxsize=64)
def branch_children(number: int, page: bytes) -> tuple[list[bytes], list[int]]:
    """The keys and children of a sound branch page; the first key is empty whatever stands there.

    Remembered, since each slice of a walk begins with the same few pages; not to be changed.
    """
    count, _lower, upper = _check_header(number, page, BRANCH)
    keys: list[bytes] = []
    children: list[int] = []
    offsets = _offsets(count)(page, HEADER_BYTES)
    ends = [upper]
    try:
        for offset in offsets:
            low, high, key_size = _BRANCH_NODE.unpack_from(page, offset)
            start = offset + 8
            keys.append(page[start : start + key_size])
            children.append(low | high << 32)
            ends.append(start + key_size + (key_size & 1))
    except struct.error:
        raise damaged(number, "a node stands outside it") from None
    _require_filled(number, page, offsets, ends)
    keys[0] = b""
    return keys, children


def leaf_nodes(number: int, page: bytes) -> list[Node]:
    """The entries of a sound leaf page."""
    count, _lower, upper = _check_header(number, page, LEAF)
    nodes: list[Node] = []
    offsets = _offsets(count)(page, HEADER_BYTES)
    ends = [upper]
    try:
        for offset in offsets:
            size, high, flags, key_size = _LEAF_NODE.unpack_from(page, offset)
            start = offset + 8 + key_size
            size |= high << 16
            end = start + (8 if flags & NODE_OVERFLOW else size)
            nodes.append((page[offset + 8 : start], flags, start, size))
            ends.append(end + (end & 1))
    except struct.error:
        raise damaged(number, "a node stands outside it") from None
    _require_filled(number, page, offsets, ends)
    return nodes


def _require_filled(number: int, page: bytes, offsets: tuple[int, ...], ends: list[int]) -> None:
    """The nodes must fill the page from `upper`, which is the first of `ends`, to the end of the page.

    Each node starts where `upper` or another node ends, and each end is such a start or the end of the page. No
    node is empty, so none can be left out of the one chain from `upper` to the end.
    """
    if sorted((*offsets, len(page))) != sorted(ends):
        raise damaged(number, "its nodes do not fill it without gaps")


def fixed_values(number: int, page: bytes, size: int) -> list[bytes]:
    """The keys of a sound fixed leaf: values of one key, each of `size` bytes."""
    count, lower, upper = _check_header(number, page, FIXED_LEAF)
    return _values(number, page, size, count, lower, upper)


def sub_page_values(number: int, sub_page: bytes, size: int) -> list[bytes]:
    """The values in a sub-page of page `number`."""
    if len(sub_page) < HEADER_BYTES:
        raise damaged(number, "a node's sub-page is too short")
    found = _PAGE_NUMBER.unpack_from(sub_page)[0]
    if found == NO_ROOT:
        raise damaged(number, "a node's sub-page says that it is empty")
    try:
        count, lower, upper = _check_header(found, sub_page, SUB_PAGE)
    except CorruptRecord:
        raise damaged(number, "the header of a node's sub-page is wrong") from None
    return _values(number, sub_page, size, count, lower, upper)


def _values(number: int, page: bytes, size: int, count: int, lower: int, upper: int) -> list[bytes]:
    pad = _HEADER.unpack_from(page)[1]
    end = HEADER_BYTES + count * size
    if pad != size or end > len(page) or upper != len(page) - (count * (size - 2)):
        raise damaged(number, f"it cannot hold {count} values of {size} bytes with the bounds {lower} and {upper}")
    return [page[start : start + size] for start in range(HEADER_BYTES, end, size)]


def overflow_number(page: bytes, start: int) -> int:
    """The first overflow page of a node whose data is in some."""
    number: int = _PAGE_NUMBER.unpack_from(page, start)[0]
    return number


def overflow_count(size: int, page_bytes: int) -> int:
    """How many overflow pages data of a size takes."""
    return (HEADER_BYTES - 1 + size) // page_bytes + 1


def overflow_data(file: PageFile, number: int, size: int) -> bytes:
    """The data in overflow pages from `number` on, whose header must be sound."""
    count = overflow_count(size, file.page_bytes)
    pages = file.extent(number, count)
    found, _pad, flags, found_count = _OVERFLOW_HEADER.unpack_from(pages)
    if (found, flags, found_count) != (number, OVERFLOW, count):
        raise damaged(number, f"it is not the first of {count} overflow pages")
    return pages[HEADER_BYTES : HEADER_BYTES + size]
