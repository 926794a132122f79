"""What the server counts of its commands: calls, time, failures, and the slow ones.

Counting stands in the path of every command, so it is a few additions; everything else is worked out when asked.
"""

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from eventflowdb.limits import SLOWLOG_ENTRIES_MAX

_SLOWLOG_WORDS_MAX = 32
_SLOWLOG_WORD_BYTES_MAX = 128


class CommandCount:
    """One command's figures since the start, or since CONFIG RESETSTAT."""

    __slots__ = ("calls", "failed", "seconds", "seconds_max")

    def __init__(self) -> None:
        self.calls = 0
        self.failed = 0
        self.seconds = 0.0
        self.seconds_max = 0.0


class SlowCommand(NamedTuple):
    """A command that took long: number, time it ended (since 1970), how long, its words, who sent it."""

    number: int
    ended_at: int
    seconds: float
    words: list[bytes]
    address: str
    client_name: str


class Statistics:
    """The figures of one server, kept on the reactor's thread."""

    def __init__(self) -> None:
        self.slow: deque[SlowCommand] = deque(maxlen=SLOWLOG_ENTRIES_MAX)
        self._slow_count = 0
        self.reset()

    def reset(self) -> None:
        """Count from zero; the slow commands stay."""
        self.commands: dict[str, CommandCount] = {}
        self.errors: Counter[str] = Counter()
        self.commands_processed = 0
        self.connections_received = 0
        self.connections_rejected = 0

    def count(self, name: str, seconds: float, error_code: str | None) -> None:
        """A command was answered, so long after it was taken."""
        found = self.commands.get(name)
        if found is None:
            found = self.commands[name] = CommandCount()
        found.calls += 1
        found.seconds += seconds
        self.commands_processed += 1
        found.seconds_max = max(found.seconds_max, seconds)
        if error_code is not None:
            found.failed += 1
            self.errors[error_code] += 1

    def keep_slow(self, seconds: float, words: Sequence[bytes], address: str, client_name: str) -> None:
        """Remember a command that took long (SLOWLOG_SECONDS_MIN or more)."""
        kept = [_shortened(word) for word in words[:_SLOWLOG_WORDS_MAX]]
        if len(words) > _SLOWLOG_WORDS_MAX:
            kept[-1] = b"... (%d more arguments)" % (len(words) - _SLOWLOG_WORDS_MAX + 1)
        self.slow.appendleft(SlowCommand(self._slow_count, int(time.time()), seconds, kept, address, client_name))
        self._slow_count += 1


def _shortened(word: bytes) -> bytes:
    if len(word) <= _SLOWLOG_WORD_BYTES_MAX:
        return word
    left = len(word) - _SLOWLOG_WORD_BYTES_MAX
    return word[:_SLOWLOG_WORD_BYTES_MAX] + b"... (%d more bytes)" % left
