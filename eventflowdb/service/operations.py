"""What those who run a server ask of it: INFO, COMMAND, CONFIG, SLOWLOG, MONITOR, SHUTDOWN.

Shapes and sentences are Redis's own (server.c, config.c, slowlog.c, 7.4): tools match on them.
"""

from collections.abc import Callable, Sequence

from eventflowdb.commands.table import COMMANDS
from eventflowdb.config import Settings
from eventflowdb.errors import CommandRefused, EventflowError
from eventflowdb.limits import BULK_BYTES_MAX, KEEPALIVE_SECONDS, SLOWLOG_ENTRIES_MAX, SLOWLOG_SECONDS_MIN
from eventflowdb.service.clients import Clients
from eventflowdb.service.command_reference import command_docs, command_info
from eventflowdb.service.information import Information
from eventflowdb.service.patterns import matches
from eventflowdb.service.reply import Reply
from eventflowdb.service.session import Session
from eventflowdb.service.statistics import SlowCommand, Statistics
from eventflowdb.wire import replies
from eventflowdb.wire.integers import read_integer
from eventflowdb.wire.values import Simple, Value, Verbatim, encode

Words = Sequence[bytes]
_OK = Simple("OK")
Subcommand = tuple[int, int, Callable[[Words], Value]]
"""The fewest and the most words, the command's name included, and what answers."""


