"""What stands in for threads, the reactor and the socket: everything moves by hand."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from eventflowdb.append import Append
from eventflowdb.config import read_settings
from eventflowdb.errors import StorageFailed, TryAgain
from eventflowdb.events import CheckedEvent
from eventflowdb.service.assembly import Parts, assemble
from eventflowdb.service.budget import InflightBudget
from eventflowdb.service.clients import Clients
from eventflowdb.service.conversation import Conversation
from eventflowdb.service.database import Database
from eventflowdb.service.dispatch import Responder
from eventflowdb.service.estimates import Estimates
from eventflowdb.service.grouping import Grouping
from eventflowdb.service.notices import Notices
from eventflowdb.service.outbox import Soon
from eventflowdb.service.reads import Reads
from eventflowdb.service.verification import CheckListener, Checks
from eventflowdb.service.writer import GroupCommitWriter
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.spans import Chunk
from eventflowdb.storage.transactions import run_here
from tests.folders import IN_MEMORY

MIB = 1 << 20
STREAM = "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c"
OTHER = "1f0e2d4b-6c5a-4384-9b8f-3ed9a07384c3"


class SteppedThread:
    """The commit thread: runs what it was given when the test says so."""

    def __init__(self) -> None:
        self.jobs: deque[Callable[[], object]] = deque()
        self.is_running = False

    def callInThread(self, func: Callable[..., object], *args: Any) -> None:
        """Keep the job."""
        self.jobs.append(lambda: func(*args))

    def step(self) -> None:
        """Run the oldest job to its end."""
        self.is_running = True
        self.jobs.popleft()()
        self.is_running = False


class SteppedReactor:
    """The way back to the reactor's thread: calls wait until the test turns it."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[], object]] = deque()

    def callFromThread(self, callable: Callable[..., Any], *args: Any) -> object:  # noqa: A002
        """Keep the call."""
        self.calls.append(lambda: callable(*args))
        return None

    def turn(self) -> None:
        """Make the oldest call."""
        self.calls.popleft()()


class _Read(NamedTuple):
    read: Callable[[], Chunk]
    done: "Deferred[Chunk]"


class SteppedPool:
    """The threads that read: each read waits until the test lets it happen, or fail."""

    def __init__(self) -> None:
        self.reads: deque[_Read] = deque()
        self.count = 0

    def __call__(self, read: Callable[[], Chunk]) -> "Deferred[Chunk]":
        """Keep the read."""
        self.count += 1
        done: Deferred[Chunk] = Deferred()
        self.reads.append(_Read(read, done))
        return done

    def step(self, index: int = 0) -> None:
        """Let one read happen, and its outcome be told."""
        read, done = self.reads[index]
        del self.reads[index]
        try:
            chunk = read()
        except Exception:
            done.errback(Failure())
        else:
            done.callback(chunk)

    def fail(self, error: Exception) -> None:
        """Let the oldest read fail."""
        self.reads.popleft().done.errback(Failure(error))


class FakeCheckProcess:
    """The process of a VERIFY: it writes and ends as the test says."""

    def __init__(self, listener: CheckListener) -> None:
        self.listener = listener
        self.terminations = 0

    def terminate(self) -> None:
        """Count it."""
        self.terminations += 1


class FakeLine:
    """A connection that keeps what is sent, and refuses what must not be done to a closed one."""

    def __init__(self) -> None:
        self.sends: list[bytes] = []
        self.is_paused = False
        self.end: str | None = None
        self.on_send: Callable[[], None] = lambda: None

    def send(self, data: bytes) -> None:
        """Keep the bytes."""
        assert self.end is None, f"sent after {self.end}: {data[:80]!r}"
        assert data, "an empty write"
        self.sends.append(data)
        self.on_send()

    def send_all(self, pieces: list[bytes]) -> None:
        """Keep them as one."""
        self.send(b"".join(pieces))

    def pause_reading(self) -> None:
        """Only a line that is read can be paused."""
        assert self.end is None
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        """Only a paused line can be resumed."""
        assert self.end is None
        assert self.is_paused
        self.is_paused = False

    def close(self) -> None:
        """Close, once."""
        self._end("close")

    def close_after_error(self) -> None:
        """Close, once."""
        self._end("close_after_error")

    def abort(self) -> None:
        """Abort, once."""
        self._end("abort")

    def _end(self, end: str) -> None:
        assert self.end is None, f"{end} after {self.end}"
        self.end = end

    def take(self) -> bytes:
        """What was sent since the last time."""
        sends, self.sends = self.sends, []
        return b"".join(sends)


