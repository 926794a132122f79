"""A front and the core at the two ends of a link, without processes: each against frames, then both together."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from eventflowdb.append import Append, StreamAppend
from eventflowdb.commands.table import COMMANDS
from eventflowdb.events import CheckedEvent, Checkpoint, Collision
from eventflowdb.ids import ZERO_ULID, find_ulid_bytes
from eventflowdb.limits import (
    ABANDONED_LOOK_SECONDS,
    ASK_SECONDS_MAX,
    LINK_ITEMS_BYTES_MAX,
    REFUSAL_HOLD_SECONDS_MAX,
)
from eventflowdb.service.contention import Contention
from eventflowdb.service.forwarding import CoreLink, ForwardedWait
from eventflowdb.service.fronts import FrontLink, Fronts
from eventflowdb.service.notices import Notices
from eventflowdb.service.outbox import Outbox
from eventflowdb.service.pacing import Pacing
from eventflowdb.service.questions import Told, decode_told
from eventflowdb.service.reply import PendingReply, Reply
from eventflowdb.service.session import Session
from eventflowdb.service.shared_notices import FrontNotices
from eventflowdb.wire import links
from eventflowdb.wire.links import Frame, FrameReader
from tests.folders import IN_MEMORY

from .fakes import OTHER, STREAM, LoggedFaults, SteppedServer, read_replies, request, stepped_server

FETCH = [b"FETCH", b'{"consumer":"c","member":"m","wait_ms":60000}']


class HandLink:
    """A link whose frames are kept; turns of the loop are made by hand."""

    def __init__(self) -> None:
        self.writes: list[list[Frame]] = []
        self.calls: list[Callable[[], None]] = []
        self.outbox = Outbox(self.calls.append)

    def send(self, data: bytes) -> None:
        """Keep the frames of one write."""
        self.writes.append(FrameReader().feed(data))

    def turn(self) -> list[Frame]:
        """End the turn; what left since the last one."""
        calls, self.calls[:] = list(self.calls), []
        for call in calls:
            call()
        writes, self.writes = self.writes, []
        return [frame for write in writes for frame in write]


class Watcher:
    """One that waits for events."""

    def __init__(self) -> None:
        self.notices = 0

    def log_grew(self) -> None:
        """Count it."""
        self.notices += 1

    def log_closes(self) -> None:
        """Nothing more comes."""


def session(number: int = 1) -> Session:
    """The session of some client."""
    return Session(number, "127.0.0.1:1", "127.0.0.1:2", True, 0.0)


class FrontEnd:
    """The front's end of a link; it reads the database of a server whose threads move by hand."""

    def __init__(self, server: SteppedServer) -> None:
        self.link = HandLink()
        self.clock = Clock()
        self.frames: list[Frame] = []
        self.losses = 0
        contention = Contention(server.database, Pacing(self.clock, self.clock.seconds))
        self.core = CoreLink(self.link.outbox, self.clock, contention, self.frames.append, self._lose)
        self.core.opened(self.link.send)

    def _lose(self) -> None:
        self.losses += 1


@pytest.fixture
def front(server: SteppedServer) -> FrontEnd:
    """A front, and a core that says what the test says."""
    return FrontEnd(server)


def test_the_requests_of_a_turn_leave_in_one_write_and_in_order(front: FrontEnd) -> None:
    front.core.append(session(), add(0))
    front.core.append(session(), add(1))
    front.core.settle(session(), [b"ACK", b"[]"])
    front.core.append(session(), add(2))
    assert front.link.writes == []
    front.link.calls.pop()()
    assert front.link.calls == []
    [[first, acked, last]] = front.link.writes
    assert links.decode_appends(first.body) == [(1, add(0)), (2, add(1))]
    assert links.decode_request(acked.body) == (2, [b"ACK", b"[]"])
    assert links.decode_appends(last.body) == [(4, add(2))]


def test_each_outcome_settles_its_own_append(front: FrontEnd) -> None:
    first, second = (front.core.append(session(), add(version)) for version in (0, 1))
    assert isinstance(first, PendingReply)
    assert isinstance(second, PendingReply)
    [frame] = front.link.turn()
    [one, two] = [number for number, _ in links.decode_appends(frame.body)]
    front.core.received(links.encode_items(links.OUTCOMES, [(two, b"-CONCURRENCY no\r\n"), (one, [b"{}", b"[]"])]))
    assert (first.value, second.value) == (b"*2\r\n$2\r\n{}\r\n$2\r\n[]\r\n", b"-CONCURRENCY no\r\n")


