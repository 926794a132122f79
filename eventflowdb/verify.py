"""The check of a database as a program: `python -m eventflowdb.verify DATA`, while it is closed or beside its server.

It ends with status 0 where all is sound, 1 where something is damaged, 2 where it cannot tell; progress goes to
stderr, one line that says what was found to stdout. With --lines, which the server uses, stdout gets JSON instead:
an Update a line.

Theory of operation. The two checks (storage/verify.py) run at the same time in two processes, which this one forks,
listens to and ends. That of the pages cannot be harmed by what it reads; that of the events can be killed by it, and
then the other one finds out why.
"""

import argparse
import contextlib
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import humanize
import msgspec

from eventflowdb.errors import CorruptRecord, StartRefused
from eventflowdb.storage.folder import is_owned
from eventflowdb.storage.journal import was_closed
from eventflowdb.storage.verify import (
    Check,
    Report,
    Update,
    Verification,
    check_events,
    check_pages,
    open_to_check,
)

SOUND, DAMAGED, UNKNOWN = 0, 1, 2
_PROGRESS_SECONDS = 0.1
_NICENESS = 19
_PAGES_SHARE = 1 / 3
"""How much of all work the check of the pages is, about."""
_FATAL_SIGNALS = (signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
"""What a damaged page does to a process that believes it."""


class Checker:
    """One of the two processes. It writes an Update a line, and ends when nobody reads them."""

    def __init__(self, check: Check, folder: Path) -> None:
        self.latest = Update()
        self.ended_by: signal.Signals | None = None
        self._unread = b""
        self.output, output = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self.output)
            _run_forked(check, folder, output)
        os.close(output)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.latest.report is not None or self.latest.refusal is not None or self.ended_by is not None

    def read(self) -> None:
        """Take what it has written, at least something or its end."""
        received = os.read(self.output, 1 << 16)
        if not received:
            self._settle()
            return
        *lines, self._unread = (self._unread + received).split(b"\n")
        if lines:
            self.latest = msgspec.json.decode(lines[-1], type=Update)

    def end(self) -> None:
        """Kill it if it still runs."""
        os.close(self.output)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def _settle(self) -> None:
        """Its end of the pipe is closed: it has ended, or is about to."""
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self._pid = 0
        if self.latest.report is None and self.latest.refusal is None:
            if status < 0:
                self.ended_by = signal.Signals(-status)
            else:
                self.latest = Update(refusal=f"a process of the check ended with status {status}")


def check(folder: Path) -> Iterator[Update]:
    """Run both checks; the last update is the outcome. StartRefused where there is nothing to check, or not yet."""
    try:
        _require_whole(folder)
        open_to_check(folder).close()
    except CorruptRecord as problem:
        yield Update(1.0, Report(first_problem=str(problem)))
        return
    with contextlib.ExitStack() as ends, selectors.DefaultSelector() as selector:
        pages, events = (Checker(check, folder) for check in (check_pages, check_events))
        for checker in (pages, events):
            ends.callback(checker.end)
            selector.register(checker.output, selectors.EVENT_READ, checker)
        outcome = None
        while outcome is None:
            for key, _ in selector.select():
                key.data.read()
                if key.data.has_ended:
                    selector.unregister(key.fd)
            outcome = _outcome(pages, events)
            yield outcome or Update(_PAGES_SHARE * pages.latest.done + (1 - _PAGES_SHARE) * events.latest.done)


def _require_whole(folder: Path) -> None:
    """StartRefused where the data file may lack what its journal has: then it says nothing about the database."""
    try:
        is_whole = is_owned(folder) or was_closed(folder)
    except OSError as error:
        raise StartRefused(f"{folder} cannot be opened: {error}") from error
    if not is_whole:
        raise StartRefused(
            f"{folder} was not closed in order; start its server once, which puts back what its journal has, then check"
        )


def _outcome(pages: Checker, events: Checker) -> Update | None:
    """What both have found together, as soon as it is known.

    What is wrong with the pages comes first: it tells why the events could not be read.
    """
    problem = _problem(pages)
    if problem is not None:
        return Update(1.0, _merge(pages, events, problem))
    for checker in (pages, events):
        if checker.latest.refusal is not None:
            return checker.latest
        if checker.ended_by is not None and checker.ended_by not in _FATAL_SIGNALS:
            return Update(refusal=f"a process of the check was ended by {checker.ended_by.name}")
    if pages.has_ended and events.has_ended:
        return Update(1.0, _merge(pages, events, _problem(events)))
    return None


