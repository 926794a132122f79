"""Whether a history is one that a correct store can have: every operation done at one moment while it was under way.

Theory of operation. The log of the store, read when all is over, tells in which order appends were done; so the
moments are numbered by the length that the log had. An append whose events stand at positions p to q was done when
the log grew from p-1 to q. What a read returned, or a refusal told, says that at its moment the log was at least `low`
and at most `high` long. That leaves numbers to be found, one an operation, within these bounds, such that an
operation that had ended before another began has no larger one. Taking for each the smallest number that is
possible finds them if they exist: one sweep over all begins and ends in the order of time, O(n log n) in all.

Within a session an operation has also to see the session's own appends sent before it, answered yet or not.
"""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from tests.crash.history import Append, Checksum, Count, History, LogRead, Operation, StreamRead
from tests.system.resp import Refusal

_NO_EVENT = "0" * 26


class NotLinearizable(AssertionError):
    """No correct store has such a history."""


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How long the log was when an operation was done: `low` to `high` before it, and at least `after` after it."""

    low: int
    high: int
    after: int | None = None


def check(history: History, log: Sequence[bytes]) -> None:
    """Raise NotLinearizable, with the reason, if the history and the log it led to cannot both be."""
    _check_moments(history.operations, _Witness(history, log))


class _Witness:
    """The log, and what it says about each operation alone."""

    def __init__(self, history: History, log: Sequence[bytes]) -> None:
        self._log = log
        events = [json.loads(record) for record in log]
        self._ids = {event["id"]: position for position, event in enumerate(events, 1)}
        self._types = [event["type"] for event in events]
        self._events = events
        self._places: dict[str, list[int]] = defaultdict(list)
        """The positions of each stream's events."""
        for position, event in enumerate(events, 1):
            self._places[event["stream"]].append(position)
        seen = zip([_NO_EVENT, *self._ids], _checksums(log), strict=True)
        self._lengths = {checksum: length for length, checksum in enumerate(seen)}
        self._tagged: dict[str, int] = {}
        """The position of the first event with each tag."""
        for position, event in enumerate(events, 1):
            for tag in event.get("tags", ()):
                self._tagged.setdefault(tag, position)
        self._attempts: dict[tuple[str, ...], int] = {}
        """When each append was first asked for."""
        self._first = self._find_appends(history)

    def bounds(self, operation: Operation) -> _Bounds | None:
        """When it was done, as far as it can be told from it alone; None: it changed nothing and tells nothing."""
        request, outcome = operation.request, operation.outcome
        if isinstance(request, Append):
            return self._append_bounds(operation, request)
        if outcome is None or isinstance(outcome, Refusal):
            _require(outcome is None or outcome.code == "TRYAGAIN", f"{request} was refused: {outcome}")
            return None
        if isinstance(request, Count):
            assert isinstance(outcome, int)
            _require(outcome <= len(self._log), f"{outcome} events were counted, and the log never held so many")
            return _Bounds(outcome, outcome)
        assert isinstance(outcome, list)
        if isinstance(request, Checksum):
            seen = outcome[0].decode(), outcome[1].decode()
            _require(seen in self._lengths, f"CHECKSUM {seen} is of no beginning of the log")
            return _Bounds(self._lengths[seen], self._lengths[seen])
        if isinstance(request, StreamRead):
            return self._stream_bounds(request, outcome)
        return self._log_bounds(request, outcome)

    def _find_appends(self, history: History) -> dict[str, int]:
        """The position of each append's first event, by that event's name; each event is of exactly one append."""
        appends: dict[tuple[str, ...], Append] = {}
        for operation in history.operations:
            if isinstance(operation.request, Append):
                names = operation.request.names()
                appends[names] = operation.request
                self._attempts[names] = min(operation.began, self._attempts.get(names, operation.began))
        by_first = {names[0]: names for names in appends}
        first: dict[str, int] = {}
        position = 1
        while position <= len(self._types):
            name = self._types[position - 1]
            _require(name in by_first, f"position {position} holds {name!r}, which begins no append")
            _require(name not in first, f"{name!r} is stored twice, at {first.get(name)} and {position}")
            names = by_first[name]
            stored = tuple(self._types[position - 1 : position - 1 + len(names)])
            _require(stored == names, f"of the append {names} at {position} only {stored} is stored")
            self._check_conditions(appends[names], position)
            first[name] = position
            position += len(names)
        return first

    def _check_conditions(self, append: Append, position: int) -> None:
        """What the append had as its conditions was true when it was done."""
        at = position
        for writes in append.writes:
            held = self._held(writes.stream, position)
            fits = writes.expected in (held, "any") or (writes.expected == "exists" and held > 0)
            _require(fits, f"{append} is stored at {position}, where the stream held {held}")
            for name in writes.names:
                event = self._events[at - 1]
                _require(event["stream"] == writes.stream, f"{name!r} is stored in another stream, {event['stream']}")
                _require(event["version"] == held, f"{name!r} has version {event['version']}, not {held}")
                at, held = at + 1, held + 1
        for tag in append.unless:
            found = self._tagged.get(tag, position)
            _require(found >= position, f"{append} is stored at {position}, and {found} had its tag")

    def _held(self, stream: str, position: int) -> int:
        """How many events a stream held before the one at a position."""
        return bisect_left(self._places[stream], position)

    def _append_bounds(self, operation: Operation, append: Append) -> _Bounds | None:
        names, outcome = append.names(), operation.outcome
        position = self._first.get(names[0])
        if isinstance(outcome, Refusal):
            # Only success is remembered: what is refused and asked again may be done then, and not be refused later.
            is_in_order = position is None or append.request_id is not None
            _require(is_in_order, f"{append} was refused ({outcome}), and is stored at {position}")
            bounds = self._refusal_bounds(append, outcome)
            if position is None or bounds is None:
                return bounds
            return _Bounds(bounds.low, min(bounds.high, position - 1))
        if position is None:
            _require(outcome is None, f"{append} was answered, and is not stored")
            return None
        end = position - 1 + len(names)
        stored = list(self._log[position - 1 : end])
        _require(outcome in (None, stored), f"{append} was answered {outcome}, and {stored} is stored")
        if operation.began > self._attempts[names]:
            # It may have found that an earlier attempt had done it.
            return _Bounds(position - 1, len(self._log), end)
        return _Bounds(position - 1, position - 1, end)

    def _refusal_bounds(self, append: Append, refusal: Refusal) -> _Bounds | None:
        if refusal.code in ("TRYAGAIN", "OOM"):
            return None
        _require(refusal.code == "CONCURRENCY", f"{append} was refused: {refusal}")
        told = dict(word.split("=") for word in str(refusal).split(":")[0].split(" ")[1:])
        if "unless" in told:
            first = min(self._tagged.get(tag, 0) for tag in append.unless)
            _require(self._ids.get(told["event"]) == first > 0, f"{append} was refused: {refusal}; it is {first}")
            return _Bounds(first, len(self._log))
        (expected,) = [writes.expected for writes in append.writes if writes.stream == told["stream"]]
        actual = int(told["actual"])
        is_met = expected in (actual, "any") or (expected == "exists" and actual > 0)
        _require(not is_met, f"{append} was refused, and should not have been: {refusal}")
        return self._stream_length_bounds(told["stream"], actual, actual)

    def _stream_bounds(self, read: StreamRead, outcome: list[bytes]) -> _Bounds:
        places = self._places[read.stream]
        end = read.version + len(outcome)
        true = [self._log[place - 1] for place in places[read.version : end]]
        _require(outcome == true, f"{read} returned {outcome}, and the stream is {true}")
        if read.limit and len(outcome) == read.limit:
            return self._stream_length_bounds(read.stream, end, len(places))
        return self._stream_length_bounds(read.stream, end if outcome else 0, end)

    def _stream_length_bounds(self, stream: str, least: int, most: int) -> _Bounds:
        """When a stream held at least and at most so many events."""
        places = self._places[stream]
        _require(least <= len(places), f"stream {stream} was said to hold {least} events, it never held so many")
        low = places[least - 1] if least else 0
        return _Bounds(low, places[most] - 1 if most < len(places) else len(self._log))

    def _log_bounds(self, read: LogRead, outcome: list[bytes]) -> _Bounds:
        _require(read.after is None or read.after in self._ids, f"{read} is after an event that the log does not hold")
        start = 0 if read.after is None else self._ids[read.after]
        end = start + len(outcome)
        _require(outcome == list(self._log[start:end]), f"{read} returned {outcome}, which is not what the log holds")
        low = end if outcome else 0
        return _Bounds(low, end if len(outcome) < read.limit else len(self._log))


