"""The blocking and the asyncio client: what is sent again and what is not, and errors are ours."""

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from redis import exceptions

from eventflowdb import __version__
from eventflowdb.client import asyncio_client, blocking_client
from eventflowdb.client.appends import StreamAppend, Unless
from eventflowdb.client.redis_errors import failure_of, find_refusal
from eventflowdb.client.refusals import ClientClosed, ConnectionLost, NotConnected, UnexpectedReply, error_of
from eventflowdb.errors import (
    CorruptRecord,
    EventflowError,
    InvalidArgument,
    NotAuthenticated,
    RequestConflict,
    TryAgain,
    UnlessMatched,
    WrongExpectedVersion,
    WrongPassword,
)
from eventflowdb.events import NewEvent, RecordedEvent
from eventflowdb.ids import ZERO_ULID
from tests.client.redis_py_clients import AsyncioFace, BlockingFace, Face, ScriptedServer
from tests.client.samples import EVENT, EVENT_JSON, STREAM, array, bulk, event_json
from tests.client.test_vectors import VECTORS
from tests.conftest import StartServer
from tests.system.installation import ROOT
from tests.system.server import Server

PASSWORD = "open sésame"
OPENED = NewEvent(type="Opened", data="")
ANSWER = array(bulk(EVENT_JSON))
GUIDE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```py\n(.*?)^```\n.*?^```text\n(.*?)^```\n", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture(params=[BlockingFace, AsyncioFace], ids=["blocking", "asyncio"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    face = request.param()
    yield face
    face.close()


def test_an_add_without_a_request_id_is_sent_once_when_the_connection_breaks_before_the_reply(face: Face) -> None:
    with ScriptedServer(lambda _words: None) as server:
        client = face.connect(port=server.port)
        with pytest.raises(ConnectionLost, match="may or may not have been carried out") as lost:
            client.add(STREAM, 0, [OPENED], request_id=None)
        client.disconnect()
        assert type(lost.value) is ConnectionLost
        assert lost.value.request_id is None
        assert [words[0] for words in server.requests] == [b"ADD"]


class Storing:
    """Answers appends as a server that remembers request ids; loses the first `losses` answers after storing."""

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.stored: dict[str, bytes] = {}

    def __call__(self, words: list[bytes]) -> bytes | None:
        request_id = json.loads(words[1])["request_id"]
        self.stored.setdefault(request_id, array(bulk(event_json(len(self.stored) + 1))))
        if self.losses:
            self.losses -= 1
            return None
        return self.stored[request_id]


@pytest.mark.parametrize("losses", [1, 2])
@pytest.mark.parametrize("method", ["add", "add_many"])
def test_an_append_whose_answer_is_lost_is_sent_again_as_it_was_and_stored_once(
    face: Face, method: str, losses: int
) -> None:
    arguments = (STREAM, 0, [OPENED]) if method == "add" else ([StreamAppend(STREAM, 0, [OPENED])],)
    storing = Storing(losses)
    with ScriptedServer(storing) as server:
        client = face.connect(port=server.port)
        (first,) = getattr(client, method)(*arguments)
        (second,) = getattr(client, method)(*arguments)
        client.disconnect()
        assert (first.position, second.position) == (1, 2)
        assert len(storing.stored) == 2
        assert server.requests[: losses + 1] == [server.requests[0]] * (losses + 1)
        assert len(server.requests) == losses + 2


def test_an_append_that_is_lost_every_time_tells_its_request_id(face: Face) -> None:
    with ScriptedServer(lambda _words: None) as server:
        client = face.connect(port=server.port)
        with pytest.raises(ConnectionLost) as lost:
            client.add(STREAM, 0, [OPENED])
        client.disconnect()
        assert type(lost.value) is ConnectionLost
        assert len(server.requests) == 4
        assert json.loads(server.requests[-1][1])["request_id"] == lost.value.request_id


def test_an_append_that_was_lost_is_not_said_to_be_unsent_when_the_server_is_gone(face: Face) -> None:
    with ScriptedServer(lambda _words: None) as server:
        client = face.connect(port=server.port)
        server.stop_listening()
        with pytest.raises(ConnectionLost) as lost:
            client.add(STREAM, 0, [OPENED])
        client.disconnect()
        assert type(lost.value) is ConnectionLost
        assert len(server.requests) == 1


