"""The dispatcher of a server, with what answers each command of the table."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from eventflowdb.commands.spec import CommandSpec
from eventflowdb.commands.table import COMMANDS
from eventflowdb.config import Settings
from eventflowdb.service.access import Access
from eventflowdb.service.appends import Appends
from eventflowdb.service.budget import InflightBudget
from eventflowdb.service.clients import Clients
from eventflowdb.service.consumers import Consumers
from eventflowdb.service.contention import Contention
from eventflowdb.service.database import Database
from eventflowdb.service.dispatch import Dispatcher, Responder
from eventflowdb.service.handshake import Handshake
from eventflowdb.service.information import Information
from eventflowdb.service.operations import Operations
from eventflowdb.service.pacing import Pacing
from eventflowdb.service.queries import QueryResponders
from eventflowdb.service.recent import ReadCache
from eventflowdb.service.responders import Responders
from eventflowdb.service.statistics import Statistics
from eventflowdb.service.subscriptions import Subscriptions
from eventflowdb.service.verification import Checks
from eventflowdb.service.waits import Waits


class Parts(NamedTuple):
    """What a front asks when it speaks for all, and where the core puts the appends of fronts."""

    appends: Appends
    handshake: Handshake
    operations: Operations
    information: Information
    statistics: Statistics


def assemble(
    settings: Settings,
    database: Database,
    clients: Clients,
    budget: InflightBudget,
    seconds: Callable[[], float],
    clock: IReactorTime,
    checks: Checks,
    *,
    port: int,
    stop: Callable[[], None],
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    commands: Mapping[str, CommandSpec] = COMMANDS,
    replace: Callable[[Parts], Mapping[str, Responder]] = lambda parts: {},
) -> Dispatcher:
    """Put a dispatcher together.

    seconds: a monotonic clock; clock: for what happens later; checks: those of VERIFY; port: where it listens;
    stop: ends the server, soon; now_us: the time of day in microseconds; commands: the command table;
    replace: other responders for some of them.
    """
    access, statistics = Access(settings.password), Statistics()
    waits, subscriptions = Waits(database, clock), Subscriptions(database)
    consumers = Consumers(database, clock, now_us)
    cache = ReadCache(database, settings.read_cache_bytes, statistics)
    information = Information(
        settings, port, database, clients, waits, subscriptions, consumers, checks, statistics, budget, cache, seconds
    )
    queries = QueryResponders(database.searches, waits)
    appends = Appends(database, consumers)
    stored = Responders(database, appends, waits, queries, Contention(database, Pacing(clock, seconds)), cache, seconds)
    handshake = Handshake(access, clients, seconds)
    operations = Operations(settings, information, clients, statistics, stop)
    responders: dict[str, Responder] = {
        "PING": handshake.ping,
        "AUTH": handshake.auth,
        "QUIT": handshake.quit,
        "VERSION": stored.version,
        "UPTIME": stored.uptime,
        "SIZE": stored.size,
        "EVENTCOUNT": stored.event_count,
        "STREAMCOUNT": stored.stream_count,
        "EVENTCOUNTEST": stored.event_count_estimate,
        "STREAMCOUNTEST": stored.stream_count_estimate,
        "CHECKSUM": stored.checksum,
        "ADD": stored.add,
        "ADDMANY": stored.add,
        "GET": stored.get,
        "GETALL": stored.get_all,
        "EVENT": queries.event,
        "STREAM": queries.stream,
        "STREAMS": queries.streams,
        "TYPES": queries.types,
        "CONSUMER": consumers.consumer,
        "FETCH": consumers.fetch,
        "ACK": consumers.ack,
        "NACK": consumers.nack,
        "VERIFY": checks.verify,
        "SUBSCRIBE": subscriptions.subscribe,
        "UNSUBSCRIBE": subscriptions.unsubscribe,
        "HELLO": handshake.hello,
        "CLIENT": handshake.client,
        "SELECT": handshake.select,
        "ECHO": handshake.echo,
        "RESET": handshake.reset,
        "COMMAND": operations.command,
        "CONFIG": operations.config,
        "INFO": operations.info,
        "SLOWLOG": operations.slowlog,
        "MONITOR": operations.monitor,
        "SHUTDOWN": operations.shutdown,
    }
    responders.update(replace(Parts(appends, handshake, operations, information, statistics)))
    return Dispatcher(
        database, access, responders, clients, statistics, settings.max_request_bytes, seconds, stored.is_seen, commands
    )
