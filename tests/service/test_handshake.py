"""How clients introduce themselves: in the shapes and sentences of Redis, which they match on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventflowdb import __version__
from tests.wire.resp3 import Refused, Verbatim, read_one

from .fakes import PING, STREAM, Connection, SteppedServer, add, request

NOAUTH = Refused("NOAUTH Authentication required.")
NOAUTH_HELLO = Refused(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> "
    "option can be used to authenticate the client and select the RESP protocol version at the same time"
)
WRONGPASS = Refused("WRONGPASS invalid username-password pair or user is disabled.")
BAD_NAME = Refused("ERR Client names cannot contain spaces, newlines or special characters.")
BAD_PROTOCOL = Refused("ERR Protocol version is not an integer or out of range")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[SteppedServer]:
    """A server with a password."""
    server = SteppedServer(tmp_path / "guarded", password="secret")
    yield server
    server.close()


def ask(connection: Connection, *words: str | bytes) -> Any:
    """The reply to a request that is answered at once, in either protocol."""
    connection.send(request(*words))
    return read_one(connection.take())


def facts(connection: Connection) -> dict[str, str]:
    """What CLIENT INFO tells of a connection."""
    reply = ask(connection, "CLIENT", "INFO")
    text: str = reply.text if isinstance(reply, Verbatim) else reply.decode()
    assert text.endswith("\n")
    return dict(fact.split("=", 1) for fact in text.split())


# HELLO.


def hello(connection: Connection, protocol: int) -> dict[bytes, Any]:
    """What HELLO tells, in this protocol."""
    return {
        b"server": b"eventflowdb",
        b"version": __version__.encode(),
        b"proto": protocol,
        b"id": connection.session.id,
        b"mode": b"standalone",
        b"role": b"master",
        b"modules": [],
    }


def flat(mapping: dict[bytes, Any]) -> list[Any]:
    """A map as RESP2 has it."""
    return [item for pair in mapping.items() for item in pair]


def test_hello_answers_a_flat_array_in_resp2_and_a_map_in_resp3(connection: Connection) -> None:
    assert ask(connection, "HELLO") == flat(hello(connection, 2))
    assert ask(connection, "HELLO", "2") == flat(hello(connection, 2))
    assert ask(connection, "HELLO", "3") == hello(connection, 3)
    assert ask(connection, "HELLO") == hello(connection, 3), "without a version nothing changes"
    assert ask(connection, "HELLO", "2") == flat(hello(connection, 2))


def test_hello_names_the_connection(connection: Connection) -> None:
    assert ask(connection, "hello", "3", "setname", "me") == hello(connection, 3)
    assert ask(connection, "CLIENT", "GETNAME") == b"me"
    assert ask(connection, "HELLO", "3", "SETNAME", "") == hello(connection, 3)
    assert ask(connection, "CLIENT", "GETNAME") is None


REFUSED_HELLOS = [
    (["4"], Refused("NOPROTO unsupported protocol version")),
    (["1"], Refused("NOPROTO unsupported protocol version")),
    (["-3"], Refused("NOPROTO unsupported protocol version")),
    (["abc"], BAD_PROTOCOL),
    (["03"], BAD_PROTOCOL),
    (["+3"], BAD_PROTOCOL),
    ([" 3"], BAD_PROTOCOL),
    ([""], BAD_PROTOCOL),
    (["9" * 30], BAD_PROTOCOL),
    (["4", "Bad"], Refused("NOPROTO unsupported protocol version")),
    (["3", "AUTH", "default"], Refused("ERR Syntax error in HELLO option 'AUTH'")),
    (["3", "AUTH", "default", "secret", "Bad"], Refused("ERR Syntax error in HELLO option 'Bad'")),
    (["3", "AUTH", "default", "secret", "SETNAME"], Refused("ERR Syntax error in HELLO option 'SETNAME'")),
    (["3", "AUTH", "default", "secret", "SETNAME", "a b"], BAD_NAME),
    (["3", "SETNAME", "me", "AUTH", "default", "wrong"], WRONGPASS),
    (["3", "SETNAME", "me", "AUTH", "root", "secret"], WRONGPASS),
    (["3", "SETNAME", "me"], NOAUTH_HELLO),
    (["3"], NOAUTH_HELLO),
    ([], NOAUTH_HELLO),
]


@pytest.mark.parametrize(("words", "refusal"), REFUSED_HELLOS)
def test_a_hello_that_fails_changes_nothing(guarded: SteppedServer, words: list[str], refusal: Refused) -> None:
    connection = guarded.connect()
    assert ask(connection, "HELLO", *words) == refusal
    assert ask(connection, "PING") == NOAUTH
    session = connection.session
    assert (session.protocol, session.name, session.is_authenticated) == (2, "", False)


def test_hello_authenticates_names_and_switches_at_once(guarded: SteppedServer) -> None:
    connection = guarded.connect()
    reply = ask(connection, "HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me")
    assert reply == hello(connection, 3)
    assert ask(connection, "CLIENT", "GETNAME") == b"me"
    assert ask(connection, "HELLO", "2", "AUTH", "default", "wrong") == WRONGPASS
    assert ask(connection, "HELLO") == hello(connection, 3), "who is in stays in, as it was"


def test_hello_lifts_the_limits_for_the_requests_behind_it(guarded: SteppedServer) -> None:
    connection = guarded.connect()
    connection.send(request("HELLO", "2", "AUTH", "default", "secret"), request("PING", "x" * 20_000))
    assert connection.take().endswith(b"x" * 20_000 + b"\r\n")


# AUTH.


def test_where_there_is_no_password_any_will_do_with_the_user(connection: Connection) -> None:
    """As in Redis, so that a client set up with credentials connects; a password alone is refused there too."""
    assert ask(connection, "AUTH", "default", "anything") == "OK"
    assert ask(connection, "HELLO", "3", "AUTH", "default", "anything") == hello(connection, 3)
    assert ask(connection, "AUTH", "root", "anything") == WRONGPASS
    assert ask(connection, "HELLO", "2", "AUTH", "root", "anything") == WRONGPASS
    assert connection.session.protocol == 3


# SELECT, ECHO, RESET, QUIT.


@pytest.mark.parametrize(
    ("index", "reply"),
    [
        ("0", "OK"),
        ("1", Refused("ERR DB index is out of range")),
        ("-1", Refused("ERR DB index is out of range")),
        ("00", Refused("ERR value is not an integer or out of range")),
        ("0" * 30, Refused("ERR value is not an integer or out of range")),
        ("9" * 30, Refused("ERR value is not an integer or out of range")),
        ("-", Refused("ERR value is not an integer or out of range")),
        ("zero", Refused("ERR value is not an integer or out of range")),
        ("", Refused("ERR value is not an integer or out of range")),
    ],
)
def test_there_is_one_database(connection: Connection, index: str, reply: Any) -> None:
    assert ask(connection, "SELECT", index) == reply


def test_echo_gives_bytes_back(connection: Connection) -> None:
    assert ask(connection, "ECHO", b"\0\r\n\xff") == b"\0\r\n\xff"


def test_reset_makes_a_connection_as_new_but_for_its_library(guarded: SteppedServer) -> None:
    connection = guarded.connect()
    ask(connection, "HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me")
    ask(connection, "CLIENT", "SETINFO", "LIB-NAME", "tests")
    ask(connection, "MONITOR")
    assert ask(connection, "RESET") == "RESET"
    assert ask(connection, "PING") == NOAUTH
    assert not guarded.clients.monitors
    assert guarded.dispatcher.request_limits(connection.session).arguments_max == 10
    ask(connection, "AUTH", "secret")
    told = facts(connection)
    assert (told["name"], told["resp"], told["flags"], told["lib-name"]) == ("", "2", "N", "tests")


def test_reset_without_a_password_stays_authenticated(connection: Connection) -> None:
    assert ask(connection, "RESET") == "RESET"
    assert ask(connection, "PING") == "PONG"


def test_reset_before_auth_is_answered(guarded: SteppedServer) -> None:
    connection = guarded.connect()
    assert ask(connection, "RESET") == "RESET"
    assert ask(connection, "PING") == NOAUTH


def test_nothing_behind_a_quit_is_run(server: SteppedServer, connection: Connection) -> None:
    connection.send(request("QUIT"), add(STREAM, 0, "a"), PING)
    server.finish()
    assert read_one(connection.take()) == "OK"
    assert connection.line.end == "close"
    assert server.store.event_count() == 0


# CLIENT.


WRONG_USES = [
    (["BAD"], "unknown subcommand 'BAD'. Try CLIENT HELP."),
    (["bad", "x"], "unknown subcommand 'bad'. Try CLIENT HELP."),
    (["TRACKING", "ON"], "unknown subcommand 'TRACKING'. Try CLIENT HELP."),
    (["MAINT_NOTIFICATIONS", "ON"], "unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP."),
    (["ID", "x"], "wrong number of arguments for 'client|id' command"),
    (["GETNAME", "x"], "wrong number of arguments for 'client|getname' command"),
    (["SETNAME"], "wrong number of arguments for 'client|setname' command"),
    (["SETNAME", "a b"], "Client names cannot contain spaces, newlines or special characters."),
    (["SETNAME", "ä"], "Client names cannot contain spaces, newlines or special characters."),
    (["SETINFO", "LIB-NAME"], "wrong number of arguments for 'client|setinfo' command"),
    (["SETINFO", "LIB-NAME", "a b"], "LIB-NAME cannot contain spaces, newlines or special characters."),
    (["SETINFO", "lib-ver", "1\n"], "lib-ver cannot contain spaces, newlines or special characters."),
    (["SETINFO", "Other", "x"], "Unrecognized option 'Other'"),
    (["INFO", "x"], "wrong number of arguments for 'client|info' command"),
    (["LIST", "x"], "syntax error"),
    (["LIST", "TYPE"], "syntax error"),
    (["LIST", "TYPE", "bad"], "Unknown client type 'bad'"),
    (["LIST", "ID"], "syntax error"),
    (["LIST", "ID", "1", "abc"], "Invalid client ID"),
    (["LIST", "ADDR", "x"], "syntax error"),
    (["KILL"], "wrong number of arguments for 'client|kill' command"),
    (["KILL", "1.2.3.4:5"], "No such client"),
    (["KILL", "ID"], "No such client"),
    (["KILL", "ID", "x"], "client-id should be greater than 0"),
    (["KILL", "ID", "0"], "client-id should be greater than 0"),
    (["KILL", "ID", "9" * 30], "client-id should be greater than 0"),
    (["KILL", "ID", "1", "ADDR"], "syntax error"),
    (["KILL", "TYPE", "bad"], "Unknown client type 'bad'"),
    (["KILL", "USER", "nobody"], "No such user 'nobody'"),
    (["KILL", "SKIPME", "maybe"], "syntax error"),
    (["KILL", "BAD", "x"], "syntax error"),
    (["NO-EVICT"], "wrong number of arguments for 'client|no-evict' command"),
    (["NO-EVICT", "maybe"], "syntax error"),
    (["NO-TOUCH", "maybe"], "syntax error"),
    (["REPLY"], "wrong number of arguments for 'client|reply' command"),
    (["REPLY", "maybe"], "syntax error"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG_USES)
def test_a_wrong_use_of_client_is_refused_in_the_words_of_redis(
    connection: Connection, words: list[str], sentence: str
) -> None:
    assert ask(connection, "CLIENT", *words) == Refused(f"ERR {sentence}")
    assert ask(connection, "CLIENT", "GETNAME") is None
    assert connection.line.end is None


def test_client_tells_of_its_own_connection(server: SteppedServer, connection: Connection) -> None:
    server.clock.advance(10.9)
    ask(connection, "PING")
    ask(connection, "CLIENT", "SETINFO", "LIB-NAME", "redis-py(x)")
    ask(connection, "client", "setinfo", "lib-ver", "8.1.0")
    assert ask(connection, "CLIENT", "SETNAME", "me") == "OK"
    assert ask(connection, "CLIENT", "ID") == connection.session.id
    assert ask(connection, "CLIENT", "GETNAME") == b"me"
    server.clock.advance(5)
    told = facts(connection)
    expected = {"id": str(connection.session.id), "addr": "peer:1", "laddr": "here:2", "name": "me", "age": "15"}
    expected |= {"idle": "0", "flags": "N", "db": "0", "multi": "-1", "cmd": "client", "user": "default"}
    expected |= {"resp": "2", "lib-name": "redis-py(x)", "lib-ver": "8.1.0"}
    assert {name: told[name] for name in expected} == expected
    # Those that redis-py 5 reads as integers, all of them.
    for name in "id age idle db sub psub multi qbuf qbuf-free obl argv-mem oll omem tot-mem".split():
        assert int(told[name]) >= -1


def test_a_stranger_is_listed_like_anyone(guarded: SteppedServer) -> None:
    stranger, connection = guarded.connect(), guarded.connect()
    ask(connection, "AUTH", "secret")
    lines = ask(connection, "CLIENT", "LIST").decode().splitlines()
    assert [line.split()[0] for line in lines] == [f"id={stranger.session.id}", f"id={connection.session.id}"]
    assert " cmd=NULL user=default " in lines[0]


def test_lists_and_infos_are_verbatim_in_resp3(connection: Connection) -> None:
    ask(connection, "HELLO", "3")
    for words in (["LIST"], ["INFO"], ["LIST", "TYPE", "normal"], ["LIST", "ID", "1", "2"]):
        reply = ask(connection, "CLIENT", *words)
        assert isinstance(reply, Verbatim)
        assert reply.text.startswith("id=1 addr=peer:1 ")
        assert reply.text.count("\n") == 1
    assert ask(connection, "CLIENT", "LIST", "TYPE", "pubsub") == Verbatim("")
    assert ask(connection, "CLIENT", "LIST", "ID", "999") == Verbatim("")


def test_what_is_never_done_is_accepted(connection: Connection) -> None:
    for words in (["NO-EVICT", "on"], ["NO-EVICT", "OFF"], ["NO-TOUCH", "ON"], ["no-touch", "off"]):
        assert ask(connection, "CLIENT", *words) == "OK"
    assert all(isinstance(line, str) for line in ask(connection, "CLIENT", "HELP"))


# CLIENT KILL.


@pytest.mark.parametrize(
    ("words", "killed"),
    [
        (["TYPE", "normal"], [1, 2]),
        (["TYPE", "PubSub"], []),
        (["USER", "default"], [1, 2]),
        (["ID", "1"], [1]),
        (["ID", "1", "2", "999"], [1, 2]),
        (["ID", "1", "2", "LADDR", "here:2"], [1, 2]),
        (["ADDR", "peer:1"], [1, 2]),
        (["ADDR", "peer:2"], []),
        (["LADDR", "here:2", "ADDR", "peer:2"], []),
        (["MAXAGE", "10"], [1, 2]),
        (["MAXAGE", "11"], []),
        (["ID", "3"], []),
        (["ID", "3", "SKIPME", "no"], [3]),
        (["SKIPME", "no"], [1, 2, 3]),
        (["SKIPME", "yes"], [1, 2]),
    ],
)
def test_kill_closes_whom_every_filter_chooses(server: SteppedServer, words: list[str], killed: list[int]) -> None:
    connections = [server.connect() for _ in range(3)]
    server.clock.advance(10)
    assert ask(connections[2], "CLIENT", "KILL", *words) == len(killed)
    assert [connection.session.id for connection in connections if connection.line.end == "close"] == killed


def test_the_old_form_of_kill_names_an_address_and_spares_nobody(connection: Connection) -> None:
    assert ask(connection, "CLIENT", "KILL", "peer:1") == "OK"
    assert connection.line.end == "close"


def test_a_connection_that_is_owed_replies_is_cut_and_its_append_is_stored(server: SteppedServer) -> None:
    killer, other = server.connect(), server.connect()
    other.send(add(STREAM, 0, "a"))
    assert ask(killer, "CLIENT", "KILL", "ID", str(other.session.id)) == 1
    assert other.line.end == "abort"
    other.conversation.lost()
    server.commit()
    assert server.store.event_count() == 1
    assert len(server.clients) == 1
    assert server.budget.used_bytes == 0
