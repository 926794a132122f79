"""A bit of the data file flips while a server runs: no reader is told anything that was never written.

The file is small, of every kind of page, and flipped in place: LMDB reads it through a mapping, so the server sees it
at once. After each flip everything is read in every way. Each answer is the truth, or a refusal, or the connection
ends; the server may end as well, since a bad page can kill its reader, and is started again.
CRASH_ROUNDS is the number of bits sampled; CRASH_ROUNDS=0 takes every bit of every page in use, in about an hour.
"""

import json
import mmap
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from eventflowdb.errors import CorruptRecord
from eventflowdb.storage.records import load_page, store_record
from tests.conftest import StartServer
from tests.crash.load import rounds, seeded, streams_of
from tests.system.resp import Connection, Refusal, Reply, encode
from tests.system.server import Server

pytestmark = pytest.mark.system

ANSWER_SECONDS = 5.0
"""A server that a bad page has sent round in circles gives no answer, which is no wrong one."""
PAGE_BYTES = 4096
VERDICTS = ["true", "refused", "ended", "left out", "misplaced", "altered"]
"""Left out: some events of the right answer are missing; misplaced: true events, which were not asked for; empty: an
event of no bytes at all; altered: one with other bytes than were written."""


class Truth:
    """What was written, and every way to read it with the answer that is true."""

    def __init__(self, connection: Connection, chance: random.Random) -> None:
        streams = streams_of(chance, 6)
        versions = dict.fromkeys(streams, 0)
        for size in (0, 30, 200, 30, 1500, 6000, 30, 200, 20, 9000, 100, 50):
            for stream in streams[: chance.randint(2, 6)]:
                events = [{"type": "tested", "data": f"{size}" + "z" * size}] * chance.choice((1, 1, 3))
                connection.add(stream, versions[stream], *events)
                versions[stream] += len(events)
        self.log = connection.read_log()
        self.streams = {stream: connection.read_stream(stream) for stream in streams}
        self.reads = list(self._reads())

    def _reads(self) -> Iterator[tuple[bytes, list[bytes]]]:
        yield encode("GETALL", '{"limit": 1000}'), self.log
        ids = [json.loads(record)["id"] for record in self.log]
        for place in range(0, len(ids), 7):
            yield encode("GETALL", json.dumps({"after": ids[place], "limit": 3})), self.log[place + 1 : place + 4]
        for stream, records in self.streams.items():
            yield encode("GET", json.dumps({"stream": stream})), records
            for version in (1, len(records) - 1):
                argument = {"stream": stream, "version": version, "limit": 1}
                yield encode("GET", json.dumps(argument)), records[version : version + 1]


class Flipped:
    """A server whose file is flipped, bit by bit."""

    def __init__(self, start_server: StartServer, truth: Truth) -> None:
        self._start_server, self._truth = start_server, truth
        self._start()
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    def _start(self) -> None:
        self._server: Server = self._start_server()
        self._connection = self._connect()

    def _connect(self) -> Connection:
        connection = self._server.connect()
        connection.socket.settimeout(ANSWER_SECONDS)
        return connection

    def close(self) -> None:
        """Leave the server."""
        self._connection.close()

    def flip(self, file: mmap.mmap, offset: int, bit: int) -> None:
        """Flip a bit, read everything, flip it back."""
        file[offset] ^= 1 << bit
        try:
            answers = [self._ask(request, true) for request, true in self._truth.reads]
        finally:
            file[offset] ^= 1 << bit
        worst = max(answers, key=VERDICTS.index)
        self.seen[worst] += 1
        if VERDICTS.index(worst) > VERDICTS.index("ended"):
            (request, true) = self._truth.reads[answers.index(worst)]
            where = f"page {offset // PAGE_BYTES}, byte {offset % PAGE_BYTES}, bit {bit}"
            self.wrong.append(f"{worst}: {where}, in {request!r}, {len(true)} events")
        if self._server.process.poll() is not None:
            self.seen["server ended"] += 1
            self._connection.close()
            self._start()

    def _ask(self, request: bytes, true: list[bytes]) -> str:
        if self._server.process.poll() is not None:
            return "ended"
        try:
            self._connection.send(request)
            return self._judge(self._connection.read(), true)
        except ConnectionError:
            self._again()
            return "ended"
        except TimeoutError:
            self._server.kill()
            return "ended"

    def _again(self) -> None:
        self._connection.close()
        try:
            self._connection = self._connect()
        except (ConnectionError, TimeoutError):
            self._server.kill()

    def _judge(self, reply: Reply, true: list[bytes]) -> str:
        if reply == true:
            return "true"
        if isinstance(reply, Refusal):
            return "refused"
        assert isinstance(reply, list)
        if not all(record in self._truth.log for record in reply):
            return "altered"
        return "left out" if all(record in true for record in reply) else "misplaced"


def bits(chance: random.Random, size: int) -> Iterator[tuple[int, int]]:
    """The bits to flip, as byte and bit: a sample, of which each page has its share, or all."""
    count = rounds(300)
    if count == 0:
        yield from ((offset, bit) for offset in range(size) for bit in range(8))
    for _ in range(count):
        yield chance.randrange(size), chance.randrange(8)


def test_no_flipped_bit_makes_a_server_tell_what_was_never_written(start_server: StartServer) -> None:
    chance = seeded()
    server = start_server()
    with server.connect() as connection:
        truth = Truth(connection, chance)
    server.kill()
    path = server.data / "data.mdb"
    flipped = Flipped(start_server, truth)
    with path.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as file:
        for offset, bit in bits(chance, len(file)):
            flipped.flip(file, offset, bit)
    flipped.close()
    print(f"{path.stat().st_size} bytes, {len(truth.log)} events: {dict(flipped.seen)}")
    print("\n".join(flipped.wrong))
    assert flipped.seen["refused"] > 0
    assert not [wrong for wrong in flipped.wrong if wrong.startswith("altered")]
    # An index entry that is damaged must not serve a neighbour: of GET, only a stream's own key can go wrong.
    assert not [wrong for wrong in flipped.wrong if wrong.startswith("misplaced") and '"stream"' in wrong]


def test_a_value_without_bytes_is_no_record() -> None:
    with pytest.raises(CorruptRecord):
        load_page([store_record(b"{}"), b"", store_record(b"{}")])
