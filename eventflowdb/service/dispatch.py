"""The one gate every command passes: look up, authenticate, decode and check the argument, respond."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.commands.spec import CommandSpec, Order
from eventflowdb.commands.table import COMMANDS
from eventflowdb.errors import CommandRefused, EventflowError, NotAuthenticated, TryAgain
from eventflowdb.service.access import Access
from eventflowdb.service.database import Database
from eventflowdb.service.faults import error_of
from eventflowdb.service.reply import Reply
from eventflowdb.service.responders import Responders
from eventflowdb.service.session import Session
from eventflowdb.storage.lmdb_store import Chunk, Span
from eventflowdb.wire import replies
from eventflowdb.wire.requests import UNAUTHENTICATED, DroppedRequest, Request, RequestLimits, authenticated

Responder = Callable[[Session, Any], Reply]

_WORDS_SHOWN_CHARACTERS_MAX = 128


class Dispatcher:
    """Turns requests into replies, and every error into one."""

    _log = Logger()

    def __init__(
        self, database: Database, access: Access, request_bytes_max: int, seconds: Callable[[], float]
    ) -> None:
        self._database = database
        self._access = access
        self._authenticated_limits = authenticated(request_bytes_max)
        responders = Responders(database, access, seconds)
        self._responders: dict[str, Responder] = {
            "PING": responders.ping,
            "AUTH": responders.auth,
            "QUIT": responders.quit,
            "VERSION": responders.version,
            "UPTIME": responders.uptime,
            "SIZE": responders.size,
            "EVENTCOUNT": responders.event_count,
            "STREAMCOUNT": responders.stream_count,
            "EVENTCOUNTEST": responders.event_count_estimate,
            "STREAMCOUNTEST": responders.stream_count_estimate,
            "CHECKSUM": responders.checksum,
            "ADD": responders.add,
            "GET": responders.get,
            "GETALL": responders.get_all,
        }
        self._commands = {name.encode(): (COMMANDS[name], respond) for name, respond in self._responders.items()}
        self._is_shutting_down = False

    def new_session(self, peer: str) -> Session:
        """The session of a new connection."""
        return Session(peer, is_authenticated=not self._access.needs_password)

    def shut_down(self) -> None:
        """From now on every request is refused."""
        self._is_shutting_down = True

    def request_limits(self, session: Session) -> RequestLimits:
        """What this connection may send."""
        return self._authenticated_limits if session.is_authenticated else UNAUTHENTICATED

    def order_of(self, session: Session, request: Request) -> Order:
        """When a request may run."""
        if isinstance(request, DroppedRequest) or not session.is_authenticated:
            return Order.AT_ONCE
        found = self._find(request[0])
        return Order.AT_ONCE if found is None else found[0].order

    def execute(self, session: Session, request: Request) -> Reply:
        """Run one request. Never raises."""
        try:
            if isinstance(request, DroppedRequest):
                self._require_authentication(session)
                raise request.error
            return self._execute(session, request)
        except EventflowError as error:
            return replies.error(error)
        except Exception:
            return replies.error(error_of(Failure(), self._log, "a request failed"))

    def read_on(self, span: Span) -> "Deferred[Chunk]":
        """The next chunk of a long reply."""
        return self._database.read_on(span)

    def _execute(self, session: Session, words: list[bytes]) -> Reply:
        found = self._find(words[0])
        if not session.is_authenticated and (found is None or not found[0].is_for_anyone):
            self._require_authentication(session)
        if found is None:
            raise _unknown_command(words)
        if self._is_shutting_down:
            raise TryAgain("the server is shutting down; nothing was stored; retry when it is back")
        spec, respond = found
        if not spec.words_min <= len(words) <= spec.words_max:
            raise CommandRefused(f"wrong number of arguments for '{spec.name.lower()}' command")
        if spec.decode is not None and len(words) == 2:
            return respond(session, spec.decode(words[1]))
        return respond(session, words)

    def _find(self, name: bytes) -> tuple[CommandSpec, Responder] | None:
        return self._commands.get(name) or self._commands.get(name.upper())

    def _require_authentication(self, session: Session) -> None:
        if not session.is_authenticated:
            raise NotAuthenticated("Authentication required.")


def _unknown_command(words: list[bytes]) -> CommandRefused:
    """Redis's own sentence, which clients match on."""
    name = words[0][:_WORDS_SHOWN_CHARACTERS_MAX].decode("utf-8", "replace")
    shown = ""
    for word in words[1:]:
        if len(shown) >= _WORDS_SHOWN_CHARACTERS_MAX:
            break
        shown += f"'{word[: _WORDS_SHOWN_CHARACTERS_MAX - len(shown)].decode('utf-8', 'replace')}' "
    return CommandRefused(f"unknown command '{name}', with args beginning with: {shown}")
