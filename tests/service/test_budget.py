"""MAX_INFLIGHT_BYTES: nobody is read beyond it, nobody waits for ever, and every byte taken is given back."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from eventflowdb.limits import OVERLOAD_SECONDS_MAX
from eventflowdb.service.budget import InflightBudget

from .fakes import (
    PING,
    PONG,
    STREAM,
    Connection,
    FakeHolder,
    ReplyError,
    SteppedServer,
    add,
    get,
    read_replies,
    request,
    stepped_server,
)

LIMIT = 1000
KIB = 1024


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> InflightBudget:
    return InflightBudget(LIMIT, clock)


def test_a_budget_is_exhausted_above_its_limit(budget: InflightBudget) -> None:
    budget.change(LIMIT)
    assert not budget.is_exhausted
    budget.change(1)
    assert budget.is_exhausted


def test_those_who_wait_are_told_once_when_there_is_room(budget: InflightBudget, clock: Clock) -> None:
    budget.change(LIMIT + 100)
    first, second = FakeHolder(budget), FakeHolder(budget)
    for holder in (first, second, first):
        budget.wait(holder)
    budget.change(-50)
    assert (first.wakes, second.wakes) == (0, 0)
    budget.change(-50)
    assert (first.wakes, second.wakes) == (1, 1)
    budget.change(-50)
    assert (first.wakes, second.wakes) == (1, 1)
    assert not clock.getDelayedCalls()


def test_one_that_is_gone_is_not_told(budget: InflightBudget) -> None:
    budget.change(LIMIT + 1)
    gone, other = FakeHolder(budget), FakeHolder(budget)
    budget.wait(gone)
    budget.wait(other)
    budget.forget(gone)
    budget.change(-1)
    assert (gone.wakes, other.wakes) == (0, 1)


def test_one_that_is_gone_is_not_asked_to_give_up_anything(budget: InflightBudget, clock: Clock) -> None:
    gone, large = FakeHolder(budget, LIMIT), FakeHolder(budget, LIMIT // 2 + 1)
    budget.wait(large)
    budget.forget(gone)
    clock.advance(OVERLOAD_SECONDS_MAX)
    assert not gone.given_up
    assert large.given_up


def test_after_the_wait_the_largest_are_given_up_until_half_is_free(budget: InflightBudget, clock: Clock) -> None:
    holders = [FakeHolder(budget, size) for size in (100, 400, 50, 300, 250)]
    budget.wait(holders[0])
    clock.advance(OVERLOAD_SECONDS_MAX - 0.01)
    assert not any(holder.given_up for holder in holders)
    clock.advance(0.01)
    assert [bool(holder.given_up) for holder in holders] == [False, True, False, True, False]
    assert budget.used_bytes == 400
    assert holders[0].wakes == 1
    (error,) = holders[1].given_up
    assert error.code == "TRYAGAIN"
    assert "nothing was stored" in str(error)


def test_where_nothing_can_be_given_up_it_is_tried_again(budget: InflightBudget, clock: Clock) -> None:
    budget.change(LIMIT + 1)  # appends that wait for a slow disk
    waiting = FakeHolder(budget)
    budget.wait(waiting)
    clock.advance(OVERLOAD_SECONDS_MAX)
    unfinished = FakeHolder(budget, 10)
    clock.advance(OVERLOAD_SECONDS_MAX)
    assert unfinished.given_up
    assert waiting.wakes == 0
    budget.change(-1)
    assert waiting.wakes == 1
    assert not clock.getDelayedCalls()


def test_nobody_is_given_up_when_the_overload_has_passed(budget: InflightBudget, clock: Clock) -> None:
    """The one that waited has hung up, so nobody was woken when the room came back."""
    budget.change(LIMIT + 1)
    waiting, unfinished = FakeHolder(budget), FakeHolder(budget, LIMIT - 100)
    budget.wait(waiting)
    budget.forget(waiting)
    budget.change(-LIMIT - 1)
    clock.advance(OVERLOAD_SECONDS_MAX)
    assert not unfinished.given_up


def test_the_wait_begins_anew_with_every_overload(budget: InflightBudget, clock: Clock) -> None:
    unfinished, waiting = FakeHolder(budget, LIMIT), FakeHolder(budget)
    budget.change(1)
    budget.wait(waiting)
    clock.advance(OVERLOAD_SECONDS_MAX - 1)
    budget.change(-1)
    budget.change(1)
    budget.wait(waiting)
    clock.advance(OVERLOAD_SECONDS_MAX - 1)
    assert not unfinished.given_up
    clock.advance(1)
    assert unfinished.given_up


def test_an_overload_that_begins_while_another_is_relieved_is_timed_once(budget: InflightBudget, clock: Clock) -> None:
    """One that is woken by the relief takes so much at once that the budget is exhausted again."""
    large, greedy = FakeHolder(budget, LIMIT + 1), FakeHolder(budget)

    def fill() -> None:
        greedy.on_wake = lambda: None
        budget.change(LIMIT + 1)
        budget.wait(greedy)

    greedy.on_wake = fill
    budget.wait(greedy)
    clock.advance(OVERLOAD_SECONDS_MAX)
    assert large.given_up
    assert len(clock.getDelayedCalls()) == 1
    budget.change(-LIMIT - 1)
    assert not clock.getDelayedCalls()


# With conversations.


def partial(stream: str, size: int) -> bytes:
    """A large ADD without its end."""
    return add(stream, 0, "x" * size)[:-20]


def rest(stream: str, size: int) -> bytes:
    """What is missing of it."""
    return add(stream, 0, "x" * size)[-20:]


def streams(count: int) -> list[str]:
    return [f"{number:08d}-0000-4000-8000-000000000000" for number in range(count)]


@pytest.fixture
def narrow(tmp_path: Path) -> SteppedServer:
    """A server whose budget is 100 KiB."""
    return SteppedServer(tmp_path / "narrow", max_inflight_bytes=100 * KIB)


def test_connections_are_paused_while_the_budget_is_exhausted_and_then_read_on(narrow: SteppedServer) -> None:
    first, second = narrow.connect(), narrow.connect()
    first.send(add(STREAM, 0, "x" * 110 * KIB))
    assert first.line.is_paused
    second.send(PING)
    assert second.take() == PONG
    assert second.line.is_paused
    narrow.commit()
    assert not first.line.is_paused
    assert not second.line.is_paused
    assert narrow.budget.used_bytes == 0
    assert not narrow.clock.getDelayedCalls()


def test_unfinished_requests_that_fill_the_budget_do_not_stop_the_server(narrow: SteppedServer) -> None:
    size = 6 * KIB
    clients = [(narrow.connect(), stream, size + number) for number, stream in enumerate(streams(20))]
    for client, stream, large in clients:
        if not client.line.is_paused:
            client.send(partial(stream, large))
    assert narrow.budget.is_exhausted
    narrow.clock.advance(OVERLOAD_SECONDS_MAX)
    assert narrow.budget.used_bytes <= 50 * KIB
    assert not any(client.line.is_paused for client, _, _ in clients)
    for client, stream, large in clients:
        client.send(rest(stream, large))
    narrow.commit()
    outcomes = [read_replies(client.take()) for client, _, _ in clients]
    refused = [reply for (reply,) in outcomes if isinstance(reply, ReplyError)]
    assert {reply.code for reply in refused} == {"TRYAGAIN"}
    assert 0 < len(refused) < 20
    assert narrow.store.event_count() == 20 - len(refused), "what is refused is not stored, the others are"
    assert narrow.budget.used_bytes == 0


def test_one_whose_request_was_given_up_is_served_on(narrow: SteppedServer) -> None:
    client = narrow.connect()
    client.send(partial(STREAM, 110 * KIB))
    assert client.line.is_paused
    narrow.clock.advance(OVERLOAD_SECONDS_MAX)
    assert not client.line.is_paused
    client.send(rest(STREAM, 110 * KIB), add(STREAM, 0, "y"), PING)
    narrow.commit()
    refusal, added, pong = read_replies(client.take())
    assert refusal.code == "TRYAGAIN"
    assert len(added) == 1
    assert pong == "PONG"


def test_a_connection_that_was_lost_has_no_part_in_the_next_overload(narrow: SteppedServer) -> None:
    lost, other = narrow.connect(), narrow.connect()
    lost.send(partial(STREAM, 110 * KIB))
    lost.conversation.lost()
    other.send(partial(STREAM, 105 * KIB))
    narrow.clock.advance(OVERLOAD_SECONDS_MAX)
    assert lost.line.end is None
    assert not other.line.is_paused
    other.conversation.lost()
    assert narrow.budget.used_bytes == 0


def test_appends_that_wait_for_the_disk_are_never_given_up(narrow: SteppedServer) -> None:
    first, second = narrow.connect(), narrow.connect()
    first.send(add(STREAM, 0, "x" * 110 * KIB))
    second.send(partial(streams(1)[0], 100))
    narrow.clock.advance(3 * OVERLOAD_SECONDS_MAX)
    narrow.commit()
    assert len(read_replies(first.take())[0]) == 1
    assert not first.line.is_paused
    assert not second.line.is_paused
    second.send(rest(streams(1)[0], 100))
    assert [reply.code for reply in read_replies(second.take())] == ["TRYAGAIN"]


def test_clients_that_take_no_replies_cannot_fill_the_budget_for_ever(narrow: SteppedServer) -> None:
    """Their requests are whole, so they cannot be refused, and cannot be run as long as nobody takes the replies."""
    deaf = [narrow.connect() for _ in range(3)]
    for client in deaf:
        client.conversation.unwritable()
        if not client.line.is_paused:
            client.send(PING * (40 * KIB // len(PING)))
    other = narrow.connect()
    other.send(PING)
    assert other.line.is_paused
    narrow.clock.advance(OVERLOAD_SECONDS_MAX)
    assert not other.line.is_paused
    assert [client.line.end for client in deaf] == ["abort", "abort", None]
    deaf[2].conversation.writable()
    assert read_replies(deaf[2].take()) == ["PONG"] * (40 * KIB // len(PING))
    assert narrow.budget.used_bytes == 0
    deaf[0].conversation.lost()
    assert narrow.budget.used_bytes == 0, "given back once"


def test_half_a_header_is_never_worth_a_connection(narrow: SteppedServer) -> None:
    """The budget is full of appends that wait for the disk, and these clients are just in the middle of a header."""
    narrow.connect().send(add(STREAM, 0, "x" * 110 * KIB))
    clients = [narrow.connect() for _ in range(2)]
    clients[0].send(b"*1\r\n$4\r\nPI")
    clients[1].send(b"*1\r\n$")
    narrow.clock.advance(3 * OVERLOAD_SECONDS_MAX)
    narrow.commit()
    clients[0].send(b"NG\r\n")
    clients[1].send(b"4\r\nPING\r\n")
    assert [reply.code for reply in read_replies(clients[0].take())] == ["TRYAGAIN"]
    assert [reply.code for reply in read_replies(clients[1].take())] == ["TRYAGAIN"]


def test_half_lines_cannot_fill_the_budget_for_ever(narrow: SteppedServer) -> None:
    clients = [narrow.connect() for _ in range(3)]
    for client in clients:
        if not client.line.is_paused:
            client.send(b"PING " + b"x" * 60 * KIB)
    assert narrow.budget.is_exhausted
    narrow.clock.advance(OVERLOAD_SECONDS_MAX)
    assert not narrow.budget.is_exhausted
    for client in clients:
        client.conversation.lost()
    assert narrow.budget.used_bytes == 0


# Whatever happens.


class Sender:
    """A client that sends a pipeline piece by piece, while it is read."""

    def __init__(self, client: Connection, pipeline: bytes) -> None:
        self.client = client
        self.pipeline = pipeline
        self._is_lost = False

    @property
    def is_gone(self) -> bool:
        return self._is_lost or self.client.line.end is not None

    def send(self, size: int) -> None:
        if not self.client.line.is_paused and self.pipeline and not self._is_lost:
            piece, self.pipeline = self.pipeline[:size], self.pipeline[size:]
            self.client.send(piece)

    def lose(self) -> None:
        self._is_lost = True
        self.client.conversation.lost()


def act(server: SteppedServer, sender: Sender, kind: str, size: int) -> None:
    """One step of the world."""
    if kind == "send":
        sender.send(size)
    elif kind == "lose":
        sender.lose()
    elif kind == "time":
        server.clock.advance(1.0)
    elif kind == "stall":
        sender.client.conversation.unwritable()
    elif kind == "drain":
        sender.client.conversation.writable()
    elif kind == "thread" and server.thread.jobs:
        server.thread.step()
    elif kind == "turn" and server.reactor.calls:
        server.reactor.turn()
    elif kind == "pool" and server.pool.reads:
        server.pool.step()


_REQUESTS = st.sampled_from(
    [
        PING,
        get(STREAM),
        get(STREAM, limit=1000),
        request("GETALL"),
        request("GET", " " * 5000),
        add(STREAM, 0, "x" * 3000),
        add(STREAM, 1, "y" * 30_000, "z"),
        request("ADD", "x" * 60_000),
        request("PING", "x" * 4000),
        b"*1\r\n!\r\n",
        request("QUIT"),
    ]
)
KINDS = ("send", "send", "send", "thread", "turn", "pool", "stall", "drain", "lose", "time")
_PIPELINES = st.lists(st.lists(_REQUESTS, min_size=1, max_size=8).map(b"".join), min_size=1, max_size=4)
_STEPS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(1, 20_000)),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(pipelines=_PIPELINES, steps=_STEPS)
def test_every_byte_taken_is_given_back_whatever_happens(
    pipelines: list[bytes], steps: list[tuple[str, int, int]]
) -> None:
    with stepped_server(max_request_bytes=40_000, max_inflight_bytes=50_000) as server:
        senders = [Sender(server.connect(), pipeline) for pipeline in pipelines]
        for kind, which, size in steps:
            act(server, senders[which % len(senders)], kind, size)
            assert server.budget.used_bytes >= 0
        for sender in senders:
            sender.client.conversation.writable()
        for _ in range(60):
            server.finish()
            server.clock.advance(1.0)
            for sender in senders:
                sender.send(5000)
        for sender in senders:
            assert sender.is_gone or not sender.client.line.is_paused, "the connection is never read again"
            sender.lose()
        assert server.budget.used_bytes == 0
        server.clock.advance(2 * OVERLOAD_SECONDS_MAX)
        assert not server.clock.getDelayedCalls()
