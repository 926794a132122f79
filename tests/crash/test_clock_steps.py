"""The clock of the machine steps, back and forward, while a server runs and while it is down.

Ids grow strictly and times never fall, whatever the clock does. CRASH_ROUNDS and CRASH_SEED make a longer run, or the
same choices again.
"""

import json
import time
import uuid
from itertools import pairwise

import pytest

from tests.conftest import StartServer
from tests.crash.load import rounds, seeded
from tests.crash.shim import Shim
from tests.system.logs import check_log

pytestmark = pytest.mark.system

SECOND_NS = 1_000_000_000
STEPS_NS = [0, 1, 1_000_000, SECOND_NS, 3600 * SECOND_NS, 86_400 * SECOND_NS, 400 * 86_400 * SECOND_NS]


def test_ids_grow_and_times_never_fall_whatever_the_clock_does(start_server: StartServer, shim: Shim) -> None:
    chance = seeded()
    stream, count = str(uuid.uuid4()), 0
    control = shim.control
    for _ in range(rounds(2)):
        server = start_server(**shim.variables())
        with server.connect() as connection:
            for _ in range(30):
                control.clock_step_ns += chance.choice((-1, 1)) * chance.choice(STEPS_NS)
                connection.add(stream, count, *[{"type": "tested", "data": ""}] * 2)
                count += 2
            # Checks numbering, ids, times and checksum of the whole log.
            events = check_log(connection)
        assert len(events) == count
        control.clock_step_ns += chance.choice((-1, 1)) * chance.choice(STEPS_NS)
        server.kill()
    assert all(earlier["id"] < later["id"] for earlier, later in pairwise(events))


def test_a_step_of_the_clock_reaches_the_server(start_server: StartServer, shim: Shim) -> None:
    server = start_server(**shim.variables())
    shim.control.clock_step_ns = 400 * 86_400 * SECOND_NS
    with server.connect() as connection:
        (record,) = connection.add(str(uuid.uuid4()), 0, {"type": "tested", "data": ""})
    a_day_less = time.gmtime(time.time() + 399 * 86_400)
    assert json.loads(record)["added_at"] > time.strftime("%Y-%m-%dT%H:%M:%SZ", a_day_less)
