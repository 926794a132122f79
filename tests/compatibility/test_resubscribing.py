"""What stock clients do with their subscriptions, by themselves, when the server ends and comes back.

docs/subscriptions.md tells what follows from it: a query from now on misses the gap, one with a place repeats.
"""

import json
import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compatibility.matrix import Matrix, ToolchainMissing
from tests.conftest import StartServer
from tests.system.installation import Installation
from tests.system.server import Server, wait_until

pytestmark = pytest.mark.system

NOW, ALL = "{}", json.dumps({"offset": "0" * 26})
CLIENTS = {
    "ioredis 5": ("node", ("node", "subscriber.mjs", "ioredis-5")),
    "ioredis 6": ("node", ("node", "subscriber.mjs", "ioredis-6")),
    "node-redis 5": ("node", ("node", "subscriber.mjs", "node-redis-5")),
    "node-redis 6": ("node", ("node", "subscriber.mjs", "node-redis-6")),
    "go-redis": ("go", ("./driver",)),
}


@pytest.fixture(scope="module")
def matrix(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """Kits built once."""
    matrix = Matrix(installation, tmp_path_factory.mktemp("subscribers"))
    yield matrix
    matrix.close()


def append(server: Server, count: int) -> None:
    """Append events to a new stream."""
    with server.connect() as connection:
        connection.add(str(uuid.uuid4()), 0, *[{"type": "t", "data": "d"}] * count)


def wait_for_subscriptions(server: Server) -> None:
    """Wait until a client has both subscriptions."""
    with server.connect() as connection:
        wait_until(lambda: b"\r\nsubscriptions:2\r\n" in bytes(connection.call("INFO", "eventflow")))  # type: ignore[arg-type]


class Program:
    """A running client, and the positions that it was handed, by channel."""

    def __init__(self, command: tuple[str, ...], folder: Path, port: int) -> None:
        self.handed: dict[str, list[int]] = {NOW: [], ALL: []}
        environment = {"EVENTFLOWDB_HOST": "127.0.0.1", "EVENTFLOWDB_PORT": str(port), "EVENTFLOWDB_RESP": "default"}
        self._process = subprocess.Popen(
            [*command, NOW, ALL], cwd=folder, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = json.loads(line)
            self.handed[found["channel"]].append(found["position"])

    def wait_for(self, now: list[int], all_of_it: list[int]) -> None:
        """Wait until it was handed so many events, which must be these."""
        wait_until(lambda: len(self.handed[NOW]) >= len(now) and len(self.handed[ALL]) >= len(all_of_it))
        assert self.handed == {NOW: now, ALL: all_of_it}

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_stock_client_subscribes_again_under_the_same_names(
    client: str, matrix: Matrix, start_server: StartServer
) -> None:
    kit, command = CLIENTS[client]
    try:
        folder = matrix.kit(kit)
    except ToolchainMissing as missing:
        pytest.fail(str(missing), pytrace=False)
    server = start_server()
    port = server.port
    program = Program(command, folder, port)
    try:
        wait_for_subscriptions(server)
        append(server, 2)
        program.wait_for([1, 2], [1, 2])
        server.kill()
        with start_server() as elsewhere:
            append(elsewhere, 2)
            elsewhere.terminate()
        server = start_server(PORT=str(port))
        wait_for_subscriptions(server)
        append(server, 1)
        program.wait_for([1, 2, 5], [1, 2, 1, 2, 3, 4, 5])
    finally:
        program.close()
