"""The power fails, at every place: what the disk may then hold opens, is sound, and has every event ever shown.

A server runs under the shim, which records its calls to disk and clients. From the recording every disk is built that
a power loss may leave (disks.py), and opened with the server's own storage. A place's disks are sampled: CRASH_ROUNDS
of them where a flush, a write or a name begins or ends, and CRASH_SEED repeats the choices.
"""

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from tests.conftest import StartServer
from tests.crash import recording
from tests.crash.disks import Disk
from tests.crash.examiner import Examiner
from tests.crash.history import Checksum, History, Operation
from tests.crash.load import Client, rounds, run, run_until_killed, seeded, streams_of
from tests.crash.recording import Call, Kind, Recording
from tests.crash.shim import Shim
from tests.system.installation import ROOT
from tests.system.server import PATIENCE_SECONDS, Server

pytestmark = pytest.mark.system

CLIENTS = 3
ASKED_BY_EACH = 10
DATA = "data"
LOAD_SECONDS = 0.02
OFTEN = Path(__file__).with_name("often")
"""What makes Python's processes checkpoint after every few commits."""


class Run:
    """A recorded run of a server: the recording, and the log it led to."""

    def __init__(self, made: Recording, history: History, log: list[bytes]) -> None:
        self.recording, self.history, self.log = made, history, log
        positions = {record: position for position, record in enumerate(log, 1)}
        self._shown = [(place, positions[record]) for place, record in recording.events_shown(made)]

    def shown_by(self, place: int) -> int:
        """How many events of the log some client could know of when the power failed after a place."""
        return max((position for shown, position in self._shown if shown <= place), default=0)


class AskingLittle(Client):
    """A client that ends after a few requests."""

    def __init__(self, server: Server, number: int, chance: random.Random, shared: list[str]) -> None:
        super().__init__(
            server, number, chance, shared, pipelined_max=4, is_done=lambda: len(self.operations) >= ASKED_BY_EACH
        )


def record(start_server: StartServer, shim: Shim, chance: random.Random, *, is_killed: bool) -> Run:
    """Run a server under load, end it, run it again, stop it.

    is_killed: the first end is SIGKILL under load; what it was writing then is recorded in part only.
    """
    shared = streams_of(chance, 2)

    def asking(server: Server, *numbers: int) -> History:
        assert server.port
        return run([AskingLittle(server, number, random.Random(chance.random()), shared) for number in numbers])

    variables = {**shim.variables(), "PYTHONPATH": os.fspath(OFTEN)}
    server = start_server(DATA=DATA, **variables)
    history = asking(server, *range(CLIENTS))
    if is_killed:
        last = Client(server, CLIENTS, random.Random(chance.random()), shared, pipelined_max=1)
        history += run_until_killed(server, [last], LOAD_SECONDS)
    server.terminate()
    server = start_server(DATA=DATA, **variables)
    history += asking(server, CLIENTS + 1)
    with server.connect() as connection:
        log = connection.read_log()
    server.terminate()
    return Run(recording.read(shim.log), history, log)


@pytest.fixture
def chance() -> random.Random:
    """The choices of a test."""
    return seeded()


@pytest.fixture
def recorded_run(start_server: StartServer, recording_shim: Shim, chance: random.Random) -> Run:
    """A run with a SIGKILL in the middle, recorded."""
    return record(start_server, recording_shim, chance, is_killed=True)


def files_of_database(disk: dict[str, bytes]) -> dict[str, bytes]:
    """The files in DATA by name, without the lock of the server, which holds nothing."""
    paths = {PurePosixPath(path): content for path, content in disk.items()}
    return {path.name: content for path, content in paths.items() if path.parent.name == DATA and path.name != "lock"}


def find_problems(
    run: Run, chance: random.Random, samples: int, *, is_flushing: bool = True, enough: int | None = None
) -> list[str]:
    """Let the power fail after each place, in some ways each; what is then wrong, up to `enough` problems."""
    problems: list[str] = []
    disk = Disk(run.recording, is_flushing=is_flushing)
    places = examined = 0
    with Examiner(run.log) as examiner:
        for place, call in disk.places():
            if not is_of_interest(place, call):
                continue
            places += 1
            shown = run.shown_by(place)
            for files in disks_after(disk, chance, samples):
                examined += 1
                count, problem = examiner.examine(files)
                if problem is None and count < shown:
                    problem = f"it holds {count} events, and {shown} had been shown"
                if problem is not None:
                    problems.append(f"power lost after place {place} ({call.kind.name} of {call.path}): {problem}")
            if enough is not None and len(problems) >= enough:
                break
    print(f"{places} places, {examined} disks, {len(run.log)} events, {len(problems)} problems")
    return problems


