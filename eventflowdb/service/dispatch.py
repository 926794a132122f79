"""The one gate every command passes: look up, authenticate, decode and check the argument, respond, count."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.commands.spec import CommandSpec, Order
from eventflowdb.commands.table import COMMANDS
from eventflowdb.errors import CommandRefused, EventflowError, NotAuthenticated, TryAgain
from eventflowdb.limits import SLOWLOG_SECONDS_MIN
from eventflowdb.service.access import Access
from eventflowdb.service.clients import Clients
from eventflowdb.service.database import Database
from eventflowdb.service.faults import error_of
from eventflowdb.service.freshness import Freshness
from eventflowdb.service.monitoring import monitor_line
from eventflowdb.service.reply import PendingReply, Reply
from eventflowdb.service.session import Session
from eventflowdb.service.statistics import CommandCount, Statistics
from eventflowdb.storage.spans import Rendered, Span
from eventflowdb.wire import replies
from eventflowdb.wire.requests import UNAUTHENTICATED, DroppedRequest, Request, RequestLimits, authenticated

Responder = Callable[[Session, Any], Reply]

_WORDS_SHOWN_CHARACTERS_MAX = 128
_SLOW_SECONDS_MIN: Final = SLOWLOG_SECONDS_MIN


class _Command:
    """A command as the dispatcher needs it: its row of the table, who answers it, and its figures."""

    __slots__ = (
        "count",
        "decode",
        "is_append",
        "is_read",
        "name",
        "order",
        "respond",
        "spec",
        "words_max",
        "words_min",
    )

    def __init__(self, spec: CommandSpec, respond: Responder, count: CommandCount) -> None:
        self.spec = spec
        self.name = spec.name
        self.decode = None if spec.is_decoded_late else spec.decode
        self.order = spec.order
        # Once: to look a member up in its enumeration takes longer than what is decided by it.
        self.is_append = spec.order is Order.APPEND
        self.is_read = spec.order is Order.READ
        self.words_min = spec.words_min
        self.words_max = spec.words_max
        self.respond = respond
        self.count = count


class Dispatcher:
    """Turns requests into replies, and every error into one.

    responders: one for each command of the table, by its name.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        access: Access,
        responders: Mapping[str, Responder],
        clients: Clients,
        statistics: Statistics,
        request_bytes_max: int,
        seconds: Callable[[], float],
        is_seen: Callable[[Sequence[bytes]], bool],
        commands: Mapping[str, CommandSpec] = COMMANDS,
    ) -> None:
        self._database = database
        self._access = access
        self._clients = clients
        self._statistics = statistics
        self._seconds = seconds
        self._visibility = database.freshness.visibility
        self._is_seen = is_seen
        self._turn = database.turn
        self._company = database.company
        self._authenticated_limits = authenticated(request_bytes_max)
        self._monitors = clients.monitors
        self._commands: dict[bytes, _Command] = {}
        for name, spec in commands.items():
            command = _Command(spec, responders[name], statistics.count_of(name))
            self._commands[name.encode()] = self._commands[name.lower().encode()] = command
        # The last command that ran, which most likely is the next one too: to compare costs half of looking it up.
        self._last_name, self._last = next(iter(self._commands.items()))
        self._is_shutting_down = False

    def new_session(self, address: str, local_address: str) -> Session:
        """The session of a new connection."""
        is_authenticated = not self._access.needs_password
        session = Session(self._clients.next_id(), address, local_address, is_authenticated, self._seconds())
        self._clients.add(session)
        self._statistics.connections_received += 1
        return session

    @property
    def has_room(self) -> bool:
        """Whether one more connection may come; one that may not is counted."""
        if not self._clients.has_room:
            self._statistics.connections_rejected += 1
        return self._clients.has_room

    def forget_session(self, session: Session) -> None:
        """A connection has ended."""
        self._clients.remove(session)

    def shut_down(self) -> None:
        """From now on every request is refused, and those that wait for events are told."""
        self._is_shutting_down = True
        self._database.notices.close()

    def request_limits(self, session: Session) -> RequestLimits:
        """What this connection may send."""
        return self._authenticated_limits if session.is_authenticated else UNAUTHENTICATED

    @property
    def freshness(self) -> Freshness:
        """Whether a read has to wait."""
        return self._database.freshness

    def order_of(self, session: Session, request: Request) -> Order:
        """When a request may run."""
        if isinstance(request, DroppedRequest) or not session.is_authenticated:
            return Order.AT_ONCE
        command = self._find(request[0])
        return Order.AT_ONCE if command is None else command.order

    def must_freshen(self, session: Session, request: Request) -> bool:
        """Whether a request has to wait until reads see everything that was answered; they do not now."""
        if isinstance(request, DroppedRequest) or not session.is_authenticated:
            return False
        command = self._find(request[0])
        if command is None or not command.is_read:
            return False
        if command.name != "GET":
            return True
        if self._turn.is_unnoticed:
            self._turn.stand_back()
        try:
            return not self._is_seen(request)
        except Exception:  # whatever is wrong is told, and counted, when it runs
            return True

    def execute(self, session: Session, request: Request) -> Reply:
        """Run one request. Never raises."""
        if isinstance(request, DroppedRequest):
            error = request.error if session.is_authenticated else NotAuthenticated("Authentication required.")
            return self.refuse(error)
        began = self._seconds()
        session.last_used_at = began
        session.commands += 1
        company = self._company
        company.now = began
        if company.session_id != session.id:
            company.session_id, company.alone_since = session.id, began
        name = request[0]
        command = self._last if name == self._last_name else self._commands.get(name)
        # What most requests pass, written out; _admit says what is wrong with the others.
        if (
            command is None
            or not session.is_authenticated
            or self._is_shutting_down
            or not command.words_min <= len(request) <= command.words_max
        ):
            try:
                command = self._admit(session, request)
            except EventflowError as refusal:
                return self.refuse(refusal)
        self._last_name, self._last = name, command
        session.last_command = command.name
        if self._turn.is_unnoticed:
            self._turn.stand_back()
        if not command.is_append:
            self._visibility.others += 1
        if self._monitors:
            self._show_monitors(session, command.spec, request)
        return self._respond(session, command, request, began)

    def execute_limited(self, session: Session, request: Request) -> Reply:
        """The same on a connection in RESP2 that has subscriptions: what is answered must not look like a reply."""
        found = None if isinstance(request, DroppedRequest) else self._find(request[0])
        if found is None or isinstance(request, DroppedRequest):
            return self.execute(session, request)
        spec = found.spec
        if not spec.words_min <= len(request) <= spec.words_max:
            return self.execute(session, request)
        if not spec.is_for_subscribers:
            return self.refuse(_not_for_subscribers(spec.name.lower()))
        reply = self.execute(session, request)
        return _limited_pong(request) if spec.name == "PING" and not _error_code(reply) else reply

    def touch(self, session: Session) -> None:
        """The connection is in use: bytes came, or left."""
        session.last_used_at = self._seconds()

    def render_on(self, span: Span) -> "Deferred[Rendered]":
        """The next chunk of a long reply."""
        return self._database.render_on(span)

    def _admit(self, session: Session, words: list[bytes]) -> _Command:
        """The command, if this connection may run it now with so many words."""
        found = self._find(words[0])
        if not session.is_authenticated and (found is None or not found.spec.is_for_anyone):
            raise NotAuthenticated("Authentication required.")
        if found is None:
            raise _unknown_command(words)
        if self._is_shutting_down:
            raise TryAgain("the server is shutting down; nothing was stored; retry when it is back")
        if not found.words_min <= len(words) <= found.words_max:
            raise _wrong_count(found.spec, len(words) - 1)
        return found

    def _respond(self, session: Session, command: _Command, words: list[bytes], began: float) -> Reply:
        """Have the command answered, and count it when it is."""
        reply: Reply
        error_code: str | None = None
        try:
            if command.decode is not None and len(words) == 2:
                reply = command.respond(session, command.decode(words[1]))
            else:
                reply = command.respond(session, words)
        except EventflowError as refusal:
            reply, error_code = replies.error(refusal), refusal.code
        except Exception:
            fault = error_of(Failure(), self._log, "a request failed")
            reply, error_code = replies.error(fault), fault.code
        if isinstance(reply, PendingReply):
            reply.count_with(_Counting(self, session, command, words, began))
            return reply if reply.value is None else reply.value
        self.count(session, command, words, began, error_code)
        return reply

    def count(
        self, session: Session, command: _Command, words: list[bytes], began: float, error_code: str | None
    ) -> None:
        """Count a command that began then, and keep it where it was slow."""
        seconds = self._seconds() - began
        command.count.add(seconds)
        if error_code is not None:
            self._statistics.add_failure(command.count, error_code)
        if seconds >= _SLOW_SECONDS_MIN and not command.spec.has_secrets:
            self._statistics.keep_slow(seconds, words, session.address, session.name)

    def refuse(self, refusal: EventflowError) -> bytes:
        """The reply to a request that is not run."""
        self._statistics.errors[refusal.code] += 1
        return replies.error(refusal)

    def _show_monitors(self, session: Session, spec: CommandSpec, words: list[bytes]) -> None:
        line = monitor_line(session.address, words[:1] if spec.has_secrets else words, spec.has_secrets)
        for monitor in self._monitors:
            if monitor is not session and monitor.peer is not None:
                monitor.peer.push(line)

    def _find(self, name: bytes) -> _Command | None:
        return self._commands.get(name) or self._commands.get(name.upper())


