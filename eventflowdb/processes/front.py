"""A front: a process that clients talk to. It reads for itself, and has everything else done by the core."""

import mmap
import socket
import time
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from eventflowdb.errors import EventflowError
from eventflowdb.limits import (
    CONNECTION_UNTAKEN_BYTES_MAX,
    READ_THREADS_MAX,
    SHUTDOWN_GRACE_SECONDS,
    SHUTDOWN_NOTICE_SECONDS,
)
from eventflowdb.processes.child import Reports
from eventflowdb.processes.control import Ready, Start
from eventflowdb.service.assembly import assemble
from eventflowdb.service.budget import InflightBudget
from eventflowdb.service.contention import Contention
from eventflowdb.service.database import Database, NoWriter
from eventflowdb.service.estimates import Estimates
from eventflowdb.service.everyone import FRONT_COMMANDS, Everyone
from eventflowdb.service.forwarding import CoreLink
from eventflowdb.service.grouping import Grouping
from eventflowdb.service.idleness import IdleTimeout
from eventflowdb.service.outbox import Outbox
from eventflowdb.service.pacing import Pacing
from eventflowdb.service.reads import Reads, next_turn_of, off_thread
from eventflowdb.service.shared_notices import FrontNotices
from eventflowdb.service.slots import SharedClients, Slots
from eventflowdb.service.verification import CheckListener, CheckProcess, Checks
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.transport.links import attach, soon_of
from eventflowdb.transport.resp import RespFactory
from eventflowdb.transport.shared_port import SharedPort
from eventflowdb.transport.uvloop_port import find_uvloop
from eventflowdb.wire import links


class Front:
    """One front, on its reactor's thread."""

    _log = Logger()

    def __init__(self, start: Start, reactor: Any, reports: Reports) -> None:
        self._start = start
        self._reactor = reactor
        self._reports = reports
        self._is_stopping = False
        self._port: Any = None

    def begin(self) -> None:
        """Open the database, find the core, and take connections."""
        start, reactor, settings = self._start, self._reactor, self._start.settings
        self._store = LmdbStore.open_beside(settings.data, map_size=settings.map_size)
        self._read_threads = ThreadPool(0, READ_THREADS_MAX, "eventflowdb reads")
        outbox = Outbox(soon_of(reactor))
        notices = FrontNotices(reactor, outbox)
        self._estimates = Estimates(self._count, settings.count_interval, reactor)
        reads = Reads(self._store, off_thread(reactor, self._read_threads), next_turn_of(reactor))
        database = Database(self._store, NoWriter(), reads, self._estimates, notices)
        slots = Slots(mmap.mmap(start.slots, 0))
        clients = SharedClients(start.clients_max, slots, start.index)
        # Each front has its share, so that all together keep to the bound.
        budget_bytes = settings.max_inflight_bytes // settings.workers
        budget = InflightBudget(budget_bytes, reactor, CONNECTION_UNTAKEN_BYTES_MAX)
        everyone = Everyone(start.index, settings.workers, clients, outbox, notices)
        clients.on_monitor_lost = everyone.monitors_changed
        contention = Contention(database, Pacing(reactor, time.perf_counter))
        core = CoreLink(outbox, reactor, contention, everyone.take, self._core_lost)
        self._dispatcher = assemble(
            settings,
            database,
            clients,
            budget,
            time.perf_counter,
            reactor,
            Checks(_refuse_check, lambda: None, time.perf_counter),
            port=start.port,
            stop=lambda: outbox.put(links.encode_frame(links.SHUTDOWN, 0)),
            commands=FRONT_COMMANDS,
            replace=everyone.responders(core),
        )
        self._idle_timeout = IdleTimeout(clients, settings.idle_timeout, reactor, time.perf_counter)
        self._factory = RespFactory(self._dispatcher, budget, Grouping(soon_of(reactor)), reactor)
        attach(reactor, socket.socket(fileno=start.link), core)
        self._read_threads.start()
        self._estimates.start()
        self._idle_timeout.start()
        self._listen(clients)
        self._reports.tell(Ready(self._store.event_count()))

    def add_front(self, index: int, link: socket.socket) -> None:
        """Told to the core only."""
        link.close()

    async def stop(self) -> None:
        """Answer what was taken in, and let go of the core; done within the grace period."""
        if self._is_stopping:
            return
        self._is_stopping = True
        await _when_stopped(self._port)
        self._idle_timeout.stop()
        # For a moment requests on their way here are told that the server goes, rather than cut off.
        self._dispatcher.shut_down()
        await deferLater(self._reactor, SHUTDOWN_NOTICE_SECONDS)
        connections = list(self._factory.connections)
        for connection in connections:
            connection.finish()
        grace = self._reactor.callLater(SHUTDOWN_GRACE_SECONDS, self._cut_connections)
        await DeferredList([connection.when_lost() for connection in connections])
        if grace.active():
            grace.cancel()
        await self._estimates.stop()
        self._read_threads.stop()
        self._store.close()

    def _listen(self, clients: SharedClients) -> None:
        listener = socket.socket(fileno=self._start.listener)
        loop = find_uvloop(self._reactor)
        self._port = (
            self._reactor.adoptStreamPort(listener.fileno(), listener.family, self._factory)
            if loop is None
            else SharedPort(loop, listener, self._factory, clients.stands_back)
        )
        clients.open()
        listener.close()

    def _core_lost(self) -> None:
        """Without the core nothing can be answered that was promised: only the end of the connections can tell."""
        if self._is_stopping:
            self._cut_connections()
            return
        self._log.error("the core is gone")
        self._cut_connections()
        self._reactor.stop()

    def _cut_connections(self) -> None:
        for connection in list(self._factory.connections):
            connection.abort()

    def _count(self) -> "Deferred[tuple[int, int]]":
        count = lambda: (self._store.event_count(), self._store.stream_count())  # noqa: E731
        return deferToThreadPool(self._reactor, self._read_threads, count)


def _refuse_check(_listener: CheckListener) -> CheckProcess:
    raise EventflowError("the core checks the database")


async def _when_stopped(port: Any) -> None:
    stopped = port.stopListening()
    if isinstance(stopped, Deferred):
        await stopped