def is_of_interest(place: int, call: Call) -> bool:
    """Whether what a disk may hold, or what it must hold, can be another after this place."""
    if call.kind is Kind.MAP_WRITABLE:
        return False
    if call.kind is Kind.SYNC or (call.kind is Kind.WRITE and call.is_synced and place != call.began):
        return place == call.ended
    return place == call.began


def disks_after(disk: Disk, chance: random.Random, samples: int) -> Iterator[dict[str, bytes]]:
    """Some of the disks that a power loss may leave now, no two alike."""
    seen: set[int] = set()
    for _ in range(1 if disk.is_settled() else samples):
        files = files_of_database(disk.after_power_loss(chance))
        content = hash(tuple(sorted(files.items())))
        if content not in seen:
            seen.add(content)
            yield files


def test_no_power_loss_takes_an_event_that_was_shown(recorded_run: Run, chance: random.Random) -> None:
    assert find_problems(recorded_run, chance, rounds(3)) == []


def test_the_recording_has_every_write_and_every_answer(
    start_server: StartServer, recording_shim: Shim, chance: random.Random, tmp_path: Path
) -> None:
    run = record(start_server, recording_shim, chance, is_killed=False)
    disk = Disk(run.recording)
    assert sum(1 for _ in disk.places()) == run.recording.length
    (path,) = [path for path in disk.now() if path.endswith("/data.mdb")]
    written, found = disk.now()[path], (tmp_path / DATA / "data.mdb").read_bytes()
    # What is behind was allocated, and is not recorded.
    assert found[: len(written)] == written
    assert not any(found[len(written) :])
    shown = {record for _, record in recording.events_shown(run.recording)}
    told = {record for operation in run.history.operations for record in records_in(operation)}
    assert told <= shown == set(run.log)


def records_in(operation: Operation) -> list[bytes]:
    """The events in an answer."""
    is_of_events = isinstance(operation.outcome, list) and not isinstance(operation.request, Checksum)
    return operation.outcome if is_of_events and isinstance(operation.outcome, list) else []


def test_a_disk_that_does_not_heed_flushes_is_found_out(recorded_run: Run, chance: random.Random) -> None:
    assert len(find_problems(recorded_run, chance, 1, is_flushing=False, enough=10)) >= 10


APPENDING = """
import os, socket, sys
from pathlib import Path
from eventflowdb.storage.folder import DataFolder
from eventflowdb.storage.lmdb_store import LmdbStore
from tests.storage.samples import append_of, stored

folder, port, left_out = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
claimed = DataFolder.claim(folder)
LmdbStore.open(folder).close()
flush = os.fdatasync

def flush_others(descriptor):
    name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
    if not name.startswith(left_out):
        flush(descriptor)

# Not a method of the store: compiled, it calls its own whatever is put in their place.
os.fdatasync = flush_others
store = LmdbStore.open(folder)
with socket.create_connection(("127.0.0.1", port)) as client:
    for version in range(12):
        (record,) = stored(store, append_of(sys.argv[4], version, "x" * 3000))
        client.sendall(b"$%d\\r\\n%b\\r\\n" % (len(record), record))
store.close()
"""
"""A store that leaves the flushes of a file out, and tells of each append when it thinks it done."""


@pytest.mark.parametrize(("left_out", "is_safe"), [("nothing", True), ("journal", False), ("data.mdb", False)], ids=str)
def test_a_store_that_answers_before_it_has_flushed_is_found_out(
    recording_shim: Shim, tmp_path: Path, left_out: str, is_safe: bool
) -> None:
    chance = seeded()
    (stream,) = streams_of(chance, 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        words = [sys.executable, "-c", APPENDING, str(tmp_path / DATA), port, left_out, stream]
        variables = {**os.environ, **recording_shim.variables(), "PYTHONPATH": os.fspath(OFTEN)}
        subprocess.run(words, cwd=ROOT, env=variables, timeout=PATIENCE_SECONDS, check=True)
    made = recording.read(recording_shim.log)
    log = [record for _, record in recording.events_shown(made)]
    assert len(log) == 12
    problems = find_problems(Run(made, History(), log), chance, rounds(3), enough=10)
    assert (problems == []) == is_safe, problems
    if left_out == "journal":
        assert any("had been shown" in problem for problem in problems)
