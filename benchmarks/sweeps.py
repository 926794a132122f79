"""What the charts show: appends and reads against the number of clients, and against the size of the log.

The stores are those that read and append by the load in C: this server and Redis.
"""

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks import turns
from benchmarks.comparison import Size
from benchmarks.jobs import JOBS, STREAM_EVENTS, Job
from benchmarks.processes import anonymous_bytes
from benchmarks.stores import Running, Store
from benchmarks.stores.eventflowdb import EventflowDB
from benchmarks.turns import Figure

_APPEND = next(job for job in JOBS if job.name == "append64")
_READ = next(job for job in JOBS if job.name == "read")
_OPEN = """
import sys, time
from pathlib import Path
from eventflowdb.storage.lmdb_store import LmdbStore
began = time.perf_counter()
store = LmdbStore.open(Path(sys.argv[1]))
print(time.perf_counter() - began)
store.close()
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """Medians of a job's rounds."""

    per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class ClientsPoint:
    """A store with so many clients."""

    store: str
    clients: int
    append: Pace
    read: Pace


@dataclass(frozen=True, slots=True)
class SizePoint:
    """A store with so many events."""

    store: str
    events: int
    append: Pace | None
    """None: an empty store, which was only started."""
    read: Pace | None
    anonymous_mib: float
    """After the work."""
    disk_mib: float
    start_seconds: float
    """From the start of its process until PING is answered; what it holds is in the page cache."""
    open_ms: float | None
    """Of opening the database and nothing else; None where there is no such step."""


@dataclass(slots=True)
class Sweeps:
    """All of it."""

    clients: list[ClientsPoint] = field(default_factory=list)
    sizes: list[SizePoint] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    """Of the stores."""

    def packed(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)


@dataclass(slots=True)
class _Subject:
    """A store that is started, stopped and started again on the same database."""

    store: Store
    folder: Path
    running: Running
    context: ExitStack
    start_seconds: float = 0.0

    @classmethod
    def of(cls, store: Store, folder: Path) -> "_Subject":
        folder.mkdir()
        began = time.perf_counter()
        context = ExitStack()
        running = context.enter_context(store.running(folder))
        return cls(store, folder, running, context, time.perf_counter() - began)

    def restart(self) -> float | None:
        """Stop it, time the opening of its database by itself, and start it; gives that time in ms."""
        self.context.close()
        open_ms = self._open_ms()
        self.context = ExitStack()
        began = time.perf_counter()
        self.running = self.context.enter_context(self.store.running(self.folder))
        self.start_seconds = time.perf_counter() - began
        return open_ms

    def anonymous_mib(self) -> float:
        return anonymous_bytes(self.running.pid) / 2**20 if self.running.pid else 0.0

    def disk_mib(self) -> float:
        return sum(path.stat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file()) / 2**20

    def _open_ms(self) -> float | None:
        if not isinstance(self.store, EventflowDB):
            return None
        python = self.store.twistd.with_name("python")
        command = [str(python), "-c", _OPEN, str(self.folder / "data")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=self.folder)
        return 1000 * float(done.stdout)


def sweep(stores: Sequence[Store], folder: Path, size: Size, clients: Sequence[int], sizes: Sequence[int]) -> Sweeps:
    """Both sweeps; the stores work in turns, one of them at a time."""
    sweeps = Sweeps()
    present = [store for store in stores if not store.missing()]
    with _started(present, folder, "clients") as subjects:
        sweeps.versions = {subject.store.name: subject.running.version for subject in subjects}
        _sweep_clients(sweeps, subjects, size, clients)
    with _started(present, folder, "sizes") as subjects:
        _sweep_sizes(sweeps, subjects, size, sizes)
    return sweeps


@contextmanager
def _started(stores: Sequence[Store], folder: Path, what: str) -> Iterator[list[_Subject]]:
    subjects: list[_Subject] = []
    try:
        for number, store in enumerate(stores):
            subjects.append(_Subject.of(store, folder / f"{what}-{number}"))
        yield subjects
    finally:
        for subject in subjects:
            subject.context.close()


def _sweep_clients(sweeps: Sweeps, subjects: list[_Subject], size: Size, clients: Sequence[int]) -> None:
    for subject in subjects:
        sweeps.problems += turns.fill(subject.store, subject.running, 0, size.loaded_streams)
    for count in clients:
        jobs = [replace(job, clients=count, title=f"{job.kind}, {count} clients") for job in (_APPEND, _READ)]
        for subject, (append, read) in _paces(sweeps, subjects, size, jobs, size.loaded_streams):
            sweeps.clients.append(ClientsPoint(subject.store.name, count, append, read))


def _sweep_sizes(sweeps: Sweeps, subjects: list[_Subject], size: Size, sizes: Sequence[int]) -> None:
    for subject in subjects:
        memory, disk = subject.anonymous_mib(), subject.disk_mib()
        empty = SizePoint(subject.store.name, 0, None, None, memory, disk, subject.start_seconds, None)
        sweeps.sizes.append(empty)
    made = 0
    for events in sizes:
        streams = max(1, events // STREAM_EVENTS)
        for subject in subjects:
            sweeps.problems += turns.fill(subject.store, subject.running, made, streams - made)
        made = streams
        jobs = [replace(job, title=f"{job.kind}, {events} events") for job in (_APPEND, _READ)]
        for subject, (append, read) in _paces(sweeps, subjects, size, jobs, streams):
            name, memory, disk = subject.store.name, subject.anonymous_mib(), subject.disk_mib()
            open_ms = subject.restart()
            point = SizePoint(name, events, append, read, memory, disk, subject.start_seconds, open_ms)
            sweeps.sizes.append(point)


def _paces(
    sweeps: Sweeps, subjects: list[_Subject], size: Size, jobs: Sequence[Job], loaded_streams: int
) -> list[tuple[_Subject, tuple[Pace, Pace]]]:
    """Of an append and a read, turn by turn."""
    figures: dict[tuple[int, str], list[Figure]] = {}
    for _ in range(size.rounds):
        for job in jobs:
            for place, subject in enumerate(subjects):
                figure = turns.take(subject.running, job, size.pace, loaded_streams)
                figures.setdefault((place, job.name), []).append(figure)
                sweeps.problems += [f"{subject.store.name}, {job.title}: {problem}" for problem in figure.problems]
                print(f"  {job.title:34} {subject.store.name:28} {figure.per_second:12,.0f} /s", flush=True)
    append, read = jobs
    return [
        (subject, (_median(figures[place, append.name]), _median(figures[place, read.name])))
        for place, subject in enumerate(subjects)
    ]


def _median(figures: list[Figure]) -> Pace:
    def middle(value: Callable[[Figure], float]) -> float:
        return statistics.median(value(figure) for figure in figures)

    return Pace(
        middle(lambda figure: figure.per_second),
        middle(lambda figure: figure.p50_ms),
        middle(lambda figure: figure.p99_ms),
    )
