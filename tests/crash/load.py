"""Clients that put a server under mixed load until their connections break, and the history they make.

Each appends to streams of its own and to streams that all clients want, one event at a time or a hundred, to one
stream or several, under every kind of condition; reads streams and log; and sends several requests before it reads the
answers. Some appends have a request_id: these are asked again, after the answer as well as for want of one.
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

Question = tuple[Request, Sequence[str]]
"""A request as the history keeps it, and its words."""
OWN_STREAMS = 3
TAGS = [f"name:{number}" for number in range(200)]
"""Names that are taken once: an append that carries one is stored unless an event has it."""
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

    shared: the streams that all clients want; is_done: asked between requests whether it is to end; retries: what is
    asked again of what other clients were not told.
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
        retries: Sequence[Question] = (),
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
        self._retries = list(retries)
        self._repeatable: Question | None = None
        """An append with a request_id, asked twice at times for no reason."""
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
            operation = Operation(self._number, request, time.monotonic_ns(), words=words)
            self.operations.append(operation)
            asked.append(operation)
            connection.send(encode(*words))
        for operation in asked:
            outcome: Any = connection.read()
            operation.outcome, operation.ended = outcome, time.monotonic_ns()
            self._learn(operation)

    def _choose(self) -> Question:
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

    def _choose_append(self) -> Question:
        if self._retries and self._chance.random() < 0.3:
            return self._retries.pop()
        if self._repeatable is not None and self._chance.random() < 0.05:
            return self._repeatable
        streams = [self._chance.choice(self._shared if self._chance.random() < 0.4 else self._own)]
        if self._chance.random() < 0.2:
            others = [stream for stream in self._versions if stream not in streams]
            streams += self._chance.sample(others, self._chance.randint(1, 2))
        tags = (self._chance.choice(TAGS),) if self._chance.random() < 0.1 else ()
        parts = [self._write_to(stream, tags, is_first=stream is streams[0]) for stream in streams]
        options: dict[str, Any] = {"unless": {"tags": list(tags)}} if tags else {}
        if self._chance.random() < 0.3:
            options["request_id"] = f"{self._number}.{self._append_count}"
        self._append_count += 1
        append = Append(tuple([writes for writes, _ in parts]), options.get("request_id"), tags)
        if len(parts) == 1:
            question = append, ("ADD", json.dumps({**parts[0][1], **options}))
        else:
            question = append, ("ADDMANY", json.dumps({"appends": [part for _, part in parts], **options}))
        if append.request_id is not None:
            self._repeatable = question
        return question

    def _write_to(self, stream: str, tags: Sequence[str], *, is_first: bool) -> tuple[Writes, dict[str, Any]]:
        """Events for one stream under a condition, as the history keeps them and as they are sent.

        Only the first stream of an append is sure to get events: others may be checked alone.
        """
        dice = self._chance.random()
        expected: int | str = "any" if dice < 0.1 else "exists" if dice < 0.15 else self._versions[stream]
        count = self._chance.choice(EVENT_COUNTS) if is_first else self._chance.choice((0, 1, 2))
        size = self._chance.choice(DATA_BYTES) if count < 100 else 100
        names = tuple([f"{self._number}.{self._append_count}.{stream[:4]}.{index}" for index in range(count)])
        tagged = {"tags": list(tags)} if tags else {}
        events = [{"type": name, "data": "x" * size, **tagged} for name in names]
        if stream in self._own:
            self._versions[stream] += count
        return Writes(stream, expected, names), {"stream": stream, "version": expected, "events": events}

    def _learn(self, operation: Operation) -> None:
        request, outcome = operation.request, operation.outcome
        if isinstance(request, LogRead) and isinstance(outcome, list) and outcome:
            self._last_id = json.loads(outcome[-1])["id"]
        elif isinstance(request, Append) and isinstance(outcome, list):
            for event in map(json.loads, outcome):
                self._know(event["stream"], max(self._versions.get(event["stream"], 0), event["version"] + 1))
        elif isinstance(outcome, Refusal) and " stream=" in str(outcome):
            told = dict(word.split("=") for word in str(outcome).split(":")[0].split(" ")[1:])
            self._know(told["stream"], int(told["actual"]))

    def _know(self, stream: str, version: int) -> None:
        """A stream holds so many events; a retry may tell of streams of another client."""
        if stream in self._versions:
            self._versions[stream] = version


def unanswered(history: History) -> list[Question]:
    """Appends with a request_id that were never answered: to be asked again, until they are."""
    answered = {operation.request for operation in history.operations if operation.outcome is not None}
    return [
        (operation.request, operation.words)
        for operation in history.operations
        if isinstance(operation.request, Append)
        and operation.request.request_id is not None
        and operation.request not in answered
    ]


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