def test_what_the_server_asks_to_try_again_is_sent_again_a_few_times(face: Face) -> None:
    answers = iter([b"-TRYAGAIN overloaded\r\n", ANSWER, *[b"-TRYAGAIN shutting down\r\n"] * 4])
    with ScriptedServer(lambda _words: next(answers)) as server:
        client = face.connect(port=server.port)
        assert client.add(STREAM, 0, [OPENED], request_id=None) == [EVENT]
        with pytest.raises(TryAgain, match="shutting down"):
            client.add(STREAM, 0, [OPENED], request_id=None)
        client.disconnect()
        assert len(server.requests) == 6


def test_an_add_is_sent_once_when_the_connection_breaks_in_the_middle_of_the_reply(face: Face) -> None:
    answers = iter([b"*1\r\n$300\r\n{", None])
    with ScriptedServer(lambda _words: next(answers)) as server:
        client = face.connect(port=server.port, reply_timeout_seconds=0.1)
        with pytest.raises(ConnectionLost):
            client.add(STREAM, 0, [OPENED])
        client.disconnect()
        assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["add", "get"])
def test_what_is_overdue_is_sent_once(face: Face, method: str) -> None:
    arguments = (STREAM, 0, [OPENED]) if method == "add" else (STREAM,)
    with ScriptedServer(lambda _words: b"") as server:
        client = face.connect(port=server.port, reply_timeout_seconds=0.1)
        with pytest.raises(ConnectionLost):
            getattr(client, method)(*arguments)
        client.disconnect()
        assert len(server.requests) == 1


def test_after_a_late_reply_the_next_request_gets_its_own(face: Face) -> None:
    answers = iter([b"", ANSWER])
    with ScriptedServer(lambda _words: next(answers)) as server:
        client = face.connect(port=server.port, reply_timeout_seconds=0.2)
        with pytest.raises(ConnectionLost):
            client.add(STREAM, 0, [OPENED])
        assert client.get(STREAM) == [EVENT]
        client.disconnect()


def test_a_read_is_sent_once_more_when_its_connection_breaks(face: Face) -> None:
    answers = iter([None, ANSWER, None, None, None, None])
    with ScriptedServer(lambda _words: next(answers)) as server:
        client = face.connect(port=server.port)
        assert client.get(STREAM) == [EVENT]
        with pytest.raises(ConnectionLost):
            client.get(STREAM)
        client.disconnect()
        assert len(server.requests) == 6


def test_a_read_that_waits_may_take_longer_than_a_reply(face: Face) -> None:
    release = threading.Event()

    def answer(words: list[bytes]) -> bytes:
        if b"wait_ms" in words[1]:
            release.wait(0.5)
        return ANSWER if b"wait_ms" in words[1] else b""

    with ScriptedServer(answer) as server:
        client = face.connect(port=server.port, reply_timeout_seconds=0.1)
        assert client.get(STREAM, wait_ms=60_000) == [EVENT]
        with pytest.raises(ConnectionLost):
            client.get(STREAM)
        client.disconnect()


def test_a_read_that_waits_too_long_is_overdue(face: Face) -> None:
    with ScriptedServer(lambda _words: b"") as server:
        client = face.connect(port=server.port, reply_timeout_seconds=0.1)
        with pytest.raises(ConnectionLost) as lost:
            client.get_all(wait_ms=1)
        client.disconnect()
        assert lost.value.is_overdue
        assert len(server.requests) == 1


def test_who_follows_the_log_gets_its_pages_and_then_waits_for_what_comes(face: Face) -> None:
    pages = iter([array(bulk(event_json(1)), bulk(event_json(2))), array(), array(bulk(event_json(3)))])
    with ScriptedServer(lambda _words: next(pages)) as server:
        client = face.connect(port=server.port)
        followed = face.follow(client, 3, page_events=2, wait_ms=500)
        client.disconnect()
        assert [event.position for event in followed] == [1, 2, 3]
        waiting = {"after": "01KARS6Z4P0000000000000002", "limit": 2, "wait_ms": 500}
        assert [json.loads(words[1]) for words in server.requests] == [{"limit": 2, "wait_ms": 500}, waiting, waiting]


