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

    def add(self, seconds: float) -> None:
        """A call was answered, so long after it was taken."""
        self.calls += 1
        self.seconds += seconds
        if seconds > self.seconds_max:  # noqa: PLR1730 - max() costs as much as all the rest
            self.seconds_max = seconds

    def reset(self) -> None:
        """Count from zero."""
        self.calls = self.failed = 0
        self.seconds = self.seconds_max = 0.0


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
        self._counts: dict[str, CommandCount] = {}
        self.reset()

    def reset(self) -> None:
        """Count from zero; the slow commands stay."""
        for count in self._counts.values():
            count.reset()
        self.errors: Counter[str] = Counter()
        self.connections_received = 0
        self.connections_rejected = 0
        self.cache_hits = 0
        """How many GETs were answered with a reply that was kept."""
        self.cache_misses = 0
        """How many might have been, but were not."""

    @property
    def commands(self) -> dict[str, CommandCount]:
        """The figures of each command that was called."""
        return {name: count for name, count in self._counts.items() if count.calls}

    @property
    def commands_processed(self) -> int:
        """How many calls there were of all commands."""
        return sum(count.calls for count in self._counts.values())

    def count_of(self, name: str) -> CommandCount:
        """What a command is counted with; the same one always."""
        return self._counts.setdefault(name, CommandCount())

    def add_failure(self, count: CommandCount, error_code: str) -> None:
        """A command was answered with an error."""
        count.failed += 1
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
