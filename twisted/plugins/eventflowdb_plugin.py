"""How twistd finds the server, `twistd -n eventflowdb`, and the reactor that it prefers, `--reactor=uvloop`."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

eventflowdb = ServiceMaker(
    "EventflowDB",
    "eventflowdb.tap",
    "A database for event sourcing that speaks the Redis protocol.",
    "eventflowdb",
)

uvloop = Reactor(
    "uvloop",
    "eventflowdb.transport.uvloop_reactor",
    "uvloop, through Twisted's asyncio reactor.",
)
