"""Measure this server beside others, on a machine of your own: `python -m benchmarks all --write` is all of it."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import charts, floors, readme
from benchmarks.comparison import Comparison, Size, compare
from benchmarks.machine import describe, in_words
from benchmarks.stores import Store
from benchmarks.stores.eventflowdb import OURS, EventflowDB
from benchmarks.stores.jetstream import JetStream
from benchmarks.stores.message_db import MessageDb
from benchmarks.stores.redis_streams import REDIS, RedisStreams
from benchmarks.stores.sqlite import EventsourcingSQLite
from benchmarks.stores.umadb import UmaDB
from benchmarks.sweeps import Sweeps, sweep
from benchmarks.tables import comparison_report, sweeps_report
from benchmarks.turns import Pace

_ROOT = Path(__file__).resolve().parent.parent
_COMMANDS = {
    "peers": "a table: this server beside the stores that are installed",
    "charts": "charts: throughput and latency against clients and against the size of the log",
    "all": "both",
    "floors": "this server by itself, with the figures that have floors (wants redis-benchmark)",
}


def main() -> int:
    """Measure; 1 where a check has failed."""
    given = _options().parse_args()
    if given.command == "floors":
        floors.measure(given.folder, given.rounds)
        return 0
    if given.command in {"charts", "all"}:
        charts.require()
    size = Size(Pace(0.2, 0.05), 1, 50) if given.short else Size(Pace(given.seconds, 0.5), given.rounds, 2000)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="eventflowdb-benchmark-") as name:
        folder = Path(name)
        # PostgreSQL, as a user of its own, has to get to its folder.
        folder.chmod(0o711)
        report = _Report(describe(folder), given.write, given.json)
        stores = _stores(given)
        if given.command in {"peers", "all"}:
            report.tell_peers(compare(stores, folder, size))
        if given.command in {"charts", "all"}:
            drawn = [store for store in stores if isinstance(store, EventflowDB) or store.name == REDIS]
            clients, sizes = ((1, 4), (500,)) if given.short else (given.clients, given.sizes)
            report.tell_charts(sweep(drawn, folder, size, clients, sizes))
    return 1 if report.problems else 0


class _Report:
    """What was found, told as soon as it is known: printed, and written where that was asked for."""

    def __init__(self, machine: dict[str, str], root: Path | None, json_file: Path | None) -> None:
        self.problems: list[str] = []
        self._machine, self._root, self._json_file = machine, root, json_file
        self._packed: dict[str, object] = {"machine": machine, "arguments": sys.argv[1:]}
        print(in_words(machine), flush=True)

    def tell_peers(self, comparison: Comparison) -> None:
        """The tables of the stores, and the sentence of the README."""
        self._tell("peers", comparison_report(comparison, self._machine), comparison.packed(), comparison.problems)
        if self._root:
            readme.write_section(self._root / "README.md", "speed", readme.summary(comparison, self._machine))

    def tell_charts(self, sweeps: Sweeps) -> None:
        """The charts and their figures."""
        if self._root:
            charts.draw(sweeps, self._machine, self._root / "benchmarks")
        self._tell("charts", sweeps_report(sweeps, self._machine), sweeps.packed(), sweeps.problems)

    def _tell(self, section: str, text: str, packed: dict[str, object], problems: list[str]) -> None:
        self.problems += problems
        self._packed[section] = packed
        print(f"\n{text}\n", flush=True)
        if self._root:
            readme.write_section(self._root / "benchmarks/README.md", section, text)
        if self._json_file:
            self._json_file.write_text(json.dumps(self._packed, indent=1), encoding="utf-8")


def _stores(given: argparse.Namespace) -> list[Store]:
    servers = [EventflowDB.named(text) for text in given.server] or [EventflowDB()]
    others: list[Store] = [
        RedisStreams(),
        JetStream(given.nats_server),
        MessageDb(given.message_db),
        UmaDB(),
        EventsourcingSQLite(),
    ]
    if given.only is None:
        return [*servers, *others]
    names = [store.name for store in others]
    for name in given.only:
        if name not in names:
            raise SystemExit(f"--only: there is no store {name!r}; the others are {', '.join(map(repr, names))}")
    return [*servers, *[store for store in others if store.name in given.only]]


def _options() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    told = "\n".join(f"  {name:8} {what}" for name, what in _COMMANDS.items())
    options = argparse.ArgumentParser(
        prog="python -m benchmarks", description=f"{__doc__}\n\n{told}", formatter_class=formatter
    )
    options.add_argument("command", choices=_COMMANDS)
    options.add_argument("--rounds", type=int, default=3, help="so many, of which medians are told (3)")
    options.add_argument("--seconds", type=float, default=3.0, help="of each turn (3)")
    options.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on the disk to measure (/var/tmp)")
    options.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="'NAME=[TWISTD] [OPTION ...]'",
        help="a form of this server: another installation's twistd, options; may be repeated "
        f"(default: '{OURS}=', e.g. another one: 'large=--map-size 4TiB')",
    )
    options.add_argument("--only", type=lambda names: names.split(","), help="of the others only these, comma between")
    options.add_argument("--nats-server", metavar="PATH", help="the program, where it is not in PATH")
    options.add_argument("--message-db", type=Path, metavar="FOLDER", help="what npm has installed")
    options.add_argument("--clients", type=_numbers, default=(1, 4, 16, 64, 256), help="of the charts (1,4,16,64,256)")
    options.add_argument(
        "--sizes", type=_numbers, default=(10_000, 100_000, 1_000_000), help="of the charts (10000,100000,1000000)"
    )
    options.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    options.add_argument(
        "--write",
        type=Path,
        nargs="?",
        const=_ROOT,
        metavar="ROOT",
        help="write the sections of README.md and benchmarks/README.md, and the charts, of this checkout or another",
    )
    options.add_argument("--short", action="store_true", help="a few seconds: for the checks, not the figures")
    return options


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
