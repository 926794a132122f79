"""How twistd finds the server: `twistd -n eventflowdb`."""

from twisted.application.service import ServiceMaker

eventflowdb = ServiceMaker(
    "EventflowDB",
    "eventflowdb.tap",
    "A database for event sourcing that speaks the Redis protocol.",
    "eventflowdb",
)