def _problem(checker: Checker) -> str | None:
    if checker.ended_by in _FATAL_SIGNALS:
        return f"reading the database ended a process with {checker.ended_by.name}"
    return None if checker.latest.report is None else checker.latest.report.first_problem


def _merge(pages: Checker, events: Checker, problem: str | None) -> Report:
    of_pages, of_events = pages.latest.report or Report(), events.latest.report or Report()
    return Report(
        event_count=of_events.event_count,
        stream_count=of_events.stream_count,
        page_count=of_pages.page_count,
        byte_count=of_pages.byte_count,
        checksum=of_events.checksum,
        first_problem=problem,
    )


def _run_forked(check: Check, folder: Path, output: int) -> NoReturn:
    """What a forked process does; it never returns into the code of the other one."""
    status = 1
    try:
        _run(check, folder, lambda update: _write_line(output, update))
        status = 0
    except StartRefused as refusal:
        _write_line(output, Update(refusal=str(refusal)))
        status = 0
    except BrokenPipeError:
        status = 0
    finally:
        os._exit(status)


def _run(check: Check, folder: Path, tell: Callable[[Update], None]) -> None:
    env = open_to_check(folder)
    verification = Verification(env, (check,))
    told_at = 0.0
    for done in verification.slices():
        now = time.monotonic()
        if now - told_at >= _PROGRESS_SECONDS:
            told_at = now
            tell(Update(done))
    tell(Update(1.0, verification.report))
    env.close()


def _write_line(output: int, update: Update) -> None:
    line = msgspec.json.encode(update) + b"\n"
    while line:
        line = line[os.write(output, line) :]


def main(words: list[str]) -> int:
    """Check as the words of the command say; the exit status."""
    options = argparse.ArgumentParser(prog="python -m eventflowdb.verify", description="Check a whole database.")
    options.add_argument("DATA", type=Path, help="the folder of the database")
    options.add_argument("--lines", action="store_true", help="write JSON to stdout, a line an update, for the server")
    given = options.parse_args(words)
    signal.signal(signal.SIGTERM, _leave)
    try:
        return _tell_program(given.DATA) if given.lines else _tell_people(given.DATA)
    except KeyboardInterrupt:
        return _refuse("interrupted", given.lines)
    except StartRefused as refusal:
        return _refuse(str(refusal), given.lines)
    except BrokenPipeError:
        return UNKNOWN
    except Exception as error:
        return _refuse(f"{type(error).__name__}: {error}", given.lines)


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(UNKNOWN)


def _refuse(why: str, is_for_program: bool) -> int:
    if is_for_program:
        _write_line(sys.stdout.fileno(), Update(refusal=why))
    else:
        print(f"not checked: {why}", flush=True)
    return UNKNOWN


def _tell_program(folder: Path) -> int:
    os.nice(_NICENESS)
    for update in check(folder):
        _write_line(sys.stdout.fileno(), update)
    return SOUND


def _tell_people(folder: Path) -> int:
    began, shown = time.perf_counter(), 0
    for update in check(folder):
        if update.report is not None:
            return _close(update.report, time.perf_counter() - began)
        if update.refusal is not None:
            return _refuse(update.refusal, False)
        if int(update.done * 10) > shown:
            shown = int(update.done * 10)
            print(f"{shown * 10} % checked", file=sys.stderr, flush=True)
    raise AssertionError("a check ends with a report")


def _close(report: Report, seconds: float) -> int:
    """The closing line, and the exit status."""
    if report.first_problem is not None:
        print(f"DAMAGED: {report.first_problem}", flush=True)
        return DAMAGED
    counts = f"{report.event_count:,} events in {report.stream_count:,} streams, {report.page_count:,} pages"
    size = humanize.naturalsize(report.byte_count)
    print(f"sound: {counts} ({size}), checksum {report.checksum}, in {seconds:.1f} s", flush=True)
    return SOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
