"""The library that records and fails a server's calls to its disk (disk_shim.c): built, given, and steered."""

import ctypes
import mmap
import os
import shlex
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("disk_shim.c")
ALWAYS = -1
"""As `times` of a fault: from now on each call fails."""
ENDS_SHORT = -1
"""As `error` of a fault: the call writes a part, and says so."""


class Fault(ctypes.Structure):
    """One kind of call that fails: after `passes` more calls, so many `times`, having written `effect` bytes."""

    _fields_ = [(name, ctypes.c_int64) for name in ("error", "passes", "times", "effect", "met")]
    error: int
    passes: int
    times: int
    effect: int
    met: int

    def arm(self, error: int, *, passes: int = 0, times: int = ALWAYS, effect: int = 0) -> None:
        """Make calls fail from now on; `met` counts them."""
        self.error = 0
        self.passes, self.times, self.effect, self.met = passes, times, effect, 0
        self.error = error

    def disarm(self) -> None:
        """Let all calls succeed again."""
        self.error = 0


class Control(ctypes.Structure):
    """What a running process with the library is steered by.

    write, sync: writes to the data file and its flushes; meta: writes of its meta pages; journal_write, journal_sync:
    those of the journal; file_bytes_max: no file grows beyond (0: no bound); clock_step_ns: how wrong the clock is.
    """

    _fields_ = [
        ("write", Fault),
        ("sync", Fault),
        ("meta", Fault),
        ("journal_write", Fault),
        ("journal_sync", Fault),
        ("file_bytes_max", ctypes.c_int64),
        ("clock_step_ns", ctypes.c_int64),
    ]
    write: Fault
    sync: Fault
    meta: Fault
    journal_write: Fault
    journal_sync: Fault
    file_bytes_max: int
    clock_step_ns: int


class Shim:
    """The library, for processes whose files lie in one folder.

    log: where their calls are recorded; control: steers all of them at once.
    """

    def __init__(self, library: Path, root: Path, folder: Path, *, is_recording: bool = False) -> None:
        self.log = folder / "disk.log"
        self._library, self._root, self._control = library, root, folder / "control"
        self._is_recording = is_recording
        self._control.write_bytes(bytes(ctypes.sizeof(Control)))
        with self._control.open("r+b") as file:
            self.control = Control.from_buffer(mmap.mmap(file.fileno(), 0))

    def variables(self) -> dict[str, str]:
        """What is to be in the environment of a process."""
        log = {"DISK_SHIM_LOG": os.fspath(self.log)} if self._is_recording else {}
        root = os.fspath(self._root)
        return {
            "LD_PRELOAD": os.fspath(self._library),
            "DISK_SHIM_ROOT": root,
            "DISK_SHIM_CONTROL": os.fspath(self._control),
            **log,
        }


def build(folder: Path) -> Path:
    """The library, compiled; it needs a C compiler and the C library's headers, and fails without them."""
    library = folder / "disk_shim.so"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    warnings = ["-Wall", "-Wextra", "-Werror"]
    subprocess.run([*compiler, "-O1", *warnings, "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
    return library
