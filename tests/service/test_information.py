"""INFO: its sections as tools parse them, and figures that are right at once."""

import re
from pathlib import Path
from typing import Any

import pytest

from eventflowdb import __version__
from eventflowdb.errors import StorageFailed
from tests.wire.resp3 import Verbatim, read_one

from .fakes import OTHER, PING, STREAM, Connection, LoggedFaults, SteppedServer, add, get, request

USUAL = ["Server", "Clients", "Memory", "Persistence", "Stats", "Consumers", "Replication", "CPU"]
USUAL += ["Errorstats", "Keyspace", "Eventflow"]
ALL = [*USUAL[:8], "Commandstats", "Errorstats", "Latencystats", "Keyspace", "Eventflow"]


def info(connection: Connection, *sections: str) -> dict[str, dict[str, str]]:
    """INFO in RESP2, parsed as a strict tool does."""
    connection.send(request("INFO", *sections))
    text = read_one(connection.take()).decode()
    found: dict[str, dict[str, str]] = {}
    for block in text.split("\r\n\r\n") if text else []:
        title, *lines = block.removesuffix("\r\n").split("\r\n")
        assert title.startswith("# ")
        assert "\n" not in block.replace("\r\n", "")
        for line in lines:
            assert re.fullmatch(r"[a-z_0-9A-Z|-]+:[^\r\n]*", line), line
        found[title[2:]] = dict(line.split(":", 1) for line in lines)
    return found


def run(server: SteppedServer, connection: Connection, *requests: bytes) -> None:
    """Have requests answered, one after the other."""
    for piece in requests:
        connection.send(piece)
        server.finish()
    connection.take()


# Sections.


def test_sections_are_chosen_by_name(connection: Connection) -> None:
    assert list(info(connection)) == USUAL
    assert list(info(connection, "default")) == USUAL
    assert list(info(connection, "ALL")) == ALL
    assert list(info(connection, "everything")) == ALL
    assert list(info(connection, "eventflow", "Server")) == ["Server", "Eventflow"]
    assert list(info(connection, "server", "server", "nosuch")) == ["Server"]
    assert list(info(connection, "default", "commandstats")) == [name for name in ALL if name != "Latencystats"]
    assert info(connection, "nosuch") == {}


def test_it_is_a_bulk_string_in_resp2_and_verbatim_in_resp3(connection: Connection) -> None:
    """redis-cli ends itself where it is neither."""
    connection.send(request("INFO", "replication"))
    in_resp2 = read_one(connection.take())
    assert in_resp2 == b"# Replication\r\nrole:master\r\nconnected_slaves:0\r\n"
    connection.send(request("HELLO", "3"))
    connection.take()
    connection.send(request("INFO", "replication"))
    assert read_one(connection.take()) == Verbatim(in_resp2.decode())


def test_what_tools_ask_for_is_there(server: SteppedServer, connection: Connection) -> None:
    server.clock.advance(90_000.7)
    other = server.connect()
    other.send(request("MONITOR"))
    told = info(connection)
    assert told["Server"]["redis_version"] == "7.4.0"
    assert told["Server"]["eventflowdb_version"] == __version__
    assert told["Server"]["tcp_port"] == "6543"
    assert (told["Server"]["uptime_in_seconds"], told["Server"]["uptime_in_days"]) == ("90000", "1")
    assert told["Clients"]["connected_clients"] == "2"
    assert told["Clients"]["maxclients"] == "100"
    assert told["Clients"]["monitor_clients"] == "1"
    assert told["Persistence"]["loading"] == "0"
    assert told["Persistence"]["durability"] == "fsync before every answer to ADD"
    assert told["Stats"]["total_connections_received"] == "2"
    assert told["Keyspace"] == {}
    assert 0 < int(told["Memory"]["used_memory"]) <= int(told["Memory"]["used_memory_peak"])


# Eventflow.


