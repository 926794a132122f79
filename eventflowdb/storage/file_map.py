"""A file mapped into memory, of which only what is there already is read.

Python's own mmap keeps a descriptor for each map, cannot grow without growing the file, and does not tell where it is,
which mincore(2) has to know. So the C library is asked, without giving back the interpreter's lock: none of it waits.
"""

import ctypes
import mmap
import os
import sys
from functools import cache
from typing import Any

_PAGE_BYTES = mmap.PAGESIZE
_FAILED = ctypes.c_void_p(-1).value


@cache
def _functions() -> tuple[Any, Any, Any]:
    """mmap, munmap and mincore; AttributeError where the C library lacks one."""
    library = ctypes.PyDLL(None, use_errno=True)
    map_, unmap, in_core = library.mmap, library.munmap, library.mincore
    map_.restype = ctypes.c_void_p
    map_.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    in_core.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    return map_, unmap, in_core


class FileMap:
    """Address space for `size` bytes of a file, which may be longer or shorter. OSError, AttributeError.

    Reading beyond the end of the file ends the process (SIGBUS), as with any map of a file: the caller knows the end.
    view: the bytes.
    """

    _address = 0

    def __init__(self, file: int, size: int) -> None:
        self._size = size
        map_, self._unmap, self._in_core = _functions()
        address: int = map_(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
        if address == _FAILED:
            raise _last_error()
        self._address = address
        self.view = memoryview((ctypes.c_char * size).from_address(address)).cast("B").toreadonly()

    def __del__(self) -> None:
        if self._address:
            self._unmap(self._address, self._size)

    def resident(self, start: int, size: int) -> bytes:
        """Of each of the kernel's pages there, from the one that holds the byte `start` on, whether it is in memory.

        A byte each, odd if it is. OSError.
        """
        first = start - start % _PAGE_BYTES
        size += start - first
        told = (ctypes.c_ubyte * (-(-size // _PAGE_BYTES)))()
        if self._in_core(self._address + first, size, ctypes.addressof(told)):
            raise _last_error()
        return bytes(told)


def map_file(file: int, size: int) -> FileMap | None:
    """A map of a file; None where it cannot be had, or nobody tells what of it is in memory.

    So it is where so much address space is refused, with 32 bits of it, and where all is said to be in memory: by some
    sandboxes, and by Linux to those who may not write the file.
    """
    if sys.maxsize < 1 << 32:
        return None
    try:
        mapped = FileMap(file, size)
        has_end = os.fstat(file).st_size < size - _PAGE_BYTES
        # There is nothing behind the end of the file.
        return None if has_end and mapped.resident(size - _PAGE_BYTES, 1)[0] & 1 else mapped
    except (OSError, AttributeError):
        return None


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
