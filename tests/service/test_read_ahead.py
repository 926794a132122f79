"""The page that one client will ask for next: read before it does, and what it would be if it were read then."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import id_after
from eventflowdb.limits import CHUNK_BYTES_MAX
from eventflowdb.service.read_ahead import ReadAhead
from eventflowdb.service.reply import Answer
from eventflowdb.storage.spans import Chunk, LogSpan, Rendered

BEGINNING = bytes(16)
LIMIT = 3


def key_of(number: int) -> bytes:
    """The id of an event of the log, of which the first has the number 1."""
    return (1000 * number).to_bytes(16, "big")


class Log:
    """A log that counts how often it is read; each piece of a page is an event."""

    def __init__(self, event_count: int) -> None:
        self.event_count = event_count
        self.reads: list[tuple[bytes, int]] = []
        self.answer: Callable[[Answer], Any] = lambda page: page
        """What becomes of a page that was read."""

    def read(self, start: bytes, limit: int) -> "Answer | Deferred[Answer]":
        self.reads.append((start, limit))
        found = [n for n in range(1, self.event_count + 1) if key_of(n) >= start]
        numbers, rest = found[:limit], None
        if not numbers:
            return Chunk([], None)
        read: Answer | Deferred[Answer] = self.answer(
            Rendered([b"%d" % number for number in numbers], len(numbers), rest, key_of(numbers[-1]))
        )
        return read


class Client:
    """One that reads the log, as the server answers it."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.may_read = True
        self.turns: list[Callable[[], None]] = []
        self.ahead = ReadAhead(log.read, lambda: self.may_read, self.turns.append)

    def ask(self, start: bytes, limit: int = LIMIT) -> Answer:
        """A page, asked for in one turn."""
        page = self.ahead.take(start, limit) or self.log.read(start, limit)
        assert not isinstance(page, Deferred)
        if isinstance(page, Rendered):
            self.ahead.answered(start, limit, page)
        return page

    def have_read_ahead(self, answer: Callable[[Answer], Any]) -> None:
        """Ask for the first two pages and have the third, from the fifth event on, read ahead with this result."""
        self.ask(BEGINNING)
        self.ask(key_of(3))
        self.log.answer = answer
        self.look()

    def look(self) -> None:
        """Look at the page for a turn."""
        turns, self.turns[:] = self.turns[:], []
        for call in turns:
            call()


@pytest.fixture
def log() -> Log:
    return Log(100)


@pytest.fixture
def client(log: Log) -> Client:
    return Client(log)


def events(page: Answer) -> list[int]:
    """The numbers of the events of a page."""
    return list(map(int, page.pieces if isinstance(page, Rendered) else page.records))


def pages(client: Client, following: Callable[[int], bytes]) -> Iterator[list[int]]:
    """Page after page. following: where to go on after an event."""
    start = BEGINNING
    while True:
        page = events(client.ask(start))
        yield page
        start = following(page[-1])
        client.look()


def test_who_goes_on_behind_the_last_event_finds_each_page_ready(log: Log, client: Client) -> None:
    read = pages(client, lambda last: id_after(key_of(last)))
    assert [next(read) for _ in range(3)] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    # The first two were asked for, the third was not.
    assert len(log.reads) == 3
    client.look()
    assert len(log.reads) == 4
    assert next(read) == [10, 11, 12]
    assert len(log.reads) == 4


def test_who_goes_on_at_the_last_event_finds_each_page_ready(log: Log, client: Client) -> None:
    read = pages(client, key_of)
    assert [next(read) for _ in range(4)] == [[1, 2, 3], [3, 4, 5], [5, 6, 7], [7, 8, 9]]
    client.look()
    assert len(log.reads) == 5
    assert log.reads[-1] == (key_of(9), LIMIT)


def test_who_reads_here_and_there_has_nothing_read_ahead(log: Log, client: Client) -> None:
    for number in (1, 50, 20, 23, 90):
        client.ask(key_of(number))
        client.look()
    assert len(log.reads) == 5


