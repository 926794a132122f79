"""The benchmarks in their short form: what they measure is right; how fast it is, is not asked here."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks.checks import problems
from benchmarks.jobs import JOBS, Outcome, Turn
from benchmarks.latencies import Latencies
from benchmarks.payload import Stored, event, stream_name
from benchmarks.stores import Running
from tests.system.installation import Installation

ROOT = Path(__file__).resolve().parents[2]
SEED = 7


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The READMEs of a checkout, with whatever figures they have."""
    (tmp_path / "benchmarks").mkdir()
    for name in ("README.md", "benchmarks/README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.system
def test_short_form_measures_checks_and_writes_everything(installation: Installation, checkout: Path) -> None:
    twistd = installation.python.with_name("twistd")
    folder, told_in = str(checkout), checkout / "all.json"
    words = ["all", "--short", "--folder", folder, "--write", folder, "--json", str(told_in)]
    words += ["--server", f"EventflowDB={twistd}", "--only", "Redis Streams"]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(checkout / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Every check passed" in ran.stdout
    told = json.loads(told_in.read_text())
    assert told["charts"]["problems"] == []
    names = [store["name"] for store in told["peers"]["stores"]]
    assert names == ["EventflowDB", "Redis Streams"] if shutil.which("redis-server") else ["EventflowDB"]
    for store in told["peers"]["stores"]:
        assert list(store["figures"]) == [job.name for job in JOBS]
        assert all(figure["per_second"] > 0 for figures in store["figures"].values() for figure in figures)
    figures = (checkout / "benchmarks/README.md").read_text(encoding="utf-8")
    for name in names:
        # Five tables of the peers, or four without Redis; the charts' two have a row for each point.
        assert figures.count(f"\n| {name} ") >= 4 + 4
    assert told["machine"]["processor"] in (checkout / "README.md").read_text(encoding="utf-8")
    for chart in ("clients.png", "log-size.png"):
        assert (checkout / "benchmarks" / chart).read_bytes().startswith(b"\x89PNG")
    assert not list(checkout.glob("eventflowdb-benchmark-*"))


def test_a_store_that_is_not_there_is_refused_by_name() -> None:
    words = ["peers", "--short", "--only", "Redis Streams,redis"]
    ran = subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "--only: there is no store 'redis'; the others are 'Redis Streams', 'NATS JetStream'" in ran.stderr


@dataclass(frozen=True)
class Holding:
    """A store that holds these events."""

    streams: dict[str, list[Stored]]

    def count(self) -> int:
        return sum(map(len, self.streams.values()))

    def read(self, stream: str, limit: int) -> list[Stored]:
        return self.streams.get(stream, [])[:limit]


def found(streams: dict[str, list[Stored]], turn: Turn, outcome: Outcome) -> list[str]:
    """What the checks say of a store that holds these events."""

    def run(_turn: Turn) -> Outcome:
        return outcome

    return problems(Running(None, "1", run, Holding(streams)), turn, outcome)


def turn_of(name: str) -> Turn:
    job = next(job for job in JOBS if job.name == name)
    return Turn(replace(job, clients=2), 1, 0, SEED, 0, 0)


def outcome_of(written: tuple[tuple[int, int], ...], winners: tuple[int, ...] = ()) -> Outcome:
    acknowledged = len(winners) or sum(10 * filled + version for filled, version in written)
    return Outcome(1, Latencies(), Latencies(), acknowledged, 0, 0, "", 0, written, winners)


def appended() -> tuple[dict[str, list[Stored]], Outcome]:
    """Two clients: the one filled a stream and put three events into its next, the other put four into its first."""
    streams = {
        stream_name(SEED, index): [event(stream_name(SEED, index), version, client) for version in range(events)]
        for index, client, events in ((0, 0, 10), (2, 0, 3), (1, 1, 4))
    }
    return streams, outcome_of(((1, 3), (0, 4)))


def test_store_that_holds_what_it_acknowledged_passes() -> None:
    streams, outcome = appended()
    assert found(streams, turn_of("append64"), outcome) == []


def test_lost_doubled_and_changed_events_are_found() -> None:
    streams, outcome = appended()
    stream = stream_name(SEED, 2)
    for wrong in (
        streams[stream][:-1],
        [*streams[stream], streams[stream][-1]],
        [streams[stream][0], *streams[stream][2:], streams[stream][1]],
        [*streams[stream][:-1], streams[stream][-1]._replace(data="{}")],
    ):
        assert found({**streams, stream: wrong}, turn_of("append64"), outcome)


def test_event_of_who_was_not_told_that_it_won_is_found() -> None:
    stream = stream_name(SEED, 0)
    outcome = outcome_of(((0, 0), (0, 0)), winners=(0, 1, 0))
    right = [event(stream, version, client) for version, client in enumerate((0, 1, 0))]
    wrong = [event(stream, version, client) for version, client in enumerate((0, 0, 0))]
    assert found({stream: right}, turn_of("conflict"), outcome) == []
    assert found({stream: wrong}, turn_of("conflict"), outcome)


def test_version_that_nobody_won_is_found() -> None:
    stream = stream_name(SEED, 0)
    outcome = outcome_of(((0, 0), (0, 0)), winners=(0, -1, 0))
    stored = [event(stream, version, 0) for version in range(3)]
    assert found({stream: stored}, turn_of("conflict"), outcome)
