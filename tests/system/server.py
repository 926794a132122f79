"""A server under test: a real process, always taken down again."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.system.installation import Installation
from tests.system.resp import Connection

PATIENCE_SECONDS = 60.0
"""How long anything may take that is expected to happen; only a failing test waits so long."""
REACTOR_VARIABLE = "EVENTFLOWDB_TEST_REACTOR"
"""Names the reactor of the servers under test, where that is not to be the one they choose themselves."""
_LISTENS = re.compile(r"listens on IPv[46]Address\(type='TCP', host='[^']+', port=(\d+)")


class Server:
    """One server on a port that it reports itself, from its start to its end.

    command, environment and folder: what is run, with what, and where; start_seconds: how long the command may take
    before it listens.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        start_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.data = folder / environment["DATA"]
        self._start_seconds = start_seconds
        self._password = environment.get("PASSWORD")
        self._output: list[str] = []
        self._port: int | None = None
        self._has_settled = threading.Event()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_output, name="server's output")
        self._reader.start()

    @classmethod
    def of(
        cls, installation: Installation, folder: Path, settings: Mapping[str, str], twistd_options: Sequence[str] = ()
    ) -> "Server":
        """A server in the foreground, on a free port, with DATA in its folder."""
        environment = {**installation.environment(), "PORT": "0", "DATA": "data", **settings}
        reactor = os.environ.get(REACTOR_VARIABLE)
        chosen = [f"--reactor={reactor}"] if reactor and not twistd_options else []
        return cls(["twistd", "-n", "--pidfile=", *chosen, *twistd_options, "eventflowdb"], environment, folder)

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "".join(self._output)

    @property
    def port(self) -> int:
        """Where it listens; waits until it does."""
        assert self._has_settled.wait(self._start_seconds), f"it has not started:\n{self.output}"
        assert self._port is not None, f"it has ended:\n{self.output}"
        return self._port

    def connect(self) -> Connection:
        """A new connection, authenticated if there is a password."""
        connection = Connection("127.0.0.1", self.port)
        if self._password is not None:
            connection.call("AUTH", self._password)
        return connection

    def terminate(self) -> int:
        """SIGTERM, and wait; gives the exit status, negative for a signal as subprocess has it."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, to all that the command has started and that still runs, and wait."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Wait for its end; gives the exit status."""
        status = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def private_bytes(self) -> int:
        """How much memory it holds that is its own (RssAnon): the pages of the database's file are the system's."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._output.append(line)
            self._port = self._port or find_port(line)
            if self._port is not None:
                self._has_settled.set()
        self._has_settled.set()


def find_port(log: str) -> int | None:
    """The port that a server says in its log that it listens on; None as long as it does not."""
    found = _LISTENS.search(log)
    return None if found is None else int(found[1])


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that nothing but a look can tell."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether there is a process of that number, other than one that has ended and was not waited for."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (ProcessLookupError, FileNotFoundError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
