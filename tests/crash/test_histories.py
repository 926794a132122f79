"""Sixteen clients want the same few streams: what they were told is what one server, one step at a time, could tell.

CRASH_ROUNDS and CRASH_SEED make a longer run, or the same choices again.
"""

import random
import threading
from collections.abc import Callable
from itertools import count

import pytest

from tests.conftest import StartServer
from tests.crash import linearizable
from tests.crash.history import Append, History
from tests.crash.load import Client, rounds, run, run_until_killed, seeded, streams_of, unanswered
from tests.system.resp import Refusal
from tests.system.server import Server

pytestmark = pytest.mark.system

CLIENTS = 16
FEW_STREAMS = 2
SECONDS_MAX = 0.8


class Crowd:
    """Makes the clients of one round; each has a number of its own."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._numbers = count()
        self._shared = streams_of(chance, FEW_STREAMS)

    def of(self, server: Server, history: History, is_done: Callable[[], bool] = lambda: False) -> list[Client]:
        """Sixteen more, most of which ask one thing at a time: the order of what is pipelined is left open."""
        assert server.port
        return [
            Client(
                server,
                next(self._numbers),
                random.Random(self._chance.random()),
                self._shared,
                pipelined_max=self._chance.choice((1, 1, 3)),
                is_done=is_done,
                retries=unanswered(history),
            )
            for _ in range(CLIENTS)
        ]


@pytest.mark.parametrize(("workers", "rounds_usual"), [("0", 2), ("2", 1)])
def test_what_sixteen_clients_were_told_has_an_order_that_explains_it(
    start_server: StartServer, workers: str, rounds_usual: int
) -> None:
    chance = seeded()
    for round_number in range(rounds(rounds_usual)):
        data = f"data{round_number}"
        crowd, history = Crowd(chance), History()
        for _ in range(2):
            server = start_server(DATA=data, WORKERS=workers)
            history += run_until_killed(server, crowd.of(server, history), chance.uniform(0.1, SECONDS_MAX))
        server = start_server(DATA=data, WORKERS=workers)
        is_done = threading.Event()
        timer = threading.Timer(chance.uniform(0.1, SECONDS_MAX), is_done.set)
        timer.start()
        history += run(crowd.of(server, history, is_done.is_set))
        with server.connect() as connection:
            log = connection.read_log()
        server.kill()
        linearizable.check(history, log)
        require_enough_of_everything(history, log)


def require_enough_of_everything(history: History, log: list[bytes]) -> None:
    """Of each kind of operation some were met, or the round has shown little."""
    appends = [operation for operation in history.operations if isinstance(operation.request, Append)]
    refused = sum(isinstance(operation.outcome, Refusal) for operation in appends)
    unanswered = sum(operation.outcome is None for operation in appends)
    reads = len(history.operations) - len(appends)
    print(f"{len(log)} events; {len(appends)} appends, {refused} refused, {unanswered} unanswered; {reads} reads")
    assert min(len(log), refused, reads) > 0
