"""Which batches are committed on the reactor's thread."""

import pytest
from twisted.internet.task import Clock

from eventflowdb.append import Append
from eventflowdb.events import CheckedEvent
from eventflowdb.limits import (
    INLINE_COMMIT_APPENDS_MIN,
    INLINE_COMMIT_BYTES_MAX,
    INLINE_COMMIT_OTHERS_FEW,
    INLINE_COMMIT_OTHERS_SECONDS,
    INLINE_COMMIT_PAUSE_SECONDS,
    INLINE_COMMIT_SECONDS_MAX,
)
from eventflowdb.service.inline import InlineCommits

from .fakes import STREAM


class Bench:
    """The judge, its clock, and whether the disk is busy."""

    def __init__(self) -> None:
        self.is_disk_busy = False
        self.clock = Clock()
        self.inline = InlineCommits(lambda: self.is_disk_busy, self.clock.seconds)

    def may_take(self, *sizes: int, others: int = 0) -> bool:
        """Whether a batch of appends of these sizes may be committed here."""
        return self.inline.may_take(
            [Append.to_stream(STREAM, 0, [CheckedEvent.of(type="t", data="")], n) for n in sizes], others
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_small_batch_is(bench: Bench) -> None:
    assert bench.may_take(INLINE_COMMIT_BYTES_MAX // 2, INLINE_COMMIT_BYTES_MAX // 2)


def test_a_large_batch_is_not(bench: Bench) -> None:
    assert not bench.may_take(INLINE_COMMIT_BYTES_MAX // 2, INLINE_COMMIT_BYTES_MAX // 2 + 1)


def test_none_is_while_the_data_file_is_flushed(bench: Bench) -> None:
    bench.is_disk_busy = True
    assert not bench.may_take(100)
    bench.is_disk_busy = False
    assert bench.may_take(100)


def test_none_is_while_there_are_others_whom_it_would_keep_waiting(bench: Bench) -> None:
    few = INLINE_COMMIT_OTHERS_FEW
    appends = [100] * INLINE_COMMIT_APPENDS_MIN * (few + 1)
    assert bench.may_take(*appends, others=few + 1)
    assert not bench.may_take(*appends, others=few + 2)
    assert not bench.may_take(*appends)
    bench.clock.advance(INLINE_COMMIT_OTHERS_SECONDS)
    assert bench.may_take(100)
    assert not bench.may_take(100, others=few + 1)


def test_a_few_others_may_be_kept_waiting_by_one_append(bench: Bench) -> None:
    for _ in range(3):
        assert bench.may_take(100, others=INLINE_COMMIT_OTHERS_FEW)


def test_after_one_that_took_long_none_is_for_a_while(bench: Bench) -> None:
    bench.inline.took(INLINE_COMMIT_SECONDS_MAX)
    assert bench.may_take(100)
    bench.inline.took(INLINE_COMMIT_SECONDS_MAX * 1.01)
    assert not bench.may_take(100)
    bench.clock.advance(INLINE_COMMIT_PAUSE_SECONDS * 0.99)
    assert not bench.may_take(100)
    bench.clock.advance(INLINE_COMMIT_PAUSE_SECONDS * 0.02)
    assert bench.may_take(100)
