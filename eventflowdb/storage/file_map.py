"""A file mapped into memory, of which only what is there already is read.

Python's own mmap keeps a descriptor for each map, cannot grow without growing the file, and does not tell where it is,
which mincore(2) has to know. So the C library is asked, without giving back the interpreter's lock: none of it waits.
"""

import ctypes
import mmap
import os

_PAGE_BYTES = mmap.PAGESIZE
_FAILED = ctypes.c_void_p(-1).value
_libc = ctypes.PyDLL(None, use_errno=True)
_map = _libc.mmap
_map.restype = ctypes.c_void_p
_map.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_unmap = _libc.munmap
_unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_in_core = _libc.mincore
_in_core.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


class FileMap:
    """Address space for `size` bytes of a file, which may be longer or shorter. OSError.

    Reading beyond the end of the file ends the process (SIGBUS), as with any map of a file: the caller knows the end.
    view: the bytes.
    """

    def __init__(self, file: int, size: int) -> None:
        self._size = size
        self._address = 0
        address: int = _map(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
        if address == _FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._address = address
        self.view = memoryview((ctypes.c_char * size).from_address(address)).cast("B").toreadonly()

    def __del__(self) -> None:
        if self._address:
            _unmap(self._address, self._size)

    def resident(self, start: int, size: int) -> bytes:
        """Of each of the kernel's pages there, from the one that holds the byte `start` on, whether it is in memory.

        A byte each, odd if it is. OSError.
        """
        first = start - start % _PAGE_BYTES
        size += start - first
        told = (ctypes.c_ubyte * (-(-size // _PAGE_BYTES)))()
        if _in_core(self._address + first, size, ctypes.addressof(told)):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return bytes(told)


def map_file(file: int, size: int) -> FileMap | None:
    """A map of a file; None where the platform refuses so much address space."""
    try:
        return FileMap(file, size)
    except OSError:
        return None
