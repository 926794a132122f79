"""message-db on PostgreSQL: its own functions, in the category `account`, a transaction each append.

It holds a lock on the category until the commit, so that the appends of one category share no sync.
The checks ask with psql.
"""

import csv
import io
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.payload import Stored
from benchmarks.processes import running
from benchmarks.servers import HOST, free_port
from benchmarks.stores import C_LOAD, Running

_DATABASE = "message_store"
_SETTINGS = {"listen_addresses": HOST, "max_connections": "300", "shared_buffers": "512MB", "max_wal_size": "4GB"}
_DURABLE = {"fsync": "on", "synchronous_commit": "on"}


@dataclass(frozen=True, slots=True)
class MessageDb:
    """PostgreSQL with what message-db's install.sh makes."""

    given: Path | None = None
    """The folder of message-db's package."""
    name: str = "message-db"
    durability: str = "fdatasync before the answer (synchronous_commit on)"
    load: str = C_LOAD
    loading_events: int = 10

    def missing(self) -> str:
        """What would install it."""
        if _programs() is None:
            return "apt install postgresql, npm install @eventide/message-db, and --message-db FOLDER"
        if self._install_script() is None:
            return "npm install @eventide/message-db, and --message-db FOLDER"
        return ""

    @contextmanager
    def running(self, folder: Path) -> Iterator[Running]:
        """It, as the user postgres where this runs as root, which PostgreSQL refuses."""
        programs, port, user = _programs(), free_port(), "postgres" if os.geteuid() == 0 else None
        assert programs is not None
        data = folder / "data"
        is_new = not data.exists()
        if is_new:
            if user:
                shutil.chown(folder, user)
            make = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
            subprocess.run([*make, "--locale=C"], check=True, stdout=subprocess.DEVNULL, cwd=folder, user=user)
        options = {"port": str(port), "unix_socket_directories": str(folder), **_SETTINGS, **_DURABLE}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(data), *words]
        with running(
            command, folder, lambda: _is_ready(programs, port), user=user, stop_signal=signal.SIGINT
        ) as process:
            if is_new:
                self._install(port)
            asked = _Holdings(programs / "psql", port)
            version = f"{asked.rows('SELECT message_store_version()')[0][0]} on PostgreSQL "
            version += asked.rows("SHOW server_version")[0][0].split()[0]
            yield Running(process.pid, version, lambda turn: load.run("postgres", port, turn, {}), asked, False)

    def _install(self, port: int) -> None:
        environment = {"PGHOST": HOST, "PGPORT": str(port), "PGUSER": "postgres", "DATABASE_NAME": _DATABASE}
        script = self._install_script()
        assert script is not None
        subprocess.run(["bash", script], check=True, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)

    def _install_script(self) -> Path | None:
        if self.given is None:
            return None
        return next((path for path in sorted(self.given.rglob("database/install.sh"))), None)


@dataclass(frozen=True, slots=True)
class _Holdings:
    psql: Path
    port: int

    def rows(self, query: str) -> list[list[str]]:
        """What a query gives."""
        environment = {"PGHOST": HOST, "PGPORT": str(self.port), "PGUSER": "postgres", "PGDATABASE": _DATABASE}
        environment["PGOPTIONS"] = "-c search_path=message_store,public"
        done = subprocess.run(
            [self.psql, "--csv", "--tuples-only", "--command", query],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
        )
        return list(csv.reader(io.StringIO(done.stdout)))

    def count(self) -> int:
        return int(self.rows("SELECT count(*) FROM messages")[0][0])

    def read(self, stream: str, limit: int) -> list[Stored]:
        columns = "position, type, data, metadata"
        rows = self.rows(f"SELECT {columns} FROM get_stream_messages('account-{stream}', 0, {limit})")
        return [Stored(int(position), kind, data, metadata) for position, kind, data, metadata in rows]


def _is_ready(programs: Path, port: int) -> bool:
    """Whether it takes connections; asked by a socket first, since a process for each question is slow."""
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    time.sleep(0.1)
    ready = [str(programs / "pg_isready"), "--quiet", "--host", HOST, "--port", str(port)]
    return subprocess.run(ready, check=False).returncode == 0


def _programs() -> Path | None:
    """PostgreSQL's own folder: Debian keeps initdb and postgres out of PATH."""
    if os.geteuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        return None
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
