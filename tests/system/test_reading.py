"""Filters over TCP: docs/reading.md shows what happens, and random reads give what a scan of the log would."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.readme import README
from tests.system.resp import Connection, encode, records
from tests.tours import outputs, steps, without_chance

pytestmark = pytest.mark.system

PAGE = (README.parent / "docs" / "reading.md").read_text(encoding="utf-8")
STREAMS = ["0d5f7a31-63f4-4b0c-9c53-0e6a1d6f7b01", "0d5f7a31-63f4-4b0c-9c53-0e6a1d6f7b02"]
TYPES = ["opened", "moved", "closed"]
TAGS = ["a", "b"]
READS = 400


def test_the_page_shows_what_happens(start_server: StartServer, tmp_path: Path) -> None:
    shown = steps(PAGE)
    assert len(shown) >= 15
    found = outputs([command for command, _ in shown], start_server().port)
    for (command, output), here in zip(shown, found, strict=True):
        assert without_chance(here) == without_chance(output), command


def test_random_reads_give_what_a_scan_of_the_log_would(start_server: StartServer) -> None:
    random = Random(11)
    with start_server().connect() as connection:
        for _ in range(60):
            _add(connection, random)
        log = [json.loads(record) for record in connection.read_log()]
        for _ in range(READS):
            fields = _random_read(random, log)
            command = "GET" if "stream" in fields else "GETALL"
            limit = random.choice([1, 3, 1000])
            assert _read(connection, command, {**fields, "limit": limit}) == _scan(log, fields)[:limit], fields
            assert _read_pages(connection, command, fields, limit) == _scan(log, fields), fields


def _add(connection: Connection, random: Random) -> None:
    known = [json.loads(record)["id"] for record in connection.read_log()[-3:]]
    events = []
    for _ in range(random.randint(1, 4)):
        event = {"type": random.choice(TYPES), "data": "", "tags": random.sample(TAGS, random.randint(0, 2))}
        if known and random.random() < 0.4:
            event[random.choice(["correlation_id", "causation_id"])] = random.choice(known)
        events.append(event)
    connection.call("ADD", json.dumps({"stream": random.choice(STREAMS), "version": "any", "events": events}))


def _random_read(random: Random, log: list[dict[str, Any]]) -> dict[str, Any]:
    event = random.choice(log)
    possible = {
        "types": random.sample([*TYPES, "never"], random.randint(1, 2)),
        "tags": random.sample(TAGS, random.randint(1, 2)),
        "correlation_id": event["correlation_id"],
        "causation_id": event["causation_id"],
        "since": random.choice(log)["added_at"],
        "until": random.choice(log)["added_at"],
        "after": random.choice(log)["id"],
        "before": random.choice(log)["id"],
        "backwards": True,
    }
    fields = {name: possible[name] for name in random.sample(list(possible), random.choice([1, 1, 2, 2, 3, 4]))}
    if random.random() < 0.4:
        fields |= {"stream": random.choice(STREAMS), "version": random.choice([0, 1, 20])}
    return fields


def _scan(log: list[dict[str, Any]], fields: dict[str, Any]) -> list[dict[str, Any]]:
    found = [
        event
        for event in log
        if event["type"] in fields.get("types", TYPES)
        and set(fields.get("tags", ())) <= set(event.get("tags", ()))
        and all(fields.get(name) in (None, event[name]) for name in ("correlation_id", "causation_id", "stream"))
        and event["version"] >= fields.get("version", 0)
        and fields.get("since", "") <= event["added_at"] < fields.get("until", "9")
        and fields.get("after", "") < event["id"] < fields.get("before", "Z")
    ]
    return found[::-1] if fields.get("backwards") else found


def _read(connection: Connection, command: str, fields: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(record) for record in records(connection.call(command, json.dumps(fields)))]


def _read_pages(connection: Connection, command: str, fields: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """All of a read, page after page."""
    found: list[dict[str, Any]] = []
    place: dict[str, Any] = {}
    while True:
        connection.send(encode(command, json.dumps({**fields, **place, "limit": limit, "cursor": True})))
        reply = connection.read()
        assert isinstance(reply, list), reply
        events, cursor = reply
        found += [json.loads(record) for record in records(events)]
        if cursor is None:
            return found
        assert isinstance(cursor, bytes)
        place = {"before" if fields.get("backwards") else "after": cursor.decode()}
