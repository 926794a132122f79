"""The load in C: compiled when it is first used, into the cache folder of the user.

A client in Python takes more of the processor than a fast server, and would measure itself.
"""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.jobs import Outcome, Turn
from benchmarks.latencies import Latencies

_SOURCES = Path(__file__).parent
_FLAGS = ("-std=gnu11", "-O2", "-D_GNU_SOURCE")
_EXTRA_SECONDS_MAX = 900


def compiled() -> Path:
    """The program; its name follows from its sources."""
    sources = sorted((*_SOURCES.glob("*.c"), *_SOURCES.glob("*.h")))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventflowdb-benchmarks"
    program = cache / f"load-{digest}"
    if not program.exists():
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise SystemExit("the load is in C, and there is no compiler; Debian has it in gcc and libc6-dev")
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        files = [str(path) for path in sources if path.suffix == ".c"]
        subprocess.run([compiler, *_FLAGS, "-o", str(unfinished), *files], check=True)
        unfinished.rename(program)
    return program


def run(protocol: str, port: int, turn: Turn, options: dict[str, str]) -> Outcome:
    """Give a server its turn; SystemExit where the load gave up."""
    named = {"protocol": protocol, "port": str(port), **options, **turn.options()}
    words = [word for name, value in named.items() for word in (f"--{name}", value)]
    limit = turn.seconds + turn.warm_up + _EXTRA_SECONDS_MAX
    done = subprocess.run([compiled(), *words], check=False, capture_output=True, text=True, timeout=limit)
    if done.returncode != 0:
        raise SystemExit(f"{protocol}, {turn.job.title}: {done.stderr.strip()}")
    return outcome_of(json.loads(done.stdout))


def outcome_of(told: dict[str, Any]) -> Outcome:
    """From the JSON that a load prints."""

    def latencies(name: str) -> Latencies:
        return Latencies.unpacked(told[name]["events"], [(value, count) for value, count in told[name]["latencies_ns"]])

    return Outcome(
        seconds=told["seconds"],
        appends=latencies("appends"),
        others=latencies("others"),
        acknowledged=told["acknowledged"],
        conflicts=told["conflicts"],
        failures=told["failures"],
        failure=told["failure"],
        load_cpu_seconds=told["load_cpu_seconds"],
        written=tuple((turns, version) for turns, version in told["written"]),
        winners=tuple(told["winners"]),
    )
