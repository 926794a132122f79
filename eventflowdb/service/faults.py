"""Faults nobody expected: logged once with an incident id, and told to the client by that id alone."""

import secrets

from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.errors import EventflowError


def error_of(failure: Failure, log: Logger, what: str) -> EventflowError:
    """The error to tell a client of: an expected one as it is, any other logged, by its incident id."""
    if isinstance(failure.value, EventflowError):
        return failure.value
    incident = secrets.token_hex(4)
    log.failure("{what} (incident {incident})", failure, what=what, incident=incident)
    return EventflowError(f"internal error, incident {incident}; the server's log says more")
