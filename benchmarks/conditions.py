"""What conditions cost an append: request_id, tags and `unless` beside plain ADDs, in a database of a million events.

One connection sends prepared requests, 64 of them at a time, so that the load takes next to nothing of the machine.
Each figure is a ratio to the plain ADDs of the same turn.
"""

import json
import socket
import statistics
import time
import uuid
from collections.abc import Callable
from itertools import count
from pathlib import Path

from benchmarks import servers
from benchmarks.workloads import EVENT
from eventflowdb.append import Append, StreamAppend
from eventflowdb.events import ANY, CheckedEvent
from eventflowdb.ids import ulid_text
from eventflowdb.storage.lmdb_store import LmdbStore

WINDOW = 64
ACCOUNT_EVENTS = 10
"""So many events carry each of the tags that `unless` asks for."""
RARE_EVENTS = 10
"""So many are of type Rare, spread over the log."""
_ACCOUNTS_ASKED = 1000
_PREPARED_BATCH = 1000
_OLD = 0x019A_0000_0000 << 80
"""The first of the ids of the requests that the database remembers: increasing, as ULIDs are."""


def prepare(folder: Path, events: int) -> None:
    """Fill a database: each event of a request of its own, with two tags; some are of the types Closed and Rare."""
    folder.mkdir(mode=0o700)
    store = LmdbStore.open(folder)
    for first in range(0, events, _PREPARED_BATCH):
        store.append_batch([_prepared(number, events) for number in range(first, min(events, first + _PREPARED_BATCH))])
    store.close()


def measure(folder: Path, events: int, rounds: int, requests: int) -> None:
    """Print the figures, turn by turn beside plain ADDs."""
    prepare(folder, events)
    with servers.eventflowdb(folder) as (port, _):
        print(f"with {events} events, {events} request ids and {2 * events} tags held, 1 client, 64 in flight:")
        for name, fields in _KINDS.items():
            ratios, plain = [], []
            for _ in range(rounds):
                plain.append(_appends_per_second(port, requests, lambda _number: {}))
                ratios.append(_appends_per_second(port, requests, fields) / plain[-1])
            low, high = min(ratios), max(ratios)
            median = statistics.median(ratios)
            print(f"{name:44} {median:10.2f} of plain ADD ({low:.2f} to {high:.2f}; {statistics.median(plain):,.0f}/s)")


def _prepared(number: int, events: int) -> Append:
    kind = "Closed" if number % 100 == 0 else EVENT["type"]
    if number % (events // RARE_EVENTS) == 1:
        kind = "Rare"
    tags = (f"account:{number // ACCOUNT_EVENTS}", f"region:{number % 50}")
    event = CheckedEvent.of(type=kind, data=EVENT["data"], metadata=EVENT["metadata"], tags=tags)
    stream = f"00000000-0000-4000-8000-{number // ACCOUNT_EVENTS:012d}"
    return Append([StreamAppend(stream, ANY, [event])], 0, (), ulid_text(_OLD + number))


def _with_ulid(_number: int) -> dict[str, object]:
    return {"request_id": ulid_text(int(time.time() * 1000) << 80 | next(_numbers))}


def _with_random_id(_number: int) -> dict[str, object]:
    return {"request_id": str(uuid.uuid4())}


def _with_tags(number: int) -> dict[str, object]:
    return {"tags": [f"account:{number}", f"region:{number % 50}"]}


def _with_unless(number: int) -> dict[str, object]:
    return {"unless": {"types": ["Closed"], "tags": [f"account:{10 * (number % _ACCOUNTS_ASKED) + 1}"]}}


_numbers = count()
_KINDS: dict[str, Callable[[int], dict[str, object]]] = {
    "request_id, ULIDs": _with_ulid,
    "request_id, random": _with_random_id,
    "two tags": _with_tags,
    "unless, a tag with 10 events": _with_unless,
}


def _appends_per_second(port: int, requests: int, fields: Callable[[int], dict[str, object]]) -> float:
    windows = [
        b"".join([_request(fields(number)) for number in range(first, first + WINDOW)])
        for first in range(0, requests, WINDOW)
    ]
    with socket.create_connection((servers.HOST, port)) as connection:
        began = time.perf_counter()
        for window in windows:
            connection.sendall(window)
            _receive(connection)
        return len(windows) * WINDOW / (time.perf_counter() - began)


def _request(fields: dict[str, object]) -> bytes:
    tags = {"tags": fields.pop("tags")} if "tags" in fields else {}
    argument = {"stream": str(uuid.uuid4()), "version": 0, "events": [{**EVENT, **tags}], **fields}
    text = json.dumps(argument, separators=(",", ":")).encode()
    return b"*2\r\n$3\r\nADD\r\n$%d\r\n%b\r\n" % (len(text), text)


def _receive(connection: socket.socket) -> None:
    """Take the replies of one window, each an array of one event: three line breaks."""
    missing = 3 * WINDOW
    while missing:
        piece = connection.recv(1 << 20)
        if not piece or b"\n-" in piece or piece.startswith(b"-"):
            raise SystemExit(f"an append was answered {piece[:200]!r}")
        missing -= piece.count(b"\n")