def test_nothing_is_sent_that_was_not_asked_for(face: Face) -> None:
    with ScriptedServer(lambda _words: ANSWER) as server:
        client = face.connect(port=server.port, password="secret", user="reader")
        assert client.add(STREAM, 0, [OPENED]) == [EVENT]
        client.disconnect()
        assert [words[0] for words in server.requests] == [b"ADD"]
        assert server.handshakes[0] == [b"AUTH", b"reader", b"secret"]
        assert {tuple(words[:2]) for words in server.handshakes[1:]} <= {(b"CLIENT", b"SETINFO")}


def test_a_server_that_is_not_there_is_told_from_a_lost_connection(face: Face) -> None:
    with ScriptedServer(lambda _words: None) as server:
        port = server.port
    with pytest.raises(NotConnected, match="nothing was sent"):
        face.connect(port=port)
    client = face.connect_lazily(port=port)
    for _ in range(2):
        with pytest.raises(NotConnected):
            client.add(STREAM, 0, [OPENED])
    client.abort()


def test_a_client_that_was_closed_sends_nothing(face: Face) -> None:
    with ScriptedServer(lambda _words: ANSWER) as server:
        for method in ("disconnect", "abort"):
            client = face.connect(port=server.port)
            getattr(client, method)()
            with pytest.raises(ClientClosed, match="disconnected"):
                client.add(STREAM, 0, [OPENED])
        assert server.requests == []


@pytest.mark.parametrize("text", [vector["text"] for vector in VECTORS["errors"]])
def test_an_error_reply_is_the_same_class_and_text_as_in_every_client(face: Face, text: str) -> None:
    with ScriptedServer(lambda _words: b"-%b\r\n" % text.encode()) as server:
        client = face.connect(port=server.port)
        with pytest.raises(EventflowError) as refused:
            client.add(STREAM, 0, [OPENED])
        client.disconnect()
    expected = error_of(text)
    assert type(refused.value) is type(expected)
    assert (str(refused.value), vars(refused.value)) == (str(expected), vars(expected))
    assert len(server.requests) == (4 if isinstance(expected, TryAgain) else 1)


def test_an_error_inside_an_array_is_raised(face: Face) -> None:
    reply = array(bulk(EVENT_JSON), b"-CORRUPT record 2 does not match its checksum\r\n")
    with ScriptedServer(lambda _words: reply) as server:
        client = face.connect(port=server.port)
        with pytest.raises(CorruptRecord, match=r"^record 2 "):
            client.get_all()
        client.disconnect()


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n", array(bulk(b"{}"))])
def test_another_server_is_found_out(face: Face, reply: bytes) -> None:
    with ScriptedServer(lambda _words: reply) as server:
        client = face.connect(port=server.port)
        with pytest.raises(UnexpectedReply):
            client.get_all()
        client.abort()


def test_half_a_surrogate_pair_and_an_empty_page_are_refused_before_anything_is_sent(face: Face) -> None:
    client = face.connect_lazily(port=1)
    with pytest.raises(InvalidArgument):
        client.ping("\ud800")
    with pytest.raises(InvalidArgument, match="page_events"):
        face.read_all(client, page_events=0)
    with pytest.raises(InvalidArgument, match="wait_ms"):
        face.follow(client, 1, wait_ms=0)
    client.disconnect()


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (exceptions.OutOfMemoryError("the disk is full"), "OOM the disk is full"),
        (exceptions.NoPermissionError("may not"), "NOPERM may not"),
        (exceptions.TryAgainError("shutting down"), "TRYAGAIN shutting down"),
        (exceptions.ReadOnlyError("follows another"), "READONLY follows another"),
        (exceptions.BusyLoadingError("loading"), "LOADING loading"),
        (exceptions.AuthenticationError("Authentication required."), "NOAUTH Authentication required."),
        (exceptions.AuthenticationError("invalid username-password pair"), "WRONGPASS invalid username-password pair"),
        (exceptions.AuthenticationError("AUTH <password> called"), "ERR AUTH <password> called"),
        (exceptions.ConnectionError("max number of clients reached"), "ERR max number of clients reached"),
        (exceptions.ResponseError("unknown command 'X'"), "ERR unknown command 'X'"),
        (exceptions.ResponseError("CONCURRENCY expected=1 actual=2: x"), "CONCURRENCY expected=1 actual=2: x"),
        (exceptions.ResponseError("CORRUPT"), "CORRUPT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_code_that_older_versions_of_redis_py_take_off_is_found_again(
    error: exceptions.RedisError, reply: str
) -> None:
    found, expected = find_refusal(error), error_of(reply)
    assert found is not None
    assert (type(found), str(found), vars(found)) == (type(expected), str(expected), vars(expected))


