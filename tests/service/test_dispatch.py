"""The gate: who may ask, what is known, how often which word, and what becomes of errors."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventflowdb import __version__
from eventflowdb.commands.spec import CommandSpec, Order
from eventflowdb.commands.table import COMMANDS
from eventflowdb.errors import InvalidArgument
from eventflowdb.ids import ZERO_ULID
from eventflowdb.service.access import Access
from eventflowdb.service.clients import Clients
from eventflowdb.service.dispatch import Dispatcher
from eventflowdb.service.session import Session
from eventflowdb.service.statistics import Statistics
from eventflowdb.wire.requests import DroppedRequest

from .fakes import OTHER, STREAM, Connection, LoggedFaults, ReplyError, SteppedServer, add, read_replies, request

NOAUTH = ("NOAUTH", "Authentication required.")
WRONGPASS = ("WRONGPASS", "invalid username-password pair or user is disabled.")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[SteppedServer]:
    """A server with a password."""
    server = SteppedServer(tmp_path / "guarded", password="secret")
    yield server
    server.close()


def ask(connection: Connection, *words: str | bytes) -> Any:
    """The reply to a request that is answered at once."""
    connection.send(request(*words))
    (reply,) = read_replies(connection.take())
    return reply


@pytest.mark.parametrize(
    "sent",
    [
        request("PING"),
        request("GET", json.dumps({"stream": STREAM})),
        add(STREAM, 0, "x"),
        request("ACK", json.dumps({"consumer": "c", "member": "m", "ids": [ZERO_ULID]})),
    ],
)
def test_whoever_carries_out_a_request_stands_back_while_a_batch_is_staged(
    server: SteppedServer, connection: Connection, sent: bytes
) -> None:
    server.writer.turn.begin()
    connection.send(sent)
    assert not server.writer.turn.is_unnoticed
    server.writer.turn.end()
    server.finish()
    assert len(read_replies(connection.take())) == 1


# Who may ask.


@pytest.mark.parametrize("name", [*sorted(set(COMMANDS) - {"AUTH", "HELLO", "QUIT", "RESET"}), "NOSUCH", "", "auth "])
def test_before_auth_everything_else_is_refused_alike(guarded: SteppedServer, name: str) -> None:
    """Also what does not exist and what has the wrong arguments: a stranger learns nothing."""
    connection = guarded.connect()
    assert ask(connection, name) == NOAUTH
    assert ask(connection, name.lower(), "word", "word") == NOAUTH


def test_before_auth_quit_is_answered(guarded: SteppedServer) -> None:
    connection = guarded.connect()
    assert ask(connection, "quit") == "OK"
    assert connection.line.end == "close"


@pytest.mark.parametrize("words", [("AUTH", "secret"), ("auth", "default", "secret")])
def test_auth_lets_in(guarded: SteppedServer, words: tuple[str, ...]) -> None:
    connection = guarded.connect()
    assert ask(connection, *words) == "OK"
    assert ask(connection, "PING") == "PONG"
    assert ask(guarded.connect(), "PING") == NOAUTH, "each connection for itself"


@pytest.mark.parametrize("words", [("AUTH", "wrong"), ("AUTH", "root", "secret"), ("AUTH", "secret", "default")])
def test_a_wrong_password_or_user_does_not_let_in(guarded: SteppedServer, words: tuple[str, ...]) -> None:
    connection = guarded.connect()
    assert ask(connection, *words) == WRONGPASS
    assert ask(connection, "PING") == NOAUTH
    assert ask(connection, "AUTH", "secret") == "OK"


def test_who_is_in_stays_in(guarded: SteppedServer) -> None:
    """Pools authenticate again; and as in Redis a failed AUTH takes nothing away."""
    connection = guarded.connect()
    assert ask(connection, "AUTH", "secret") == "OK"
    assert ask(connection, "AUTH", "secret") == "OK"
    assert ask(connection, "AUTH", "wrong") == WRONGPASS
    assert ask(connection, "PING") == "PONG"


def test_auth_without_a_password_configured_is_refused_in_the_words_of_redis(connection: Connection) -> None:
    assert ask(connection, "AUTH", "anything") == (
        "ERR",
        "AUTH <password> called without any password configured for the default user. "
        "Are you sure your configuration is correct?",
    )
    assert ask(connection, "PING") == "PONG"


def test_before_auth_a_dropped_request_is_refused_like_any_other(guarded: SteppedServer) -> None:
    session = guarded.dispatcher.new_session("peer:1", "here:2")
    reply = guarded.dispatcher.execute(session, DroppedRequest(InvalidArgument("too large")))
    assert reply == b"-NOAUTH Authentication required.\r\n"


def test_limits_before_auth_are_lower(guarded: SteppedServer) -> None:
    session = guarded.dispatcher.new_session("peer:1", "here:2")
    before = guarded.dispatcher.request_limits(session)
    session.authenticate()
    after = guarded.dispatcher.request_limits(session)
    assert (before.arguments_max, before.bulk_bytes_max) == (10, 16 * 1024)
    assert (after.arguments_max, after.bulk_bytes_max, after.request_bytes_max) == (1 << 20, 1 << 29, 1 << 24)


def test_before_auth_no_request_waits_for_an_other(guarded: SteppedServer) -> None:
    session = guarded.dispatcher.new_session("peer:1", "here:2")
    assert guarded.dispatcher.order_of(session, [b"GETALL"]) is Order.AT_ONCE
    session.authenticate()
    assert guarded.dispatcher.order_of(session, [b"getall"]) is Order.READ
    assert guarded.dispatcher.order_of(session, [b"ADD"]) is Order.APPEND
    assert guarded.dispatcher.order_of(session, [b"NOSUCH"]) is Order.AT_ONCE


# What is known.


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["NOSUCH"], "unknown command 'NOSUCH', with args beginning with: "),
        (["nosuch", "a", "b c"], "unknown command 'nosuch', with args beginning with: 'a' 'b c' "),
        ([""], "unknown command '', with args beginning with: "),
        (["GET\r\n"], "unknown command 'GET  ', with args beginning with: "),
        ([b"\xff"], "unknown command '\N{REPLACEMENT CHARACTER}', with args beginning with: "),
        (["x" * 200], f"unknown command '{'x' * 128}', with args beginning with: "),
        (["n", "y" * 200, "z"], f"unknown command 'n', with args beginning with: '{'y' * 128}' "),
        (
            ["n", "y" * 100, "z" * 100, "a"],
            f"unknown command 'n', with args beginning with: '{'y' * 100}' '{'z' * 25}' ",
        ),
    ],
)
def test_an_unknown_command_is_refused_in_the_words_of_redis(
    connection: Connection, words: list[str | bytes], sentence: str
) -> None:
    assert ask(connection, *words) == ("ERR", sentence)


WRONG_COUNTS = [
    (spec.name, count)
    for spec in COMMANDS.values()
    for count in range(1, spec.words_max + 3)
    if not spec.words_min <= count <= spec.words_max
]


@pytest.mark.parametrize(("name", "count"), WRONG_COUNTS)
def test_a_wrong_number_of_arguments_is_refused_in_the_words_of_redis(
    connection: Connection, name: str, count: int
) -> None:
    code, sentence = ask(connection, name, *["{}"] * (count - 1))
    assert (code, sentence.partition(":")[0]) == ("ERR", f"wrong number of arguments for '{name.lower()}' command")
    assert connection.line.end is None, "not even QUIT ends the connection then"


def test_a_wrong_number_of_arguments_tells_what_would_be_right(connection: Connection) -> None:
    told = "expected {}, a JSON object, in a shell in single quotes; got {}"
    assert ask(connection, "ADD")[1].endswith(" command: " + told.format("one", 0))
    assert ask(connection, "GET", "{stream:", "a,", "version:", "0}")[1].endswith(told.format("one", 4))
    assert ask(connection, "GETALL", "{}", "{}")[1].endswith(told.format("at most one", 2))
    assert ask(connection, "EVENTCOUNT", "{}")[1] == "wrong number of arguments for 'eventcount' command"


def test_every_command_of_the_contract_is_in_the_table() -> None:
    taken = {spec.name: (spec.words_min, spec.words_max) for spec in COMMANDS.values()}
    assert {name: taken.get(name) for name in CONTRACT} == CONTRACT


CONTRACT = {
    "PING": (1, 2),
    "AUTH": (2, 3),
    "QUIT": (1, 1),
    "VERSION": (1, 1),
    "UPTIME": (1, 1),
    "SIZE": (1, 1),
    "EVENTCOUNT": (1, 1),
    "STREAMCOUNT": (1, 1),
    "EVENTCOUNTEST": (1, 1),
    "STREAMCOUNTEST": (1, 1),
    "CHECKSUM": (1, 1),
    "ADD": (2, 2),
    "GET": (2, 2),
    "GETALL": (1, 2),
}


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("spec", COMMANDS.values(), ids=COMMANDS)
def test_names_may_be_written_in_any_case(
    server: SteppedServer, connection: Connection, spec: CommandSpec, change: Callable[[str], str]
) -> None:
    connection.send(request(change(spec.name), *["{}"] * (spec.words_min - 1)))
    server.read()
    for reply in read_replies(connection.take()):
        assert not isinstance(reply, ReplyError) or "unknown command" not in reply.text


# What is answered.


def test_what_is_answered_from_memory(server: SteppedServer, connection: Connection) -> None:
    server.clock.advance(3600 + 120 + 3.9)
    assert ask(connection, "PING") == "PONG"
    assert ask(connection, "PING", b"\0\r\n\xff") == b"\0\r\n\xff"
    assert ask(connection, "PING", "") == b""
    assert ask(connection, "VERSION") == __version__.encode()
    assert ask(connection, "UPTIME") == b"1 hour, 2 minutes and 3 seconds"


def test_counts_are_exact_and_estimates_are_as_of_the_last_index(server: SteppedServer, connection: Connection) -> None:
    server.estimates.start()
    server.hold(STREAM, 3)
    server.hold(OTHER, 2)
    names = ("EVENTCOUNT", "STREAMCOUNT", "EVENTCOUNTEST", "STREAMCOUNTEST")
    assert [ask(connection, name) for name in names] == [5, 2, 0, 0]
    server.clock.advance(1.0)
    assert [ask(connection, name) for name in names] == [5, 2, 5, 2]


def test_size_is_told_in_bytes_and_in_words(server: SteppedServer, connection: Connection) -> None:
    size_bytes, words = ask(connection, "SIZE")
    assert size_bytes == server.store.size_bytes() > 0
    assert words == f"{size_bytes / 1000:.1f} kB".encode()


def test_the_checksum_names_the_latest_event(server: SteppedServer, connection: Connection) -> None:
    assert ask(connection, "CHECKSUM") == [ZERO_ULID.encode(), b"0" * 64]
    record = json.loads(server.hold(STREAM, 2)[-1])
    assert ask(connection, "CHECKSUM") == [record["id"].encode(), server.store.head().checksum.hex().encode()]


def test_a_wrong_argument_is_refused_with_its_path(connection: Connection) -> None:
    assert ask(connection, "ADD", '{"stream":7}') == ("INVALIDARG", "stream: expected a string, got an integer")
    assert ask(connection, "GET", "nonsense").code == "INVALIDARG"
    assert ask(connection, "GETALL", '{"limt":1}').code == "INVALIDARG"


def test_a_refusal_of_an_append_comes_in_its_own_words(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, 2)
    connection.send(add(STREAM, 0, "x"))
    server.commit()
    ((code, text),) = read_replies(connection.take())
    assert code == "CONCURRENCY"
    assert text.startswith(f"stream={STREAM} expected=0 actual=2: ")


# When something is wrong.


def test_while_the_server_shuts_down_every_command_is_refused(server: SteppedServer, connection: Connection) -> None:
    server.dispatcher.shut_down()
    for name in COMMANDS:
        refusal = ask(connection, name)
        assert refusal.code == "TRYAGAIN", name
        assert "shutting down; nothing was stored" in refusal.text
    connection.send(add(STREAM, 0, "x"))
    assert not server.thread.jobs
    assert read_replies(connection.take())[0].code == "TRYAGAIN"


def test_what_was_taken_before_the_shutdown_is_answered(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "x"))
    server.dispatcher.shut_down()
    server.commit()
    assert len(read_replies(connection.take())[0]) == 1


def test_a_failing_store_is_told_of_and_ends_nothing(server: SteppedServer, connection: Connection) -> None:
    server.store.close()
    for words in (["EVENTCOUNT"], ["CHECKSUM"], ["GETALL", '{"limit":1}'], ["GET", json.dumps({"stream": STREAM})]):
        refusal = ask(connection, *words)
        assert refusal.code == "ERR"
        assert refusal.text.startswith("the storage failed: ")
    assert ask(connection, "PING") == "PONG"


def test_a_fault_nobody_expected_is_logged_and_told_by_its_incident_id(
    server: SteppedServer, faults: LoggedFaults
) -> None:
    def fail(_session: Session, _argument: Any) -> bytes:
        raise StopIteration

    responders = dict.fromkeys(COMMANDS, fail)
    dispatcher = Dispatcher(
        server.database, Access(None), responders, Clients(1), Statistics(), 1 << 24, server.clock.seconds, bool
    )
    reply = dispatcher.execute(dispatcher.new_session("peer:1", "here:2"), [b"UPTIME"])
    assert isinstance(reply, bytes)
    event = faults.take_one()
    assert isinstance(event["log_failure"].value, StopIteration)
    ((code, text),) = read_replies(reply)
    assert code == "ERR"
    assert text == f"internal error, incident {event['incident']}; the server's log says more"
