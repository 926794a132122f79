"""Plain sockets that ask and are answered: the load takes next to nothing of the machine that is measured."""

import json
import socket

from benchmarks import servers

_RECEIVED_BYTES = 1 << 20
_SILENCE_SECONDS_MAX = 60.0


def connect(port: int) -> socket.socket:
    """A connection to a server of this machine."""
    return socket.create_connection((servers.HOST, port), _SILENCE_SECONDS_MAX)


def request(*words: str) -> bytes:
    """One request."""
    pieces = [b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words]
    return b"*%d\r\n%b" % (len(words), b"".join(pieces))


def asking(name: str, **argument: object) -> bytes:
    """A command with its argument."""
    return request(name, json.dumps(argument, separators=(",", ":")))


def receive(connection: socket.socket) -> bytes:
    """What has come."""
    data = connection.recv(_RECEIVED_BYTES)
    if not data:
        raise SystemExit("the server closed a connection")
    return data


def receive_lines(connection: socket.socket, count: int) -> bytes:
    """Replies of so many lines; an event is two, and holds no line break."""
    pieces: list[bytes] = []
    missing = count
    while missing > 0:
        data = receive(connection)
        missing -= data.count(b"\n")
        pieces.append(data)
    reply = b"".join(pieces)
    if missing or reply.startswith(b"-") or b"\n-" in reply:
        raise SystemExit(f"the server sent other than {count} lines: {reply[:200]!r}")
    return reply
