"""The work that every store is given, and what comes out of a turn of it."""

from dataclasses import asdict, dataclass

from benchmarks.latencies import Latencies

LOADED_SEED = 0
"""Of the streams that are there before the work begins, and are read."""
STREAM_EVENTS = 10
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of work; its clients have one request in flight each."""

    name: str
    title: str
    head: str
    """Of its column, short; the README says what is behind it."""
    kind: str
    """What load/main.c calls it: ping, append, read, log, mixed or conflict."""
    clients: int
    events: int = 1
    """Of an append."""
    stream_events: int = STREAM_EVENTS
    """So many events, and a client begins another stream."""
    counts_events: bool = False
    """Its figure is events a second, not requests."""


JOBS = (
    Job("ping", "PING, 64 clients", "PING", "ping", 64),
    Job("log", "read the log, pages of 1,000", "log, events", "log", 1, counts_events=True),
    Job("read", "read 10 events, 16 clients", "read", "read", 16),
    Job("append1", "append 1 event, 1 client", "append, 1 client", "append", 1),
    Job("append64", "append 1 event, 64 clients", "append, 64 clients", "append", 64),
    Job(
        "append100", "append 100 events, 8 clients", "append of 100, events", "append", 8, 100, 100, counts_events=True
    ),
    Job("mixed", "80 reads, 20 appends, 32 clients", "mixed", "mixed", 32),
    Job("conflict", "one stream, 16 clients", "conflict", "conflict", 16),
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of a job: how long, on what streams."""

    job: Job
    seconds: float
    warm_up: float
    seed: int
    """Of the streams that it writes."""
    loaded_streams: int
    log_events: int
    """What the store holds when it begins."""
    streams: int = 0
    """Write so many streams, however long it takes, in place of running for a time."""
    first_stream: int = 0

    def options(self) -> dict[str, str]:
        """For load/main.c."""
        return {
            "job": self.job.kind,
            "clients": str(self.job.clients),
            "events": str(self.job.events),
            "stream-events": str(self.job.stream_events),
            "page": str(PAGE),
            "seconds": str(self.seconds),
            "warm-up": str(self.warm_up),
            "seed": str(self.seed),
            "loaded-seed": str(LOADED_SEED),
            "loaded-streams": str(self.loaded_streams),
            "log-events": str(self.log_events),
            "streams": str(self.streams),
            "first-stream": str(self.first_stream),
        }

    def packed(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the load says of a turn."""

    seconds: float
    appends: Latencies
    others: Latencies
    """Reads, pages and PINGs."""
    acknowledged: int
    """Events, those of the warm-up too."""
    conflicts: int
    failures: int
    failure: str
    load_cpu_seconds: float
    written: tuple[tuple[int, int], ...]
    """Of each client: how many streams it filled, and how many events are in the one that it was at."""
    winners: tuple[int, ...]
    """Of each version of the stream that all wrote: the client that was told so."""

    def all(self) -> Latencies:
        """Of every operation."""
        return Latencies.sum_of((self.appends, self.others))

    def figured(self, job: Job) -> Latencies:
        """What the job's figure is about: with conflicts only what was stored."""
        return self.appends if job.kind == "conflict" else self.all()

    def per_second(self, job: Job) -> float:
        """The job's figure."""
        figured = self.figured(job)
        return (figured.events if job.counts_events else figured.operations) / self.seconds
