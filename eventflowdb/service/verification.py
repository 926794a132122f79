"""VERIFY: the check of the whole database, in a process of its own beside the server.

In the server's process it would take the interpreter lock from every client, and a damaged page could end it. The
process is `python -m eventflowdb.verify --lines` (eventflowdb/verify.py): it reads the database as any reader of LMDB,
with the lowest priority, and writes an Update a line. It ends when nobody reads these lines any more. A thread reads
them: Twisted's own spawnProcess waits for a SIGCHLD that uvloop keeps from it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from eventflowdb.errors import EventflowError, TryAgain
from eventflowdb.limits import KIB
from eventflowdb.service.reply import PendingReply, Reply
from eventflowdb.service.session import Session
from eventflowdb.service.threads import ReactorThread, Worker
from eventflowdb.storage.verify import Report, Update
from eventflowdb.wire import replies
from eventflowdb.wire.values import Value, encode

_READ_BYTES = 64 * KIB


class ThreadedReactor(Worker, ReactorThread, Protocol):
    """A reactor, with threads of its own."""


class CheckProcess(Protocol):
    """A process that checks (subprocess.Popen is one)."""

    def terminate(self) -> None:
        """Have it end soon, if it has not ended."""


class CheckListener(Protocol):
    """What hears of such a process, on the reactor's thread."""

    def received(self, data: bytes) -> None:
        """It has written something."""

    def ended(self) -> None:
        """It has ended, and all it wrote has been told."""


StartProcess = Callable[[CheckListener], CheckProcess]
"""Starts the check of the database."""


def start_process(reactor: ThreadedReactor, folder: Path, environment: Mapping[str, str]) -> StartProcess:
    """What starts a check of the database in a folder, and listens to it on a thread of the reactor."""
    command = [sys.executable, "-m", "eventflowdb.verify", "--lines", str(folder)]

    def start(listener: CheckListener) -> CheckProcess:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)
        reactor.callInThread(_listen, reactor, process, listener)
        return process

    return start


def _listen(reactor: ReactorThread, process: "subprocess.Popen[bytes]", listener: CheckListener) -> None:
    """On a thread: tell what the process writes, until it ends."""
    assert process.stdout is not None
    with process, process.stdout as output:
        while data := os.read(output.fileno(), _READ_BYTES):
            reactor.callFromThread(listener.received, data)
    reactor.callFromThread(listener.ended)


class Checks:
    """The checks of one database, one at a time, each for the client that asked for it.

    forget_readers: called when a process has ended, which may have been while it read.
    """

    _log = Logger()

    def __init__(self, start: StartProcess, forget_readers: Callable[[], object], seconds: Callable[[], float]) -> None:
        self._start = start
        self._forget_readers = forget_readers
        self._seconds = seconds
        self._running: _Check | None = None
        self._last: tuple[Report, float] | None = None

    def verify(self, session: Session, _words: Sequence[bytes]) -> Reply:
        """VERIFY: the report, when the check has ended; refused while another one runs."""
        if self._running is not None:
            raise EventflowError(f"a VERIFY is under way, {self._running.done:.0%} done; INFO eventflow shows its end")
        reply = PendingReply()
        reply.is_read = True
        self._log.info("VERIFY begins, for {peer}", peer=session.address)
        check = _Check(session, reply, self._seconds(), self._end)
        self._running = check
        try:
            check.process = self._start(check)
        except Exception:
            self._running = None
            raise
        return reply

    def stop(self) -> "Deferred[None]":
        """End the check that runs, if one does; fires when it has ended."""
        stopped: Deferred[None] = Deferred()
        if self._running is None:
            stopped.callback(None)
        else:
            self._running.when_ended.append(stopped)
            self._running.give_up(TryAgain("the server is shutting down; nothing was stored; retry when it is back"))
        return stopped

    def facts(self) -> Mapping[str, str | int | float]:
        """What INFO tells: of the check that runs, and of the last one that came to its end."""
        running, last = self._running, self._last
        facts: dict[str, str | int | float] = {
            "verify_in_progress": int(running is not None),
            "verify_done": "0.00" if running is None else f"{running.done:.2f}",
        }
        if last is not None:
            report, seconds = last
            facts["verify_last_events"] = report.event_count
            facts["verify_last_seconds"] = f"{seconds:.3f}"
            facts["verify_last_problem"] = report.first_problem or ""
        return facts

    def _end(self, check: "_Check") -> None:
        """The process has ended: answer, unless that has been done."""
        self._running = None
        self._forget_readers()
        report, seconds = check.report, self._seconds() - check.began
        if report is not None:
            self._last = report, seconds
            if report.first_problem is None:
                self._log.info("VERIFY found {events} events sound", events=report.event_count)
            else:
                self._log.critical("VERIFY found damage: {problem}", problem=report.first_problem)
            check.settle(encode(_report_value(report, seconds), check.session.protocol))
        else:
            self._log.warn("VERIFY did not come to its end: {why}", why=check.failure)
            check.settle(replies.error(EventflowError(f"the database was not checked: {check.failure}")))
        for waiting in check.when_ended:
            waiting.callback(None)


class _Check:
    """One check, and what its process has told so far."""

    _log = Logger()

    def __init__(self, session: Session, reply: PendingReply, began: float, on_end: "Callable[[_Check], None]") -> None:
        self.session = session
        self.began = began
        self.done = 0.0
        self.report: Report | None = None
        self.failure = "its process ended early"
        self.process: CheckProcess | None = None
        self.when_ended: list[Deferred[None]] = []
        self._reply: PendingReply | None = reply
        self._on_end = on_end
        self._unread = b""

    def settle(self, value: bytes) -> None:
        """Answer, once."""
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.settle(value)

    def give_up(self, error: EventflowError) -> None:
        """End the process, and answer at once."""
        self.failure = str(error)
        if self.process is not None:
            self.process.terminate()
        self.settle(replies.error(error))

    def received(self, data: bytes) -> None:
        """Updates, a line each."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._take(msgspec.json.decode(line, type=Update))

    def ended(self) -> None:
        """The end, however it came."""
        self._on_end(self)

    def _take(self, update: Update) -> None:
        tenth = int(update.done * 10)
        if tenth > int(self.done * 10) and tenth < 10:
            self._log.info("VERIFY is {percent} % done", percent=tenth * 10)
        self.done = update.done
        self.report = update.report
        if update.refusal is not None:
            self.failure = update.refusal
        if self.session.peer is None:
            self.give_up(EventflowError("the client that asked for it has gone"))


def _report_value(report: Report, seconds: float) -> dict[str, Value]:
    """What VERIFY replies."""
    return {
        "events": report.event_count,
        "streams": report.stream_count,
        "pages": report.page_count,
        "bytes": report.byte_count,
        "seconds": round(seconds, 3),
        "checksum": report.checksum,
        "problem": report.first_problem,
    }