class Operations:
    """The commands about the server as a whole. stop: ends the server, soon."""

    def __init__(
        self,
        settings: Settings,
        information: Information,
        clients: Clients,
        statistics: Statistics,
        stop: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._information = information
        self._clients = clients
        self._statistics = statistics
        self._stop = stop
        self._command_subcommands: dict[str, Subcommand] = {
            "count": (2, 2, lambda words: len(COMMANDS)),
            "docs": (2, 1000, lambda words: _docs(words[2:])),
            "info": (2, 1000, lambda words: _infos(words[2:])),
            "list": (2, 5, _names),
        }
        self._config_subcommands: dict[str, Subcommand] = {
            "get": (3, 1000, self._config_get),
            "resetstat": (2, 2, self._reset_statistics),
            "set": (4, 1000, _config_set),
        }
        self._slowlog_subcommands: dict[str, Subcommand] = {
            "get": (2, 3, self._slow_commands),
            "len": (2, 2, lambda words: len(self._statistics.slow)),
            "reset": (2, 2, self._reset_slow),
        }

    def info(self, session: Session, words: Words) -> Reply:
        """INFO [section ...]."""
        wished = [word.decode("utf-8", "replace") for word in words[1:]]
        return encode(Verbatim(self._information.text(wished)), session.protocol)

    def command(self, session: Session, words: Words) -> Reply:
        """COMMAND, and its subcommands COUNT, DOCS, INFO and LIST."""
        if len(words) == 1:
            return encode(_infos(()), session.protocol)
        return self._respond(session, words, self._command_subcommands)

    def config(self, session: Session, words: Words) -> Reply:
        """CONFIG GET and RESETSTAT; settings are given at the start, so SET is refused."""
        return self._respond(session, words, self._config_subcommands)

    def slowlog(self, session: Session, words: Words) -> Reply:
        """SLOWLOG GET, LEN and RESET."""
        return self._respond(session, words, self._slowlog_subcommands)

    def monitor(self, session: Session, _words: Words) -> Reply:
        """MONITOR: from now on the connection sees every command."""
        session.is_monitor = True
        self._clients.monitors.add(session)
        return replies.OK

    def shutdown(self, session: Session, words: Words) -> Reply:
        """SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE]: as SIGTERM does. Everything answered is saved already."""
        if any(word.lower() not in (b"nosave", b"save", b"now", b"force") for word in words[1:]):
            raise EventflowError("syntax error")
        session.end()
        self._stop()
        return b""

    def _respond(self, session: Session, words: Words, subcommands: dict[str, Subcommand]) -> Reply:
        command = words[0].decode("ascii").lower()
        name = words[1][:128].decode("utf-8", "replace")
        found = subcommands.get(name.lower())
        if name.lower() == "help":
            return encode([Simple(f"{command.upper()} {known.upper()}") for known in subcommands], session.protocol)
        if found is None:
            raise CommandRefused(f"unknown subcommand '{name}'. Try {command.upper()} HELP.")
        words_min, words_max, respond = found
        if not words_min <= len(words) <= words_max:
            raise CommandRefused(f"wrong number of arguments for '{command}|{name.lower()}' command")
        return encode(respond(words), session.protocol)

    def _config_get(self, words: Words) -> Value:
        patterns = [word[:128].decode("utf-8", "replace") for word in words[2:]]
        return {
            name: value
            for name, value in self._parameters().items()
            if any(matches(pattern, name) for pattern in patterns)
        }

    def _parameters(self) -> dict[str, str]:
        """What tools ask for, by Redis's names, and our own settings by theirs; never the password."""
        settings = self._settings
        return {
            "appendfsync": "always",
            "appendonly": "yes",
            "bind": settings.interface,
            "databases": "1",
            "dir": str(settings.data),
            "maxclients": str(self._clients.clients_max),
            "maxmemory": "0",
            "maxmemory-policy": "noeviction",
            "port": str(self._information.port),
            "proto-max-bulk-len": str(BULK_BYTES_MAX),
            "save": "",
            "slowlog-log-slower-than": f"{SLOWLOG_SECONDS_MIN * 1e6:.0f}",
            "slowlog-max-len": str(SLOWLOG_ENTRIES_MAX),
            "tcp-keepalive": str(KEEPALIVE_SECONDS),
            "timeout": f"{settings.idle_timeout:g}",
            "max-request-bytes": str(settings.max_request_bytes),
            "max-inflight-bytes": str(settings.max_inflight_bytes),
            "map-size": str(settings.map_size),
            "min-free-bytes": str(settings.min_free_bytes),
            "read-cache-bytes": str(settings.read_cache_bytes),
            "count-interval": f"{settings.count_interval:g}",
            "workers": str(settings.workers),
        }

    def _reset_statistics(self, _words: Words) -> Value:
        self._statistics.reset()
        return _OK

    def _slow_commands(self, words: Words) -> Value:
        count = read_count(words)
        return slow_value(list(self._statistics.slow), count)

    def _reset_slow(self, _words: Words) -> Value:
        self._statistics.slow.clear()
        return _OK


def _config_set(_words: Words) -> Value:
    raise EventflowError("CONFIG SET is not supported: settings are given at the start, see the README's Configuration")


def slow_value(slow: Sequence[SlowCommand], count: int) -> Value:
    """The latest of some slow commands, as SLOWLOG GET shows them; -1: all."""
    return [
        [entry.number, entry.ended_at, int(entry.seconds * 1e6), entry.words, entry.address, entry.client_name]
        for entry in (slow if count < 0 else slow[:count])
    ]


def read_count(words: Words) -> int:
    """How many SLOWLOG GET is to show."""
    count = 10 if len(words) < 3 else read_integer(words[2])
    if count is None or count < -1:
        raise EventflowError("count should be greater than or equal to -1")
    return count


def _docs(words: Words) -> Value:
    names = [word.decode("utf-8", "replace").upper() for word in words] or list(COMMANDS)
    return {name.lower(): command_docs(COMMANDS[name]) for name in names if name in COMMANDS}


def _infos(words: Words) -> Value:
    names = [word.decode("utf-8", "replace").upper() for word in words] or list(COMMANDS)
    return [command_info(COMMANDS[name]) if name in COMMANDS else None for name in names]


def _names(words: Words) -> Value:
    names = [name.lower() for name in COMMANDS]
    if len(words) == 2:
        return names
    if len(words) != 5 or words[2].lower() != b"filterby":
        raise EventflowError("syntax error")
    if words[3].lower() == b"module":
        return []
    if words[3].lower() == b"pattern":
        pattern = words[4][:128].decode("utf-8", "replace")
        return [name for name in names if matches(pattern, name)]
    raise EventflowError("syntax error")