def test_the_figures_of_the_log_are_right_as_soon_as_an_append_is_answered(
    server: SteppedServer, connection: Connection
) -> None:
    told = info(connection, "eventflow")["Eventflow"]
    assert (told["events"], told["streams"], told["head"]) == ("0", "0", "0" * 26)
    assert (told["commits"], told["batch_appends_mean"], told["commit_usec_p99"]) == ("0", "0.00", "0")
    connection.send(add(STREAM, 0, "a"), add(STREAM, 1, "b"), add(OTHER, 0, "c", "d"), request("INFO", "eventflow"))
    server.commit()
    assert b"\r\nevents:4\r\n" in connection.take()
    run(server, connection, add(STREAM, 2, "e"))
    told = info(connection, "eventflow", "keyspace")["Eventflow"]
    assert (told["events"], told["streams"]) == ("5", "2")
    assert told["size_bytes"] == str(server.store.size_bytes())
    assert (told["commits"], told["commits_failed"]) == ("2", "0")
    assert (told["batch_appends_mean"], told["batch_appends_max"]) == ("2.00", "3")
    assert 0 < int(told["commit_usec_p50"]) <= int(told["commit_usec_p99"]) <= int(told["commit_usec_max"])
    assert info(connection, "keyspace")["Keyspace"] == {"db0": "keys=2,expires=0,avg_ttl=0"}


def test_a_batch_of_refusals_is_no_commit(server: SteppedServer, connection: Connection) -> None:
    run(server, connection, add(STREAM, 7, "a"))
    told = info(connection, "eventflow")["Eventflow"]
    assert (told["commits"], told["commits_failed"], told["events"]) == ("0", "0", "0")


def test_a_commit_that_fails_is_counted(server: SteppedServer, connection: Connection, faults: LoggedFaults) -> None:
    server.store.close()
    connection.send(add(STREAM, 0, "a"))
    server.commit()
    assert server.database.commits.failed == 1
    assert server.database.commits.count == 0
    faults.events.clear()


# Stats, Commandstats, Errorstats.


def stats(connection: Connection, name: str) -> dict[str, Any]:
    """One command's figures."""
    line = info(connection, "commandstats")["Commandstats"][f"cmdstat_{name}"]
    return {key: float(value) for key, value in (figure.split("=") for figure in line.split(","))}


def test_each_error_is_counted_once(server: SteppedServer, connection: Connection) -> None:
    wrong = [request("NOSUCH"), request("GET"), add(STREAM, 5, "x"), request("ADD", "{"), request("HELLO", "9")]
    run(server, connection, PING, *wrong, get(STREAM))
    told = info(connection, "errorstats", "stats")
    assert told["Errorstats"] == {
        "errorstat_CONCURRENCY": "count=1",
        "errorstat_ERR": "count=2",
        "errorstat_INVALIDARG": "count=1",
        "errorstat_NOPROTO": "count=1",
    }
    assert told["Stats"]["total_error_replies"] == "5"
    assert told["Stats"]["total_commands_processed"] == "5", "those that were refused at the gate did not run"


def test_an_append_is_counted_once_when_it_is_settled(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "x"), add(STREAM, 9, "x"))
    other = server.connect()
    assert info(other, "commandstats")["Commandstats"] == {}
    server.clock.advance(0.004)
    server.commit()
    found = stats(other, "add")
    assert (found["calls"], found["failed_calls"], found["usec"], found["usec_per_call"]) == (2, 1, 8000, 4000)
    latency = info(other, "latencystats")["Latencystats"]["latency_usec_add"]
    assert latency == "mean=4000.000,max=4000.000"


def test_an_append_refused_at_once_by_a_failed_disk_counts_as_failed(
    server: SteppedServer, connection: Connection
) -> None:
    server.writer._failure = StorageFailed("the storage failed")
    run(server, connection, add(STREAM, 0, "x"))
    assert stats(connection, "add")["failed_calls"] == 1
    assert info(connection, "errorstats")["Errorstats"] == {"errorstat_ERR": "count=1"}


@pytest.mark.parametrize("count", [1, 100, 3000])
def test_a_read_is_counted_once_however_long_it_is(server: SteppedServer, connection: Connection, count: int) -> None:
    server.hold(STREAM, count, "x" * 300)
    run(server, connection, get(STREAM))
    found = stats(connection, "get")
    assert (found["calls"], found["failed_calls"]) == (1, 0)


def test_figures_can_be_reset(server: SteppedServer, connection: Connection) -> None:
    run(server, connection, PING, request("NOSUCH"), request("CONFIG", "RESETSTAT"))
    told = info(connection, "commandstats", "errorstats", "stats")
    assert list(told["Commandstats"]) == ["cmdstat_config"]
    assert told["Errorstats"] == {}
    assert told["Stats"]["total_connections_received"] == "0"


def test_connections_that_were_turned_away_are_counted(tmp_path: Path) -> None:
    server = SteppedServer(tmp_path, clients_max=1)
    connection = server.connect()
    assert not server.dispatcher.has_room
    assert info(connection, "stats")["Stats"]["rejected_connections"] == "1"
    connection.conversation.lost()
    assert server.dispatcher.has_room
    server.close()