def test_an_append_that_is_bound_to_fail_is_refused_by_the_front(front: FrontEnd, server: SteppedServer) -> None:
    server.hold(STREAM, 2)
    reply = front.core.append(session(), add(0))
    assert isinstance(reply, PendingReply)
    front.link.turn()
    front.core.received(links.encode_items(links.OUTCOMES, [(1, Collision(STREAM, 0, 1))]))
    assert isinstance(reply.value, bytes)
    assert reply.value.startswith(b"-CONCURRENCY stream=%b expected=0 actual=1: " % STREAM.encode())
    refused = front.core.append(session(2), add(0))
    assert isinstance(refused, PendingReply)
    assert refused.value is None
    front.core.append(session(), add(2))
    [frame] = front.link.turn()
    assert links.decode_appends(frame.body) == [(2, add(2))]
    front.core.received(links.encode_items(links.OUTCOMES, [(2, server.hold(STREAM, 1))]))
    assert isinstance(refused.value, bytes)
    assert b" expected=0 actual=3: " in refused.value


def test_those_who_collide_in_the_core_are_told_one_after_the_other(front: FrontEnd, server: SteppedServer) -> None:
    replies = [front.core.append(session(number), add(0)) for number in range(3)]
    front.link.turn()
    late = Collision(STREAM, 0, 1)
    front.core.received(links.encode_items(links.OUTCOMES, [(3, late), (2, late)]))
    assert [is_settled(reply) for reply in replies] == [False, False, True]
    front.core.received(links.encode_items(links.OUTCOMES, [(1, server.hold(STREAM, 1))]))
    assert [is_settled(reply) for reply in replies] == [True] * 3


def is_settled(reply: Reply) -> bool:
    """Whether the reply to an append is there."""
    assert isinstance(reply, PendingReply)
    return reply.value is not None


def test_a_frame_of_appends_is_closed_before_it_grows_large(front: FrontEnd) -> None:
    large = Append.to_stream(
        OTHER, 0, [CheckedEvent.of(type="t", data="x" * LINK_ITEMS_BYTES_MAX)], LINK_ITEMS_BYTES_MAX
    )
    for append in (add(0), large, large, add(1)):
        front.core.append(session(), append)
    found = [links.decode_appends(frame.body) for frame in front.link.turn()]
    assert found == [[(1, add(0)), (2, large)], [(3, large), (4, add(1))]]


def test_each_answer_settles_its_own_request(front: FrontEnd) -> None:
    first, second = (front.core.settle(session(), [b"ACK", b"{}"]) for _ in range(2))
    assert isinstance(first, PendingReply)
    assert isinstance(second, PendingReply)
    one, two = front.link.turn()
    front.core.received(links.encode_frame(links.ANSWER, two.number, b":2\r\n"))
    assert (first.value, second.value) == (None, b":2\r\n")
    front.core.received(links.encode_frame(links.ANSWER, one.number, b":1\r\n"))
    assert first.value == b":1\r\n"


def test_what_is_no_answer_is_told(front: FrontEnd) -> None:
    front.core.received(links.encode_grew(None))
    front.core.lost()
    assert front.frames == [Frame(links.GREW, 0, b"")]
    assert front.losses == 1


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_wait_that_ends_is_cancelled_in_the_core(front: FrontEnd, is_gone: bool) -> None:
    reply = front.core.wait(session(), FETCH)
    assert isinstance(reply, ForwardedWait)
    [request] = front.link.turn()
    reply.is_abandoned = is_gone
    reply.end()
    assert front.link.turn() == [Frame(links.CANCEL, request.number, b"\1" if is_gone else b"\0")]
    front.core.received(links.encode_frame(links.ANSWER, request.number, b"*0\r\n"))
    assert reply.value == b"*0\r\n"


