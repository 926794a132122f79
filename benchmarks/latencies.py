"""Latencies as counts of values, which can be added up and asked for percentiles."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Latencies:
    """How many operations took how many nanoseconds, and how many events they were about."""

    counts: Counter[int] = field(default_factory=Counter)
    events: int = 0

    @property
    def operations(self) -> int:
        """How many there were."""
        return self.counts.total()

    def note(self, nanoseconds: int, events: int) -> None:
        """Count one; to two digits and a half, as the load in C does."""
        shift = max(0, nanoseconds.bit_length() - 7)
        self.counts[nanoseconds >> shift << shift] += 1
        self.events += events

    def percentile_ms(self, per_cent: float) -> float:
        """The latency that so many per cent do not exceed; 0 where there are none."""
        wanted, passed = self.operations * per_cent / 100, 0
        for nanoseconds, count in sorted(self.counts.items()):
            passed += count
            if passed >= wanted:
                return nanoseconds / 1e6
        return 0.0

    def packed(self) -> dict[str, object]:
        """As the load in C prints them."""
        return {"events": self.events, "latencies_ns": sorted(self.counts.items())}

    @classmethod
    def sum_of(cls, parts: Iterable["Latencies"]) -> "Latencies":
        """All of them together."""
        whole = cls()
        for part in parts:
            whole.counts.update(part.counts)
            whole.events += part.events
        return whole

    @classmethod
    def unpacked(cls, events: int, latencies_ns: Iterable[tuple[int, int]]) -> "Latencies":
        """From `packed`."""
        return cls(Counter(dict(latencies_ns)), events)
