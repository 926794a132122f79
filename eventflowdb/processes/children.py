"""A child of the supervisor: started, told, listened to on threads, and waited for.

Not Twisted's spawnProcess: it waits for a SIGCHLD, which loops of other libraries keep from it.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from twisted.logger import Logger

from eventflowdb.limits import (
    RESTART_CALM_SECONDS,
    RESTART_PAUSE_SECONDS_MAX,
    RESTART_PAUSE_SECONDS_MIN,
)
from eventflowdb.processes.control import Message, Start, control_pair, receive, send
from eventflowdb.service.threads import ReactorThread

_LAST_WORDS_SECONDS_MAX = 0.5
"""So long the log of a child that has ended is read on: a process that it started may hold it open."""


class Pause:
    """How long to wait before a process that died is started again: longer while it dies again and again."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def after(self, lived_seconds: float) -> float:
        """It has died, after so long a life."""
        if lived_seconds >= RESTART_CALM_SECONDS:
            self._seconds = 0.0
        self._seconds = min(max(self._seconds * 2, RESTART_PAUSE_SECONDS_MIN), RESTART_PAUSE_SECONDS_MAX)
        return self._seconds


class ChildProcess:
    """One child. on_message and on_end are called on the reactor's thread, on_end once, with the exit status."""

    _log = Logger()

    def __init__(
        self,
        name: str,
        start: Start,
        inherited: Sequence[int],
        reactor: ReactorThread,
        on_message: "Callable[[ChildProcess, Message], None]",
        on_end: "Callable[[ChildProcess, int], None]",
    ) -> None:
        self.name = name
        self._reactor = reactor
        self._on_message = on_message
        self._on_end = on_end
        self._control, theirs = control_pair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "eventflowdb.processes", *name.split()],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                env={key: value for key, value in os.environ.items() if not key.startswith("PASSWORD")},
            )
        self.tell(start)
        self._log_reader = threading.Thread(target=self._read_log, name=f"eventflowdb log of {name}", daemon=True)
        self._log_reader.start()
        threading.Thread(target=self._listen, name=f"eventflowdb {name}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def tell(self, message: Message, descriptor: int | None = None) -> None:
        """Tell it; one that has ended is noticed elsewhere."""
        send(self._control, message, descriptor)

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def _listen(self) -> None:
        """On a thread: tell what the child says, and of its end."""
        while True:
            message, _ = receive(self._control)
            if message is None:
                break
            self._reactor.callFromThread(self._on_message, self, message)
        status = self._process.wait()
        self._log_reader.join(_LAST_WORDS_SECONDS_MAX)
        self._control.close()
        self._reactor.callFromThread(self._on_end, self, status)

    def _read_log(self) -> None:
        """On a thread: put into the log what the child writes."""
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._reactor.callFromThread(self._tell_line, line.decode("utf-8", "replace").rstrip())

    def _tell_line(self, line: str) -> None:
        self._log.info("{name}: {line}", name=self.name, line=line)
