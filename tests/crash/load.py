"""Clients that put a server under mixed load until their connections break, and the history they make.

Each appends to streams of its own and to streams that all clients want, one event at a time or a hundred, reads
streams and log, and sends several requests before it reads the answers.
"""

import json
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from tests.crash.history import Append, Checksum, Count, History, LogRead, Operation, Request, StreamRead, Writes
from tests.system.resp import Connection, Refusal, encode
from tests.system.server import Server

OWN_STREAMS = 3
EVENT_COUNTS = (1, 1, 1, 1, 2, 5, 100)
DATA_BYTES = (0, 10, 200, 200, 200, 3000, 20_000)
READ_LIMIT = 50
PATIENCE_SECONDS = 10.0
"""A server that is expected to break the connection and does not is left; then the test finds it running."""


def rounds(default: int) -> int:
    """How many rounds a test runs: CRASH_ROUNDS, or so many."""
    return int(os.environ.get("CRASH_ROUNDS", default))


def seeded() -> random.Random:
    """The choices of a test, told so that it can be run again with the same ones: CRASH_SEED."""
    seed = int(os.environ.get("CRASH_SEED", random.randrange(1 << 32)))
    print(f"CRASH_SEED={seed}")
    return random.Random(seed)


def streams_of(chance: random.Random, count: int) -> list[str]:
    """So many new streams."""
    return [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(count)]


class Client(threading.Thread):
    """One client with one connection.

    shared: the streams that all clients want; is_done: asked between requests whether it is to end.
    """

    def __init__(
        self,
        server: Server,
        number: int,
        chance: random.Random,
        shared: Sequence[str],
        *,
        pipelined_max: int = 16,
        is_done: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(name=f"client {number}")
        self._server = server
        self._number = number
        self._chance = chance
        self._shared = shared
        self._own = streams_of(chance, OWN_STREAMS)
        self._versions = dict.fromkeys([*self._own, *shared], 0)
        self._pipelined_max = pipelined_max
        self._is_done = is_done
        self._last_id: str | None = None
        self._append_count = 0
        self.operations: list[Operation] = []
        self.broke: Exception | None = None

    def run(self) -> None:
        """Ask until the connection breaks, or all is done."""
        try:
            with self._server.connect() as connection:
                deadline = time.monotonic() + PATIENCE_SECONDS
                while not self._is_done() and time.monotonic() < deadline:
                    self._ask_some(connection)
        except (ConnectionError, AssertionError) as error:
            # The port of a server that was killed before it had one is an AssertionError.
            self.broke = error

    def _ask_some(self, connection: Connection) -> None:
        asked: list[Operation] = []
        for _ in range(self._chance.randint(1, self._pipelined_max)):
            request, words = self._choose()
            operation = Operation(self._number, request, time.monotonic_ns())
            self.operations.append(operation)
            asked.append(operation)
            connection.send(encode(*words))
        for operation in asked:
            outcome: Any = connection.read()
            operation.outcome, operation.ended = outcome, time.monotonic_ns()
            self._learn(operation)

    def _choose(self) -> tuple[Request, Sequence[str]]:
        """A request, as the history keeps it and as it is sent."""
        dice = self._chance.random()
        if dice < 0.7:
            return self._choose_append()
        if dice < 0.85:
            stream = self._chance.choice(list(self._versions))
            version = self._chance.randint(0, self._versions[stream] + 1)
            limit = self._chance.randint(1, READ_LIMIT)
            argument = {"stream": stream, "version": version, "limit": limit}
            return StreamRead(stream, version, limit), ("GET", json.dumps(argument))
        if dice < 0.95:
            after = {} if self._last_id is None else {"after": self._last_id}
            limit = self._chance.randint(1, READ_LIMIT)
            return LogRead(self._last_id, limit), ("GETALL", json.dumps({**after, "limit": limit}))
        return (Count(), ("EVENTCOUNT",)) if dice < 0.98 else (Checksum(), ("CHECKSUM",))

    def _choose_append(self) -> tuple[Append, Sequence[str]]:
        stream = self._chance.choice(self._shared if self._chance.random() < 0.4 else self._own)
        expected = self._versions[stream]
        count = self._chance.choice(EVENT_COUNTS)
        size = self._chance.choice(DATA_BYTES) if count < 100 else 100
        name = f"{self._number}.{self._append_count}"
        self._append_count += 1
        events = [{"type": f"{name}.{index}", "data": "x" * size} for index in range(count)]
        if stream in self._own:
            self._versions[stream] += count
        append = Append((Writes(stream, expected, tuple([str(event["type"]) for event in events])),))
        return append, ("ADD", json.dumps({"stream": stream, "version": expected, "events": events}))

    def _learn(self, operation: Operation) -> None:
        request, outcome = operation.request, operation.outcome
        if isinstance(request, LogRead) and isinstance(outcome, list) and outcome:
            self._last_id = json.loads(outcome[-1])["id"]
        if not isinstance(request, Append):
            return
        (writes,) = request.writes
        if isinstance(outcome, list):
            last = json.loads(outcome[-1])["version"]
            self._versions[writes.stream] = max(self._versions[writes.stream], last + 1)
        elif isinstance(outcome, Refusal) and outcome.code == "CONCURRENCY":
            self._versions[writes.stream] = int(str(outcome).split("actual=")[1].split(":")[0])


def run(clients: Sequence[Client]) -> History:
    """Let clients work until all have ended; what they did."""
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return History([operation for client in clients for operation in client.operations])


def run_until_killed(server: Server, clients: Sequence[Client], seconds: float) -> History:
    """Let clients work for some time, then kill the server under them."""
    timer = threading.Timer(seconds, server.process.kill)
    timer.start()
    history = run(clients)
    timer.join()
    server.kill()
    return history
