"""What the core and the fronts have in common: how they begin, hear of their supervisor, log, and end."""

import gc
import signal
import socket
import sys
import threading
from typing import Any, Protocol, TextIO

from twisted.internet.defer import Deferred
from twisted.logger import FileLogObserver, LogEvent, Logger, formatEvent, globalLogBeginner
from twisted.python.failure import Failure

from eventflowdb.errors import StartRefused
from eventflowdb.processes.control import Front, Message, Refused, Start, Stop, receive, send


class Process(Protocol):
    """What a child does."""

    def begin(self) -> None:
        """Start the work; on the reactor's thread, in its first turn."""

    def add_front(self, index: int, link: socket.socket) -> None:
        """A new front (told to the core only)."""

    async def stop(self) -> None:
        """Finish the work."""


class Reports:
    """What a child tells its supervisor, on any thread."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def tell(self, message: Message) -> None:
        """Tell it; a supervisor that is gone is noticed elsewhere."""
        send(self._control, message)


def read_start(control: socket.socket) -> Start:
    """The first message to this child."""
    # Ctrl-C and the end of a service reach every process of the group; the supervisor says what is to be done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    start, _ = receive(control)
    if not isinstance(start, Start):
        sys.exit("this is started by EventflowDB itself, see --workers of twistd eventflowdb")
    return start


def choose_reactor(name: str | None) -> Any:
    """The reactor of this process: the one twistd was told to use, else uvloop's where there is one."""
    if name is None:
        from eventflowdb.transport.uvloop_port import install_reactor  # noqa: PLC0415 - it imports the others

        install_reactor()
    else:
        from twisted.application.reactors import installReactor  # noqa: PLC0415

        installReactor(name)
    from twisted.internet import reactor  # noqa: PLC0415

    return reactor


def begin_logging(stream: TextIO) -> None:
    """Log a line an event, which the supervisor gives a time and our name."""
    globalLogBeginner.beginLoggingTo([FileLogObserver(stream, _log_line)], redirectStandardIO=False)


def _log_line(event: LogEvent) -> str | None:
    text = formatEvent(event)
    if not text:
        return None
    level = event.get("log_level")
    failure = event.get("log_failure")
    trace = f"\n{failure.getTraceback().rstrip()}" if failure is not None else ""
    return f"[{event.get('log_namespace', '-')}#{level.name if level is not None else 'info'}] {text}{trace}\n"


class Child:
    """Runs a process on a reactor until its supervisor says stop, or is gone."""

    _log = Logger()

    def __init__(self, reactor: Any, control: socket.socket) -> None:
        self._reactor = reactor
        self._control = control
        self._process: Process
        self._status = 0
        self._is_stopping = False

    def run(self, process: Process) -> int:
        """Until the end; the exit status."""
        self._process = process
        self._reactor.callWhenRunning(self._begin)
        self._reactor.run(installSignalHandlers=False)
        return self._status

    def _begin(self) -> None:
        try:
            self._process.begin()
        except StartRefused as refusal:
            self._give_up(str(refusal))
            return
        except Exception as error:
            self._log.failure("it cannot start")
            self._give_up(repr(error))
            return
        # As in tap.py.
        gc.freeze()
        threading.Thread(target=self._listen, name="eventflowdb supervisor", daemon=True).start()

    def _give_up(self, why: str) -> None:
        self._status = 1
        send(self._control, Refused(why))
        self._reactor.stop()

    def _listen(self) -> None:
        """On a thread: tell what the supervisor says."""
        while True:
            message, descriptors = receive(self._control)
            if isinstance(message, Front):
                for descriptor in descriptors:
                    link = socket.socket(fileno=descriptor)
                    self._reactor.callFromThread(self._process.add_front, message.index, link)
            elif message is None or isinstance(message, Stop):
                self._reactor.callFromThread(self.stop)
            if message is None:
                return

    def stop(self) -> None:
        """Finish the work and end."""
        if self._is_stopping:
            return
        self._is_stopping = True
        Deferred.fromCoroutine(self._process.stop()).addBoth(self._stopped)

    def _stopped(self, outcome: object) -> None:
        if isinstance(outcome, Failure):
            self._log.failure("it did not stop in order", outcome)
        self._reactor.stop()
