"""Where an append goes: to the writer, and one that acks an event by way of its consumer."""

from collections.abc import Callable

from eventflowdb.append import Append
from eventflowdb.service.consumers import Consumers
from eventflowdb.service.database import Database
from eventflowdb.storage.batch import Outcome


class Appends:
    """Those of one server, on the reactor's thread."""

    def __init__(self, database: Database, consumers: Consumers) -> None:
        self._database = database
        self._consumers = consumers

    def stand_back(self) -> None:
        """Let the commit thread stage its batch first; see StagingTurn."""
        self._database.turn.stand_back()

    def append(self, append: Append, settle: Callable[[Outcome], None]) -> None:
        """Queue an append; `settle` is called once, with its outcome."""
        queue = self._database.append if append.checkpoint is None else self._consumers.append
        queue(append, settle)
