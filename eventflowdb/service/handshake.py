"""How a Redis client introduces itself: HELLO, AUTH, SELECT, RESET, QUIT, PING, ECHO and CLIENT.

Shapes and sentences are Redis's own (networking.c, 7.4): clients match on them.
"""

from collections.abc import Callable, Sequence

from eventflowdb import __version__
from eventflowdb.errors import CommandRefused, EventflowError, NotAuthenticated, WrongPassword
from eventflowdb.service.access import DEFAULT_USER, Access, RefusedLogins
from eventflowdb.service.client_filters import ClientFilter, kill_filter, list_filter
from eventflowdb.service.clients import Clients
from eventflowdb.service.reply import Reply
from eventflowdb.service.session import Muting, Session
from eventflowdb.wire import replies
from eventflowdb.wire.integers import read_integer
from eventflowdb.wire.values import RESP2, RESP3, Simple, Value, Verbatim, encode

Words = Sequence[bytes]
_OK = Simple("OK")


class UnsupportedProtocol(EventflowError):
    """HELLO asked for a version of the protocol that there is not."""

    code = "NOPROTO"


class Handshake:
    """The commands of a connection about itself and the other connections."""

    def __init__(self, access: Access, clients: Clients, seconds: Callable[[], float]) -> None:
        self._access = access
        self._clients = clients
        self._seconds = seconds
        self._refused_logins = RefusedLogins(seconds)
        self._subcommands: dict[str, tuple[int, int, Callable[[Session, Words], Value]]] = {
            "id": (2, 2, lambda session, words: session.id),
            "getname": (2, 2, lambda session, words: session.name or None),
            "setname": (3, 3, self._set_name),
            "setinfo": (4, 4, self._set_info),
            "info": (2, 2, lambda session, words: Verbatim(self._line(session) + "\n")),
            "list": (2, 1000, self._list),
            "kill": (3, 1000, self._kill),
            "reply": (3, 3, self._reply),
            "no-evict": (3, 3, _accept_switch),
            "no-touch": (3, 3, _accept_switch),
            "help": (2, 2, lambda session, words: [Simple(line) for line in _CLIENT_HELP]),
        }

    def ping(self, _session: Session, words: Words) -> Reply:
        """PING: the message back, or PONG."""
        return replies.PONG if len(words) == 1 else replies.bulk(words[1])

    def echo(self, _session: Session, words: Words) -> Reply:
        """ECHO: the message back."""
        return replies.bulk(words[1])

    def auth(self, session: Session, words: Words) -> Reply:
        """AUTH: also again on a connection that is authenticated, as pools do."""
        if len(words) == 3:
            self._authenticate(session, words[1], words[2])
        else:
            self._check(session, DEFAULT_USER, words[1])
        session.authenticate()
        return replies.OK

    def quit(self, session: Session, _words: Words) -> Reply:
        """QUIT: OK, and the end."""
        session.end()
        return replies.OK

    def select(self, _session: Session, words: Words) -> Reply:
        """SELECT: there is one database, number 0."""
        if read_integer(words[1]) is None:
            raise EventflowError("value is not an integer or out of range")
        if words[1] != b"0":
            raise EventflowError("DB index is out of range")
        return replies.OK

    def reset(self, session: Session, _words: Words) -> Reply:
        """RESET: the connection is as a new one."""
        self._clients.monitors.discard(session)
        session.reset(is_authenticated=not self._access.needs_password)
        return b"+RESET\r\n"

    def hello(self, session: Session, words: Words) -> Reply:
        """HELLO [version [AUTH user password] [SETNAME name]]: nothing changes unless all of it can."""
        protocol = session.protocol
        credentials: tuple[bytes, bytes] | None = None
        name: str | None = None
        if len(words) > 1:
            protocol = _read_protocol(words[1])
            credentials, name = _read_hello_options(words[2:])
        if credentials is not None:
            self._authenticate(session, *credentials)
            session.authenticate()
        if not session.is_authenticated:
            raise NotAuthenticated(
                "HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> "
                "<pass> option can be used to authenticate the client and select the RESP protocol version at the "
                "same time"
            )
        if name is not None:
            session.name = name
        session.protocol = protocol
        session.has_changed = True
        facts: dict[str, Value] = {
            "server": "eventflowdb",
            "version": __version__,
            "proto": protocol,
            "id": session.id,
            "mode": "standalone",
            "role": "master",
            "modules": [],
        }
        return encode(facts, protocol)

    def _authenticate(self, session: Session, user: bytes, password: bytes) -> None:
        """By user and password: where none is set any will do, as in Redis; a password alone is refused there."""
        if self._access.needs_password:
            self._check(session, user, password)
        elif user != DEFAULT_USER:
            raise WrongPassword("invalid username-password pair or user is disabled.")

    def _check(self, session: Session, user: bytes, password: bytes) -> None:
        try:
            self._access.authenticate(user, password)
        except WrongPassword:
            self._refused_logins.note(session.address)
            raise

    def client(self, session: Session, words: Words) -> Reply:
        """CLIENT subcommand ..."""
        name = words[1][:128].decode("utf-8", "replace")
        found = self._subcommands.get(name.lower())
        if found is None:
            raise CommandRefused(f"unknown subcommand '{name}'. Try CLIENT HELP.")
        words_min, words_max, respond = found
        if not words_min <= len(words) <= words_max:
            raise CommandRefused(f"wrong number of arguments for 'client|{name.lower()}' command")
        return encode(respond(session, words), session.protocol)

    def _set_name(self, session: Session, words: Words) -> Value:
        session.name = _read_name(words[2], "Client names cannot contain spaces, newlines or special characters.")
        return _OK

    def _set_info(self, session: Session, words: Words) -> Value:
        attribute = words[2].lower()
        if attribute not in (b"lib-name", b"lib-ver"):
            raise EventflowError(f"Unrecognized option '{words[2][:128].decode('utf-8', 'replace')}'")
        text = _read_name(
            words[3], f"{words[2].decode('ascii')} cannot contain spaces, newlines or special characters."
        )
        if attribute == b"lib-name":
            session.library_name = text
        else:
            session.library_version = text
        return _OK

    def _list(self, _session: Session, words: Words) -> Value:
        return Verbatim("".join(f"{line}\n" for line in self.lines(words).values()))

    def lines(self, words: Words) -> dict[int, str]:
        """What CLIENT LIST shows with these words, by the ids of the connections."""
        chosen = list_filter(words[2:])
        return {session.id: self._line(session) for session in self._clients if chosen.holds(session, self._seconds())}

    def _kill(self, session: Session, words: Words) -> Value:
        count = self.kill(session, words)
        return killed_value(words, count)

    def kill(self, session: Session | None, words: Words) -> int:
        """Do what CLIENT KILL with these words asks for, on behalf of a connection, if it is here; how many it hit."""
        if len(words) == 3:
            chosen = ClientFilter(address=words[2].decode("utf-8", "replace"), skips_me=False)
        else:
            chosen = kill_filter(words[2:])
        now = self._seconds()
        killed = [
            other for other in self._clients if chosen.holds(other, now) and not (chosen.skips_me and other is session)
        ]
        for other in killed:
            if other is session:
                session.end()
            elif other.peer is not None:
                other.peer.kill()
        return len(killed)

    def _reply(self, session: Session, words: Words) -> Value:
        mutings = {b"on": Muting.NOTHING, b"skip": Muting.NEXT, b"off": Muting.ALL}
        muting = mutings.get(words[2].lower())
        if muting is None:
            raise EventflowError("syntax error")
        if muting is not Muting.NEXT or session.muting is not Muting.ALL:
            session.mute(muting)
        return _OK

    def _line(self, session: Session) -> str:
        """One connection as CLIENT LIST shows it (networking.c, catClientInfoString)."""
        now = self._seconds()
        facts = {
            "id": session.id,
            "addr": session.address,
            "laddr": session.local_address,
            "fd": -1,
            "name": session.name,
            "age": int(now - session.began_at),
            "idle": int(now - session.last_used_at),
            "flags": _flags(session),
            "db": 0,
            "sub": len(session.subscriber or ()),
            "psub": 0,
            "ssub": 0,
            "multi": -1,
            "watch": 0,
            **_UNMEASURED,
            "tot-cmds": session.commands,
            "cmd": session.last_command.lower() or "NULL",
            "user": "default",
            "redir": -1,
            "resp": session.protocol,
            "lib-name": session.library_name,
            "lib-ver": session.library_version,
        }
        return " ".join(f"{name}={value}" for name, value in facts.items())


