"""The work: redis-benchmark sends it, since a load generator in Python would measure itself.

redis-benchmark puts a random number of twelve digits where `__rand_int__` stands, which makes the last group of a
stream's UUID. It ends at the first error reply; two appends to one random stream are such an error, so a run is
short, takes streams of its own, and is repeated with others if it failed.
"""

import json
import socket
import subprocess
import time
from collections.abc import Callable
from itertools import count

from benchmarks.servers import HOST, require

STREAMS_RANGE_MAX = 2_000_000_000
_RUN_TRIES_MAX = 5
_prefixes = count(1)

EVENT = {
    "type": "AccountOpened",
    "data": json.dumps({"owner": "x" * 100, "note": "y" * 129}),
    "metadata": json.dumps({"user": "u" * 40, "host": "h" * 4}),
}


def ping(port: int, clients: int, requests: int) -> float:
    """PINGs a second."""
    return _measure(port, clients, requests, ["PING"])


def append(port: int, clients: int, requests: int, events: int) -> float:
    """Events a second: ADDs of `events` events, each to a new stream."""
    for _ in range(_RUN_TRIES_MAX):
        argument = _add_argument(f"{next(_prefixes):08x}-0000-4000-8000-__rand_int__", events)
        try:
            return events * _measure(port, clients, requests, ["ADD", argument], STREAMS_RANGE_MAX)
        except subprocess.CalledProcessError:
            continue
    raise SystemExit("redis-benchmark failed again and again; try it by hand")


def read_streams(port: int, clients: int, requests: int, streams: int) -> float:
    """GETs a second, each of a random one of the streams that `load_streams` made."""
    return _measure(port, clients, requests, ["GET", f'{{"stream":"{_numbered_stream("__rand_int__")}"}}'], streams)


def read_log(port: int, seconds: float, page: int) -> float:
    """Events a second: one client reads the log in pages, from its beginning again when it ends."""
    with socket.create_connection((HOST, port)) as connection:
        events, after = 0, ""
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            position = f'"after":"{after}",' if after else ""
            reply = _call(connection, "GETALL", f'{{{position}"limit":{page}}}')
            received = int(reply[1 : reply.index(b"\r\n")])
            events += received
            after = last_id(reply) if received == page else ""
        return events / (time.perf_counter() - began)


def last_id(reply: bytes) -> str:
    """The id of the last event of a reply."""
    start = reply.rfind(b'{"id":"') + 7
    return reply[start : start + 26].decode()


def load_streams(port: int, streams: int, events: int) -> None:
    """Make streams of `events` events each, numbered from 0."""
    with socket.create_connection((HOST, port)) as connection:
        for number in range(streams):
            _call(connection, "ADD", _add_argument(_numbered_stream(f"{number:012d}"), events))


def event_count(port: int) -> int:
    """How many events the server holds."""
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(b"EVENTCOUNT\r\n")
        return int(connection.recv(64)[1:])


def verify(port: int, meanwhile: Callable[[], None] = lambda: None) -> float:
    """Events a second: VERIFY, which must find all sound; `meanwhile` is called when it has begun."""
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(b"VERIFY\r\n")
        meanwhile()
        reply = b""
        while not reply.endswith(b"$7\r\nproblem\r\n$-1\r\n"):
            received = connection.recv(1 << 16)
            if not received or reply.startswith(b"-"):
                raise SystemExit(f"VERIFY was answered {reply!r}")
            reply += received
    words = reply.split(b"\r\n")
    return int(words[words.index(b"events") + 1][1:]) / float(words[words.index(b"seconds") + 2])


def _numbered_stream(number: str) -> str:
    return f"00000000-0000-4000-8000-{number}"


def _add_argument(stream: str, events: int) -> str:
    return json.dumps({"stream": stream, "version": 0, "events": [EVENT] * events}, separators=(",", ":"))


def _measure(port: int, clients: int, requests: int, words: list[str], random_range: int = 1) -> float:
    options = ["-h", HOST, "-p", str(port), "-c", str(clients), "-n", str(requests), "-r", str(random_range), "--csv"]
    done = subprocess.run([require("redis-benchmark"), *options, *words], capture_output=True, text=True, check=True)
    header, *rows = done.stdout.splitlines()
    if not rows:
        raise subprocess.CalledProcessError(1, words[0], done.stdout, done.stderr)
    # Not a CSV reader: the first column is the command as it was given, with its quotes as they are.
    after_name = header.count(",") - header.split(",").index('"rps"')
    return float(rows[-1].split(",")[-1 - after_name].strip('"'))


def _call(connection: socket.socket, name: str, argument: str) -> bytes:
    """Send one command and receive its whole reply, an array of events.

    An event's JSON holds no raw line break, so the reply is complete when its line breaks are.
    """
    words = (name.encode(), argument.encode())
    connection.sendall(b"*2\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
    pieces = [connection.recv(1 << 20)]
    if not pieces[0].startswith(b"*"):
        raise SystemExit(f"{name} was answered {pieces[0][:200]!r}")
    while b"\r\n" not in pieces[0]:
        pieces[0] += connection.recv(1 << 20)
    missing = 1 + 2 * int(pieces[0][1 : pieces[0].index(b"\r\n")]) - pieces[0].count(b"\r\n")
    while missing > 0:
        piece = connection.recv(1 << 20)
        missing -= piece.count(b"\r\n") + (pieces[-1].endswith(b"\r") and piece.startswith(b"\n"))
        pieces.append(piece)
    return b"".join(pieces)