def test_long_work_is_cancelled_some_time_after_its_client_went(front: FrontEnd) -> None:
    reply = front.core.long_work(session(), [b"VERIFY"])
    assert isinstance(reply, PendingReply)
    [request] = front.link.turn()
    front.clock.advance(ABANDONED_LOOK_SECONDS)
    assert front.link.turn() == []
    reply.is_abandoned = True
    front.clock.advance(ABANDONED_LOOK_SECONDS)
    assert front.link.turn() == [Frame(links.CANCEL, request.number, b"\1")]
    assert front.clock.getDelayedCalls() == []


def test_the_core_learns_whether_anyone_waits(front: FrontEnd) -> None:
    notices, watcher = FrontNotices(front.clock, front.link.outbox), Watcher()
    notices.watch(STREAM, watcher)
    notices.watch(None, watcher)
    assert front.link.turn() == [Frame(links.WATCHES, 1, b"")]
    notices.log_grew({OTHER})
    notices.unwatch(None, watcher)
    notices.log_grew({OTHER})
    notices.log_grew(None)
    assert watcher.notices == 2
    notices.unwatch(STREAM, watcher)
    assert front.link.turn() == [Frame(links.WATCHES, 0, b"")]


class CoreEnd:
    """The core's ends of two links, on a server whose threads move by hand."""

    def __init__(self, folder: Path) -> None:
        self.server = SteppedServer(folder)
        self.shutdowns = 0
        self.fronts = Fronts(self.server.clock, self.server.clock.seconds, self._shut_down, self._answer)
        self.fronts.dispatcher = self.server.dispatcher
        self.fronts.appends = self.server.parts.appends
        self.links = [HandLink(), HandLink()]
        self.ends = [FrontLink(self.fronts, f"front {n}", link.outbox) for n, link in enumerate(self.links)]
        for end, link in zip(self.ends, self.links, strict=True):
            end.opened(link.send)

    def request(self, number: int, *words: bytes, front: int = 0) -> None:
        """A front forwards a request."""
        self.ends[front].received(links.encode_request(number, 2, words))

    def append(self, *items: tuple[int, Append], front: int = 0) -> None:
        """A front sends appends."""
        self.ends[front].received(links.encode_items(links.APPENDS, items))

    def _shut_down(self) -> None:
        self.shutdowns += 1

    def _answer(self, question: bytes) -> bytes | None:
        return b"core" if question == b"who" else None


@pytest.fixture
def core(server: SteppedServer, tmp_path: Path) -> CoreEnd:
    """A core with two fronts that say what the test says."""
    core = CoreEnd(tmp_path / "core")
    server.close()
    server.store = core.server.store  # closed at the end of the test
    return core


def add(version: int, checkpoint: Checkpoint | None = None) -> Append:
    """One event for STREAM."""
    part = StreamAppend(STREAM, version, [CheckedEvent.of(type="t", data="")])
    return Append([part], 100, checkpoint=checkpoint)


def outcomes_of(frames: list[Frame]) -> dict[int, links.Outcome]:
    """What became of appends, by their numbers."""
    return {
        number: outcome
        for frame in frames
        if frame.kind == links.OUTCOMES
        for number, outcome in links.decode_outcomes(frame.body)
    }


def test_the_core_tells_outcomes_when_the_commit_is_done_all_in_one_frame(core: CoreEnd) -> None:
    core.append((1, add(0)), (2, add(7)))
    core.append((3, add(1)))
    assert core.links[0].turn() == []
    core.server.commit()
    [frame] = core.links[0].turn()
    found = outcomes_of([frame])
    stored = [record for number in (1, 3) if isinstance(records := found[number], list) for record in records]
    assert [json.loads(record)["version"] for record in stored] == [0, 1]
    assert found[2] == Collision(STREAM, 7, 1)
    assert core.links[1].turn() == []


def test_an_append_that_acks_goes_by_way_of_its_consumer(core: CoreEnd) -> None:
    [record] = core.server.hold(STREAM, 1)
    core.request(1, b"CONSUMER", b'{"create":"c","after":"%s"}' % ZERO_ULID.encode())
    core.server.finish()
    core.request(2, b"FETCH", b'{"consumer":"c","member":"m"}')
    core.server.finish()
    core.links[0].turn()
    event_id = find_ulid_bytes(json.loads(record)["id"])
    assert event_id is not None
    for number, version, is_stored in ((3, 1, True), (4, 2, False)):
        core.append((number, add(version, Checkpoint("c", "m", event_id))))
        core.server.finish()
        assert isinstance(outcomes_of(core.links[0].turn())[number], list) is is_stored


