"""The sections of the two READMEs that are figures: between `<!-- name -->` and `<!-- end of name -->`."""

import textwrap
from pathlib import Path

from benchmarks.comparison import Comparison
from benchmarks.stores.eventflowdb import OURS
from benchmarks.stores.redis_streams import REDIS


def write_section(path: Path, name: str, text: str) -> None:
    """Replace a section; SystemExit where the file has no such section."""
    old = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    if old.count(begin) != 1 or old.count(end) != 1:
        raise SystemExit(f"{path} has no section between {begin.strip()} and {end.strip()}")
    before, _, rest = old.partition(begin)
    after = rest.partition(end)[2]
    path.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", encoding="utf-8")


def summary(comparison: Comparison, machine: dict[str, str]) -> str:
    """The one sentence of the top-level README: as it is, also where it is no praise."""
    ours = next((store for store in comparison.stores if store.name == OURS), None)
    redis = next((store for store in comparison.stores if store.name == REDIS), None)
    if not ours or not redis:
        return f"Measured on {machine['date']}; {OURS} and {REDIS} were not both there to be compared."

    def figure(job: str) -> str:
        ratio = comparison.ratio(ours, redis, job)
        return f"{ours.median(job, 'per_second') or 0:,.0f} a second ({ratio or 0:.2f} of Redis Streams)"

    return textwrap.fill(
        f"With its defaults, everything flushed before it is answered, on {machine['processor']} "
        f"({machine['date'].split()[0]}): appends of 64 clients {figure('append64')}, "
        f"of one client {figure('append1')}; reads of a stream of ten events {figure('read')}; "
        f"events of the log in pages {figure('log')}.",
        120,
    )
