"""The main job on real input: a log of 8,577 events, appended, read back equal, with the server killed in between."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.system.installation import ROOT
from tests.system.logs import check_log
from tests.system.resp import Connection, encode_add, records

pytestmark = pytest.mark.system

PERMITS = ROOT.parent / "shared" / "data" / "permits.jsonl"
"""Described in its folder; it is not part of what the project ships."""
PIPELINED = 256
GIVEN = ("stream", "version", "type", "data", "metadata")


@pytest.fixture(scope="module")
def permits() -> list[dict[str, Any]]:
    """The events in the order in which they happened, each with its version in its stream."""
    if not PERMITS.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{PERMITS} is missing, and CI has to run the main job on it")
        pytest.skip(f"{PERMITS} is missing: the main job was not run on real input")
    versions: Counter[str] = Counter()
    events: list[dict[str, Any]] = []
    for line in PERMITS.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        event["version"] = versions[event["stream"]]
        versions[event["stream"]] += 1
        events.append(event)
    return events


def request(event: dict[str, Any]) -> bytes:
    """The ADD of one event."""
    given = {key: event[key] for key in ("type", "data", "metadata")}
    return encode_add(event["stream"], event["version"], [given])


def append(connection: Connection, events: Sequence[dict[str, Any]]) -> None:
    """Append events in order, so many at a time."""
    requests = iter(events)
    while batch := list(islice(requests, PIPELINED)):
        connection.send(b"".join([request(event) for event in batch]))
        for event in batch:
            (record,) = records(connection.read())
            assert given(json.loads(record)) == event


def given(stored: dict[str, Any]) -> dict[str, Any]:
    """What the client said of a stored event."""
    return {key: stored[key] for key in GIVEN}


def test_permits_are_read_back_as_they_were_appended(start_server: StartServer, permits: list[dict[str, Any]]) -> None:
    assert (len(permits), len({event["stream"] for event in permits})) == (8577, 1434)
    server = start_server()
    connection = server.connect()
    append(connection, permits[:4000])
    # Killed with appends under way, of which nobody has been told anything.
    connection.send(b"".join([request(event) for event in permits[4000:4500]]))
    connection.read()
    server.kill()
    connection.close()

    server = start_server()
    with server.connect() as connection:
        stored = connection.count()
        assert 4001 <= stored <= 4500
        append(connection, permits[stored:])
        before = check_log(connection)
        checksum = connection.checksum()
    server.terminate()

    server = start_server()
    with server.connect() as connection:
        log = check_log(connection)
        assert connection.checksum() == checksum
        assert log == before
        assert [given(event) for event in log] == permits
        by_stream: dict[str, list[dict[str, Any]]] = {}
        for event in log:
            by_stream.setdefault(event["stream"], []).append(event)
        for stream, events in by_stream.items():
            assert [json.loads(record) for record in connection.read_stream(stream)] == events
