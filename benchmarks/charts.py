"""The charts: throughput and latency against the number of clients, and against the size of the log."""

import importlib
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import in_words
from benchmarks.sweeps import ClientsPoint, SizePoint, Sweeps

CLIENTS_CHART = "clients.png"
SIZES_CHART = "log-size.png"
_COLOURS = ("#1f6fb4", "#c8442e", "#3a9a55", "#8a5fb0", "#b0803a")
_MARKERS = ("o", "s", "^", "D", "v")
_CAPTION_CHARACTERS = 150


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a panel."""

    label: str
    points: list[tuple[float, float]]
    store: int
    """Which gives it its colour."""
    is_dashed: bool = False


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    y_label: str
    lines: list[_Line]
    is_logarithmic: bool = False


def draw(sweeps: Sweeps, machine: dict[str, str], folder: Path) -> None:
    """Write both charts; SystemExit says what to install."""
    versions = ", ".join(f"{name} {version}" for name, version in sweeps.versions.items())
    caption = f"{versions}; {in_words(machine)}"
    clients = sorted({point.clients for point in sweeps.clients})
    _draw(_clients_panels(sweeps.clients), "clients", clients, caption, folder / CLIENTS_CHART)
    sizes = sorted({point.events for point in sweeps.sizes if point.append})
    _draw(_sizes_panels(sweeps.sizes), "events in the log", sizes, caption, folder / SIZES_CHART)


def require() -> None:
    """SystemExit says what to install, before hours are measured for charts that nobody can draw."""
    try:
        importlib.import_module("matplotlib")
    except ImportError:
        raise SystemExit("the charts are drawn by matplotlib: pip install '.[bench]'") from None


def _clients_panels(points: Sequence[ClientsPoint]) -> list[_Panel]:
    stores = list(dict.fromkeys(point.store for point in points))

    def lines(kind: str, what: str, is_dashed: bool = False) -> list[_Line]:
        return [
            _Line(name, [(p.clients, _value(p, kind, what)) for p in points if p.store == name], n, is_dashed)
            for n, name in enumerate(stores)
        ]

    return [
        _Panel("Append of 1 event, flushed before the answer", "appends a second", lines("append", "per_second"), True),
        _Panel("Read of a random stream of 10 events", "reads a second", lines("read", "per_second"), True),
        *_latency_panels(lines),
    ]


def _sizes_panels(points: Sequence[SizePoint]) -> list[_Panel]:
    stores = list(dict.fromkeys(point.store for point in points))
    worked = [point for point in points if point.append]

    def lines(kind: str, what: str, is_dashed: bool = False) -> list[_Line]:
        return [
            _Line(name, [(p.events, _value(p, kind, what)) for p in worked if p.store == name], n, is_dashed)
            for n, name in enumerate(stores)
        ]

    return [
        _Panel("Append of 1 event, 64 clients", "appends a second", lines("append", "per_second")),
        _Panel("Read of a random stream of 10, 16 clients", "reads a second", lines("read", "per_second")),
        _Panel("Memory of the server", "RssAnon, MiB", lines("", "anonymous_mib"), is_logarithmic=True),
        *_latency_panels(lines),
        _Panel("Start, until PING is answered", "seconds", lines("", "start_seconds")),
    ]


def _latency_panels(lines: Callable[[str, str, bool], list[_Line]]) -> list[_Panel]:
    return [
        _Panel(
            f"Latency of {what}: p50, and p99 dashed",
            "latency, ms",
            [*lines(kind, "p50_ms", False), *lines(kind, "p99_ms", True)],
            is_logarithmic=True,
        )
        for what, kind in (("an append", "append"), ("a read", "read"))
    ]


def _value(point: ClientsPoint | SizePoint, kind: str, what: str) -> float:
    return float(getattr(getattr(point, kind) if kind else point, what))


def _draw(panels: list[_Panel], x_label: str, ticks: Sequence[int], caption: str, path: Path) -> None:
    require()
    importlib.import_module("matplotlib").use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    columns = len(panels) // 2
    figure, grid = pyplot.subplots(2, columns, figsize=(5.2 * columns, 8), layout="constrained")
    for axes, panel in zip(grid.flat, panels, strict=True):
        _draw_panel(axes, panel)
        axes.set_xscale("log")
        axes.set_xticks(ticks, [_short(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(x_label)
    names = grid.flat[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside upper center", ncols=5, frameon=False, fontsize=10)
    figure.supxlabel("\n".join(textwrap.wrap(caption, _CAPTION_CHARACTERS * columns // 3)), fontsize=8, color="#555555")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _draw_panel(axes: Any, panel: _Panel) -> None:
    for line in panel.lines:
        axes.plot(
            [x for x, _ in line.points],
            [y for _, y in line.points],
            label=line.label,
            color=_COLOURS[line.store % len(_COLOURS)],
            marker=_MARKERS[line.store % len(_MARKERS)],
            markersize=5,
            linestyle="--" if line.is_dashed else "-",
        )
    axes.set_title(panel.title, fontsize=11)
    axes.set_ylabel(panel.y_label)
    axes.grid(visible=True, which="major", color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    if panel.is_logarithmic:
        ticker: Any = importlib.import_module("matplotlib.ticker")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def _short(number: int) -> str:
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if number >= size and number % size == 0:
            return f"{number // size}{unit}"
    return str(number)
