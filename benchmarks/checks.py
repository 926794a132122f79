"""Whether a store holds what it acknowledged: a figure of a store that loses or doubles events is none."""

import json
import random
from collections.abc import Iterator

from benchmarks.jobs import Outcome, Turn
from benchmarks.payload import Stored, event, stream_name
from benchmarks.stores import Running

_SAMPLE_STREAMS = 20


def problems(running: Running, turn: Turn, outcome: Outcome) -> list[str]:
    """What is wrong after a turn; turn.log_events is what the store held before it."""
    found = list(_problems(running, turn, outcome))
    if outcome.failures:
        found.append(f"{outcome.failures} failures, one of them: {outcome.failure}")
    return found


def _problems(running: Running, turn: Turn, outcome: Outcome) -> Iterator[str]:
    held = running.holdings.count()
    if held != turn.log_events + outcome.acknowledged:
        yield f"it holds {held} events: there were {turn.log_events}, and {outcome.acknowledged} were acknowledged"
    if not outcome.acknowledged:
        return
    if turn.job.kind == "conflict":
        yield from _conflict_problems(running, turn, outcome)
        return
    counted = sum(filled * turn.job.stream_events + version for filled, version in outcome.written)
    if counted != outcome.acknowledged:
        yield f"the clients counted {counted} events in their streams, and {outcome.acknowledged} acknowledged"
    written = list(_written(turn, outcome))
    for index, client, events in random.sample(written, min(_SAMPLE_STREAMS, len(written))):
        stream = stream_name(turn.seed, index)
        stored = running.holdings.read(stream, events + 1)
        if not _is_equal(running, stored, [event(stream, version, client) for version in range(events)]):
            yield f"stream {stream} does not hold the {events} events that were acknowledged, and nothing else"


def _written(turn: Turn, outcome: Outcome) -> Iterator[tuple[int, int, int]]:
    """Index, client and number of events of every stream that was begun."""
    for client, (filled, version) in enumerate(outcome.written):
        for place in range(filled + 1):
            events = turn.job.stream_events if place < filled else version
            if events:
                yield turn.first_stream + place * turn.job.clients + client, client, events


def _conflict_problems(running: Running, turn: Turn, outcome: Outcome) -> Iterator[str]:
    """Each version of the stream has one winner, whose event is the one that is stored."""
    if -1 in outcome.winners or len(outcome.winners) != outcome.acknowledged:
        yield f"{outcome.acknowledged} appends were acknowledged, but not as {len(outcome.winners)} versions in order"
    stream = stream_name(turn.seed, 0)
    stored = running.holdings.read(stream, len(outcome.winners) + 1)
    expected = [event(stream, version, client) for version, client in enumerate(outcome.winners)]
    if not _is_equal(running, stored, expected):
        yield f"stream {stream} does not hold the events of those who were told that they had won"


def _is_equal(running: Running, stored: list[Stored], expected: list[Stored]) -> bool:
    if running.keeps_bytes:
        return stored == expected
    return [_parsed(one) for one in stored] == [_parsed(one) for one in expected]


def _parsed(stored: Stored) -> tuple[int, str, object, object]:
    return stored.version, stored.type, json.loads(stored.data), json.loads(stored.metadata)
