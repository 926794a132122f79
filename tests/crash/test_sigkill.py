"""SIGKILL under load, round after round on one DATA: every answered event is there, and the log is whole.

Checked twice: by the simple rules below, and by the checker of histories, which also knows what reads may see.
CRASH_ROUNDS and CRASH_SEED make a longer run, or the same choices again.
"""

import json
import random
import threading
from itertools import count

import pytest

from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.verify import verify
from tests.conftest import StartServer
from tests.crash import linearizable
from tests.crash.history import Append, History
from tests.crash.load import Client, rounds, run_until_killed, seeded, streams_of, unanswered
from tests.system.logs import check_records
from tests.system.resp import Refusal
from tests.system.server import Server

pytestmark = pytest.mark.system

CLIENTS = 4
FEW_STREAMS = 3
LOAD_SECONDS_MAX = 0.6
START_SECONDS_MAX = 0.6
"""About how long a server takes to start: within it, it is killed in some rounds."""
LOG_EVENTS_MAX = 20_000
"""A log that is longer is left, and the next round begins a new one: its check would take most of the time."""


def read_checked_log(server: Server) -> list[bytes]:
    """The whole log: numbering, order, counts and checksum are right, and so is the file, to its last index."""
    with server.connect() as connection:
        log = connection.read_log()
        check_records(connection, log)
    server.kill()
    store = LmdbStore.open(server.data)
    problem = verify(store.environment).first_problem
    store.close()
    assert problem is None, problem
    return log


def check_journal(history: History, log: list[bytes]) -> int:
    """Answered or not: of each append all events are there, byte for byte, or none; gives how many were answered."""
    stored: dict[str, int] = {}
    for place, record in enumerate(log):
        name = json.loads(record)["type"]
        assert name not in stored, f"{name} is stored twice"
        stored[name] = place
    answered = 0
    for operation in history.operations:
        if not isinstance(operation.request, Append):
            continue
        names = operation.request.names()
        places = [stored.get(name) for name in names]
        if isinstance(operation.outcome, list):
            answered += len(names)
            assert None not in places, f"{names} were answered"
            assert [log[place] for place in places if place is not None] == operation.outcome
        first = places[0]
        is_refused = isinstance(operation.outcome, Refusal) and operation.request.request_id is None
        if first is None or is_refused:
            assert places == [None] * len(names)
        else:
            assert places == list(range(first, first + len(names)))
    return answered


def kill_while_starting(server: Server, chance: random.Random) -> None:
    """Kill a server at some moment of its start."""
    timer = threading.Timer(chance.uniform(0.0, START_SECONDS_MAX), server.process.kill)
    timer.start()
    timer.join()
    server.kill()


def test_every_answered_event_survives_sigkill(start_server: StartServer) -> None:
    chance = seeded()
    shared = streams_of(chance, FEW_STREAMS)
    numbers = count()
    history, folder, total = History(), count(), 0
    data = f"data{next(folder)}"
    for round_number in range(rounds(5)):
        if chance.random() < 0.3:
            kill_while_starting(start_server(DATA=data), chance)
        server = start_server(DATA=data)
        assert server.port
        clients = [
            Client(
                server,
                next(numbers),
                random.Random(chance.random()),
                shared,
                pipelined_max=chance.choice((1, 4, 16)),
                retries=unanswered(history),
            )
            for _ in range(CLIENTS)
        ]
        history += run_until_killed(server, clients, chance.uniform(0.05, LOAD_SECONDS_MAX))
        log = read_checked_log(start_server(DATA=data))
        answered = check_journal(history, log)
        linearizable.check(history, log)
        print(f"round {round_number}: {len(log)} events, {answered} of them answered, all there")
        if len(log) > LOG_EVENTS_MAX:
            history, data, total = History(), f"data{next(folder)}", total + answered
    assert total + answered > 0
