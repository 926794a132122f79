"""Redis Streams with an append-only file that is synced always: a script is the optimistic concurrency.

The script checks how many entries the stream has, and adds each event to it and, with the stream's name, to the log.
All of it is held in memory.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.payload import Stored
from benchmarks.processes import running
from benchmarks.servers import HOST, free_port
from benchmarks.stores import C_LOAD, Running
from benchmarks.stores.resp import Connection, is_answering

REDIS = "Redis Streams"
_SCRIPT = """
local held = redis.call('XLEN', KEYS[1])
if held ~= tonumber(ARGV[1]) then
  return redis.error_reply('CONFLICT the stream holds ' .. held)
end
for i = 2, #ARGV, 3 do
  redis.call('XADD', KEYS[1], (held + 1) .. '-0', 'type', ARGV[i], 'data', ARGV[i + 1], 'metadata', ARGV[i + 2])
  redis.call('XADD', KEYS[2], '*', 'stream', KEYS[1], 'version', held,
             'type', ARGV[i], 'data', ARGV[i + 1], 'metadata', ARGV[i + 2])
  held = held + 1
end
return held
"""


@dataclass(frozen=True, slots=True)
class RedisStreams:
    """redis-server, appendfsync always."""

    name: str = REDIS
    durability: str = "fdatasync before the answer (appendfsync always)"
    load: str = C_LOAD
    loading_events: int = 10

    def missing(self) -> str:
        """What would install it."""
        return "" if shutil.which("redis-server") else "apt install redis-server"

    @contextmanager
    def running(self, folder: Path) -> Iterator[Running]:
        """It, on loopback; its file is not rewritten meanwhile, which would take from its turns and from others'."""
        port = free_port()
        options = {"port": port, "bind": HOST, "dir": folder, "save": "", "appendonly": "yes", "appendfsync": "always"}
        options["auto-aof-rewrite-percentage"] = 0
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        with (
            running(["redis-server", *words], folder, lambda: is_answering(port)) as process,
            Connection(port) as connection,
        ):
            connection.ask("SCRIPT", "LOAD", _SCRIPT)
            script = {"script": hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()}
            yield Running(
                process.pid, _version(), lambda turn: load.run("redis", port, turn, script), _Holdings(connection)
            )


@dataclass(frozen=True, slots=True)
class _Holdings:
    connection: Connection

    def count(self) -> int:
        return self.connection.ask_number("XLEN", "log")

    def read(self, stream: str, limit: int) -> list[Stored]:
        events = []
        for entry in self.connection.ask_list("XRANGE", f"stream:{stream}", "-", "+", "COUNT", str(limit)):
            assert isinstance(entry, list)
            place, words = entry
            assert isinstance(words, list)
            fields = dict(zip(map(str, words[::2]), map(str, words[1::2]), strict=True))
            version = int(str(place).partition("-")[0]) - 1
            events.append(Stored(version, fields["type"], fields["data"], fields["metadata"]))
        return events


def _version() -> str:
    told = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    return next(word[2:] for word in told.split() if word.startswith("v="))
