"""How the commits of one server have gone."""

from collections import deque

_RECENT_MAX = 1024


class Commits:
    """Counts and times of commits, in seconds; percentiles are those of the last 1,024."""

    def __init__(self) -> None:
        self.count = 0
        self.failed = 0
        self.appends = 0
        self.appends_max = 0
        self.seconds = 0.0
        self.seconds_max = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT_MAX)

    def add(self, appends: int, seconds: float, is_failed: bool) -> None:
        """One commit is over."""
        if is_failed:
            self.failed += 1
            return
        self.count += 1
        self.appends += appends
        self.appends_max = max(self.appends_max, appends)
        self.seconds += seconds
        self.seconds_max = max(self.seconds_max, seconds)
        self._recent.append(seconds)

    def percentile(self, percent: int) -> float:
        """So many percent of the last commits took this long or less; 0 where there were none."""
        ordered = sorted(self._recent)
        return ordered[(len(ordered) - 1) * percent // 100] if ordered else 0.0
