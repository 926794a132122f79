"""One turn of a store: the load, what the server took meanwhile, and the check afterwards."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from benchmarks import checks
from benchmarks.jobs import LOADED_SEED, STREAM_EVENTS, Job, Outcome, Turn
from benchmarks.processes import cpu_seconds
from benchmarks.stores import Running, Store

_seeds: Iterator[int] = count(LOADED_SEED + 1)
_LOADING_CLIENTS = 16


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a turn is measured, and how long it has run before."""

    seconds: float
    warm_up: float


@dataclass(frozen=True, slots=True)
class Figure:
    """What a turn gave."""

    per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_us: float
    """Of each operation of the turn; 0 where the store has no process of its own."""
    conflicts: int
    problems: tuple[str, ...]


def take(running: Running, job: Job, pace: Pace, loaded_streams: int) -> Figure:
    """Let a store do a job for a time."""
    turn = Turn(job, pace.seconds, pace.warm_up, next(_seeds), loaded_streams, running.holdings.count())
    before = cpu_seconds(running.pid) if running.pid else 0.0
    outcome = running.run(turn)
    taken = cpu_seconds(running.pid) - before if running.pid else 0.0
    figured = outcome.figured(job)
    return Figure(
        per_second=outcome.per_second(job),
        p50_ms=figured.percentile_ms(50),
        p99_ms=figured.percentile_ms(99),
        server_cpu_us=_cpu_us(taken, outcome, pace),
        conflicts=outcome.conflicts,
        problems=tuple(checks.problems(running, turn, outcome)),
    )


def fill(store: Store, running: Running, first_stream: int, streams: int) -> list[str]:
    """Make streams to be read, without regard to time; gives what is wrong with them."""
    events = store.loading_events
    job = Job("fill", "streams to be read", "", "append", _LOADING_CLIENTS, events, STREAM_EVENTS)
    turn = Turn(job, 0.0, 0.0, LOADED_SEED, 0, running.holdings.count(), streams, first_stream)
    return checks.problems(running, turn, running.run(turn))


def _cpu_us(taken: float, outcome: Outcome, pace: Pace) -> float:
    """The process's time is that of the warm-up too: the operations of both are taken to come at one pace."""
    operations = outcome.all().operations * (pace.seconds + pace.warm_up) / pace.seconds
    return 1e6 * taken / operations if operations else 0.0
