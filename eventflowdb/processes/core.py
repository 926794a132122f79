"""The core: the process that commits for all fronts, and has what there can be only one of."""

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from eventflowdb.errors import StorageFailed
from eventflowdb.limits import CORE_STOP_SECONDS_MAX, READ_THREADS_MAX
from eventflowdb.processes.child import Reports
from eventflowdb.processes.control import Failed, Ready, ShutDown, Start
from eventflowdb.service.assembly import Parts, assemble
from eventflowdb.service.budget import InflightBudget
from eventflowdb.service.clients import Clients
from eventflowdb.service.database import Database
from eventflowdb.service.dispatch import Responder
from eventflowdb.service.estimates import Estimates
from eventflowdb.service.figures import CORE, REQUIRED, figures_of, figures_of_another
from eventflowdb.service.fronts import FrontLink, Fronts
from eventflowdb.service.inline import InlineCommits
from eventflowdb.service.outbox import Outbox
from eventflowdb.service.questions import TellFigures, decode_question
from eventflowdb.service.reads import Reads, next_turn_of, off_thread
from eventflowdb.service.shared_notices import CoreNotices
from eventflowdb.service.verification import Checks, start_process
from eventflowdb.service.writer import GroupCommitWriter
from eventflowdb.storage.lmdb_store import LmdbStore
from eventflowdb.transport.links import attach, soon_of

_encode = msgspec.msgpack.Encoder().encode


class Core:
    """The core of one server, on its reactor's thread."""

    _log = Logger()

    def __init__(self, start: Start, reactor: Any, reports: Reports) -> None:
        self._start = start
        self._reactor = reactor
        self._reports = reports
        self._parts: Parts
        self._fronts = Fronts(reactor, time.perf_counter, lambda: reports.tell(ShutDown()), self._answer)
        self._notices = CoreNotices(reactor, self._fronts)

    def begin(self) -> None:
        """Open the database; the fronts come later."""
        start, reactor, settings = self._start, self._reactor, self._start.settings
        self._checkpoint_thread = ThreadPool(0, 1, "eventflowdb checkpoints")
        self._store = LmdbStore.open(
            settings.data,
            map_size=settings.map_size,
            min_free_bytes=settings.min_free_bytes,
            elsewhere=self._checkpoint_thread.callInThread,
        )
        self._commit_thread = ThreadPool(1, 1, "eventflowdb commits")
        self._read_threads = ThreadPool(0, READ_THREADS_MAX, "eventflowdb reads")
        self._writer = GroupCommitWriter(
            self._store,
            self._commit_thread,
            reactor,
            self._storage_failed,
            self._notices,
            soon=soon_of(reactor),
            inline=InlineCommits(self._store.writing.is_flushing),
        )
        self._estimates = Estimates(self._count, settings.count_interval, reactor)
        reads = Reads(self._store, off_thread(reactor, self._read_threads), next_turn_of(reactor))
        database = Database(self._store, self._writer, reads, self._estimates, self._notices)
        start_check = start_process(reactor, settings.data, os.environ)
        self._checks = Checks(start_check, self._store.environment.env.reader_check, time.perf_counter)
        self._fronts.dispatcher = assemble(
            # Whoever reads does so in a front.
            msgspec.structs.replace(settings, read_cache_bytes=0),
            database,
            Clients(0),
            InflightBudget(settings.max_inflight_bytes, reactor),
            time.perf_counter,
            reactor,
            self._checks,
            port=start.port,
            stop=lambda: None,
            replace=self._keep_parts,
        )
        self._commit_thread.start()
        self._checkpoint_thread.start()
        self._read_threads.start()
        self._estimates.start()
        self._reports.tell(Ready(self._store.event_count()))

    def add_front(self, index: int, link: socket.socket) -> None:
        """A front has been started."""
        outbox = Outbox(soon_of(self._reactor))
        attach(self._reactor, link, FrontLink(self._fronts, f"front {index + 1}", outbox))

    async def stop(self) -> None:
        """Answer what the fronts have taken in, and close."""
        self._notices.close()
        check_stopped = self._checks.stop()
        patience: Deferred[None] = deferLater(self._reactor, CORE_STOP_SECONDS_MAX)
        await DeferredList([self._fronts.when_empty(), patience], fireOnOneCallback=True)
        patience.addErrback(lambda failure: None)
        patience.cancel()
        await check_stopped
        await self._writer.when_idle()
        await self._estimates.stop()
        self._read_threads.stop()
        self._commit_thread.callInThread(self._store.writing.let_go)
        self._commit_thread.stop()
        # It hurries a checkpoint that is under way; the thread alone would be waited for at its own pace.
        self._store.close()
        self._checkpoint_thread.stop()

    def _keep_parts(self, parts: Parts) -> Mapping[str, Responder]:
        self._parts = parts
        self._fronts.appends = parts.appends
        return {}

    def _answer(self, question: bytes) -> bytes | None:
        """The core's own answer to what a front asks of all."""
        asked = decode_question(question)
        if not isinstance(asked, TellFigures):
            return None
        sections = self._parts.information.facts([*REQUIRED, *asked.sections])
        if "server" in sections:
            sections["server"] = {**sections["server"], "process_id": self._start.supervisor}
        supervisor = figures_of_another("supervisor", self._start.supervisor)
        processes = [figures_of(CORE, sections, None)] + ([] if supervisor is None else [supervisor])
        return _encode(processes)

    def _count(self) -> "Deferred[tuple[int, int]]":
        return deferToThreadPool(self._reactor, self._read_threads, self._look_around)

    def _look_around(self) -> tuple[int, int]:
        """On a thread, periodically: the numbers of events and streams; and readers that were killed are forgotten."""
        self._store.environment.forget_dead_readers()
        return self._store.event_count(), self._store.stream_count()

    def _storage_failed(self, failure: StorageFailed) -> None:
        """After a failed write or flush nobody knows what the disk holds: the server ends."""
        self._log.critical("{failure}; the server stops, since what the disk holds is not known", failure=failure)
        self._reports.tell(Failed(str(failure)))
