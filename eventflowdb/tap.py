"""The composition root: options, and the service that twistd runs.

What can be refused is refused in `makeService`, before twistd forks: one line, exit status 1. The folder's flock
and the listening socket are taken there and live on in the child; the LMDB environment, which must not cross a
fork, is looked at and closed there, and opened in `startService`.
"""

import gc
import os
import socket
import time
from collections.abc import Callable
from typing import Any, ClassVar, cast

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.threadpool import ThreadPool

from eventflowdb import __version__
from eventflowdb.config import SETTINGS, Settings, read_settings
from eventflowdb.errors import StartRefused, StorageFailed
from eventflowdb.limits import (
    CONNECTION_UNTAKEN_BYTES_MAX,
    READ_THREADS_MAX,
    SHUTDOWN_GRACE_SECONDS,
    SHUTDOWN_NOTICE_SECONDS,
)
from eventflowdb.processes.supervisor import SupervisorService
from eventflowdb.service.assembly import assemble
from eventflowdb.service.budget import InflightBudget
from eventflowdb.service.clients import Clients
from eventflowdb.service.database import Database
from eventflowdb.service.estimates import Estimates
from eventflowdb.service.grouping import Grouping
from eventflowdb.service.idleness import IdleTimeout
from eventflowdb.service.inline import InlineCommits
from eventflowdb.service.notices import Notices
from eventflowdb.service.reads import Reads, next_turn_of, off_thread
from eventflowdb.service.verification import Checks, start_process
from eventflowdb.service.writer import GroupCommitWriter
from eventflowdb.storage.folder import DataFolder
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.storage.transactions import run_here
from eventflowdb.transport.links import soon_of
from eventflowdb.transport.listening import bind, fit_clients
from eventflowdb.transport.resp import RespFactory
from eventflowdb.transport.uvloop_port import UvloopPort, find_uvloop, install_reactor
from twisted import __version__ as twisted_version


