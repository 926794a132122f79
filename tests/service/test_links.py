"""A front and the core at the two ends of a link, without processes: each against frames, then both together."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from eventflowdb.limits import ABANDONED_LOOK_SECONDS, ASK_SECONDS_MAX
from eventflowdb.service.forwarding import CoreLink, ForwardedWait
from eventflowdb.service.fronts import FrontLink, Fronts
from eventflowdb.service.notices import Notices
from eventflowdb.service.outbox import Outbox
from eventflowdb.service.questions import Told, decode_told
from eventflowdb.service.reply import PendingReply
from eventflowdb.service.session import Session
from eventflowdb.service.shared_notices import FrontNotices
from eventflowdb.wire import links
from eventflowdb.wire.links import Frame, FrameReader

from .fakes import OTHER, STREAM, SteppedServer, read_replies

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


def session() -> Session:
    """The session of some client."""
    return Session(1, "127.0.0.1:1", "127.0.0.1:2", True, 0.0)


class FrontEnd:
    """The front's end of a link."""

    def __init__(self) -> None:
        self.link = HandLink()
        self.clock = Clock()
        self.frames: list[Frame] = []
        self.losses = 0
        self.core = CoreLink(self.link.outbox, self.clock, self.frames.append, self._lose)
        self.core.opened(self.link.send)

    def _lose(self) -> None:
        self.losses += 1


@pytest.fixture
def front() -> FrontEnd:
    """A front, and a core that says what the test says."""
    return FrontEnd()


def test_the_requests_of_a_turn_leave_in_one_write(front: FrontEnd) -> None:
    for words in ([b"ADD", b"{}"], [b"ACK", b"[]"]):
        front.core.append(session(), words)
    assert front.link.writes == []
    front.link.calls.pop()()
    [write] = front.link.writes
    assert [links.decode_request(frame.body) for frame in write] == [(2, [b"ADD", b"{}"]), (2, [b"ACK", b"[]"])]


def test_each_answer_settles_its_own_request(front: FrontEnd) -> None:
    first, second = (front.core.append(session(), [b"ADD", b"{}"]) for _ in range(2))
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
        self.links = [HandLink(), HandLink()]
        self.ends = [FrontLink(self.fronts, f"front {n}", link.outbox) for n, link in enumerate(self.links)]
        for end, link in zip(self.ends, self.links, strict=True):
            end.opened(link.send)

    def request(self, number: int, *words: bytes, front: int = 0) -> None:
        """A front forwards a request."""
        self.ends[front].received(links.encode_request(number, 2, words))

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


def add(version: int) -> bytes:
    """The argument of an ADD."""
    return json.dumps({"stream": STREAM, "version": version, "events": [{"type": "t", "data": ""}]}).encode()


def test_the_core_answers_when_the_commit_is_done_and_refusals_like_any_answer(core: CoreEnd) -> None:
    core.request(1, b"ADD", add(0))
    core.request(2, b"ADD", add(7))
    core.request(3, b"ADD", b"{")
    assert [frame.number for frame in core.links[0].turn()] == [3]
    core.server.commit()
    answers = {frame.number: read_replies(frame.body)[0] for frame in core.links[0].turn()}
    assert len(answers[1]) == 1
    assert answers[2].code == "CONCURRENCY"
    assert core.links[1].turn() == []


def test_the_notice_of_a_commit_leaves_before_its_answers_in_one_write(core: CoreEnd) -> None:
    core.ends[1].received(links.encode_frame(links.WATCHES, 1))
    core.request(1, b"ADD", add(0))
    core.server.commit()
    core.fronts.log_grew({STREAM})
    [write] = core.links[0].writes
    assert [frame.kind for frame in write] == [links.GREW, links.ANSWER]
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
    core.request(1, b"ADD", add(0), front=1)
    core.server.finish()
    core.request(2, *FETCH, front=1)
    core.server.finish()
    answers = {frame.number: read_replies(frame.body)[0] for frame in core.links[1].turn()}
    assert answers[1] == answers[2]


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
    front = FrontEnd()
    notices, watcher = Notices(front.clock), Watcher()
    notices.watch(STREAM, watcher)
    reply = front.core.append(session(), [b"ADD", add(0)])
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
