"""Figures as markdown tables, aligned so that they read in a terminal too."""

from collections.abc import Callable, Sequence

from benchmarks.comparison import Compared, Comparison
from benchmarks.jobs import JOBS, Job
from benchmarks.machine import in_words
from benchmarks.stores.redis_streams import REDIS
from benchmarks.sweeps import SizePoint, Sweeps


def table(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head; columns of figures are aligned to the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    are_figures = [all(cell[0].isdigit() or cell == "-" for cell in column[1:]) for column in columns]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, are_figures, strict=True)
        padded = [cell.rjust(width) if is_figure else cell.ljust(width) for cell, width, is_figure in cells]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - is_figure) + ":" * is_figure for width, is_figure in zip(widths, are_figures, strict=True)]
    return "\n".join([line(rows[0]), f"| {' | '.join(rule)} |", *[line(row) for row in rows[1:]]])


def comparison_report(comparison: Comparison, machine: dict[str, str]) -> str:
    """All tables of the peers."""
    rounds = f"the median of so many rounds: {comparison.rounds}, of {comparison.seconds:g} s"
    redis = next((store for store in comparison.stores if store.name == REDIS), None)
    parts = [
        in_words(machine) + ".",
        _stores_table(comparison),
        f"A second, {rounds}:",
        _figures_table(comparison, lambda store, job: _whole(store.median(job.name, "per_second"))),
        "Latency in ms, the median and the 99th percentile; with many clients it is the queue that is seen:",
        _figures_table(comparison, _latency),
    ]
    if redis:
        parts += [
            f"Times the figure of {REDIS} of the same round:",
            _figures_table(comparison, lambda store, job: _ratio(comparison.ratio(store, redis, job.name))),
        ]
    parts += [
        "Processor time of the server in us an operation (a page, an append of 100 events are one):",
        _figures_table(comparison, lambda store, job: _whole(store.median(job.name, "server_cpu_us") or None)),
    ]
    parts += [f"Not measured, since not installed: {name} ({how})." for name, how in comparison.missing.items()]
    if not comparison.problems:
        parts.append("Every check passed: what was acknowledged is what the stores hold.")
    return "\n\n".join([*parts, *[f"**CHECK FAILED**: {problem}" for problem in comparison.problems]])


def _stores_table(comparison: Comparison) -> str:
    rows = [["store", "version", "durable", "load", "RssAnon at the end"]]
    for store in comparison.stores:
        memory = f"{store.anonymous_mib:,.0f} MiB" if store.anonymous_mib else "-"
        rows.append([store.name, store.version, store.durability, store.load, memory])
    return table(rows)


def _figures_table(comparison: Comparison, cell: Callable[[Compared, Job], str]) -> str:
    head = ["store", "durable", "load", *[job.head for job in JOBS]]
    rows = [[store.name, "yes", store.load, *[cell(store, job) for job in JOBS]] for store in comparison.stores]
    return table([head, *rows])


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _latency(store: Compared, job: Job) -> str:
    middle, high = store.median(job.name, "p50_ms"), store.median(job.name, "p99_ms")
    return "-" if middle is None or high is None else f"{middle:.2f} / {high:.2f}"


def sweeps_report(sweeps: Sweeps, machine: dict[str, str]) -> str:
    """What the charts show, in figures."""
    clients = [["append and read of", "clients", *_PACE_HEADS]]
    for point in sweeps.clients:
        cells = [_pace(point.append.per_second, point.append.p50_ms, point.append.p99_ms)]
        cells += [_pace(point.read.per_second, point.read.p50_ms, point.read.p99_ms)]
        clients.append([point.store, str(point.clients), *cells[0], *cells[1]])
    sizes = [["store", "events", *_PACE_HEADS, "RssAnon", "on disk", "start to PONG", "LmdbStore.open"]]
    sizes += [_size_row(point) for point in sweeps.sizes]
    versions = ", ".join(f"{name} {version}" for name, version in sweeps.versions.items())
    parts = [f"{versions}; {in_words(machine)}.", "Against the number of clients:", table(clients)]
    parts += ["Against the size of the log (appends of 64 clients, reads of 16):", table(sizes)]
    return "\n\n".join([*parts, *[f"**CHECK FAILED**: {problem}" for problem in sweeps.problems]])


_PACE_HEADS = ("appends/s", "p50 / p99 ms", "reads/s", "p50 / p99 ms")


def _pace(per_second: float, p50_ms: float, p99_ms: float) -> tuple[str, str]:
    return f"{per_second:,.0f}", f"{p50_ms:.2f} / {p99_ms:.2f}"


def _size_row(point: SizePoint) -> list[str]:
    figures: list[str] = ["-"] * len(_PACE_HEADS)
    if point.append and point.read:
        figures = [
            *_pace(point.append.per_second, point.append.p50_ms, point.append.p99_ms),
            *_pace(point.read.per_second, point.read.p50_ms, point.read.p99_ms),
        ]
    opened = "-" if point.open_ms is None else f"{point.open_ms:.1f} ms"
    memory, disk = f"{point.anonymous_mib:,.0f} MiB", f"{point.disk_mib:,.0f} MiB"
    return [point.store, f"{point.events:,}", *figures, memory, disk, f"{point.start_seconds:.2f} s", opened]
