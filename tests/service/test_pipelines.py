"""Any pipeline, cut anywhere, with threads as slow as they like, is answered as if its requests ran one by one."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from .fakes import (
    OTHER,
    STREAM,
    Connection,
    ReplyError,
    SteppedServer,
    add,
    get,
    get_all,
    read_replies,
    request,
    stepped_server,
)

LARGE = "9b8f3ed9-a073-4c34-8b1f-0e2d4b6c5a38"
STREAMS = (STREAM, OTHER, LARGE)
REQUEST_BYTES_MAX = 20_000


class Stored(NamedTuple):
    """What is known of an event before it is stored."""

    stream: str
    version: int
    position: int
    data: str


class Model:
    """A server that runs one request after another; each method gives a request's bytes and notes its reply."""

    def __init__(self) -> None:
        self.log: list[Stored] = []
        self.replies: list[Any] = []

    def hold(self, server: SteppedServer, stream: str, count: int, data: str) -> None:
        """Have events before the first request."""
        server.hold(stream, count, data)
        self._store(stream, [data] * count)

    def ping(self) -> bytes:
        self.replies.append("PONG")
        return b"pInG\r\n"

    def echo(self, size: int) -> bytes:
        message = b"m" * (1 + size % 3000)
        self.replies.append(message)
        return request("PING", message)

    def unknown(self) -> bytes:
        self.replies.append("ERR")
        return request("NOSUCH", "word")

    def wrong_arity(self) -> bytes:
        self.replies.append("ERR")
        return request("GET")

    def wrong_argument(self) -> bytes:
        self.replies.append("INVALIDARG")
        return request("ADD", "{}")

    def oversized(self, size: int) -> bytes:
        self.replies.append("INVALIDARG")
        return add(STREAM, 0, "x" * (REQUEST_BYTES_MAX + size))

    def event_count(self) -> bytes:
        self.replies.append(len(self.log))
        return request("EVENTCOUNT")

    def add(self, stream: str, size: int) -> bytes:
        datas = [f"{len(self.log)}/{number}".ljust(size % 4000, ".") for number in range(1 + size % 3)]
        version = len(self._events(stream))
        self.replies.append(self._store(stream, datas))
        return add(stream, version, *datas)

    def refused(self, stream: str, size: int) -> bytes:
        self.replies.append("CONCURRENCY")
        return add(stream, len(self._events(stream)) + 1 + size, "x")

    def get(self, stream: str, size: int) -> bytes:
        self.replies.append(self._events(stream)[size % 5 :])
        return get(stream, version=size % 5)

    def get_some(self, stream: str, size: int) -> bytes:
        limit = 1 + size % 100  # some on the reactor's thread, some on others
        self.replies.append(self._events(stream)[:limit])
        return get(stream, limit=limit)

    def get_all(self, size: int) -> bytes:
        limit = 1 + size % 200
        self.replies.append(self.log[:limit])
        return get_all(limit=limit)

    def _events(self, stream: str) -> list[Stored]:
        return [event for event in self.log if event.stream == stream]

    def _store(self, stream: str, datas: list[str]) -> list[Stored]:
        version, position = len(self._events(stream)), len(self.log) + 1
        events = [Stored(stream, version + at, position + at, data) for at, data in enumerate(datas)]
        self.log += events
        return events


class Records:
    """Brings replies into the model's form, and sees that an event looks the same wherever it is returned."""

    def __init__(self) -> None:
        self._by_position: dict[int, bytes] = {}

    def simplified(self, reply: Any) -> Any:
        if isinstance(reply, ReplyError):
            return reply.code
        if isinstance(reply, list):
            return [self._stored(record) for record in reply]
        return reply

    def _stored(self, record: bytes) -> Stored:
        fields = json.loads(record)
        assert self._by_position.setdefault(fields["position"], record) == record
        return Stored(fields["stream"], fields["version"], fields["position"], fields["data"])


class Client:
    """Sends a pipeline while it is read, and takes replies when it likes."""

    def __init__(self, server: SteppedServer, pipeline: bytes, is_slow: bool) -> None:
        self.server = server
        self.connection: Connection = server.connect()
        self.pipeline = pipeline
        self.taken = b""
        if is_slow:
            self.connection.line.on_send = self.connection.conversation.unwritable

    def send(self, size: int) -> bool:
        """Send a piece; False where there is none or it would not be read."""
        if not self.pipeline or self.connection.line.is_paused:
            return False
        piece, self.pipeline = self.pipeline[:size], self.pipeline[size:]
        self.connection.send(piece)
        return True

    def take(self) -> bool:
        """Take what was sent; False where there is nothing."""
        taken = self.connection.take()
        self.taken += taken
        self.connection.conversation.writable()
        return bool(taken)

    def act(self, kind: str, size: int) -> bool:
        """One step of the world; False where it could not be taken."""
        server = self.server
        if kind == "send":
            return self.send(size)
        if kind == "take":
            return self.take()
        queues: dict[str, tuple[Any, Callable[[], None]]] = {
            "thread": (server.thread.jobs, server.thread.step),
            "turn": (server.reactor.calls, server.reactor.turn),
            "pool": (server.pool.reads, server.pool.step),
        }
        waiting, step = queues[kind]
        if waiting:
            step()
            return True
        return False

    def finish(self) -> None:
        """Take every step that can be taken, until there is none."""
        while [kind for kind in KINDS if self.act(kind, 65536)]:
            pass


KINDS = ("send", "thread", "turn", "pool", "take")
_STREAM = st.sampled_from(STREAMS)
_SIZE = st.integers(0, 10_000)
_REQUESTS = st.lists(
    st.one_of(
        st.sampled_from([("ping",), ("unknown",), ("wrong_arity",), ("wrong_argument",), ("event_count",)]),
        st.tuples(st.sampled_from(["echo", "oversized", "get_all"]), _SIZE),
        st.tuples(st.just("add"), _STREAM, _SIZE),
        st.tuples(st.sampled_from(["refused", "get", "get_some"]), _STREAM, _SIZE),
        st.tuples(st.just("add"), _STREAM, _SIZE),
    ),
    max_size=30,
)
_STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.one_of(st.integers(1, 40), st.integers(1, 65536))), max_size=80)


@settings(max_examples=120, deadline=None)
@given(calls=_REQUESTS, steps=_STEPS, is_slow=st.booleans())
def test_replies_are_those_of_a_server_that_runs_one_request_after_another(
    calls: list[tuple[Any, ...]], steps: list[tuple[str, int]], is_slow: bool
) -> None:
    with stepped_server(max_request_bytes=REQUEST_BYTES_MAX) as server:
        model = Model()
        model.hold(server, STREAM, 70, "small")
        model.hold(server, LARGE, 5, "l" * 150_000)
        client = Client(server, b"".join([getattr(model, name)(*arguments) for name, *arguments in calls]), is_slow)
        for kind, size in steps:
            client.act(kind, size)
        client.finish()
        assert client.pipeline == b"", "the connection is never read again"
        records = Records()
        assert [records.simplified(reply) for reply in read_replies(client.taken)] == model.replies
        assert not client.connection.line.is_paused
        assert server.budget.used_bytes == 0