def killed_value(words: Words, count: int) -> Value:
    """What CLIENT KILL answers; in its old form, an address alone, it has to hit."""
    if len(words) > 3:
        return count
    if not count:
        raise EventflowError("No such client")
    return _OK


def _flags(session: Session) -> str:
    """O: a monitor, P: has subscriptions, b: waits for events; N: none of these."""
    flags = "O" if session.is_monitor else ""
    if session.subscriber is not None:
        flags += "P"
    if session.peer is not None and session.peer.is_blocked:
        flags += "b"
    return flags or "N"


def _read_protocol(word: bytes) -> int:
    if read_integer(word) is None:
        raise EventflowError("Protocol version is not an integer or out of range")
    if word not in (b"2", b"3"):
        raise UnsupportedProtocol("unsupported protocol version")
    return RESP2 if word == b"2" else RESP3


def _read_hello_options(words: Words) -> tuple[tuple[bytes, bytes] | None, str | None]:
    """User and password, and the name, that HELLO gives."""
    credentials: tuple[bytes, bytes] | None = None
    name: str | None = None
    rest = list(words)
    while rest:
        given = rest.pop(0)
        option = given.lower()
        if option == b"auth" and len(rest) >= 2:
            credentials = (rest.pop(0), rest.pop(0))
        elif option == b"setname" and rest:
            name = _read_name(rest.pop(0), "Client names cannot contain spaces, newlines or special characters.")
        else:
            raise EventflowError(f"Syntax error in HELLO option '{given[:128].decode('utf-8', 'replace')}'")
    return credentials, name