def test_a_page_is_for_who_asks_for_just_that(log: Log, client: Client) -> None:
    read = pages(client, key_of)
    assert [next(read) for _ in range(2)] == [[1, 2, 3], [3, 4, 5]]
    client.look()
    assert events(client.ask(key_of(5), LIMIT + 1)) == [5, 6, 7, 8]
    assert events(client.ask(key_of(5))) == [5, 6, 7]
    assert len(log.reads) == 5


def test_the_end_of_the_log_is_read_when_it_is_asked_for(log: Log, client: Client) -> None:
    log.event_count = 7
    read = pages(client, lambda last: id_after(key_of(last)))
    assert [next(read) for _ in range(2)] == [[1, 2, 3], [4, 5, 6]]
    client.look()
    log.event_count = 9
    assert next(read) == [7, 8, 9]


def test_what_may_not_be_read_now_is_read_when_it_is_asked_for(log: Log, client: Client) -> None:
    client.may_read = False
    read = pages(client, key_of)
    assert [next(read) for _ in range(4)] == [[1, 2, 3], [3, 4, 5], [5, 6, 7], [7, 8, 9]]
    client.look()
    assert len(log.reads) == 4


def test_a_client_that_is_faster_reads_no_page_twice(log: Log, client: Client) -> None:
    start = BEGINNING
    for _ in range(4):
        start = id_after(key_of(events(client.ask(start))[-1]))
    assert len(log.reads) == 4
    client.look()
    assert len(log.reads) == 5
    assert events(client.ask(start)) == [13, 14, 15]
    assert len(log.reads) == 5


def test_a_page_that_has_to_come_from_the_disk_is_there_when_it_has(log: Log, client: Client) -> None:
    coming: list[tuple[Deferred[Answer], Answer]] = []

    def come_later(page: Answer) -> "Deferred[Answer]":
        coming.append((Deferred(), page))
        return coming[-1][0]

    read = pages(client, key_of)
    assert [next(read) for _ in range(2)] == [[1, 2, 3], [3, 4, 5]]
    log.answer = come_later
    client.look()
    ((deferred, page),) = coming
    deferred.callback(page)
    assert events(client.ask(key_of(5))) == [5, 6, 7]
    client.look()
    late, page = coming[1]
    log.answer = lambda page: page
    assert events(client.ask(key_of(7))) == [7, 8, 9]
    late.callback(page)
    assert events(client.ask(key_of(9))) == [9, 10, 11]


def test_a_page_that_cannot_be_read_is_told_of_when_it_is_asked_for(log: Log, client: Client) -> None:
    def fail(_page: Answer) -> Answer:
        raise CorruptRecord("damaged")

    def break_down(_page: Answer) -> Answer:
        raise RuntimeError("nobody expected this")

    def fail_later(_page: Answer) -> "Deferred[Answer]":
        failed: Deferred[Answer] = Deferred()
        failed.errback(CorruptRecord("damaged"))
        return failed

    for failing in (fail, break_down, fail_later):
        client.have_read_ahead(failing)
        log.answer = lambda page: page
        assert events(client.ask(key_of(5))) == [5, 6, 7]


def test_a_page_of_a_large_event_is_not_kept(log: Log, client: Client) -> None:
    def enlarge(page: Answer) -> Answer:
        assert isinstance(page, Rendered)
        return page._replace(pieces=[*page.pieces, bytes(CHUNK_BYTES_MAX)])

    client.have_read_ahead(enlarge)
    log.answer = lambda page: page
    assert events(client.ask(key_of(5))) == [5, 6, 7]
    assert len(log.reads) == 4


def test_a_page_that_has_a_rest_is_not_kept(log: Log, client: Client) -> None:
    def cut_short(page: Answer) -> Answer:
        assert isinstance(page, Rendered)
        return page._replace(rest=LogSpan(page.last_id, 1))

    client.have_read_ahead(cut_short)
    assert client.ask(key_of(5)).rest is not None
    assert len(log.reads) == 4
    client.look()
    assert len(log.reads) == 4
