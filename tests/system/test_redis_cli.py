"""Every command through redis-cli, as a person at a terminal uses it."""

import json
import subprocess
import uuid

import pytest

import eventflowdb
from tests.conftest import StartServer
from tests.system.logs import checksum_of
from tests.system.server import Server

pytestmark = pytest.mark.system


def redis_cli(server: Server, *arguments: str, typed: str | None = None) -> list[str]:
    """What redis-cli prints, line by line; `typed` is its standard input."""
    command = ["redis-cli", "-p", str(server.port), *arguments]
    ended = subprocess.run(command, input=typed or "", capture_output=True, text=True, timeout=60)
    return (ended.stdout + ended.stderr).splitlines()


def test_redis_cli_appends_and_reads_a_stream(server: Server) -> None:
    stream = str(uuid.uuid4())
    events = [{"type": "opened", "data": "ä\n", "metadata": "{}"}, {"type": "closed", "data": ""}]
    added = redis_cli(server, "ADD", json.dumps({"stream": stream, "version": 0, "events": events}))
    assert [json.loads(line)["type"] for line in added] == ["opened", "closed"]
    assert redis_cli(server, "GET", json.dumps({"stream": stream})) == added
    assert redis_cli(server, "GET", json.dumps({"stream": stream, "version": 1, "limit": 5})) == added[1:]
    assert redis_cli(server, "GETALL") == added
    first_id = json.loads(added[0])["id"]
    assert redis_cli(server, "GETALL", json.dumps({"after": first_id})) == added[1:]
    assert redis_cli(server, "getall", json.dumps({"offset": first_id, "limit": 1})) == added[:1]
    last_id = json.loads(added[1])["id"]
    assert redis_cli(server, "CHECKSUM") == [last_id, checksum_of(line.encode() for line in added)]


def test_redis_cli_asks_for_counts_and_state(start_server: StartServer) -> None:
    server = start_server(COUNT_INTERVAL="0.01")
    stream = str(uuid.uuid4())
    add = json.dumps({"stream": stream, "version": 0, "events": [{"type": "t", "data": "d"}] * 3})
    assert len(redis_cli(server, "ADD", add)) == 3
    assert redis_cli(server, "EVENTCOUNT") == ["3"]
    assert redis_cli(server, "STREAMCOUNT") == ["1"]
    # Estimates follow within the interval; a redis-cli takes longer than that to start, but nobody promises it.
    while redis_cli(server, "EVENTCOUNTEST") != ["3"]:
        assert server.process.poll() is None
    assert redis_cli(server, "STREAMCOUNTEST") == ["1"]
    assert redis_cli(server, "PING") == ["PONG"]
    assert redis_cli(server, "PING", "how are you") == ["how are you"]
    assert redis_cli(server, "VERSION") == [eventflowdb.__version__]
    assert "second" in redis_cli(server, "UPTIME")[0]
    size_bytes, in_words = redis_cli(server, "SIZE")
    assert int(size_bytes) % 4096 == 0
    assert in_words.endswith(" kB")
    assert redis_cli(server, "QUIT") == ["OK"]


def test_redis_cli_sees_refusals_as_errors(server: Server) -> None:
    stream = str(uuid.uuid4())
    add = json.dumps({"stream": stream, "version": 7, "events": [{"type": "t", "data": "d"}]})
    assert redis_cli(server, "ADD", add)[0].startswith(f"CONCURRENCY stream={stream} expected=7 actual=0: ")
    assert redis_cli(server, "ADD", "{")[0].startswith("INVALIDARG ")
    assert redis_cli(server, "FLUSHALL")[0] == "ERR unknown command 'FLUSHALL', with args beginning with: "
    assert redis_cli(server, "GET")[0].startswith("ERR wrong number of arguments for 'get' command: expected ")


def test_redis_cli_authenticates(start_server: StartServer) -> None:
    server = start_server(PASSWORD="open sesame")
    assert redis_cli(server, "PING")[0] == "NOAUTH Authentication required."
    assert redis_cli(server, "--no-auth-warning", "-a", "open sesame", "PING") == ["PONG"]
    wrong = redis_cli(server, "--no-auth-warning", "-a", "sesame", "PING")
    assert any("WRONGPASS" in line for line in wrong)
    assert redis_cli(server, "AUTH", "default", "open sesame") == ["OK"]


def test_redis_cli_reads_commands_from_its_input(server: Server) -> None:
    stream = str(uuid.uuid4())
    add = json.dumps({"stream": stream, "version": 0, "events": [{"type": "t", "data": "it's"}]})
    quoted = json.dumps(add)
    lines = redis_cli(server, typed=f"PING\nADD {quoted}\nEVENTCOUNT\n")
    assert lines[0] == "PONG"
    assert json.loads(lines[1])["data"] == "it's"
    assert lines[2] == "1"
