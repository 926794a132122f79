"""What a member of a consumer gets through: FETCH and ACK in pages, with and without a filter, and appends that ack.

One member with one connection, which asks again when it was answered: each figure has the time of its questions in it.
Everything is durable: an ACK, and an append with a checkpoint, is answered after its fsync.
"""

import socket
import statistics
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from benchmarks import servers
from benchmarks.connections import asking, connect, receive_lines
from benchmarks.workloads import EVENT

EVENTS = 200_000
PAGE = 100
_APPENDS = 3000
_FETCHED_MAX = 1000
_MEMBER = {"consumer": "measured", "member": "m"}
_ID_AT = len(b'{"id":"')
_ID_END = _ID_AT + 26


def measure(folder: Path, rounds: int) -> None:
    """Print the figures of a database that `conditions.prepare` has filled with more than EVENTS events."""
    with servers.eventflowdb(folder) as (port, _):
        print(f"{EVENTS} events of a log, to one member with one connection:")
        frequent = {"types": [EVENT["type"]]}
        for what, query in (("FETCH and ACK in pages of 100", {}), ("the same, by their type", frequent)):
            _print(what, [_fetched_per_second(port, query) for _ in range(rounds)], "events/s")
        for what, window in (("ADD with a checkpoint, one at a time", 1), ("the same, 64 in flight", 64)):
            _print(what, [_appended_per_second(port, window) for _ in range(rounds)], "events/s")


def _fetched_per_second(port: int, query: Mapping[str, object]) -> float:
    """Events a second that are fetched, and acked page by page."""
    fetch = asking("FETCH", **_MEMBER, limit=PAGE)
    with connect(port) as connection:
        _begin(connection, query)
        began = time.perf_counter()
        for _ in range(0, EVENTS, PAGE):
            connection.sendall(fetch)
            ids = _ids(receive_lines(connection, 1 + 2 * PAGE))
            connection.sendall(asking("ACK", **_MEMBER, ids=ids))
            if receive_lines(connection, 1) != b":%d\r\n" % PAGE:
                raise SystemExit("the server has not taken an ack of a whole page")
        return EVENTS / (time.perf_counter() - began)


def _appended_per_second(port: int, window: int) -> float:
    """Appends a second, each of one event to a new stream, that ack an event; so many are asked at once."""
    with connect(port) as connection:
        _begin(connection, {})
        ids: list[str] = []
        while len(ids) < _APPENDS:
            connection.sendall(asking("FETCH", **_MEMBER, limit=_FETCHED_MAX))
            ids += _ids(receive_lines(connection, 1 + 2 * _FETCHED_MAX))
        windows = [
            b"".join([_append(event_id) for event_id in ids[first : first + window]])
            for first in range(0, _APPENDS - window + 1, window)
        ]
        began = time.perf_counter()
        for requests in windows:
            connection.sendall(requests)
            receive_lines(connection, 3 * window)
        return len(windows) * window / (time.perf_counter() - began)


def _begin(connection: socket.socket, query: Mapping[str, object]) -> None:
    """Make the consumer anew, at the beginning of the log."""
    for question in (asking("CONSUMER", delete="measured"), asking("CONSUMER", create="measured", query=query)):
        connection.sendall(question)
        # That there is none to delete is as good.
        connection.recv(1 << 16)


def _append(event_id: str) -> bytes:
    return asking("ADD", stream=str(uuid.uuid4()), version=0, events=[EVENT], checkpoint={**_MEMBER, "id": event_id})


def _ids(reply: bytes) -> list[str]:
    """The ids of a page of events."""
    return [record[_ID_AT:_ID_END].decode() for record in reply.split(b"\r\n")[2::2]]


def _print(what: str, figures: list[float], unit: str) -> None:
    low, high, median = min(figures), max(figures), statistics.median(figures)
    print(f"{what:44} {median:10,.0f} {unit}  ({low:,.0f} to {high:,.0f})", flush=True)
