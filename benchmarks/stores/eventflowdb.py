"""This server: that of this environment or of another installation, with its defaults or with options."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.payload import Stored
from benchmarks.processes import running
from benchmarks.servers import free_port
from benchmarks.stores import C_LOAD, Running
from benchmarks.stores.resp import Connection, is_answering

OURS = "EventflowDB"
_TWISTD = Path(sys.executable).with_name("twistd")


@dataclass(frozen=True, slots=True)
class EventflowDB:
    """A form of the server: its name, the twistd that runs it, and options behind `eventflowdb`."""

    name: str = OURS
    twistd: Path = _TWISTD
    options: tuple[str, ...] = ()
    durability: str = "fdatasync before the answer (there is no other setting)"
    load: str = C_LOAD
    loading_events: int = 10

    @classmethod
    def named(cls, text: str) -> "EventflowDB":
        """From NAME=[TWISTD] [OPTION ...]."""
        name, _, command = text.partition("=")
        words = shlex.split(command)
        if words and not words[0].startswith("-"):
            return cls(name, Path(words[0]).absolute(), tuple(words[1:]))
        return cls(name, options=tuple(words))

    def missing(self) -> str:
        """What would install it."""
        return "" if self.twistd.exists() else f"an installation of the server: there is no {self.twistd}"

    @contextmanager
    def running(self, folder: Path) -> Iterator[Running]:
        """It, on loopback, without a password."""
        port = free_port()
        command = [str(self.twistd), "--nodaemon", "--pidfile=", "eventflowdb", *self.options]
        settings = {"PORT": str(port), "DATA": str(folder / "data")}
        with running(command, folder, lambda: is_answering(port), settings) as process, Connection(port) as connection:
            form = re.search(r"^hot_path:(\w+)", str(connection.ask("INFO", "server")), re.MULTILINE)
            version = ", ".join([f"{connection.ask('VERSION')}", *(form.groups() if form else ())])
            yield Running(
                process.pid, version, lambda turn: load.run("eventflowdb", port, turn, {}), _Holdings(connection)
            )


@dataclass(frozen=True, slots=True)
class _Holdings:
    connection: Connection

    def count(self) -> int:
        return self.connection.ask_number("EVENTCOUNT")

    def read(self, stream: str, limit: int) -> list[Stored]:
        records = self.connection.ask_list("GET", json.dumps({"stream": stream, "limit": limit}))
        events = [json.loads(str(record)) for record in records]
        return [Stored(event["version"], event["type"], event["data"], event["metadata"]) for event in events]