@pytest.mark.parametrize("error", [exceptions.ConnectionError("reset."), exceptions.TimeoutError(), OSError(104, "x")])
def test_a_connection_that_failed_is_no_refusal(error: Exception) -> None:
    assert type(failure_of(error, was_sent=True)) is ConnectionLost
    assert type(failure_of(error, was_sent=False)) is NotConnected


def test_a_task_that_was_cancelled_leaves_no_reply_to_the_next_one() -> None:
    is_asked = threading.Event()
    release = threading.Event()

    def answer(words: list[bytes]) -> bytes:
        if words[0] == b"VERSION":
            is_asked.set()
            release.wait(30)
            return bulk(b"1.0.0")
        return b"+PONG\r\n"

    async def use(port: int) -> None:
        async with await asyncio_client.connect(port=port, pool_size=1) as client:
            asking = asyncio.ensure_future(client.version())
            await asyncio.to_thread(is_asked.wait, 30)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            release.set()
            assert await client.ping() == "PONG"

    with ScriptedServer(answer) as server:
        asyncio.run(use(server.port))


@pytest.mark.system
def test_an_empty_server_answers_every_command(face: Face, start_server: StartServer) -> None:
    client = face.connect(port=start_server(PASSWORD=PASSWORD).port, password=PASSWORD)
    assert client.ping() == "PONG"
    assert client.ping("42") == "42"
    assert client.version() == __version__
    assert "second" in client.uptime()
    assert client.size().bytes > 0
    assert client.checksum() == (ZERO_ULID, "0" * 64)
    counts = [client.event_count, client.stream_count, client.event_count_estimate, client.stream_count_estimate]
    assert [count() for count in counts] == [0, 0, 0, 0]
    assert client.get(uuid4()) == client.get_all() == face.read_all(client) == []
    client.disconnect()


@pytest.mark.system
def test_events_come_back_as_they_were_stored_and_the_log_is_read_in_order(face: Face, server: Server) -> None:
    client = face.connect(port=server.port)
    stream = uuid4()
    stored = client.add(stream, 0, [NewEvent(type="A", data='"\r\n\u2028😀', metadata=""), OPENED])
    stored += client.add(stream, 2, [OPENED] * 23)
    assert client.get(stream) == stored
    assert client.get(stream, 20, 3) == stored[20:23]
    assert client.get_all(after=stored[4].id, limit=2) == stored[5:7]
    assert client.get_all(offset=stored[4].id, limit=2) == stored[4:6]
    for page_events in (1, 5, 24, 25, 26, 1000):
        assert face.read_all(client, page_events=page_events) == stored
    assert face.read_all(client, after=stored[-1].id) == []
    client.disconnect()


@pytest.mark.system
def test_conditions_of_appends_hold_or_nothing_is_stored(face: Face, server: Server) -> None:
    client = face.connect(port=server.port)
    first, second = str(uuid4()), str(uuid4())
    tagged = NewEvent(type="Registered", data="", tags=("name:zoë", "b"))
    with pytest.raises(WrongExpectedVersion) as refused:
        client.add(first, "exists", [tagged])
    assert (refused.value.stream, refused.value.expected, refused.value.actual) == (first, "exists", 0)
    (stored,) = client.add(first, "any", [tagged], unless=Unless(tags=["name:zoë"]), request_id="1")
    assert stored.tags == ("name:zoë", "b")
    assert client.get(first) == [stored]
    with pytest.raises(UnlessMatched) as matched:
        client.add(second, 0, [tagged], unless=[Unless(types=["Other"]), Unless(types=["Registered"], tags=["b"])])
    assert (matched.value.unless, matched.value.event) == (1, stored.id)
    assert client.add(first, "any", [tagged], unless=Unless(tags=["name:zoë"]), request_id="1") == [stored]
    with pytest.raises(RequestConflict):
        client.add(first, "any", [OPENED], request_id="1")
    many = client.add_many(
        [StreamAppend(second, 0, [OPENED, OPENED]), StreamAppend(first, "exists")],
        unless=Unless(tags=["name:zoë"], after=stored.id),
    )
    assert [(event.stream, event.position, event.tags) for event in many] == [(second, 2, ()), (second, 3, ())]
    with pytest.raises(WrongExpectedVersion) as refused:
        client.add_many([StreamAppend(first, 1, [OPENED]), StreamAppend(second, 1, [OPENED])])
    assert refused.value.stream == second
    assert client.event_count() == 3
    client.disconnect()


