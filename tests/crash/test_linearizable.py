"""The checker of histories, checked: against wrong histories made by hand, and against trying all orders."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from tests.crash.history import Append, Checksum, Count, History, LogRead, Operation, Request, StreamRead, Writes
from tests.crash.linearizable import NotLinearizable, check
from tests.system.resp import Refusal

A, B = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"
CONFLICT = "CONCURRENCY stream={stream} expected={expected} actual={actual}: no"


class Store:
    """A correct store, one operation after the other."""

    def __init__(self) -> None:
        self.log: list[bytes] = []

    def do(self, request: Request) -> Any:
        """The outcome of a request."""
        if isinstance(request, Append):
            return self._append(request)
        if isinstance(request, Count):
            return len(self.log)
        if isinstance(request, StreamRead):
            end = request.version + request.limit if request.limit else None
            return self.stream(request.stream)[request.version : end]
        assert isinstance(request, LogRead)
        start = next((n for n, record in enumerate(self.log, 1) if json.loads(record)["id"] == request.after), 0)
        return self.log[start : start + request.limit]

    def stream(self, stream: str) -> list[bytes]:
        """The records of a stream."""
        return [record for record in self.log if json.loads(record)["stream"] == stream]

    def _append(self, append: Append) -> list[bytes] | Refusal:
        for writes in append.writes:
            actual = len(self.stream(writes.stream))
            if writes.expected != actual:
                return Refusal(CONFLICT.format(stream=writes.stream, expected=writes.expected, actual=actual))
        length = len(self.log)
        for writes in append.writes:
            for name in writes.names:
                version, number = len(self.stream(writes.stream)), len(self.log) + 1
                event = {"id": f"{number:026}", "stream": writes.stream, "version": version, "type": name}
                self.log.append(json.dumps(event).encode())
        return self.log[length:]


def append(name: str, expected: int, stream: str = A, count: int = 1) -> Append:
    """An append of `count` events."""
    return Append((Writes(stream, expected, tuple([f"{name} {number}" for number in range(count)])),))


def one_after_the_other(*requests: Request) -> tuple[Store, list[Operation]]:
    """What a correct store does with these, each of another session, asked when the one before was answered."""
    store = Store()
    operations = [
        Operation(number, request, 10 * number + 1, 10 * number + 5, store.do(request))
        for number, request in enumerate(requests)
    ]
    return store, operations


def sample() -> tuple[Store, list[Operation]]:
    """A history with something of everything."""
    return one_after_the_other(
        append("first", 0),
        StreamRead(A, 0, 0),
        append("second", 1, count=3),
        append("late", 1),
        append("other", 0, B, 2),
        LogRead(None, 100),
        LogRead(f"{2:026}", 2),
        StreamRead(A, 1, 2),
        StreamRead(A, 4, 0),
        Count(),
        append("third", 4),
    )


def test_a_history_of_one_operation_after_the_other_is_right() -> None:
    store, operations = sample()
    check(History(operations), store.log)
    check(History(operations[::-1]), store.log)


def test_an_append_that_was_not_answered_may_be_done_or_not_or_later() -> None:
    store, operations = sample()
    operations[-1].ended = operations[-1].outcome = None
    check(History(operations), store.log)
    check(History(operations), store.log[:-1])
    operations[2].ended = operations[2].outcome = None
    check(History(operations), store.log)


Wrong = Callable[[list[Operation], list[bytes]], None]


def lost_append(_operations: list[Operation], log: list[bytes]) -> None:
    """An answered append is not in the log."""
    log.pop()


def lost_event_of_an_append(_operations: list[Operation], log: list[bytes]) -> None:
    """Of an append that was not answered a part is stored."""
    _operations[-1].request = append("third", 4, count=2)
    _operations[-1].ended = _operations[-1].outcome = None


def stale_stream_read(operations: list[Operation], _log: list[bytes]) -> None:
    """A read does not see an append answered before it began."""
    operations[8].request, operations[8].outcome = StreamRead(A, 0, 0), operations[1].outcome


def stale_log_read(operations: list[Operation], _log: list[bytes]) -> None:
    """As above, of the log."""
    assert isinstance(operations[5].outcome, list)
    operations[5].outcome = operations[5].outcome[:-1]


def stale_count(operations: list[Operation], _log: list[bytes]) -> None:
    """As above, of the number of events."""
    operations[9].outcome = 5


def early_count(operations: list[Operation], _log: list[bytes]) -> None:
    """An event is counted before its append was asked for."""
    operations[9].outcome = 7


def double_append(_operations: list[Operation], log: list[bytes]) -> None:
    """An append is in the log twice."""
    event = json.loads(log[-1])
    log.append(json.dumps({**event, "id": "9" * 26, "version": event["version"] + 1}).encode())


def refused_append_stored(_operations: list[Operation], log: list[bytes]) -> None:
    """An append that was refused is in the log."""
    event = json.loads(log[-1])
    log.append(json.dumps({**event, "id": "9" * 26, "version": event["version"] + 1, "type": "late 0"}).encode())


def unknown_event(_operations: list[Operation], log: list[bytes]) -> None:
    """An event is in the log that nobody appended."""
    log.append(json.dumps({**json.loads(log[-1]), "id": "9" * 26, "type": "unknown"}).encode())


def changed_byte(operations: list[Operation], _log: list[bytes]) -> None:
    """A read returns other bytes than the log."""
    assert isinstance(operations[5].outcome, list)
    operations[5].outcome[2] = operations[5].outcome[2].replace(b"second", b"Second")


def gap_in_a_read(operations: list[Operation], _log: list[bytes]) -> None:
    """A read leaves an event out."""
    assert isinstance(operations[5].outcome, list)
    del operations[5].outcome[2]


def reordered_read(operations: list[Operation], _log: list[bytes]) -> None:
    """A read returns events in another order."""
    assert isinstance(operations[5].outcome, list)
    operations[5].outcome.reverse()


def appends_reordered(operations: list[Operation], _log: list[bytes]) -> None:
    """An append is stored before one that was answered before it began."""
    operations[0].began, operations[0].ended = 201, 205
    del operations[1:-1]
    operations[-1].began, operations[-1].ended = 101, 105


def refused_without_reason(operations: list[Operation], _log: list[bytes]) -> None:
    """A condition that held was said not to hold."""
    operations[3].outcome = Refusal(CONFLICT.format(stream=A, expected=1, actual=1))


def refused_for_the_past(operations: list[Operation], _log: list[bytes]) -> None:
    """A refusal tells of a number of events that the stream no longer had."""
    operations[3].request = append("late", 2)
    operations[3].outcome = Refusal(CONFLICT.format(stream=A, expected=2, actual=1))


def refused_for_what_never_was(operations: list[Operation], _log: list[bytes]) -> None:
    """A refusal tells of more events than the stream ever had."""
    operations[3].outcome = Refusal(CONFLICT.format(stream=A, expected=1, actual=9))


def condition_that_did_not_hold(operations: list[Operation], _log: list[bytes]) -> None:
    """An append is stored though its stream held another number of events."""
    operations[-1].request = append("third", 3)


def answered_with_other_events(operations: list[Operation], _log: list[bytes]) -> None:
    """An append is answered with events of another one."""
    operations[-1].outcome = operations[0].outcome


def own_append_not_seen(operations: list[Operation], _log: list[bytes]) -> None:
    """A read that was sent behind an append on one connection, before the append's answer, does not see it."""
    operations[-1].session = operations[9].session = 99
    operations[-1].began, operations[9].began, operations[9].ended = 101, 102, 120


