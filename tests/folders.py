"""Folders for tests that are not about the disk, and state machines that have one each."""

import os
import tempfile
from pathlib import Path

from hypothesis.stateful import RuleBasedStateMachine

IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where folders of tests lie that need no disk: each commit of these hundreds of stores would wait for one."""


class MachineInFolder(RuleBasedStateMachine):
    """A state machine with a folder that goes with it, whatever its end is.

    A folder that is left to the garbage collector is removed with a warning, in the middle of some other test.
    """

    def __init__(self) -> None:
        super().__init__()
        self._temporary = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        self.folder = Path(self._temporary.name)

    def end(self) -> None:
        """Check what must hold when all has happened, if that is more than always."""

    def close(self) -> None:
        """Let go of the files; it comes after `end`, though that fail."""
        raise NotImplementedError

    def teardown(self) -> None:
        """The end, as it should be, and of the files in any case."""
        try:
            self.end()
        finally:
            self.close()
            self._temporary.cleanup()
