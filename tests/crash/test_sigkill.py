"""SIGKILL under load, round after round on one DATA: every answered event is there, and the log is whole.

CRASH_ROUNDS and CRASH_SEED make a longer run, or the same choices again.
"""

import json
import os
import random
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.system.logs import check_records
from tests.system.resp import Connection, Refusal, encode_add
from tests.system.server import Server

pytestmark = pytest.mark.system

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "20"))
CLIENTS = 4
STREAMS_PER_CLIENT = 3
PIPELINED_MAX = 16
LOAD_SECONDS_MAX = 1.0
START_SECONDS_MAX = 0.6
"""About how long a server takes to start: within it, it is killed in some rounds."""

Event = dict[str, Any]


@dataclass
class Journal:
    """What all clients were told, and what they asked for: an append is a list of events, and has a number."""

    answered: dict[str, bytes] = field(default_factory=dict)
    """Records by event id."""
    asked: dict[int, int] = field(default_factory=dict)
    """How many events each append has."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, event_count: int) -> int:
        """The number of a new append."""
        with self.lock:
            number = len(self.asked)
            self.asked[number] = event_count
            return number

    def answer(self, records: list[bytes]) -> None:
        """An append was answered."""
        with self.lock:
            self.answered.update((json.loads(record)["id"], record) for record in records)


class Client(threading.Thread):
    """Appends to streams of its own, pipelined, until its connection breaks, and keeps the journal.

    contended: a stream that all clients want; there most appends are refused.
    """

    def __init__(self, server: Server, journal: Journal, chance: random.Random, contended: str) -> None:
        super().__init__(name="client")
        self._server = server
        self._journal = journal
        self._chance = chance
        self._contended = contended
        self._versions = {str(uuid.UUID(int=chance.getrandbits(128))): 0 for _ in range(STREAMS_PER_CLIENT)}
        self._contended_version = 0
        self.broke: Exception | None = None
        self.wrong: list[object] = []

    def run(self) -> None:
        """Append until the connection breaks."""
        try:
            with self._server.connect() as connection:
                while True:
                    self._append_some(connection)
        except (ConnectionError, AssertionError) as error:
            self.broke = error

    def _append_some(self, connection: Connection) -> None:
        streams = [self._append(connection) for _ in range(self._chance.randint(1, PIPELINED_MAX))]
        for stream in streams:
            reply = connection.read()
            if isinstance(reply, list):
                self._journal.answer([record for record in reply if isinstance(record, bytes)])
            elif isinstance(reply, Refusal) and reply.code == "CONCURRENCY" and stream == self._contended:
                self._contended_version = int(str(reply).split("actual=")[1].split(":")[0])
            else:
                self.wrong.append(reply)

    def _append(self, connection: Connection) -> str:
        """Send one append; gives its stream."""
        event_count = self._chance.choice((1, 1, 1, 2, 5))
        number = self._journal.ask(event_count)
        size = self._chance.choice((10, 200, 200, 3000, 20_000))
        events = [{"type": f"append {number}", "data": f"{index} " + "x" * size} for index in range(event_count)]
        if self._chance.random() < 0.2:
            connection.send(encode_add(self._contended, self._contended_version, events))
            return self._contended
        stream = self._chance.choice(list(self._versions))
        connection.send(encode_add(stream, self._versions[stream], events))
        self._versions[stream] += event_count
        return stream


def check_round(server: Server, journal: Journal) -> int:
    """Check the whole log against the journal; gives the number of events."""
    with server.connect() as connection:
        log = connection.read_log()
        events = check_records(connection, log)
    stored = {event["id"]: record for event, record in zip(events, log, strict=True)}
    assert journal.answered.items() <= stored.items()
    check_appends_are_whole(events, journal)
    return len(events)


def check_appends_are_whole(events: list[Event], journal: Journal) -> None:
    """Answered or not: of each append all events are there, one after the other, or none."""
    position = 0
    met: set[str] = set()
    while position < len(events):
        name = events[position]["type"]
        event_count = journal.asked[int(name.removeprefix("append "))]
        whole = events[position : position + event_count]
        assert [event["type"] for event in whole] == [name] * event_count
        assert [event["data"].split(" ")[0] for event in whole] == [str(index) for index in range(event_count)]
        assert len({event["stream"] for event in whole}) == 1
        assert name not in met
        met.add(name)
        position += event_count


def test_every_answered_event_survives_sigkill(start_server: StartServer) -> None:
    seed = int(os.environ.get("CRASH_SEED", random.randrange(1 << 32)))
    chance = random.Random(seed)
    journal = Journal()
    contended = str(uuid.UUID(int=chance.getrandbits(128)))
    print(f"seed {seed}, {ROUNDS} rounds")
    for round_number in range(ROUNDS):
        if chance.random() < 0.3:
            kill_while_starting(start_server(), chance)
        server = start_server()
        event_count = check_round(server, journal)
        clients = [Client(server, journal, random.Random(chance.random()), contended) for _ in range(CLIENTS)]
        run_until_killed(server, clients, chance.uniform(0.05, LOAD_SECONDS_MAX))
        assert [client.wrong for client in clients] == [[]] * CLIENTS
        print(f"round {round_number}: {event_count} events, {len(journal.answered)} answered so far")
    server = start_server()
    event_count = check_round(server, journal)
    server.kill()
    assert event_count >= len(journal.answered) > ROUNDS
    print(f"{event_count} events, {len(journal.answered)} of them answered, all there")


def run_until_killed(server: Server, clients: list[Client], seconds: float) -> None:
    """Let the clients work for some time, then kill the server under them."""
    timer = threading.Timer(seconds, server.process.kill)
    timer.start()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    timer.join()
    server.kill()


def kill_while_starting(server: Server, chance: random.Random) -> None:
    """Kill a server at some moment of its start."""
    timer = threading.Timer(chance.uniform(0.0, START_SECONDS_MAX), server.process.kill)
    timer.start()
    timer.join()
    server.kill()
