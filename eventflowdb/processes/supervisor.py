"""The supervisor: the process that twistd runs where there are WORKERS. It starts the others, and does no work itself.

Theory of operation. It holds the folder's lock and the listening socket, which its children inherit; so no connection
is refused while a front is started again. A front that dies is started again. When the core dies, the fronts cannot
know what became of the appends they forwarded: they end as well, and all start anew. Nothing that was answered is lost
by either, since answers come after the flush. What a child says goes into the log, under its name.
"""

import mmap
import os
import socket
import time
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from eventflowdb import __version__
from eventflowdb.config import Settings
from eventflowdb.limits import CHILDREN_STOP_SECONDS_MAX
from eventflowdb.processes.children import ChildProcess, Pause
from eventflowdb.processes.control import Failed, Front, Message, Ready, Refused, ShutDown, Start, Stop
from eventflowdb.service.slots import Slots, slots_bytes
from eventflowdb.storage.folder import DataFolder
from eventflowdb.transport.listening import fit_clients


class SupervisorService(Service):
    """One server of several processes. reactor_name: the one twistd was told to use, for the children too."""

    _log = Logger()

    def __init__(
        self, settings: Settings, folder: DataFolder, listener: socket.socket, reactor_name: str | None
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._listener = listener
        self._reactor_name = reactor_name
        self._core: ChildProcess | None = None
        self._fronts: dict[ChildProcess, int] = {}
        self._began: dict[ChildProcess, float] = {}
        self._starting: set[str] = set()
        self._is_stopping = False
        self._all_ended: Deferred[None] | None = None
        self._core_pause = Pause()
        self._front_pauses = [Pause() for _ in range(settings.workers)]
        self._events = 0

    def startService(self) -> None:
        """Start the processes, as soon as twistd heeds signals."""
        super().startService()  # type: ignore[no-untyped-call]
        # Not at the top: importing the reactor installs one, and twistd --reactor comes first.
        from twisted.internet import reactor  # noqa: PLC0415

        self._reactor: Any = cast(Any, reactor)
        self._slots_descriptor = os.memfd_create("eventflowdb fronts")
        os.ftruncate(self._slots_descriptor, slots_bytes(self._settings.workers))
        self._slots = Slots(mmap.mmap(self._slots_descriptor, 0))
        self._clients_max = fit_clients(self._settings.max_clients)
        if self._clients_max < self._settings.max_clients:
            self._log.warn(
                "MAX_CLIENTS is lowered from {wished} to {fitting}: a process may not open more files",
                wished=self._settings.max_clients,
                fitting=self._clients_max,
            )
        self._starting = {"core", *[_front_name(index) for index in range(self._settings.workers)]}
        self._reactor.callWhenRunning(self._start_all)

    def stopService(self) -> "Deferred[None]":
        """Have the processes finish, and end; those that do not are killed."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._is_stopping = True
        self._listener.close()
        if self._began:
            self._all_ended = Deferred()
            for child in self._began:
                child.tell(Stop())
            patience = self._reactor.callLater(CHILDREN_STOP_SECONDS_MAX, self._kill_all)
            await self._all_ended
            if patience.active():
                patience.cancel()
        self._folder.release()
        self._log.info("EventflowDB has stopped")

    def _start_all(self) -> None:
        if self._is_stopping:
            return
        self._core = self._start("core", self._start_message(-1), [])

    def _start_front(self, index: int) -> None:
        if self._is_stopping or self._core is None:
            return
        core_end, front_end = socket.socketpair()
        with core_end, front_end:
            self._core.tell(Front(index), core_end.fileno())
            start = self._start_message(index)
            start.listener, start.slots = self._listener.fileno(), self._slots_descriptor
            start.link = front_end.fileno()
            child = self._start(_front_name(index), start, [start.listener, start.slots, start.link])
        self._fronts[child] = index

    def _start_message(self, index: int) -> Start:
        return Start(
            settings=self._settings,
            index=index,
            supervisor=os.getpid(),
            port=self._listener.getsockname()[1],
            clients_max=self._clients_max,
            reactor=self._reactor_name,
        )

    def _start(self, name: str, start: Start, descriptors: list[int]) -> ChildProcess:
        inherited = [self._folder.descriptor, *descriptors]
        child = ChildProcess(name, start, inherited, self._reactor, self._heard, self._ended)
        self._began[child] = time.monotonic()
        return child

    def _heard(self, child: ChildProcess, message: Message) -> None:
        """What a child says."""
        match message:
            case Ready():
                self._is_ready(child, message.events)
                if child is self._core:
                    # Not before: until the core has put back what the journal has, a read might miss what was answered.
                    for index in range(self._settings.workers):
                        self._start_front(index)
            case ShutDown():
                # As SIGTERM does, after the turn in which it was asked for.
                self._reactor.callLater(0, self._reactor.stop)
            case Failed():
                self._log.critical("{text}; the server stops", text=message.text)
                self._fail()
            case Refused():
                self._log.critical("{name} cannot start: {text}", name=child.name, text=message.text)
                if self._starting:
                    self._fail()

    def _is_ready(self, child: ChildProcess, events: int) -> None:
        if not self._starting:
            self._log.info("{name} is back, as process {pid}", name=child.name, pid=child.pid)
            return
        self._starting.discard(child.name)
        self._events = max(self._events, events)
        if not self._starting:
            host, port = self._listener.getsockname()[:2]
            address = (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
            self._log.info(
                "EventflowDB {version} listens on {address} with {fronts} fronts; {data} holds {events} events",
                version=__version__,
                address=address,
                fronts=self._settings.workers,
                data=str(self._settings.data),
                events=self._events,
            )

    def _ended(self, child: ChildProcess, status: int) -> None:
        """A child has ended, for whatever reason."""
        lived_seconds = time.monotonic() - self._began.pop(child)
        index = self._fronts.pop(child, None)
        if index is not None:
            self._slots.clear(index)
        if self._is_stopping:
            if not self._began and self._all_ended is not None:
                self._all_ended.callback(None)
            return
        if child is self._core:
            self._core = None
            self._say_ended(child, status, "the fronts end too, and all start anew")
            self._kill_all()
            self._core_lived_seconds = lived_seconds
        elif self._core is not None and index is not None:
            self._say_ended(child, status, "it starts anew, its connections are lost")
            self._reactor.callLater(self._front_pauses[index].after(lived_seconds), self._start_front, index)
        if self._core is None and not self._began:
            self._reactor.callLater(self._core_pause.after(self._core_lived_seconds), self._start_all)

    def _say_ended(self, child: ChildProcess, status: int, what: str) -> None:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        self._log.error("{name} (process {pid}) {how}; {what}", name=child.name, pid=child.pid, how=how, what=what)

    def _kill_all(self) -> None:
        for child in self._began:
            child.kill()

    def _fail(self) -> None:
        """The end, with status 1."""
        if not self._is_stopping:
            self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
            self._reactor.stop()


def _front_name(index: int) -> str:
    return f"front {index + 1}"