def test_an_append_that_meets_a_fault_is_answered_and_so_are_those_behind_it(
    core: CoreEnd, monkeypatch: pytest.MonkeyPatch, faults: LoggedFaults
) -> None:
    with monkeypatch.context() as patches:
        patches.setattr(core.server.database, "append", lambda append, settle: 1 // 0)
        core.append((1, add(0)))
    core.append((2, add(0)))
    core.server.commit()
    found = outcomes_of(core.links[0].turn())
    faults.take_one()
    assert isinstance(found[1], bytes)
    assert found[1].startswith(b"-ERR internal error, incident ")
    assert isinstance(found[2], list)


def test_the_notice_of_a_commit_leaves_before_its_answers_in_one_write(core: CoreEnd) -> None:
    core.ends[1].received(links.encode_frame(links.WATCHES, 1))
    core.append((1, add(0)))
    core.server.commit()
    core.fronts.log_grew({STREAM})
    [write] = core.links[0].writes
    assert [frame.kind for frame in write] == [links.GREW, links.OUTCOMES]
    assert [links.decode_grew(write[0]), links.decode_grew(core.links[1].turn()[0])] == [None, {STREAM}]


def test_a_fetch_ends_when_its_front_says_so_or_is_gone(core: CoreEnd) -> None:
    core.request(1, b"CONSUMER", b'{"create":"c"}')
    core.server.finish()
    core.links[0].turn()
    for number in (2, 3):
        core.request(number, *FETCH)
    core.server.finish()
    assert core.links[0].turn() == []
    core.ends[0].received(links.encode_frame(links.CANCEL, 2, b"\0"))
    assert core.links[0].turn() == [Frame(links.ANSWER, 2, b"*0\r\n")]
    core.ends[0].lost()
    assert core.links[0].turn() == []
    # It held nothing: another member gets what comes.
    core.append((1, add(0)), front=1)
    core.server.finish()
    core.request(2, *FETCH, front=1)
    core.server.finish()
    [appended, fetched] = core.links[1].turn()
    assert read_replies(fetched.body)[0] == outcomes_of([appended])[1]


def test_a_question_of_one_front_is_answered_by_all(core: CoreEnd) -> None:
    core.ends[0].received(links.encode_frame(links.ASK, 5, b"who"))
    [asked] = core.links[1].turn()
    assert (asked.kind, asked.body) == (links.ASK, b"who")
    assert core.links[0].turn() == []
    core.ends[1].received(links.encode_frame(links.TOLD, asked.number, b"front"))
    [told] = core.links[0].turn()
    assert (told.kind, told.number) == (links.TOLD, 5)
    assert decode_told(told.body) == Told([b"core", b"front"], 0)


def test_a_front_that_does_not_answer_is_left_out(core: CoreEnd) -> None:
    core.ends[0].received(links.encode_frame(links.ASK, 5, b"else"))
    [asked] = core.links[1].turn()
    core.server.clock.advance(ASK_SECONDS_MAX)
    assert decode_told(core.links[0].turn()[0].body) == Told([], 1)
    core.ends[1].received(links.encode_frame(links.TOLD, asked.number, b"late"))
    assert core.links[0].turn() == []


def test_monitors_of_one_front_are_shown_what_the_others_do(core: CoreEnd) -> None:
    core.ends[0].received(links.encode_frame(links.MONITORS, 1))
    assert core.links[0].turn() == []
    assert core.links[1].turn() == [Frame(links.MONITORS, 1, b"")]
    core.ends[1].received(links.encode_frame(links.SHOWN, 0, b"+line\r\n"))
    assert core.links[0].turn() == [Frame(links.SHOWN, 0, b"+line\r\n")]
    core.ends[0].lost()
    assert core.links[1].turn() == [Frame(links.MONITORS, 0, b"")]


def test_shutdown_and_the_last_front_are_told(core: CoreEnd) -> None:
    core.ends[0].received(links.encode_frame(links.SHUTDOWN, 0))
    assert core.shutdowns == 1
    ended: list[None] = []
    core.fronts.when_empty().addCallback(ended.append)
    core.ends[0].lost()
    assert ended == []
    core.ends[1].lost()
    assert ended == [None]
    core.fronts.when_empty().addCallback(ended.append)
    assert ended == [None, None]


def test_what_both_ends_say_fits_together(core: CoreEnd) -> None:
    front = FrontEnd(core.server)
    notices, watcher = Notices(front.clock), Watcher()
    notices.watch(STREAM, watcher)
    reply = front.core.append(session(), add(0))
    assert isinstance(reply, PendingReply)
    front.link.calls.pop()()
    for frame in front.link.writes.pop():
        core.ends[0].received(links.encode_frame(*frame))
    core.server.commit()
    for frame in core.links[0].turn():
        front.core.received(links.encode_frame(*frame))
    assert isinstance(reply.value, bytes)
    [[record]] = read_replies(reply.value)
    assert json.loads(record)["stream"] == STREAM


class WholeFront:
    """A front and a core, between which all frames go at once."""

    def __init__(self, core: CoreEnd) -> None:
        self._core = core
        self._front = FrontEnd(core.server)

    def answer(self, name: str, text: str) -> bytes:
        """What a client of the front is answered that appends so."""
        spec = COMMANDS[name]
        assert spec.decode is not None
        reply = self._front.core.append(session(), spec.decode(text.encode()))
        assert isinstance(reply, PendingReply)
        for frame in self._front.link.turn():
            self._core.ends[0].received(links.encode_frame(*frame))
        self._core.server.commit()
        for frame in self._core.links[0].turn():
            self._front.core.received(links.encode_frame(*frame))
        self._front.clock.advance(REFUSAL_HOLD_SECONDS_MAX)
        assert isinstance(reply.value, bytes)
        return reply.value


def answer_alone(server: SteppedServer, name: str, text: str) -> bytes:
    """What a client of a single process is answered that appends so."""
    connection = server.connect()
    connection.send(request(name, text))
    server.commit()
    server.clock.advance(REFUSAL_HOLD_SECONDS_MAX)
    return connection.take()


def without_ids(reply: bytes, known: dict[bytes, bytes]) -> bytes:
    """A reply without its times, and with names for its ids in the order in which they come."""
    reply = re.sub(rb'"added_at":"[^"]*"', b"", reply)
    return re.sub(
        rb"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b",
        lambda found: known.setdefault(found[0], b"<%d>" % len(known)),
        reply,
    )


_EVENTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["a", "b"]), "data": st.just("d")}, optional={"tags": st.just(["x"])}
    ),
    min_size=1,
    max_size=2,
)
_PARTS = {"version": st.sampled_from([0, 1, 2, 3, "any", "exists"]), "events": _EVENTS}
_CONDITIONS = {
    "request_id": st.sampled_from(["r", "s"]),
    "unless": st.sampled_from([{"types": ["b"]}, [{"tags": ["x"]}, {"types": ["a", "b"]}]]),
    "checkpoint": st.just({"consumer": "c", "member": "m", "id": ZERO_ULID}),
}
_ADDS = st.fixed_dictionaries({"stream": st.sampled_from([STREAM, OTHER]), **_PARTS}, optional=_CONDITIONS)
_ADDMANYS = st.fixed_dictionaries(
    {
        "appends": st.tuples(
            st.fixed_dictionaries({"stream": st.just(OTHER), **_PARTS}),
            st.fixed_dictionaries({"stream": st.just(STREAM), **_PARTS}),
        )
    },
    optional=_CONDITIONS,
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.tuples(st.just("ADD"), _ADDS), st.tuples(st.just("ADDMANY"), _ADDMANYS)), max_size=12))
def test_a_front_answers_appends_as_one_process_does(appends: list[tuple[str, dict[str, object]]]) -> None:
    with stepped_server() as alone, TemporaryDirectory(dir=IN_MEMORY) as folder:
        core = CoreEnd(Path(folder))
        front = WholeFront(core)
        known_alone: dict[bytes, bytes] = {}
        known_front: dict[bytes, bytes] = {}
        for name, argument in appends:
            text = json.dumps(argument)
            expected = without_ids(answer_alone(alone, name, text), known_alone)
            assert without_ids(front.answer(name, text), known_front) == expected
        core.server.close()
