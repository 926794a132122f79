"""What must hold of every log, worked out from what the server returns and nothing else."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from tests.system.resp import Connection


def checksum_of(log: Iterable[bytes]) -> str:
    """The checksum as SPEC defines it, written down anew: c(n) = SHA-256(c(n-1) + SHA-256(record n))."""
    checksum = bytes(32)
    for record in log:
        checksum = hashlib.sha256(checksum + hashlib.sha256(record).digest()).digest()
    return checksum.hex()


def check_log(connection: Connection) -> list[dict[str, Any]]:
    """Read the whole log and check it; gives its events."""
    return check_records(connection, connection.read_log())


def check_records(connection: Connection, log: list[bytes]) -> list[dict[str, Any]]:
    """Check a whole log: numbering without gaps, ids and times in order, counts, checksum; gives its events."""
    events: list[dict[str, Any]] = [json.loads(record) for record in log]
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    versions: Counter[str] = Counter()
    for event in events:
        assert event["version"] == versions[event["stream"]]
        versions[event["stream"]] += 1
    ids = [event["id"] for event in events]
    assert all(earlier < later for earlier, later in pairwise(ids))
    times = [event["added_at"] for event in events]
    assert times == sorted(times)
    assert connection.count("EVENTCOUNT") == len(events)
    assert connection.count("STREAMCOUNT") == len(versions)
    last_id = ids[-1] if ids else "0" * 26
    assert connection.checksum() == (last_id, checksum_of(log))
    return events
