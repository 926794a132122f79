"""Who is told that the log grew, in which order, and at what cost to others."""

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from eventflowdb.limits import NOTICES_TURN_MAX
from eventflowdb.service.notices import Notices, streams_of

from .fakes import OTHER, STREAM, LoggedFaults, SteppedServer, add


class FakeWatcher:
    """Counts what it is told."""

    def __init__(self, notices: Notices, stream: str | None = None) -> None:
        self.grew = 0
        self.closes = 0
        self.on_grew: Callable[[], None] = lambda: None
        notices.watch(stream, self)

    def log_grew(self) -> None:
        """Count it."""
        self.grew += 1
        self.on_grew()

    def log_closes(self) -> None:
        """Count it."""
        self.closes += 1


@pytest.fixture
def clock() -> Clock:
    """What turns the reactor."""
    return Clock()


@pytest.fixture
def notices(clock: Clock) -> Notices:
    """Notices that nobody watches yet."""
    return Notices(clock)


def test_a_notice_reaches_those_that_watch_the_stream_or_the_log(notices: Notices) -> None:
    watchers = [FakeWatcher(notices, stream) for stream in (STREAM, OTHER, None, STREAM)]
    notices.log_grew({STREAM})
    assert [watcher.grew for watcher in watchers] == [1, 0, 1, 1]
    notices.log_grew({STREAM, OTHER})
    assert [watcher.grew for watcher in watchers] == [2, 1, 2, 2]


def test_where_nobody_knows_which_streams_grew_everyone_is_told(notices: Notices) -> None:
    watchers = [FakeWatcher(notices, stream) for stream in (STREAM, OTHER, None)]
    notices.log_grew(None)
    assert [watcher.grew for watcher in watchers] == [1, 1, 1]


def test_one_that_watches_no_more_is_told_nothing(notices: Notices) -> None:
    gone, stays = FakeWatcher(notices, STREAM), FakeWatcher(notices, STREAM)
    notices.unwatch(STREAM, gone)
    notices.log_grew({STREAM})
    notices.close()
    assert (gone.grew, gone.closes) == (0, 0)
    assert (stays.grew, stays.closes) == (1, 1)
    notices.unwatch(STREAM, stays)
    notices.unwatch(STREAM, stays)
    assert not notices.has_watchers


def test_many_are_told_in_turns_each_once(notices: Notices, clock: Clock) -> None:
    others: list[int] = []
    watchers = [FakeWatcher(notices) for _ in range(NOTICES_TURN_MAX * 2 + 1)]
    notices.log_grew({STREAM})
    assert [watcher.grew for watcher in watchers] == [1] * NOTICES_TURN_MAX + [0] * (NOTICES_TURN_MAX + 1)
    clock.callLater(0, lambda: others.append(sum(watcher.grew for watcher in watchers)))
    clock.advance(0)
    assert others == [NOTICES_TURN_MAX * 2], "what else the reactor has to do is done in between"
    assert [watcher.grew for watcher in watchers] == [1] * len(watchers)
    assert not clock.getDelayedCalls()


def test_commits_while_many_are_told_neither_hold_up_nor_double_the_notices(notices: Notices, clock: Clock) -> None:
    watchers = [FakeWatcher(notices) for _ in range(NOTICES_TURN_MAX * 3)]
    for _ in range(10):
        notices.log_grew({STREAM})
    assert sum(watcher.grew for watcher in watchers) == NOTICES_TURN_MAX, "one turn, however many commits"
    assert len(clock.getDelayedCalls()) == 1
    for _ in range(10):
        clock.advance(0)
    assert {watcher.grew for watcher in watchers} == {1, 2}, "those told before the later commits hear of them too"
    assert not clock.getDelayedCalls()


def test_one_that_leaves_before_its_turn_is_not_told(notices: Notices, clock: Clock) -> None:
    watchers = [FakeWatcher(notices) for _ in range(NOTICES_TURN_MAX + 2)]
    notices.log_grew({STREAM})
    notices.unwatch(None, watchers[-1])
    clock.advance(0)
    assert [watcher.grew for watcher in watchers[-2:]] == [1, 0]


def test_those_told_may_let_themselves_and_others_go(notices: Notices) -> None:
    watchers = [FakeWatcher(notices) for _ in range(3)]

    def let_all_go() -> None:
        for watcher in watchers:
            notices.unwatch(None, watcher)

    watchers[0].on_grew = let_all_go
    notices.log_grew({STREAM})
    assert [watcher.grew for watcher in watchers] == [1, 0, 0]
    assert not notices.has_watchers


def test_a_fault_of_one_is_logged_and_keeps_no_other_from_being_told(notices: Notices, faults: LoggedFaults) -> None:
    def fail() -> None:
        raise RuntimeError("nobody expected this")

    broken, sound = FakeWatcher(notices), FakeWatcher(notices)
    broken.on_grew = fail
    notices.log_grew({STREAM})
    assert sound.grew == 1
    faults.take_one()


def test_every_notice_has_a_number(notices: Notices) -> None:
    before = notices.generation
    FakeWatcher(notices)
    notices.log_grew({STREAM})
    notices.log_grew({OTHER})
    assert notices.generation == before + 2


def test_the_streams_of_what_was_stored_are_told_from_the_records(server: SteppedServer) -> None:
    stored, other = server.hold(STREAM, 3), server.hold(OTHER, 1)
    assert streams_of([stored, ValueError("refused"), other]) == {STREAM, OTHER}


def test_the_writer_tells_of_a_commit_after_it(server: SteppedServer) -> None:
    connection = server.connect()
    watcher = FakeWatcher(server.notices, STREAM)
    connection.send(add(STREAM, 0, "a"), add(OTHER, 3, "refused"))
    server.thread.step()
    assert watcher.grew == 0, "not before the reactor has turned"
    assert server.store.event_count() == 1
    server.commit()
    assert watcher.grew == 1
