"""The peers: the same work for every store that is installed, turn by turn, round after round."""

import statistics
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import turns
from benchmarks.jobs import JOBS
from benchmarks.processes import anonymous_bytes
from benchmarks.stores import Running, Store
from benchmarks.turns import Figure, Pace


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    pace: Pace
    rounds: int
    loaded_streams: int


@dataclass(slots=True)
class Compared:
    """A store and its figures, job by job and round by round."""

    name: str
    version: str
    durability: str
    load: str
    figures: dict[str, list[Figure]] = field(default_factory=dict)
    anonymous_mib: float = 0.0

    def median(self, job: str, what: str) -> float | None:
        """The median of the rounds; None where the store has not done the job."""
        found = [float(getattr(figure, what)) for figure in self.figures.get(job, [])]
        return statistics.median(found) if found else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it."""

    rounds: int
    seconds: float
    stores: list[Compared]
    missing: dict[str, str]
    problems: list[str]

    def packed(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)

    def ratio(self, store: Compared, other: Compared, job: str) -> float | None:
        """How many times the other's figure, the median of the rounds' ratios."""
        pairs = zip(store.figures.get(job, []), other.figures.get(job, []), strict=False)
        ratios = [ours.per_second / theirs.per_second for ours, theirs in pairs if theirs.per_second]
        return statistics.median(ratios) if ratios else None


def compare(stores: Sequence[Store], folder: Path, size: Size) -> Comparison:
    """Start all that are there, each in a folder of its own, and let them work in turns."""
    missing = {store.name: how for store in stores if (how := store.missing())}
    problems: list[str] = []
    compared: list[tuple[Store, Running, Compared]] = []
    with ExitStack() as open_:
        for number, store in enumerate(stores):
            if store.name in missing:
                continue
            own = folder / f"store-{number}"
            own.mkdir()
            running = open_.enter_context(store.running(own))
            compared.append((store, running, Compared(store.name, running.version, store.durability, store.load)))
            problems += _named(store, "loading", turns.fill(store, running, 0, size.loaded_streams))
        for number in range(size.rounds):
            print(f"round {number + 1} of {size.rounds}", flush=True)
            _play_round(compared, size, problems)
        for _, running, figures in compared:
            figures.anonymous_mib = anonymous_bytes(running.pid) / 2**20 if running.pid else 0.0
    return Comparison(size.rounds, size.pace.seconds, [one for _, _, one in compared], missing, problems)


def _play_round(compared: Iterable[tuple[Store, Running, Compared]], size: Size, problems: list[str]) -> None:
    for job in JOBS:
        for store, running, figures in compared:
            if job.kind == "ping" and running.pid is None:
                continue
            figure = turns.take(running, job, size.pace, size.loaded_streams)
            figures.figures.setdefault(job.name, []).append(figure)
            problems += _named(store, job.title, figure.problems)
            print(f"  {job.title:34} {store.name:28} {figure.per_second:12,.0f} /s", flush=True)


def _named(store: Store, what: str, problems: Iterable[str]) -> list[str]:
    return [f"{store.name}, {what}: {problem}" for problem in problems]
