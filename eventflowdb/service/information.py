"""What INFO tells, section by section: Redis's words where tools parse them, and our own figures."""

import os
import platform
import resource
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import humanize

from eventflowdb import __version__, ids
from eventflowdb.config import Settings
from eventflowdb.service.budget import InflightBudget
from eventflowdb.service.clients import Clients
from eventflowdb.service.consumers import Consumers
from eventflowdb.service.database import Database
from eventflowdb.service.recent import ReadCache
from eventflowdb.service.statistics import CommandCount, Statistics
from eventflowdb.service.subscriptions import Subscriptions, lag_of
from eventflowdb.service.verification import Checks
from eventflowdb.service.waits import Waits
from eventflowdb.storage.environment import id_text

REDIS_VERSION = "7.4.0"
"""Whose INFO this is like: tools read it to know what to expect."""

_HOT_PATH = "plain" if ids.__file__.endswith(".py") else "compiled"
"""Which form of the hot path runs here: all its modules are compiled, or none (building/hot_path.py)."""

Facts = Mapping[str, str | int | float]
_DEFAULT_LEFT_OUT = ("commandstats", "latencystats")


class Information:
    """The sections of INFO, made when they are asked for."""

    def __init__(
        self,
        settings: Settings,
        port: int,
        database: Database,
        clients: Clients,
        waits: Waits,
        subscriptions: Subscriptions,
        consumers: Consumers,
        checks: Checks,
        statistics: Statistics,
        budget: InflightBudget,
        cache: ReadCache,
        seconds: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._database = database
        self._clients = clients
        self._waits = waits
        self._subscriptions = subscriptions
        self._consumers = consumers
        self._checks = checks
        self._statistics = statistics
        self._budget = budget
        self._cache = cache
        self._seconds = seconds
        self._started = seconds()
        self._run_id = secrets.token_hex(20)
        self.port = port
        self._sections: dict[str, tuple[str, Callable[[], Facts]]] = {
            "server": ("Server", self._server),
            "clients": ("Clients", self._client_facts),
            "memory": ("Memory", self._memory),
            "persistence": ("Persistence", self._persistence),
            "stats": ("Stats", self._stats),
            "consumers": ("Consumers", self._consumer_facts),
            "replication": ("Replication", self._replication),
            "cpu": ("CPU", self._cpu),
            "commandstats": ("Commandstats", self._command_stats),
            "errorstats": ("Errorstats", self._error_stats),
            "latencystats": ("Latencystats", self._latency_stats),
            "keyspace": ("Keyspace", self._keyspace),
            "eventflow": ("Eventflow", self._eventflow),
        }

    def text(self, wished: list[str]) -> str:
        """The sections that are wished for, lines ended by CRLF."""
        return self.text_of(self.facts(self.chosen(wished)))

    def chosen(self, wished: list[str]) -> list[str]:
        """The names of the sections that are wished for (none: the usual ones; "all" or "everything": all)."""
        names = [name.lower() for name in wished] or ["default"]
        if "all" in names or "everything" in names:
            chosen = set(self._sections)
        else:
            chosen = set(names)
            if "default" in names:
                chosen |= set(self._sections) - set(_DEFAULT_LEFT_OUT)
        return [name for name in self._sections if name in chosen]

    def facts(self, names: list[str]) -> dict[str, Facts]:
        """The sections of these names, in the order of INFO."""
        return {name: facts() for name, (_, facts) in self._sections.items() if name in names}

    def text_of(self, sections: Mapping[str, Facts]) -> str:
        """Sections as INFO shows them; one that is not its own has its name for a title."""
        titles = {name: title for name, (title, _) in self._sections.items()}
        return "\r\n".join([_section(titles.get(name, name.capitalize()), facts) for name, facts in sections.items()])

    def _server(self) -> Facts:
        uptime = int(self._seconds() - self._started)
        return {
            "redis_version": REDIS_VERSION,
            "eventflowdb_version": __version__,
            "redis_mode": "standalone",
            "os": f"{platform.system()} {platform.release()} {platform.machine()}",
            "arch_bits": 64 if sys.maxsize > 2**32 else 32,
            "python_version": platform.python_version(),
            "hot_path": _HOT_PATH,
            "process_id": os.getpid(),
            "run_id": self._run_id,
            "tcp_port": self.port,
            "server_time_usec": time.time_ns() // 1000,
            "uptime_in_seconds": uptime,
            "uptime_in_days": uptime // 86400,
            "config_file": "",
        }

    def _client_facts(self) -> Facts:
        return {
            "connected_clients": len(self._clients),
            "maxclients": self._clients.clients_max,
            "blocked_clients": self._waits.count,
            "pubsub_clients": len(self._subscriptions.subscribers),
            "monitor_clients": len(self._clients.monitors),
        }

    def _memory(self) -> Facts:
        anonymous, resident, peak = memory_bytes()
        return {
            "used_memory": anonymous,
            "used_memory_human": humanize.naturalsize(anonymous),
            "used_memory_rss": resident,
            "used_memory_rss_human": humanize.naturalsize(resident),
            "used_memory_peak": peak,
            "used_memory_peak_human": humanize.naturalsize(peak),
            "maxmemory": 0,
            "maxmemory_policy": "noeviction",
            "inflight_bytes": self._budget.used_bytes,
            "max_inflight_bytes": self._settings.max_inflight_bytes,
            "max_request_bytes": self._settings.max_request_bytes,
            "read_cache_bytes": self._cache.kept_bytes,
            "max_read_cache_bytes": self._settings.read_cache_bytes,
            "read_cache_hits": self._statistics.cache_hits,
            "read_cache_misses": self._statistics.cache_misses,
        }

    def _persistence(self) -> Facts:
        return {
            "loading": 0,
            "durability": "fsync before every answer to ADD",
            "rdb_bgsave_in_progress": 0,
            "rdb_last_bgsave_status": "ok",
            "aof_enabled": 1,
            "aof_rewrite_in_progress": 0,
            "aof_last_write_status": "ok",
        }

    def _stats(self) -> Facts:
        return stats_facts(self._statistics)

    def _consumer_facts(self) -> Facts:
        """A line a consumer, as Redis has it for what there is several of; lag_whole=0: there is more than `lag`."""
        figures = self._consumers.figures()
        return {
            f"consumer_{index}": f"name={one.name},lag={one.lag},lag_whole={int(one.is_lag_whole)},lag_ms={one.lag_ms},"
            f"in_flight={one.in_flight},members={one.members},parked={one.parked},checkpoint={one.checkpoint}"
            for index, one in enumerate(figures)
        }

    def _replication(self) -> Facts:
        return {"role": "master", "connected_slaves": 0}

    def _cpu(self) -> Facts:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {"used_cpu_sys": f"{used.ru_stime:.6f}", "used_cpu_user": f"{used.ru_utime:.6f}"}

    def _command_stats(self) -> Facts:
        return command_facts(self._statistics)

    def _error_stats(self) -> Facts:
        return error_facts(self._statistics)

    def _latency_stats(self) -> Facts:
        return latency_facts(self._statistics)

    def _keyspace(self) -> Facts:
        streams = self._database.stream_count()
        return {"db0": f"keys={streams},expires=0,avg_ttl=0"} if streams else {}

    def _eventflow(self) -> Facts:
        head, commits = self._database.head(), self._database.commits
        behind = self._subscriptions.behind()
        return {
            "events": head.position,
            "streams": self._database.stream_count(),
            "head": id_text(head.last_id),
            "size_bytes": self._database.size_bytes(),
            "data": str(self._settings.data),
            "subscriptions": self._subscriptions.count(),
            "subscriptions_behind": len(behind),
            "subscriptions_lag_events_max": lag_of(behind),
            "commits": commits.count,
            "commits_failed": commits.failed,
            "batch_appends_mean": f"{commits.appends / max(1, commits.count):.2f}",
            "batch_appends_max": commits.appends_max,
            "commit_usec_mean": f"{commits.seconds * 1e6 / max(1, commits.count):.0f}",
            "commit_usec_p50": f"{commits.percentile(50) * 1e6:.0f}",
            "commit_usec_p99": f"{commits.percentile(99) * 1e6:.0f}",
            "commit_usec_max": f"{commits.seconds_max * 1e6:.0f}",
            **self._checks.facts(),
        }


def stats_facts(statistics: Statistics) -> Facts:
    """The section Stats."""
    return {
        "total_connections_received": statistics.connections_received,
        "total_commands_processed": statistics.commands_processed,
        "rejected_connections": statistics.connections_rejected,
        "total_error_replies": sum(statistics.errors.values()),
        "expired_keys": 0,
        "evicted_keys": 0,
    }


def command_facts(statistics: Statistics) -> Facts:
    """The section Commandstats."""
    return {
        f"cmdstat_{name.lower()}": f"calls={found.calls},usec={found.seconds * 1e6:.0f},"
        f"usec_per_call={_mean_us(found):.2f},rejected_calls=0,failed_calls={found.failed}"
        for name, found in sorted(statistics.commands.items())
    }


def error_facts(statistics: Statistics) -> Facts:
    """The section Errorstats."""
    return {f"errorstat_{code}": f"count={count}" for code, count in sorted(statistics.errors.items())}


def latency_facts(statistics: Statistics) -> Facts:
    """The section Latencystats: the mean and the longest; percentiles would cost every command its share."""
    return {
        f"latency_usec_{name.lower()}": f"mean={_mean_us(found):.3f},max={found.seconds_max * 1e6:.3f}"
        for name, found in sorted(statistics.commands.items())
    }


def _mean_us(found: CommandCount) -> float:
    return found.seconds * 1e6 / max(1, found.calls)


def _section(title: str, facts: Facts) -> str:
    return f"# {title}\r\n" + "".join(f"{name}:{value}\r\n" for name, value in facts.items())


def memory_bytes(process: str = "self") -> tuple[int, int, int]:
    """Anonymous, resident and peak memory of a process."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    anonymous, resident, peak = (int(found[name].split()[0]) * 1024 for name in ("RssAnon", "VmRSS", "VmHWM"))
    return anonymous, resident, peak
