"""COMMAND, CONFIG, SLOWLOG and SHUTDOWN: in the shapes and sentences of Redis, with our own data."""

from pathlib import Path
from typing import Any

import pytest

from eventflowdb.commands.table import COMMANDS
from eventflowdb.service.patterns import matches
from eventflowdb.service.statistics import Statistics
from tests.wire.resp3 import Kind, Refused, read_all, read_one

from .fakes import PING, STREAM, Connection, SteppedServer, add, request


def ask(connection: Connection, *words: str | bytes) -> Any:
    """The reply to a request that is answered at once, in either protocol."""
    connection.send(request(*words))
    return read_one(connection.take())


WRONG_USES = [
    (["COMMAND", "BAD"], "unknown subcommand 'BAD'. Try COMMAND HELP."),
    (["COMMAND", "COUNT", "x"], "wrong number of arguments for 'command|count' command"),
    (["COMMAND", "LIST", "x"], "syntax error"),
    (["COMMAND", "LIST", "FILTERBY", "BAD", "a*"], "syntax error"),
    (["CONFIG", "BAD"], "unknown subcommand 'BAD'. Try CONFIG HELP."),
    (["CONFIG", "GET"], "wrong number of arguments for 'config|get' command"),
    (["CONFIG", "SET", "x"], "wrong number of arguments for 'config|set' command"),
    (["CONFIG", "RESETSTAT", "x"], "wrong number of arguments for 'config|resetstat' command"),
    (["SLOWLOG", "BAD"], "unknown subcommand 'BAD'. Try SLOWLOG HELP."),
    (["SLOWLOG", "LEN", "x"], "wrong number of arguments for 'slowlog|len' command"),
    (["SLOWLOG", "GET", "-2"], "count should be greater than or equal to -1"),
    (["SLOWLOG", "GET", "x"], "count should be greater than or equal to -1"),
    (["SHUTDOWN", "BAD"], "syntax error"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG_USES)
def test_a_wrong_use_is_refused_in_the_words_of_redis(
    server: SteppedServer, connection: Connection, words: list[str], sentence: str
) -> None:
    assert ask(connection, *words) == Refused(f"ERR {sentence}")
    assert connection.line.end is None
    assert server.stops == 0


# COMMAND.


def test_commands_are_counted_and_listed(connection: Connection) -> None:
    names = [name.lower().encode() for name in COMMANDS]
    assert ask(connection, "COMMAND", "COUNT") == len(names)
    assert ask(connection, "COMMAND", "LIST") == names
    assert ask(connection, "command", "list", "filterby", "pattern", "GETA*") == [b"getall"]
    assert ask(connection, "COMMAND", "LIST", "FILTERBY", "MODULE", "any") == []


def test_an_entry_of_command_info_is_that_of_redis(connection: Connection) -> None:
    assert ask(connection, "COMMAND", "INFO", "ADD", "nosuch", "getall") == [
        [b"add", 2, ["write", "denyoom"], 0, 0, 0, ["@events", "@write"], [], [], []],
        None,
        [b"getall", -1, ["readonly"], 0, 0, 0, ["@events", "@read"], [], [], []],
    ]
    ask(connection, "HELLO", "3")
    flags, categories = Kind("set", ["fast", "loading", "no_auth"]), Kind("set", ["@connection", "@fast"])
    none = Kind("set", [])
    assert ask(connection, "COMMAND", "INFO", "auth", "nosuch") == [
        [b"auth", -2, flags, 0, 0, 0, categories, none, none, none],
        None,
    ]


def test_command_alone_tells_of_all(connection: Connection) -> None:
    told = ask(connection, "COMMAND")
    assert [entry[0] for entry in told] == [name.lower().encode() for name in COMMANDS]
    assert told == ask(connection, "COMMAND", "INFO")


def test_the_docs_tell_what_redis_cli_shows(connection: Connection) -> None:
    ask(connection, "HELLO", "3")
    assert ask(connection, "COMMAND", "DOCS", "Add", "nosuch", "quit") == {
        b"add": {
            b"summary": COMMANDS["ADD"].summary.encode(),
            b"since": b"0.1.0",
            b"group": b"events",
            b"arguments": [
                {
                    b"name": b'{"stream","version","events","unless","request_id","checkpoint"}',
                    b"type": b"string",
                    b"display_text": b'{"stream","version","events","unless","request_id","checkpoint"}',
                }
            ],
        },
        b"quit": {b"summary": COMMANDS["QUIT"].summary.encode(), b"since": b"0.1.0", b"group": b"connection"},
    }
    everything = ask(connection, "COMMAND", "DOCS")
    assert list(everything) == [name.lower().encode() for name in COMMANDS]
    assert everything[b"getall"][b"arguments"][0][b"flags"] == Kind("set", ["optional"])
    ask(connection, "HELLO", "2")
    name, docs = ask(connection, "COMMAND", "DOCS", "quit")
    assert name == b"quit"
    assert docs[::2] == [b"summary", b"since", b"group"]


@pytest.mark.parametrize("container", ["CLIENT", "COMMAND", "CONFIG", "SLOWLOG"])
def test_help_is_lines(connection: Connection, container: str) -> None:
    lines = ask(connection, container, "help")
    assert len(lines) >= 3
    assert all(isinstance(line, str) for line in lines)


# CONFIG.


def config(connection: Connection, *patterns: str) -> dict[bytes, bytes]:
    """The parameters, in RESP2."""
    reply = ask(connection, "CONFIG", "GET", *patterns)
    return dict(zip(reply[::2], reply[1::2], strict=True))


def test_config_tells_what_tools_ask(connection: Connection) -> None:
    assert config(connection, "save") == {b"save": b""}
    assert config(connection, "appendonly") == {b"appendonly": b"yes"}
    assert config(connection, "SAVE", "append*") == {b"save": b"", b"appendonly": b"yes", b"appendfsync": b"always"}
    assert config(connection, "maxclients") == {b"maxclients": b"100"}
    assert config(connection, "nosuch") == {}
    assert config(connection, "[z-l]axclie?ts") == {b"maxclients": b"100"}
    ask(connection, "HELLO", "3")
    assert ask(connection, "CONFIG", "GET", "timeout", "tcp-keepalive") == {b"timeout": b"0", b"tcp-keepalive": b"300"}


def test_config_never_tells_the_password(tmp_path: Path) -> None:
    server = SteppedServer(tmp_path, password="open sesame")
    connection = server.connect()
    ask(connection, "AUTH", "open sesame")
    told = config(connection, "*")
    assert told[b"dir"] == str(tmp_path).encode()
    assert not any(b"pass" in name or b"sesame" in value for name, value in told.items())
    server.close()


def test_settings_cannot_be_changed(connection: Connection) -> None:
    refusal = ask(connection, "CONFIG", "SET", "maxclients", "5")
    assert refusal.text.startswith("ERR CONFIG SET is not supported: ")
    assert config(connection, "maxclients") == {b"maxclients": b"100"}


@pytest.mark.parametrize(
    ("pattern", "text", "does_match"),
    [
        ("*", "", True),
        ("", "a", False),
        ("a*", "ABC", True),
        ("*c", "abc", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("a?c", "abc", True),
        ("a?", "a", False),
        ("[abc]x", "bx", True),
        ("[^abc]x", "bx", False),
        ("[^abc]x", "dx", True),
        ("[a-c]x", "bx", True),
        ("[c-a]x", "bx", True),
        ("[a-]", "-", False),
        ("[a-]", "^", True),
        ("[\\]]", "]", True),
        ("[a", "a", True),
        ("[]a", "a", False),
        ("\\*", "*", True),
        ("\\*", "a", False),
        ("a\\", "a\\", True),
        (".+", "ab", False),
        ("*?" * 60 + "!", "a" * 200, False),
    ],
)
def test_patterns_match_as_those_of_redis_do(pattern: str, text: str, does_match: bool) -> None:
    """Held against redis-server 7.0 by hand; the last one would keep a regular expression busy for years."""
    assert matches(pattern, text) is does_match


# SLOWLOG.


def slow_append(server: SteppedServer, connection: Connection, seconds: float, data: str) -> None:
    """An append that takes so long, or longer."""
    connection.send(add(STREAM, server.store.event_count(), data))
    server.clock.advance(seconds)
    server.commit()
    connection.take()


def test_commands_of_10_ms_and_more_are_kept_newest_first(server: SteppedServer, connection: Connection) -> None:
    ask(connection, "CLIENT", "SETNAME", "me")
    slow_append(server, connection, 0.0099, "fast")
    assert ask(connection, "SLOWLOG", "LEN") == 0
    slow_append(server, connection, 0.0101, "first")
    slow_append(server, connection, 2.0, "second" + "x" * 200)
    assert ask(connection, "SLOWLOG", "LEN") == 2
    second, first = ask(connection, "SLOWLOG", "GET")
    assert (first[0], second[0]) == (0, 1)
    assert first[1] > 1_700_000_000
    assert (first[2] // 100, second[2]) == (101, 2_000_000)
    assert first[3][0] == b"ADD"
    assert b'"first"' in first[3][1]
    assert len(second[3][1]) < 160
    assert second[3][1].endswith(b" more bytes)")
    assert first[4:] == [b"peer:1", b"me"]
    assert ask(connection, "SLOWLOG", "GET", "1") == [second]
    assert ask(connection, "SLOWLOG", "GET", "0") == []
    assert ask(connection, "SLOWLOG", "GET", "-1") == [second, first]
    assert ask(connection, "SLOWLOG", "RESET") == "OK"
    assert ask(connection, "SLOWLOG", "GET") == []


def test_the_slow_log_is_bounded(server: SteppedServer, connection: Connection) -> None:
    for _ in range(130):
        slow_append(server, connection, 0.02, "x")
    assert ask(connection, "SLOWLOG", "LEN") == 128
    assert len(ask(connection, "SLOWLOG", "GET")) == 10
    numbers = [entry[0] for entry in ask(connection, "SLOWLOG", "GET", "-1")]
    assert numbers == list(range(129, 1, -1))


def test_of_many_words_the_slow_log_keeps_32() -> None:
    statistics = Statistics()
    statistics.keep_slow(1.0, [b"w"] * 32, "", "")
    statistics.keep_slow(1.0, [b"w"] * 40, "", "")
    assert statistics.slow[1].words == [b"w"] * 32
    assert statistics.slow[0].words == [b"w"] * 31 + [b"... (9 more arguments)"]


# SHUTDOWN.


@pytest.mark.parametrize("words", [[], ["NOSAVE"], ["save", "now", "force"]])
def test_shutdown_stops_the_server_and_answers_nothing(
    server: SteppedServer, connection: Connection, words: list[str]
) -> None:
    connection.send(PING, request("SHUTDOWN", *words), PING)
    assert read_all(connection.take()) == ["PONG"]
    assert connection.line.end == "close"
    assert server.stops == 1


def test_shutdown_waits_for_the_appends_before_it(server: SteppedServer, connection: Connection) -> None:
    connection.send(add(STREAM, 0, "a"), request("SHUTDOWN"))
    assert connection.line.end is None
    server.commit()
    assert len(read_one(connection.take())) == 1
    assert connection.line.end == "close"