@pytest.mark.system
def test_who_follows_the_log_gets_what_others_store(face: Face, server: Server) -> None:
    client = face.connect(port=server.port, reply_timeout_seconds=30)
    stored = client.add(uuid4(), 0, [OPENED] * 3)

    def write() -> list[RecordedEvent]:
        with blocking_client.connect(port=server.port) as writer:
            return [writer.add(uuid4(), 0, [OPENED])[0] for _ in range(20)]

    with ThreadPoolExecutor() as threads:
        written = threads.submit(write)
        followed = face.follow(client, 23, page_events=2)
    assert followed == stored + written.result()
    stream = uuid4()
    assert client.get(stream, wait_ms=1) == client.get_all(after=followed[-1].id, wait_ms=1) == []
    client.disconnect()


@pytest.mark.system
def test_refusals_say_what_is_wrong(face: Face, server: Server) -> None:
    client = face.connect(port=server.port)
    stream = uuid4()
    client.add(stream, 0, [OPENED, OPENED])
    with pytest.raises(WrongExpectedVersion) as refused:
        client.add(stream, 1, [OPENED])
    error = refused.value
    assert (UUID(error.stream), error.expected, error.actual) == (stream, 1, 2)
    with pytest.raises(InvalidArgument, match=r"^events\[1\]\.type: "):
        client.add(stream, 2, [OPENED, NewEvent(type="", data="")])
    client.disconnect()


@pytest.mark.system
def test_who_has_no_password_or_a_wrong_one_is_told(face: Face, start_server: StartServer) -> None:
    port = start_server(PASSWORD=PASSWORD).port
    with pytest.raises(WrongPassword):
        face.connect(port=port, password="wrong")
    stranger = face.connect_lazily(port=port)
    with pytest.raises(NotAuthenticated):
        stranger.event_count()
    stranger.abort()


@pytest.mark.system
def test_the_client_goes_on_after_the_server_was_killed_and_started_again(
    face: Face, start_server: StartServer
) -> None:
    server = start_server()
    client = face.connect(port=server.port)
    stream = uuid4()
    stored = client.add(stream, 0, [OPENED])
    server.kill()
    with pytest.raises(ConnectionLost):
        client.get(stream)
    assert start_server(PORT=str(server.port)).port == server.port
    assert client.get(stream) == stored
    assert [event.version for event in client.add(stream, 1, [OPENED])] == [1]
    client.disconnect()


@pytest.mark.system
def test_threads_share_fewer_connections_than_they_are(server: Server) -> None:
    stream = uuid4()
    with blocking_client.connect(port=server.port, pool_size=2) as client, ThreadPoolExecutor(16) as threads:
        stored = list(threads.map(lambda _: client.add(uuid4(), 0, [OPENED]), range(200)))
        assert len({event.id for (event,) in stored}) == client.event_count() == 200
        assert client.get(stream) == []


@pytest.mark.system
def test_tasks_share_fewer_connections_than_they_are(server: Server) -> None:
    async def use() -> None:
        async with await asyncio_client.connect(port=server.port, pool_size=2) as client:
            stored = await asyncio.gather(*(client.add(uuid4(), 0, [OPENED]) for _ in range(200)))
            assert len({event.id for (event,) in stored}) == await client.event_count() == 200

    asyncio.run(use())


def test_the_guide_holds_programs_of_both_clients() -> None:
    assert len(PROGRAMS) == len(re.findall(r"^```py$", GUIDE, re.MULTILINE)) == 3


@pytest.mark.system
@pytest.mark.parametrize(("program", "printed"), PROGRAMS, ids=["blocking", "asyncio", "consumer"])
def test_a_program_of_the_guide_prints_what_stands_below_it(
    program: str, printed: str, server: Server, tmp_path: Path
) -> None:
    source = tmp_path / "program.py"
    source.write_text(program.replace("6543", str(server.port)), encoding="utf-8")
    command = [sys.executable, "-W", "error", str(source)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, printed), ended.stderr
