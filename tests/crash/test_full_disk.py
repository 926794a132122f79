"""No more room, in the middle of a batch: OOM to those whose events do not fit, nothing of theirs is stored, reads go
on, and appends work again, in the same process, when there is room.

A disk of so many bytes (the shim cuts writes short, as a disk does), a map of 2 MiB, and a real file system of 6 MiB.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.verify import verify
from tests.conftest import StartServer
from tests.crash.load import seeded, streams_of
from tests.crash.shim import Shim
from tests.system.resp import Connection, Refusal, encode_add
from tests.system.server import Server

pytestmark = pytest.mark.system

LARGE = 300_000
CLIENTS = 4


def fill(server: Server, streams: list[str]) -> tuple[dict[str, list[bytes]], int]:
    """Append small and large, pipelined by several clients at once, until nothing large fits.

    Gives what was answered by stream, and how many appends were refused; every answer is one of the two.
    """
    stored: dict[str, list[bytes]] = {stream: [] for stream in streams}
    refused_count = 0
    connections = [server.connect() for _ in streams]
    for _ in range(20):
        for connection, stream in zip(connections, streams, strict=True):
            version = len(stored[stream])
            large, small = {"type": "t", "data": "x" * LARGE}, {"type": "t", "data": "y" * 10}
            # The second is refused for its version if the first is, so that each stream stays in step.
            connection.send(encode_add(stream, version, [large, small, small]))
            connection.send(encode_add(stream, version + 3, [small, small]))
        refused_now = 0
        for connection, stream in zip(connections, streams, strict=True):
            for reply in (connection.read(), connection.read()):
                if isinstance(reply, Refusal):
                    assert reply.code in ("OOM", "CONCURRENCY"), reply
                    refused_now += reply.code == "OOM"
                else:
                    assert isinstance(reply, list)
                    stored[stream] += [record for record in reply if isinstance(record, bytes)]
        refused_count += refused_now
        if refused_now >= CLIENTS:
            break
    for connection in connections:
        connection.close()
    return stored, refused_count


def require_stored(connection: Connection, stored: dict[str, list[bytes]]) -> None:
    """What was answered is there, and nothing else."""
    assert {stream: connection.read_stream(stream) for stream in stored} == stored
    log = connection.read_log(100)
    assert sorted(log) == sorted(record for records in stored.values() for record in records)
    assert connection.count() == len(log)


def check(server: Server, make_room: Callable[[], None]) -> None:
    """Fill a server, look, make room, go on."""
    streams = streams_of(seeded(), CLIENTS)
    stored, refused_count = fill(server, streams)
    assert refused_count >= CLIENTS
    with server.connect() as connection:
        require_stored(connection, stored)
        make_room()
        for stream in streams:
            stored[stream] += connection.add(stream, len(stored[stream]), {"type": "t", "data": "x" * LARGE})
        require_stored(connection, stored)
    print(f"{sum(len(records) for records in stored.values())} events, {refused_count} appends refused")


def require_sound(data: Path) -> None:
    """The database that a server has left is sound."""
    store = LmdbStore.open(data, map_size=1 << 30)
    problem = verify(store.environment).first_problem
    store.close()
    assert problem is None, problem


@pytest.mark.parametrize("room_bytes", [0, 100, 4096, 100_000, LARGE + 12_345], ids=str)
def test_a_disk_that_is_full_takes_nothing_of_a_batch_and_more_when_it_has_room(
    start_server: StartServer, shim: Shim, room_bytes: int
) -> None:
    server = start_server(MIN_FREE_BYTES="0", **shim.variables())
    assert server.port
    shim.control.file_bytes_max = (server.data / "data.mdb").stat().st_size + room_bytes

    def make_room() -> None:
        shim.control.file_bytes_max = 0

    check(server, make_room)
    server.kill()
    require_sound(server.data)


def test_a_map_that_is_full_takes_nothing_of_a_batch_and_more_with_a_larger_one(start_server: StartServer) -> None:
    server = start_server(MAP_SIZE="2MiB")
    streams = streams_of(seeded(), CLIENTS)
    stored, refused_count = fill(server, streams)
    assert refused_count >= CLIENTS
    with server.connect() as connection:
        require_stored(connection, stored)
    server.kill()
    server = start_server(MAP_SIZE="1GiB")
    with server.connect() as connection:
        require_stored(connection, stored)
        for stream in streams:
            stored[stream] += connection.add(stream, len(stored[stream]), {"type": "t", "data": "x" * LARGE})
        require_stored(connection, stored)
    server.kill()
    require_sound(server.data)


@contextmanager
def small_file_system(folder: Path) -> Iterator[Path]:
    """A file system of 24 MiB, mounted."""
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", os.fspath(folder)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here; the shim stands in for a full one in the other tests")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", os.fspath(folder)], check=True)


def test_a_file_system_that_is_full_takes_nothing_of_a_batch_and_more_when_it_has_room(
    start_server: StartServer, tmp_path: Path
) -> None:
    with small_file_system(tmp_path / "small") as folder:
        filler = folder / "filler"
        filler.write_bytes(bytes(18_000_000))
        server = start_server(DATA=os.fspath(folder / "data"), MIN_FREE_BYTES="0")
        check(server, filler.unlink)
        server.kill()
        require_sound(folder / "data")
