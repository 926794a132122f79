"""Who is connected: every open connection's session, by its id."""

from collections.abc import Iterator
from itertools import count

from eventflowdb.service.session import Session


class Clients:
    """The open connections of one server. Ids grow and are never given twice."""

    def __init__(self, clients_max: int) -> None:
        self.clients_max = clients_max
        self._sessions: dict[int, Session] = {}
        self._ids = count(1)
        self._monitors: set[Session] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    @property
    def has_room(self) -> bool:
        """Whether one more connection may come."""
        return len(self._sessions) < self.clients_max

    @property
    def monitors(self) -> "set[Session]":
        """Those that asked to see every command."""
        return self._monitors

    def next_id(self) -> int:
        """The id of a new connection."""
        return next(self._ids)

    def add(self, session: Session) -> None:
        """A connection has begun."""
        self._sessions[session.id] = session

    def remove(self, session: Session) -> None:
        """A connection has ended."""
        self._sessions.pop(session.id, None)
        self._monitors.discard(session)