class Options(usage.Options):
    """The options of `twistd eventflowdb`: each setting has one, and it beats its environment variable."""

    synopsis = "[options]"
    longdesc = "Each option has an environment variable of the same meaning, such as MAX_CLIENTS for --max-clients."
    optParameters: ClassVar[list[list[str | None]]] = [
        [setting.option, None, None, f"{setting.meaning} [default: {setting.default or 'none'}]"]
        for setting in SETTINGS
    ]

    def parseOptions(self, options: Any = None) -> None:
        """Overridden: a wrong option is answered with one line, not with the whole help."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            raise SystemExit(f"eventflowdb: {error}; twistd eventflowdb --help lists the options") from None

    def parseArgs(self, *words: str) -> None:  # noqa: N802 - the name that usage.Options gives it
        """Overridden: there are options, and nothing beside them."""
        if words:
            raise usage.UsageError(f"{words[0]!r} is no option: each begins with --")

    def opt_version(self) -> None:
        """Display the versions of EventflowDB and Twisted, and exit."""
        print(f"EventflowDB {__version__}, Twisted {twisted_version}")
        raise SystemExit(0)


def makeService(options: Options) -> IService:
    """The service of one server, with its folder owned and its port bound; SystemExit says why not."""
    twistd = {} if options.parent is None else options.parent
    try:
        settings = read_settings(os.environ, dict(options))
        if twistd.get("nodaemon") and not settings.workers:
            # A loop must not cross the fork of a daemon, which therefore runs on the reactor that Twisted picks.
            install_reactor()
        folder = DataFolder.claim(settings.data)
        open_store(settings).close()
        listener = bind(settings.interface, settings.port)
        if settings.workers:
            return SupervisorService(settings, folder, listener, twistd.get("reactor"))
        return EventflowService(settings, folder, listener)
    except StartRefused as refusal:
        raise SystemExit(f"eventflowdb: {refusal}") from None


def open_store(settings: Settings, elsewhere: Callable[[Callable[[], None]], object] = run_here) -> LmdbStore:
    """The store in the folder of the settings. elsewhere: see LmdbStore.open."""
    return LmdbStore.open(
        settings.data,
        map_size=settings.map_size,
        min_free_bytes=settings.min_free_bytes,
        elsewhere=elsewhere,
    )


class EventflowService(Service):
    """One server: everything below, put together when twistd starts it and taken down when it stops."""

    _log = Logger()

    def __init__(self, settings: Settings, folder: DataFolder, listener: socket.socket) -> None:
        self._settings = settings
        self._folder = folder
        self._listener = listener

    def startService(self) -> None:
        """Open the database and take connections."""
        super().startService()  # type: ignore[no-untyped-call]
        # Not at the top: importing the reactor installs one, and twistd --reactor comes first.
        from twisted.internet import reactor  # noqa: PLC0415

        self._reactor: Any = cast(Any, reactor)
        settings = self._settings
        self._checkpoint_thread = ThreadPool(0, 1, "eventflowdb checkpoints")
        self._store = open_store(settings, self._checkpoint_thread.callInThread)
        self._commit_thread = ThreadPool(1, 1, "eventflowdb commits")
        self._read_threads = ThreadPool(0, READ_THREADS_MAX, "eventflowdb reads")
        notices, grouping = Notices(self._reactor), Grouping(soon_of(self._reactor))
        self._writer = GroupCommitWriter(
            self._store,
            self._commit_thread,
            self._reactor,
            self._storage_failed,
            notices,
            deferring=self._reactor,
            soon=grouping.call_soon,
            inline=InlineCommits(self._store.writing.is_flushing),
        )
        self._estimates = Estimates(self._count, settings.count_interval, self._reactor)
        reads = Reads(self._store, off_thread(self._reactor, self._read_threads), next_turn_of(self._reactor))
        database = Database(self._store, self._writer, reads, self._estimates, notices)
        clients = Clients(self._fit_clients())
        budget = InflightBudget(settings.max_inflight_bytes, self._reactor, CONNECTION_UNTAKEN_BYTES_MAX)
        # The process of a check needs no secrets.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PASSWORD")}
        start_check = start_process(self._reactor, settings.data.resolve(), environment)
        self._checks = Checks(start_check, self._store.environment.env.reader_check, time.perf_counter)
        self._dispatcher = assemble(
            settings,
            database,
            clients,
            budget,
            time.perf_counter,
            self._reactor,
            self._checks,
            port=self._listener.getsockname()[1],
            stop=self._stop_soon,
        )
        self._idle_timeout = IdleTimeout(clients, settings.idle_timeout, self._reactor, time.perf_counter)
        self._factory = RespFactory(self._dispatcher, budget, grouping, self._reactor)
        loop = find_uvloop(self._reactor)
        self._port: IListeningPort | UvloopPort = (
            self._reactor.adoptStreamPort(self._listener.fileno(), self._listener.family, self._factory)
            if loop is None
            else UvloopPort(loop, self._listener, self._factory)
        )
        self._listener.close()
        # Not at once: an interrupt before twistd heeds signals would end its main thread alone, and leave a process
        # of other threads that listens and never answers.
        self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> "Deferred[None]":
        """Answer what was taken in, and close; done within the grace period and one commit."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    def _begin(self) -> None:
        # What the start has made stays, and a garbage collection that looks at all of it stops everybody for 50 ms.
        gc.freeze()
        self._commit_thread.start()
        self._checkpoint_thread.start()
        self._read_threads.start()
        self._estimates.start()
        self._idle_timeout.start()
        self._log.info(
            "EventflowDB {version} listens on {address}; {data} holds {events} events",
            version=__version__,
            address=self._port.getHost(),
            data=str(self._settings.data),
            events=self._store.event_count(),
        )

    async def _stop(self) -> None:
        await _when_stopped(self._port)
        self._idle_timeout.stop()
        # For a moment requests on their way here are told that the server goes, rather than cut off.
        self._dispatcher.shut_down()
        await deferLater(self._reactor, SHUTDOWN_NOTICE_SECONDS)
        check_stopped = self._checks.stop()
        connections = list(self._factory.connections)
        for connection in connections:
            connection.finish()
        grace = self._reactor.callLater(SHUTDOWN_GRACE_SECONDS, self._cut_connections)
        await DeferredList([connection.when_lost() for connection in connections])
        if grace.active():
            grace.cancel()
        await check_stopped
        await self._writer.when_idle()
        await self._estimates.stop()
        self._read_threads.stop()
        self._commit_thread.callInThread(self._store.writing.let_go)
        self._commit_thread.stop()
        # It hurries a checkpoint that is under way; the thread alone would be waited for at its own pace.
        self._store.close()
        self._checkpoint_thread.stop()
        self._folder.release()
        self._log.info("EventflowDB has stopped")

    def _cut_connections(self) -> None:
        for connection in list(self._factory.connections):
            connection.abort()

    def _count(self) -> "Deferred[tuple[int, int]]":
        return deferToThreadPool(self._reactor, self._read_threads, self._look_around)

    def _look_around(self) -> tuple[int, int]:
        """On a thread, periodically: the numbers of events and streams; and readers that were killed are forgotten."""
        self._store.environment.forget_dead_readers()
        return self._store.event_count(), self._store.stream_count()

    def _fit_clients(self) -> int:
        clients_max = fit_clients(self._settings.max_clients)
        if clients_max < self._settings.max_clients:
            self._log.warn(
                "MAX_CLIENTS is lowered from {wished} to {fitting}: the process may not open more files",
                wished=self._settings.max_clients,
                fitting=clients_max,
            )
        return clients_max

    def _stop_soon(self) -> None:
        """SHUTDOWN: as SIGTERM does, after the turn in which it was asked for."""
        self._reactor.callLater(0, self._reactor.stop)

    def _storage_failed(self, failure: StorageFailed) -> None:
        """After a failed write or flush nobody knows what the disk holds: end, so that a restart reads it anew."""
        self._log.critical("{failure}; the server stops, since what the disk holds is not known", failure=failure)
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.stop()


async def _when_stopped(port: IListeningPort | UvloopPort) -> None:
    stopped = port.stopListening()
    if isinstance(stopped, Deferred):
        await stopped
