"""What readers get who want some events only, or to be sent them: filters, and subscriptions.

One process is all the readers, on plain sockets: what it costs itself is in the figures, and shows them a little worse
than they are.
"""

import json
import select
import socket
import statistics
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks import servers, workloads
from benchmarks.conditions import ACCOUNT_EVENTS, RARE_EVENTS
from benchmarks.connections import connect, receive, receive_lines, request
from benchmarks.workloads import EVENT

Query = Mapping[str, object]

SUBSCRIBERS = 1000
_MESSAGE_LINES = 7
"""Line breaks of a message: an array of three bulk strings."""
_CONFIRMATION_LINES = 6
_LATENCY_APPENDS = 500
_FANOUT_APPENDS = 20
_FILTERED_READS = 200
_ZERO_ID = "0" * 26


def measure(folder: Path, events: int, rounds: int) -> None:
    """Print the figures of a database that `conditions.prepare` has filled with so many events."""
    with servers.eventflowdb(folder) as (port, _):
        print(f"with {events} events, of which {RARE_EVENTS} are of a rare type and {ACCOUNT_EVENTS} have a tag:")
        rare, account = {"types": ["Rare"]}, {"tags": [f"account:{events // ACCOUNT_EVENTS // 2 + 1}"]}
        for what, query in (
            ("GETALL of a rare type", rare),
            ("the same, backwards", {**rare, "backwards": True}),
            ("GETALL of a rare tag", account),
            ("GETALL of a rare tag among a frequent type", {**account, "types": [EVENT["type"]]}),
        ):
            _print(what, [_filtered_ms(port, query) for _ in range(rounds)], "ms")
        _print("catch-up subscription", [_catch_up(port, {}) for _ in range(rounds)], "events/s")
        frequent = {"types": [EVENT["type"], "Closed", "Rare"]}
        _print("the same, by its types", [_catch_up(port, frequent) for _ in range(rounds)], "events/s")
        _print("ADD to a live subscriber, beside its reply", [_live_ms(port, {}) for _ in range(rounds)], "ms")
        _print("the same, by its type", [_live_ms(port, {"types": [EVENT["type"]]}) for _ in range(rounds)], "ms")
        for what, query_of in (
            (f"ADD to {SUBSCRIBERS} subscribers, until the last", lambda _number: {}),
            ("the same, each with a filter of its own", lambda number: {"types": [EVENT["type"], str(number)]}),
        ):
            _print(what, [_fanout_ms(port, query_of) for _ in range(rounds)], "ms")


def _filtered_ms(port: int, query: Query) -> float:
    """The median time of one read."""
    question, taken = request("GETALL", json.dumps(query)), []
    with connect(port) as connection:
        for _ in range(_FILTERED_READS):
            began = time.perf_counter()
            connection.sendall(question)
            receive_lines(connection, 1 + 2 * RARE_EVENTS)
            taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def _catch_up(port: int, query: Query) -> float:
    """Events a second from the beginning of the log to its end."""
    events = workloads.event_count(port)
    began = time.perf_counter()
    with _subscriber(port, {"offset": _ZERO_ID, **query}) as connection:
        missing = events * _MESSAGE_LINES
        while missing > 0:
            missing -= receive(connection).count(b"\n")
    return events / (time.perf_counter() - began)


def _live_ms(port: int, query: Query) -> float:
    """By how much the message comes after the reply to the writer, or before it."""
    delays: list[float] = []
    with _subscriber(port, query) as subscriber, connect(port) as writer:
        for _ in range(_LATENCY_APPENDS):
            writer.sendall(_add())
            arrived: dict[socket.socket, float] = {}
            while len(arrived) < 2:
                for connection in select.select([subscriber, writer], [], [])[0]:
                    receive(connection)
                    arrived[connection] = time.perf_counter()
            delays.append(arrived[subscriber] - arrived[writer])
    return 1000 * statistics.median(delays)


def _fanout_ms(port: int, query_of: Callable[[int], Query]) -> float:
    """The median time from sending an append until the last subscriber has its message."""
    taken: list[float] = []
    with ExitStack() as open_, connect(port) as writer:
        poll = select.epoll()
        subscribers: dict[int, socket.socket] = {}
        for number in range(SUBSCRIBERS):
            connection = open_.enter_context(_subscriber(port, query_of(number)))
            subscribers[connection.fileno()] = connection
            poll.register(connection, select.EPOLLIN)
        for _ in range(_FANOUT_APPENDS):
            began = time.perf_counter()
            writer.sendall(_add())
            missing = set(subscribers)
            while missing:
                for descriptor, _ in poll.poll():
                    receive(subscribers[descriptor])
                    missing.discard(descriptor)
            taken.append(time.perf_counter() - began)
            receive(writer)
        poll.close()
    return 1000 * statistics.median(taken)


def _subscriber(port: int, query: Query) -> socket.socket:
    """A connection that has subscribed; its confirmation has come, and history may have come with it."""
    connection = connect(port)
    connection.sendall(request("SUBSCRIBE", json.dumps(query)))
    head = b""
    while head.count(b"\n") < _CONFIRMATION_LINES:
        head += connection.recv(1)
        if not head.startswith(b"*"):
            raise SystemExit(f"a subscription was answered {connection.recv(200)!r}")
    return connection


def _add() -> bytes:
    return request("ADD", json.dumps({"stream": str(uuid.uuid4()), "version": 0, "events": [EVENT]}))


def _print(what: str, figures: list[float], unit: str) -> None:
    form = "10,.0f" if unit == "events/s" else "10,.2f"
    low, high, median = (format(figure, form) for figure in (min(figures), max(figures), statistics.median(figures)))
    print(f"{what:44} {median} {unit}  ({low.strip()} to {high.strip()})", flush=True)
