"""The load for stores that only have a Python client: threads in processes, with the jobs of load/main.c.

It takes a good part of the machine itself, so that a fast store looks slower than it is: the tables say so.
`python -m benchmarks.python_load` is one of the processes; it reads its part as JSON, and prints its outcome as JSON.
"""

import importlib
import json
import random
import resource
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.jobs import LOADED_SEED, PAGE, STREAM_EVENTS, Job, Outcome, Turn
from benchmarks.latencies import Latencies
from benchmarks.payload import event, stream_name
from benchmarks.stores import Conflict, Session

_ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 1.0
"""All processes begin at once, when all are there."""
_EXTRA_SECONDS_MAX = 900


def run(module: str, address: str, turn: Turn, processes: int) -> Outcome:
    """Give a store its turn, with the clients divided among processes; `module.session(address)` is a client."""
    parts = min(processes, turn.job.clients)
    begin = time.time() + _START_SECONDS
    running = []
    for number in range(parts):
        told = {"module": module, "address": address, "turn": turn.packed(), "part": number, "parts": parts}
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.python_load"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append((process, json.dumps({**told, "begin": begin})))
    for process, text in running:
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
        process.stdin = None
    limit = turn.seconds + turn.warm_up + _EXTRA_SECONDS_MAX
    said = [process.communicate(timeout=limit)[0] for process, _ in running]
    if any(process.returncode for process, _ in running):
        raise SystemExit(f"{module}, {turn.job.title}: the load has failed")
    return _joined([load.outcome_of(json.loads(text)) for text in said])


def _joined(parts: list[Outcome]) -> Outcome:
    """The outcomes of the processes as one: client c is of the process c modulo their number."""
    written = [
        client for row in zip(*(_padded(part, parts) for part in parts), strict=True) for client in row if client
    ]
    winners = [-1] * max(len(part.winners) for part in parts)
    doubles = 0
    for part in parts:
        for version, client in enumerate(part.winners):
            if client >= 0:
                doubles += winners[version] >= 0
                winners[version] = client
    return Outcome(
        seconds=max(part.seconds for part in parts),
        appends=Latencies.sum_of(part.appends for part in parts),
        others=Latencies.sum_of(part.others for part in parts),
        acknowledged=sum(part.acknowledged for part in parts),
        conflicts=sum(part.conflicts for part in parts),
        failures=sum(part.failures for part in parts) + doubles,
        failure=next((part.failure for part in parts if part.failure), "two winners" if doubles else ""),
        load_cpu_seconds=sum(part.load_cpu_seconds for part in parts),
        written=tuple(written),
        winners=tuple(winners),
    )


def _padded(part: Outcome, parts: list[Outcome]) -> list[tuple[int, int] | None]:
    longest = max(len(other.written) for other in parts)
    return [*part.written, *[None] * (longest - len(part.written))]


@dataclass(slots=True)
class _Client:
    """One client, a thread: what it does, and what it has seen."""

    session: Session
    turn: Turn
    number: int
    appends: Latencies = field(default_factory=Latencies)
    others: Latencies = field(default_factory=Latencies)
    acknowledged: int = 0
    conflicts: int = 0
    failures: list[str] = field(default_factory=list)
    winners: dict[int, int] = field(default_factory=dict)
    filled: int = 0
    version: int = 0
    must_read_again: bool = False
    place: int = 0
    pass_events: int = 0
    ended: float = 0.0

    def work(self, begin: float) -> None:
        """From the beginning of the turn to its end; the first failure ends it, whatever the client library raises."""
        try:
            while time.time() < begin:
                time.sleep(max(0.0, begin - time.time()))
            while not self._is_over(time.time() - begin):
                began = time.perf_counter_ns()
                is_append, events = self._operate()
                taken, at = time.perf_counter_ns() - began, time.time() - begin
                self.ended = at
                is_measured = self.turn.streams or self.turn.warm_up <= at < self.turn.warm_up + self.turn.seconds
                if is_measured and events is not None:
                    (self.appends if is_append else self.others).note(taken, events)
        except Exception as error:
            self.failures.append(repr(error))

    def _is_over(self, elapsed: float) -> bool:
        if self.turn.streams:
            return self._index() >= self.turn.first_stream + self.turn.streams
        return elapsed >= self.turn.warm_up + self.turn.seconds

    def _index(self) -> int:
        return self.turn.first_stream + self.filled * self.turn.job.clients + self.number

    def _operate(self) -> tuple[bool, int | None]:
        """One operation: whether it was an append, and how many events it was about, or None for a conflict."""
        kind = self.turn.job.kind
        if kind == "ping":
            self.session.ping()
            return False, 0
        if kind == "log":
            return False, self._page()
        if kind == "read" or (kind == "mixed" and random.random() < 0.8):
            return False, self._read()
        if self.must_read_again:
            self.version = self.session.catch_up(stream_name(self.turn.seed, 0), self.version)
            self.must_read_again = False
            return False, 0
        return True, self._append()

    def _page(self) -> int:
        events, self.place = self.session.page(self.place, PAGE)
        self.pass_events += events
        if events < PAGE:
            if self.pass_events != self.turn.log_events:
                self.failures.append("the pages of the log held another number of events than the store")
            self.place = self.pass_events = 0
        return events

    def _read(self) -> int:
        stream = stream_name(LOADED_SEED, random.randrange(self.turn.loaded_streams))
        events = len(self.session.read(stream, STREAM_EVENTS))
        if events != STREAM_EVENTS:
            self.failures.append("a read of a stream of ten events gave another number")
        return events

    def _append(self) -> int | None:
        job = self.turn.job
        stream = stream_name(self.turn.seed, 0 if job.kind == "conflict" else self._index())
        events = [event(stream, self.version + place, self.number) for place in range(job.events)]
        try:
            self.session.append(stream, self.version, events)
        except Conflict as refused:
            self.conflicts += 1
            self.must_read_again = True
            if job.kind != "conflict":
                raise RuntimeError("an append to a stream of this client alone was refused") from refused
            return None
        if job.kind == "conflict":
            self.winners[self.version] = self.number
        self.acknowledged += job.events
        self.version += job.events
        if self.version >= job.stream_events and job.kind != "conflict":
            self.filled, self.version = self.filled + 1, 0
        return job.events


def _work(told: dict[str, Any]) -> dict[str, object]:
    turn = Turn(**{**told["turn"], "job": Job(**told["turn"]["job"])})
    connect = importlib.import_module(told["module"]).session
    numbers = range(told["part"], turn.job.clients, told["parts"])
    clients = [_Client(connect(told["address"]), turn, number) for number in numbers]
    threads = [threading.Thread(target=client.work, args=(told["begin"],)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    failures = [failure for client in clients for failure in client.failures]
    winners = [-1] * max(max(client.winners, default=-1) + 1 for client in clients)
    for client in clients:
        for version, number in client.winners.items():
            if winners[version] >= 0:
                failures.append("two clients were told that they had stored the same version")
            winners[version] = number
    return {
        "seconds": max(client.ended for client in clients) if turn.streams else turn.seconds,
        "appends": Latencies.sum_of(client.appends for client in clients).packed(),
        "others": Latencies.sum_of(client.others for client in clients).packed(),
        "acknowledged": sum(client.acknowledged for client in clients),
        "conflicts": sum(client.conflicts for client in clients),
        "failures": len(failures),
        "failure": failures[0] if failures else "",
        "load_cpu_seconds": usage.ru_utime + usage.ru_stime,
        "written": [(client.filled, client.version) for client in clients],
        "winners": winners,
    }


if __name__ == "__main__":
    print(json.dumps(_work(json.load(sys.stdin))))
