"""When collisions are told: of many writers that collide on one stream, to one after the other.

Who is told that it came too late reads what is new and tries again. If all who lost are told at once, all try again at
once, and all but one lose again; and the next winner waits for all that work. So whoever lost gets in line. One is told
at once; the next when something was stored in the stream, or when the one told before has had some milliseconds, or has
lost again. Of two writers, which is what most collisions are of, neither waits.

Nobody is held for long, nor where others would wait: a connection's reply is held only while nothing is behind it.
"""

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from eventflowdb.limits import REFUSAL_HOLD_SECONDS_MAX, RETRY_SECONDS
from eventflowdb.service.reply import PendingReply


class _Held:
    """A refusal that is told later; `until`: then at the latest."""

    __slots__ = ("loser", "reply", "until", "value")

    def __init__(self, loser: int, reply: PendingReply, value: Callable[[], bytes], until: float) -> None:
        self.loser = loser
        self.reply = reply
        self.value = value
        self.until = until


class _Line:
    """Those who lost on one stream. told: who was told last, and next_at: when it has had its time."""

    __slots__ = ("held", "next_at", "timer", "told")

    def __init__(self) -> None:
        self.held: deque[_Held] = deque()
        self.told = 0
        self.next_at = 0.0
        self.timer: IDelayedCall | None = None


class Pacing:
    """The lines of one process that talks to clients, on the reactor's thread.

    clock: for what happens later; seconds: a monotonic clock.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, seconds: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._lines: dict[str, _Line] = {}

    def refuse(self, stream: str, loser: int, reply: PendingReply, value: Callable[[], bytes]) -> None:
        """An append to a stream came too late: have its reply settled with `value`, now or in its turn.

        loser: the number of its connection.
        """
        if reply.is_urgent:
            reply.settle(value())
            return
        now = self._seconds()
        line = self._lines.get(stream)
        if line is None:
            line = self._lines[stream] = _Line()
        elif line.told == loser:
            # It has had its turn.
            line.next_at = now
        held = _Held(loser, reply, value, now + REFUSAL_HOLD_SECONDS_MAX)
        line.held.append(held)
        if now >= line.next_at:
            self._tell_next(line, now)
        if reply.value is None:
            reply.hold(value(), lambda: self._hurry(line, held))
        self._see_to(stream, line, now)

    def stored(self, streams: Iterable[str]) -> None:
        """Something was stored in these streams: whoever is next in their lines is told."""
        for stream in streams:
            line = self._lines.get(stream)
            if line is not None:
                now = self._seconds()
                line.next_at = now
                self._tell_next(line, now)

    @property
    def has_lines(self) -> bool:
        """Whether anyone came too late lately."""
        return bool(self._lines)

    def _see_to(self, stream: str, line: _Line, now: float) -> None:
        """Look at a line again when the next one is to be told, or nobody stands in it any more."""
        if line.timer is None:
            at = min(line.next_at, line.held[0].until) if line.held else line.next_at
            line.timer = self._clock.callLater(max(0.0, at - now), self._look, stream, line)

    def _look(self, stream: str, line: _Line) -> None:
        line.timer = None
        now = self._seconds()
        while line.held and line.held[0].until <= now:
            self._tell_next(line, now)
        if now >= line.next_at:
            self._tell_next(line, now)
        if line.held or now < line.next_at:
            self._see_to(stream, line, now)
        else:
            del self._lines[stream]

    def _tell_next(self, line: _Line, now: float) -> None:
        if line.held:
            held = line.held.popleft()
            line.told, line.next_at = held.loser, now + RETRY_SECONDS
            try:
                held.reply.settle(held.value())
            except Exception:
                # Or the fault of one connection would leave those behind it without an answer, for ever.
                self._log.failure("a collision could not be told")

    def _hurry(self, line: _Line, held: _Held) -> None:
        line.held.remove(held)
        held.reply.settle(held.value())
