"""A blocking RESP2 client of the tests' own, so that no library's leniency hides what the server sends."""

import json
import re
import socket
from collections.abc import Iterable
from types import TracebackType
from typing import Any

TIMEOUT_SECONDS = 60.0
_RECEIVED_BYTES = 1 << 18


class Refusal(Exception):
    """An error reply; `code` is its first word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.split(" ", 1)[0]


Reply = int | str | bytes | Refusal | list["Reply"] | None
"""A simple string is a str, a bulk string bytes, an error a Refusal."""


def encode(*words: str | bytes) -> bytes:
    """One request."""
    pieces = [b"*%d\r\n" % len(words)]
    for word in words:
        value = word.encode() if isinstance(word, str) else word
        pieces.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(pieces)


def encode_add(stream: str, version: int, events: Iterable[dict[str, Any]]) -> bytes:
    """One ADD."""
    return encode("ADD", json.dumps({"stream": stream, "version": version, "events": list(events)}))


class Connection:
    """A connection; every wait on it ends after TIMEOUT_SECONDS with an error."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), TIMEOUT_SECONDS)
        self._buffer = b""
        self._offset = 0

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def call(self, *words: str | bytes) -> Reply:
        """Send a request and wait for its reply; an error reply is raised."""
        self.send(encode(*words))
        reply = self.read()
        if isinstance(reply, Refusal):
            raise reply
        return reply

    def read(self) -> Reply:
        """The next reply; ConnectionError if there is none."""
        line = self._read_line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Refusal(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._read_bulk(int(rest))
        assert kind == b"*", f"this is no reply: {line!r}"
        return [self.read() for _ in range(int(rest))]

    def read_to_end(self) -> bytes:
        """All that comes until the server closes."""
        while self._receive():
            pass
        rest, self._buffer, self._offset = self._buffer[self._offset :], b"", 0
        return rest

    def add(self, stream: str, version: int, *events: dict[str, Any]) -> list[bytes]:
        """ADD; gives the stored events."""
        self.send(encode_add(stream, version, events))
        return records(self.read())

    def read_stream(self, stream: str) -> list[bytes]:
        """GET, all of a stream."""
        return records(self.call("GET", json.dumps({"stream": stream})))

    def read_log(self, page_events: int = 1000) -> list[bytes]:
        """The whole log, by GETALL in pages, each after the last event of the one before."""
        log: list[bytes] = []
        while True:
            after = {"after": json.loads(log[-1])["id"]} if log else {}
            page = records(self.call("GETALL", json.dumps({**after, "limit": page_events})))
            log += page
            if len(page) < page_events:
                return log

    def checksum(self) -> tuple[str, str]:
        """CHECKSUM: the id of the latest event, and the checksum of the log."""
        event_id, checksum = records(self.call("CHECKSUM"))
        return event_id.decode(), checksum.decode()

    def count(self, command: str = "EVENTCOUNT") -> int:
        """A command that answers a number."""
        return self.count_of(command)

    def count_of(self, *words: str) -> int:
        """The same, of several words."""
        reply = self.call(*words)
        assert isinstance(reply, int)
        return reply

    def info(self, *sections: str) -> str:
        """INFO as text."""
        reply = self.call("INFO", *sections)
        assert isinstance(reply, bytes)
        return reply.decode().replace("\r\n", "\n")

    def figure(self, name: str) -> str:
        """One figure of INFO."""
        (found,) = re.findall(rf"^{name}:(.*)$", self.info("everything"), re.MULTILINE)
        return str(found)

    def _read_line(self) -> bytes:
        while True:
            end = self._buffer.find(b"\r\n", self._offset)
            if end >= 0:
                line = self._buffer[self._offset : end]
                self._offset = end + 2
                return line
            self._receive_more()

    def _read_bulk(self, length: int) -> bytes:
        while len(self._buffer) - self._offset < length + 2:
            self._receive_more()
        end = self._offset + length
        value = self._buffer[self._offset : end]
        assert self._buffer[end : end + 2] == b"\r\n"
        self._offset = end + 2
        return value

    def _receive_more(self) -> None:
        if not self._receive():
            raise ConnectionError("the server has closed the connection")

    def _receive(self) -> bool:
        received = self.socket.recv(_RECEIVED_BYTES)
        self._buffer = self._buffer[self._offset :] + received
        self._offset = 0
        return bool(received)


def records(reply: Reply) -> list[bytes]:
    """A reply that has to be an array of bulk strings; an error reply is raised."""
    if isinstance(reply, Refusal):
        raise reply
    assert isinstance(reply, list)
    values = [value for value in reply if isinstance(value, bytes)]
    assert len(values) == len(reply)
    return values