@pytest.mark.parametrize(
    "wrong",
    [
        lost_append,
        lost_event_of_an_append,
        stale_stream_read,
        stale_log_read,
        stale_count,
        early_count,
        double_append,
        refused_append_stored,
        unknown_event,
        changed_byte,
        gap_in_a_read,
        reordered_read,
        appends_reordered,
        refused_without_reason,
        refused_for_the_past,
        refused_for_what_never_was,
        condition_that_did_not_hold,
        answered_with_other_events,
        own_append_not_seen,
    ],
    ids=lambda wrong: wrong.__name__,
)
def test_a_wrong_history_is_found_out(wrong: Wrong) -> None:
    store, operations = sample()
    operations = [
        replace(
            operation, outcome=list(operation.outcome) if isinstance(operation.outcome, list) else operation.outcome
        )
        for operation in operations
    ]
    wrong(operations, store.log)
    with pytest.raises(NotLinearizable):
        check(History(operations), store.log)


def test_a_retry_with_a_request_id_is_answered_as_what_the_first_attempt_did() -> None:
    store, operations = one_after_the_other(replace(append("first", 0), request_id="r"), append("second", 1))
    retry = replace(operations[0], began=100, ended=101)
    operations[0].ended = operations[0].outcome = None
    check(History([*operations, retry]), store.log)
    retry.outcome = operations[1].outcome
    with pytest.raises(NotLinearizable):
        check(History([*operations, retry]), store.log)


