"""The figures that have floors: this server by itself, workload by workload, with redis-benchmark as the load."""

import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import cold, conditions, consumers, crowd, reading, servers, workloads
from eventflowdb.storage.folder import file_system_of

MILLION = 1_000_000
STREAMS = 2000
"""So few that the server keeps what it answered of each."""
STREAMS_MANY = 10_000
"""Four times as many as it can keep."""


def measure(parent: Path, rounds: int) -> None:
    """Run every workload in every round, in a folder that is removed afterwards, and print medians."""
    with tempfile.TemporaryDirectory(dir=parent, prefix="eventflowdb-benchmark-") as name:
        folder = Path(name)
        print(f"{platform.platform()}, {os.cpu_count()} processors, {file_system_of(folder)}; fsync before each answer")
        with servers.redis(folder / "redis") as redis_port, servers.eventflowdb(folder / "data") as (port, pid):
            _measure_small(port, redis_port, rounds)
            _measure_large(port, pid, rounds)
        conditions.measure(folder / "conditions", MILLION, rounds, 12_800)
        reading.measure(folder / "conditions", MILLION, rounds)
        crowd.measure(folder / "conditions", MILLION // 2, rounds)
        consumers.measure(folder / "conditions", rounds)
        cold.measure(folder / "conditions", MILLION // 2, rounds)


def _measure_small(port: int, redis_port: int, rounds: int) -> None:
    """The figures of a small database; PING beside redis-server's, turn by turn."""
    workloads.load_streams(port, STREAMS_MANY, 10)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(workloads.ping(port, 50, 200_000))
        theirs.append(workloads.ping(redis_port, 50, 200_000))
    _print("PING, 50 clients", ours, "/s")
    _print("the same, redis-server", theirs, "/s")
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    print(f"{'ratio, pair by pair':44} {statistics.median(ratios):10.2f}")
    _print("ADD of 1 event, 1 client", _repeat(rounds, lambda: workloads.append(port, 1, 4000, 1)), "events/s")
    _print("ADD of 1 event, 64 clients", _repeat(rounds, lambda: workloads.append(port, 64, 20_000, 1)), "events/s")
    _print("ADD of 100 events, 8 clients", _repeat(rounds, lambda: workloads.append(port, 8, 2000, 100)), "events/s")
    _print_reads(port, rounds)


def _measure_large(port: int, pid: int, rounds: int) -> None:
    """The same reads and appends with a million events, and the memory they take."""
    while workloads.event_count(port) < MILLION:
        workloads.append(port, 8, 1000, 100)
    print(f"with {workloads.event_count(port)} events:")
    _print_reads(port, rounds)
    _print("ADD of 1 event, 1 client", _repeat(rounds, lambda: workloads.append(port, 1, 4000, 1)), "events/s")
    _print("ADD of 1 event, 64 clients", _repeat(rounds, lambda: workloads.append(port, 64, 20_000, 1)), "events/s")
    _measure_verify(port, rounds)
    print(f"{'RssAnon':44} {servers.anonymous_bytes(pid) / 2**20:10.0f} MiB")


def _measure_verify(port: int, rounds: int) -> None:
    """How fast a check is, and what others notice of it."""
    _print("VERIFY", _repeat(rounds, lambda: workloads.verify(port)), "events/s")
    beside: list[float] = []

    def read() -> None:
        beside.append(workloads.read_streams(port, 16, 20_000, STREAMS))

    for _ in range(rounds):
        workloads.verify(port, read)
    _print("GET of 10 events, 16 clients, beside VERIFY", beside, "/s")


def _print_reads(port: int, rounds: int) -> None:
    streams = _repeat(rounds, lambda: workloads.read_streams(port, 16, 50_000, STREAMS))
    _print("GET of 10 events, 16 clients", streams, "/s")
    streams = _repeat(rounds, lambda: workloads.read_streams(port, 16, 50_000, STREAMS_MANY))
    _print(f"the same, of {STREAMS_MANY} streams", streams, "/s")
    _print("GETALL in pages of 1,000, 1 client", _repeat(rounds, lambda: workloads.read_log(port, 3, 1000)), "events/s")


def _repeat(rounds: int, measure: Callable[[], float]) -> list[float]:
    return [measure() for _ in range(rounds)]


def _print(what: str, figures: list[float], unit: str) -> None:
    low, high = min(figures), max(figures)
    print(f"{what:44} {statistics.median(figures):10,.0f} {unit}  ({low:,.0f} to {high:,.0f})", flush=True)
