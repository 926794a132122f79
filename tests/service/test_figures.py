"""The figures of several processes as those of one server."""

from eventflowdb.service.figures import figures_of_another, merged, process_facts
from eventflowdb.service.questions import Fact, ProcessFigures

MIB = 1 << 20


def figures(
    name: str, clients: int, commits: int, commands: dict[str, tuple[int, int, float, float]]
) -> ProcessFigures:
    """Of one process."""
    sections: dict[str, dict[str, Fact]] = {
        "clients": {"connected_clients": clients, "maxclients": 0 if name == "core" else 100},
        "memory": {
            "used_memory": MIB,
            "used_memory_human": "?",
            "maxmemory": 0,
            "read_cache_bytes": 10 * clients,
            "max_read_cache_bytes": 0 if name == "core" else 100,
            "read_cache_hits": clients,
            "read_cache_misses": 2 * clients,
        },
        "cpu": {"used_cpu_sys": "0.250000", "used_cpu_user": "1.000000"},
        "eventflow": {"commits": commits, "subscriptions": clients, "subscriptions_lag_events_max": clients},
    }
    calls = sum([count for count, _, _, _ in commands.values()])
    return ProcessFigures(name, 10 + clients, sections, commands, {"ERR": 1} if commands else {}, (calls, clients, 0))


PROCESSES = [
    figures("front_1", 2, 0, {"ADD": (3, 1, 0.3, 0.2)}),
    figures("core", 0, 7, {}),
    figures("front_2", 5, 0, {"ADD": (1, 0, 0.1, 0.1), "PING": (4, 0, 0.0, 0.0)}),
]


def test_clients_are_added_up_and_commits_are_the_cores() -> None:
    sections = merged(PROCESSES, ["clients", "eventflow"])
    assert sections["clients"] == {"connected_clients": 7, "maxclients": 100}
    assert sections["eventflow"] == {"commits": 7, "subscriptions": 7, "subscriptions_lag_events_max": 5}


def test_memory_and_processor_are_added_up() -> None:
    sections = merged(PROCESSES, ["memory", "cpu"])
    assert sections["memory"] == {
        "used_memory": 3 * MIB,
        "used_memory_human": "3.1 MB",
        "maxmemory": 0,
        "read_cache_bytes": 70,
        "max_read_cache_bytes": 200,
        "read_cache_hits": 7,
        "read_cache_misses": 14,
    }
    assert sections["cpu"] == {"used_cpu_sys": "0.750000", "used_cpu_user": "3.000000"}


def test_commands_and_errors_are_added_up() -> None:
    sections = merged(PROCESSES, ["stats", "commandstats", "errorstats", "latencystats"])
    assert sections["stats"]["total_commands_processed"] == 8
    assert sections["stats"]["total_connections_received"] == 7
    assert sections["stats"]["total_error_replies"] == 2
    assert str(sections["commandstats"]["cmdstat_add"]).startswith("calls=4,usec=400000,")
    assert str(sections["commandstats"]["cmdstat_add"]).endswith("failed_calls=1")
    assert sections["errorstats"] == {"errorstat_ERR": "count=2"}
    assert sections["latencystats"]["latency_usec_add"] == "mean=100000.000,max=200000.000"


def test_each_process_has_a_line_and_those_that_are_silent_are_counted() -> None:
    facts = process_facts(PROCESSES, 1)
    assert (facts["processes"], facts["processes_silent"]) == (4, 1)
    assert str(facts["process_0"]).startswith("name=core,pid=10,clients=0,commands=0,")
    assert str(facts["process_2"]).startswith("name=front_2,pid=15,clients=5,commands=5,")


def test_of_a_process_that_is_gone_nothing_is_told() -> None:
    assert figures_of_another("supervisor", 2**22 + 1) is None
