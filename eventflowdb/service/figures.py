"""The figures of all processes as those of one server.

Theory of operation. Each process makes the sections of INFO as if it were alone. What counts clients and their commands
is added up over the fronts; what is a figure of the database, its commits and its consumers is the core's, which is the
default: a new line of INFO needs no rule here. Memory and time of the processor are added up over all processes.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import humanize

from eventflowdb.service.information import (
    command_facts,
    error_facts,
    latency_facts,
    memory_bytes,
    stats_facts,
)
from eventflowdb.service.questions import Fact, Facts, ProcessFigures
from eventflowdb.service.statistics import Statistics

CORE = "core"
_SUMMED = {
    "clients": ("connected_clients", "blocked_clients", "pubsub_clients", "monitor_clients"),
    "memory": (
        *("used_memory", "used_memory_rss", "used_memory_peak", "inflight_bytes"),
        *("read_cache_bytes", "max_read_cache_bytes", "read_cache_hits", "read_cache_misses"),
    ),
    "cpu": ("used_cpu_sys", "used_cpu_user"),
    "eventflow": ("subscriptions", "subscriptions_behind"),
}
_LARGEST = {"eventflow": ("subscriptions_lag_events_max",)}
_FRONTS_OWN = ("clients",)
"""What is no sum is the same in every front, and the core has none."""
_COUNTED = {
    "stats": stats_facts,
    "commandstats": command_facts,
    "errorstats": error_facts,
    "latencystats": latency_facts,
}
REQUIRED = ("clients", "memory", "cpu")
"""The sections that every process tells, whatever was asked for: the lines about processes are made of them."""
FRONT_SECTIONS = (*REQUIRED, "eventflow")
"""The sections to which fronts have anything to add."""


def figures_of(name: str, sections: Mapping[str, Facts], statistics: Statistics | None) -> ProcessFigures:
    """What this process tells; statistics: those of its clients' commands."""
    counted = statistics or Statistics()
    return ProcessFigures(
        name,
        os.getpid(),
        {title: dict(facts) for title, facts in sections.items()},
        {key: (one.calls, one.failed, one.seconds, one.seconds_max) for key, one in counted.commands.items()},
        dict(counted.errors),
        (counted.commands_processed, counted.connections_received, counted.connections_rejected),
    )


def figures_of_another(name: str, pid: int) -> ProcessFigures | None:
    """What the system tells of a process that cannot be asked; None if there is none any more."""
    try:
        anonymous, resident, peak = memory_bytes(str(pid))
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except (OSError, KeyError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    user, system = (int(fields[at]) / ticks for at in (11, 12))
    memory: dict[str, Fact] = {"used_memory": anonymous, "used_memory_rss": resident, "used_memory_peak": peak}
    cpu: dict[str, Fact] = {"used_cpu_sys": f"{system:.6f}", "used_cpu_user": f"{user:.6f}"}
    return ProcessFigures(name, pid, {"memory": memory, "cpu": cpu}, {}, {}, (0, 0, 0))


def merged(processes: Sequence[ProcessFigures], names: Collection[str]) -> dict[str, Facts]:
    """The sections of these names, of the server as a whole."""
    statistics = _merged_statistics(processes)
    sections: dict[str, Facts] = {}
    for name in names:
        count = _COUNTED.get(name)
        sections[name] = _section(name, processes) if count is None else count(statistics)
    return sections


def process_facts(processes: Sequence[ProcessFigures], missing: int) -> Facts:
    """A line for each process, and how many of them did not answer."""
    facts: dict[str, Fact] = {"processes": len(processes) + missing, "processes_silent": missing}
    for index, one in enumerate(sorted(processes, key=lambda one: one.name)):
        clients, cpu = one.sections.get("clients", {}), one.sections["cpu"]
        facts[f"process_{index}"] = (
            f"name={one.name},pid={one.pid},clients={clients.get('connected_clients', 0)},"
            f"commands={one.totals[0]},cpu_user={cpu['used_cpu_user']},cpu_sys={cpu['used_cpu_sys']},"
            f"memory={one.sections['memory']['used_memory']}"
        )
    return facts


def _section(name: str, processes: Sequence[ProcessFigures]) -> Facts:
    having = [one for one in processes if name in one.sections]
    if name in _FRONTS_OWN:
        having = [one for one in having if one.name != CORE] or having
    # Of the core where it has answered, else of whoever has.
    facts = dict(next((one for one in having if one.name == CORE), having[0]).sections[name])
    for key in _SUMMED.get(name, ()):
        if key in facts:
            facts[key] = _sum([one.sections[name].get(key, 0) for one in having])
    for key in _LARGEST.get(name, ()):
        facts[key] = max([int(one.sections[name].get(key, 0)) for one in having])
    for key in list(facts):
        if key.endswith("_human"):
            facts[key] = humanize.naturalsize(facts[key.removesuffix("_human")])
    return facts


def _sum(values: Sequence[Fact]) -> Fact:
    """Of integers, or of texts that are decimal fractions."""
    if all(isinstance(value, int) for value in values):
        return sum([int(value) for value in values])
    return f"{sum([float(value) for value in values]):.6f}"


def _merged_statistics(processes: Sequence[ProcessFigures]) -> Statistics:
    whole = Statistics()
    for one in processes:
        _, received, rejected = one.totals
        whole.connections_received += received
        whole.connections_rejected += rejected
        whole.errors.update(one.errors)
        for name, (calls, failed, seconds, seconds_max) in one.commands.items():
            found = whole.count_of(name)
            found.calls += calls
            found.failed += failed
            found.seconds += seconds
            found.seconds_max = max(found.seconds_max, seconds_max)
    return whole