def _checksums(log: Sequence[bytes]) -> Iterator[str]:
    """The checksum of each beginning of the log, from the empty one on."""
    checksum = bytes(32)
    yield checksum.hex()
    for record in log:
        checksum = sha256(checksum + sha256(record).digest()).digest()
        yield checksum.hex()


def _check_moments(operations: Sequence[Operation], witness: _Witness) -> None:
    """Find the smallest possible moment of each operation, or the one that has none."""
    known: int = 0
    """So long the log was at some operation that has ended: no later one may see less."""
    session_known: dict[int, int] = defaultdict(int)
    moments: dict[int, int] = {}
    bounds = [witness.bounds(operation) for operation in operations]
    for is_end, number in _in_order_of_time(operations):
        if is_end:
            known = max(known, moments.get(number, 0))
            continue
        operation, bound = operations[number], bounds[number]
        if bound is None:
            continue
        earliest = max(bound.low, known, session_known[operation.session])
        if earliest > bound.high:
            raise NotLinearizable(
                f"{operation.request} was answered as of a log of at most {bound.high} events, and what had ended "
                f"before (or was sent before on its connection) had needed {earliest}: {operation}"
            )
        moments[number] = earliest
        if bound.after is not None:
            moments[number] = max(earliest, bound.after)
            if operation.outcome is not None:
                session_known[operation.session] = max(session_known[operation.session], bound.after)


def _in_order_of_time(operations: Sequence[Operation]) -> Iterator[tuple[bool, int]]:
    """Begins (False) and ends (True); of a begin and an end at one time the begin is first: they were together."""
    begins = [(operation.began, False, number) for number, operation in enumerate(operations)]
    ends = [(operation.ended, True, number) for number, operation in enumerate(operations) if operation.ended]
    return ((is_end, number) for _, is_end, number in sorted(begins + ends))


def _require(condition: bool, reason: Any) -> None:
    if not condition:
        raise NotLinearizable(reason)