class _Counting:
    """Counts a command when its reply is decided. (A closure would be two objects where this is one.)"""

    __slots__ = ("_began", "_command", "_dispatcher", "_session", "_words")

    def __init__(
        self, dispatcher: Dispatcher, session: Session, command: _Command, words: list[bytes], began: float
    ) -> None:
        self._dispatcher = dispatcher
        self._session = session
        self._command = command
        self._words = words
        self._began = began

    def __call__(self, reply: object) -> None:
        self._dispatcher.count(self._session, self._command, self._words, self._began, _error_code(reply))


def _error_code(reply: object) -> str | None:
    """The code of an encoded error."""
    if isinstance(reply, bytes) and reply.startswith(b"-"):
        return reply[1:].partition(b" ")[0].decode()
    return None


def _wrong_count(spec: CommandSpec, count: int) -> CommandRefused:
    """Redis's own sentence, and what would be right where that is a JSON object."""
    sentence = f"wrong number of arguments for '{spec.name.lower()}' command"
    if spec.decode is None:
        return CommandRefused(sentence)
    wanted = "at most one" if spec.words_min == 1 else "one"
    return CommandRefused(f"{sentence}: expected {wanted}, a JSON object, in a shell in single quotes; got {count}")


def _not_for_subscribers(name: str) -> CommandRefused:
    """Redis's own sentence."""
    allowed = "(P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET"
    return CommandRefused(f"Can't execute '{name}': only {allowed} are allowed in this context")


def _limited_pong(words: list[bytes]) -> bytes:
    """What PING answers between messages: an array like theirs, as in Redis."""
    return replies.bulk_array([b"pong", words[1] if len(words) == 2 else b""])


def _unknown_command(words: list[bytes]) -> CommandRefused:
    """Redis's own sentence, which clients match on."""
    name = words[0][:_WORDS_SHOWN_CHARACTERS_MAX].decode("utf-8", "replace")
    shown = ""
    for word in words[1:]:
        if len(shown) >= _WORDS_SHOWN_CHARACTERS_MAX:
            break
        shown += f"'{word[: _WORDS_SHOWN_CHARACTERS_MAX - len(shown)].decode('utf-8', 'replace')}' "
    return CommandRefused(f"unknown command '{name}', with args beginning with: {shown}")