def test_an_append_with_a_request_id_is_refused_before_it_is_done_and_never_after() -> None:
    store, operations = one_after_the_other(append("first", 0), append("late", 0), append("second", 1))
    late = replace(append("late", 2), request_id="r")
    done = Operation(9, late, 100, 110, store.do(late))
    refused = Operation(8, late, 15, 16, Refusal(CONFLICT.format(stream=A, expected=2, actual=1)))
    history = History([operations[0], operations[2], done])
    check(history + History([refused]), store.log)
    refused.began, refused.ended = 120, 121
    refused.outcome = Refusal(CONFLICT.format(stream=A, expected=2, actual=3))
    with pytest.raises(NotLinearizable):
        check(history + History([refused]), store.log)


def is_found_by_trying(operations: Sequence[Operation], log: list[bytes]) -> bool:
    """Whether some order of the operations, one after the other, explains them all: what `check` has to answer."""
    return any(
        explains(order, log)
        for done in subsets(operations)
        for order in permutations(done)
        if all(
            not (later.ended and later.ended < earlier.began)
            for place, earlier in enumerate(order)
            for later in order[place + 1 :]
        )
    )


def subsets(operations: Sequence[Operation]) -> list[list[Operation]]:
    """The operations, with and without each that was not answered."""
    found: list[list[Operation]] = [[]]
    for operation in operations:
        without = [] if operation.ended else found
        found = [*without, *[[*some, operation] for some in found]]
    return found


def explains(order: Sequence[Operation], log: list[bytes]) -> bool:
    """Whether a correct store, asked in this order, answers as told and ends with this log."""
    store = Store()
    for operation in order:
        outcome = store.do(operation.request)
        if operation.ended and str(outcome) != str(operation.outcome):
            return False
    return store.log == log


def random_history(chance: random.Random) -> tuple[list[Operation], list[bytes]]:
    """A few operations that overlap at random; most are right or nearly so."""
    store = Store()
    operations: list[Operation] = []
    for number in range(chance.randint(1, 5)):
        choices: list[Request] = [
            append(f"{number}", chance.randint(0, 2), chance.choice([A, B]), chance.randint(1, 2)),
            append(f"{number}", len(store.stream(A))),
            StreamRead(chance.choice([A, B]), chance.randint(0, 2), chance.randint(0, 2)),
            LogRead(None, chance.randint(1, 3)),
            Count(),
        ]
        request = chance.choice(choices)
        moment = 10 * number + 100
        outcome = store.do(request)
        began, ended = moment - chance.randint(0, 20), moment + chance.randint(1, 20)
        if chance.random() < 0.2:
            operations.append(Operation(number, request, began))
        else:
            operations.append(Operation(number, request, began, ended, outcome))
    if chance.random() < 0.9:
        moved, by = chance.choice(operations), chance.randint(-60, 60)
        moved.began += by
        moved.ended = moved.ended and moved.ended + by
    return operations, store.log[: len(store.log) - (chance.random() < 0.1)]


def test_the_checker_agrees_with_trying_all_orders() -> None:
    chance = random.Random(1)
    verdicts = {True: 0, False: 0}
    for _ in range(6000):
        operations, log = random_history(chance)
        expected = is_found_by_trying(operations, log)
        verdicts[expected] += 1
        try:
            check(History(operations), log)
            found = True
        except NotLinearizable:
            found = False
        assert found == expected, (operations, log)
    assert min(verdicts.values()) > 500, verdicts


def test_checksums_are_those_of_beginnings_of_the_log() -> None:
    store, operations = sample()
    wrong = Operation(50, Checksum(), 300, 305, [b"0" * 26, b"1" * 64])
    with pytest.raises(NotLinearizable, match="CHECKSUM"):
        check(History([*operations, wrong]), store.log)
    wrong.outcome = [b"0" * 26, b"0" * 64]
    with pytest.raises(NotLinearizable, match="as of a log of at most 0 events"):
        check(History([*operations, wrong]), store.log)