class Connection:
    """A fake client: the conversation under test, its line, and what tests do with both."""

    def __init__(self, server: "SteppedServer") -> None:
        self.line = FakeLine()
        self.session = server.dispatcher.new_session("peer:1", "here:2")
        self.conversation = Conversation(self.line, self.session, server.dispatcher, server.budget, server.grouping)

    def send(self, *requests: bytes) -> None:
        """Let bytes come, in one read."""
        assert not self.line.is_paused, "a paused line is not read"
        self.conversation.received(b"".join(requests))

    def take(self) -> bytes:
        """The bytes sent since the last time."""
        return self.line.take()


class Readable:
    """What a server's reads find in its store; a test may put something else in the place of any of them.

    The store itself is compiled, and has no places.
    """

    def __init__(self, store: LmdbStore) -> None:
        self.head = store.head
        self.stream_length = store.stream_length
        self.open_stream = store.open_stream
        self.open_log = store.open_log
        self.render_stream = store.render_stream
        self.render_log = store.render_log
        self.render_on = store.render_on


class SteppedServer:
    """Everything behind the sockets, over a real store; its threads and its clock move by hand.

    began_us: the time of day when it began, in microseconds; is_deferring: reads may see later what was answered.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str | None = None,
        max_request_bytes: int = 16 * MIB,
        max_inflight_bytes: int = 256 * MIB,
        clients_max: int = 100,
        untaken_bytes_max: int = 0,
        began_us: int | None = None,
        is_deferring: bool = False,
        read_cache: str = "16MiB",
    ) -> None:
        self.clock = Clock()
        self._began_us = time.time_ns() // 1000 if began_us is None else began_us
        self.store = LmdbStore.open(folder, map_size=1 << 30, clock_ns=lambda: self.now_us() * 1000)
        self.thread = SteppedThread()
        self.reactor = SteppedReactor()
        self.pool = SteppedPool()
        self.failures: list[StorageFailed] = []
        self.notices = Notices(self.clock)
        self.writer = GroupCommitWriter(
            self.store,
            self.thread,
            self.reactor,
            self.failures.append,
            self.notices,
            self.clock.seconds if is_deferring else time.perf_counter,
            deferring=self.clock if is_deferring else None,
        )
        self.readable = Readable(self.store)
        self.reads = Reads(self.readable, self.pool, self.reactor.callFromThread, self.clock.seconds, lambda: 0)
        self.estimates = Estimates(
            lambda: succeed((self.store.event_count(), self.store.stream_count())), 1.0, self.clock
        )
        self.database = Database(self.store, self.writer, self.reads, self.estimates, self.notices)
        self.budget = InflightBudget(max_inflight_bytes, self.clock, untaken_bytes_max)
        self.soon: Soon = run_here
        """Replies that are held for others leave at once, unless a test says otherwise."""
        self.grouping = Grouping(self._call_soon)
        self.clients = Clients(clients_max)
        self.stops = 0
        self.check_processes: list[FakeCheckProcess] = []
        self.forgotten = 0
        """How often readers that have ended were cleared away."""
        self.checks = Checks(self._start_check, self._forget_readers, self.clock.seconds)
        given = {"DATA": str(folder), "MAX_REQUEST_BYTES": str(max_request_bytes), "READ_CACHE_BYTES": read_cache}
        if password is not None:
            given["PASSWORD"] = password
        self.dispatcher = assemble(
            read_settings(given, {}),
            self.database,
            self.clients,
            self.budget,
            self.clock.seconds,
            self.clock,
            self.checks,
            port=6543,
            stop=self._note_stop,
            now_us=self.now_us,
            replace=self._keep_parts,
        )

    def _call_soon(self, call: Callable[[], None]) -> None:
        self.soon(call)

    def _keep_parts(self, parts: Parts) -> dict[str, Responder]:
        self.parts = parts
        return {}

    def now_us(self) -> int:
        """The time of day, which the clock moves."""
        return self._began_us + round(self.clock.seconds() * 1_000_000)

    def _start_check(self, listener: CheckListener) -> "FakeCheckProcess":
        process = FakeCheckProcess(listener)
        self.check_processes.append(process)
        return process

    def _forget_readers(self) -> None:
        self.forgotten += 1

    def _note_stop(self) -> None:
        self.stops += 1

    def connect(self) -> Connection:
        """A new connection."""
        return Connection(self)

    def hold(self, stream: str, count: int, data: str = "") -> list[bytes]:
        """Have `count` more events in a stream; their records."""
        return hold(self.store, stream, count, data)

    def commit(self) -> None:
        """Let everything that waits for the commit thread be stored and settled."""
        while self.thread.jobs or self.reactor.calls:
            if self.thread.jobs:
                self.thread.step()
            while self.reactor.calls:
                self.reactor.turn()

    def read(self) -> None:
        """Let every read happen that was asked for, and those that follow from it."""
        while self.pool.reads:
            self.pool.step()

    def finish(self) -> None:
        """Let everything happen that is under way."""
        while self.thread.jobs or self.reactor.calls or self.pool.reads:
            self.commit()
            self.read()

    def close(self) -> None:
        """The end of the test."""
        self.store.close()


def hold(store: LmdbStore, stream: str, count: int, data: str = "") -> list[bytes]:
    """Have `count` more events in a stream; their records."""
    version = store.open_stream(stream, 0, None).total()
    (outcome,) = store.append_batch(
        [Append.to_stream(stream, version, [CheckedEvent.of(type="held", data=data)] * count, 0)]
    )
    assert isinstance(outcome, list)
    return outcome


@contextmanager
def stepped_server(**settings: Any) -> Iterator[SteppedServer]:
    """A server for one example of a property, in a folder that goes with it."""
    # In memory where that can be had: examples are many, and none is about the disk.
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        server = SteppedServer(Path(folder), **settings)
        yield server
        server.close()


@implementer(ILogObserver)
class LoggedFaults:
    """Faults that were logged, unhandled errors of Deferreds among them; a test has to take those it expects."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        """Keep what is worse than a warning."""
        if event["log_level"] in (LogLevel.error, LogLevel.critical):
            self.events.append(event)

    def take_one(self) -> LogEvent:
        """The one fault that must have been logged."""
        events, self.events = self.events, []
        assert len(events) == 1, events
        return events[0]


class FakeHolder:
    """A connection as the budget sees it."""

    def __init__(self, budget: InflightBudget, held_bytes: int = 0) -> None:
        self._budget = budget
        self._held_bytes = held_bytes
        self.given_up: list[TryAgain] = []
        self.wakes = 0
        self.on_wake: Callable[[], None] = lambda: None
        if held_bytes:
            budget.hold(self)
            budget.change(held_bytes)

    def held_bytes(self) -> int:
        """As the test says."""
        return self._held_bytes

    def give_up_request(self, error: TryAgain) -> None:
        """Give all of it back."""
        self.given_up.append(error)
        self.let_go()

    def budget_is_free(self) -> None:
        """Count it."""
        self.wakes += 1
        self.on_wake()

    def let_go(self) -> None:
        """Hold nothing any more."""
        held, self._held_bytes = self._held_bytes, 0
        self._budget.release(self)
        self._budget.change(-held)


def request(*words: str | bytes) -> bytes:
    """A request as clients send it."""
    encoded = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded])


def add(stream: str, version: int, *datas: str) -> bytes:
    """An ADD of one event for each of `datas`."""
    events = [{"type": "tested", "data": data} for data in datas]
    return request("ADD", json.dumps({"stream": stream, "version": version, "events": events}))


def get(stream: str, **fields: Any) -> bytes:
    """A GET."""
    return request("GET", json.dumps({"stream": stream, **fields}))


def get_all(**fields: Any) -> bytes:
    """A GETALL."""
    return request("GETALL", json.dumps(fields))


PING = request("PING")
PONG = b"+PONG\r\n"


class ReplyError(NamedTuple):
    """An error reply: its code and its text."""

    code: str
    text: str


class Pushed(list[Any]):
    """What RESP3 sends without being asked."""


def read_replies(data: bytes) -> list[Any]:
    """The replies in some bytes: str for simple strings, int, bytes for bulks, list, ReplyError. All must be whole."""
    replies: list[Any] = []
    offset = 0
    while offset < len(data):
        reply, offset = _read_reply(data, offset)
        replies.append(reply)
    return replies


def _read_reply(data: bytes, offset: int) -> tuple[Any, int]:
    end = data.index(b"\r\n", offset)
    kind, line, offset = data[offset : offset + 1], data[offset + 1 : end], end + 2
    if kind == b"+":
        return line.decode(), offset
    if kind == b"-":
        return ReplyError(*line.decode().split(" ", 1)), offset
    if kind == b":":
        return int(line), offset
    if kind == b"_" or line == b"-1":
        return None, offset
    if kind == b"$":
        end = offset + int(line)
        assert data[end : end + 2] == b"\r\n"
        return data[offset:end], end + 2
    assert kind in (b"*", b">"), f"{kind!r} at {end}"
    items: list[Any] = [] if kind == b"*" else Pushed()
    for _ in range(int(line)):
        item, offset = _read_reply(data, offset)
        items.append(item)
    return items, offset