def _read_name(word: bytes, refusal: str) -> str:
    """A name of printable ASCII characters, as it stands in CLIENT LIST; empty to take it away."""
    if any(not 33 <= character <= 126 for character in word):
        raise EventflowError(refusal)
    return word[:256].decode("ascii")


def _accept_switch(_session: Session, words: Words) -> Value:
    """ON or OFF of something that this server never does: evict, or count touches."""
    if words[2].lower() not in (b"on", b"off"):
        raise EventflowError("syntax error")
    return _OK


_UNMEASURED = dict.fromkeys(
    ("qbuf", "qbuf-free", "argv-mem", "multi-mem", "rbs", "rbp", "obl", "oll", "omem", "tot-mem"), 0
)
"""Not kept for each connection; but redis-py 5 fails on CLIENT INFO without them."""

_CLIENT_HELP = (
    "CLIENT <subcommand> [<arg> ...]. Subcommands are:",
    "GETNAME",
    "    The name of this connection.",
    "ID",
    "    The id of this connection.",
    "INFO",
    "    What the server knows of this connection.",
    "KILL <ip:port> | <filter> <value> [<filter> <value> ...]",
    "    Close connections, chosen by ID, ADDR, LADDR, TYPE, USER, MAXAGE; SKIPME (yes|no) spares this one.",
    "LIST [TYPE <type>] [ID <id> [<id> ...]]",
    "    What the server knows of every connection, a line each.",
    "NO-EVICT (ON|OFF), NO-TOUCH (ON|OFF)",
    "    Accepted: nothing is ever evicted.",
    "REPLY (ON|OFF|SKIP)",
    "    Whether this connection gets replies.",
    "SETINFO (LIB-NAME|LIB-VER) <text>",
    "    Tell which library the client uses.",
    "SETNAME <name>",
    "    Name this connection.",
    "HELP",
    "    This text.",
)
