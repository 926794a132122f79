"""The promise of docs/subscriptions.md, word by word, under writers, slow readers, lost connections and crashes.

Hypothesis thinks of what happens in which order: every hop between threads, every read, every write to a socket is a
step of its own. After each step what every subscription got so far must be a beginning of what it is owed, and in the
end all of it: ordered, unique, reliable. What is owed is read from the store, so nothing that is not on disk may come.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from eventflowdb.limits import CHUNK_EVENTS_MAX, INLINE_READ_EVENTS_MAX
from tests.folders import MachineInFolder

from .fakes import OTHER, STREAM, Connection, Pushed, SteppedServer, get, read_replies, request

STREAMS = [STREAM, OTHER]
TYPES = ["opened", "moved"]
TAGS = ["a", "b"]
ZERO = "0" * 26
MANY = INLINE_READ_EVENTS_MAX + 1
PAGES = CHUNK_EVENTS_MAX + 1


@dataclass
class Follower:
    """A client that subscribes, and resumes after a broken connection from the last id that it has seen.

    filters: the fields of its query that say which events it wants; skipped: how many events of the log stand before
    the place where it begins.
    """

    connection: Connection
    is_resp3: bool
    filters: dict[str, Any]
    skipped: int
    channel: str
    seen: list[bytes] = field(default_factory=list)
    unread: bytes = b""
    stream_reads: int = 0

    def owed(self, log: list[bytes]) -> list[bytes]:
        """What it is to get of a log, in the end."""
        return [record for record in log[self.skipped :] if is_match(self.filters, record)]


@cache
def facts_of(record: bytes) -> dict[str, Any]:
    """The fields of a record."""
    facts = json.loads(record)
    assert isinstance(facts, dict)
    return facts


def is_match(filters: dict[str, Any], record: bytes) -> bool:
    """Whether the filters of a query let an event through."""
    facts = facts_of(record)
    return (
        filters.get("stream") in (None, facts["stream"])
        and facts["type"] in filters.get("types", TYPES)
        and set(filters.get("tags", ())) <= set(facts.get("tags", ()))
        and filters.get("correlation_id") in (None, facts["correlation_id"])
        and facts["id"] < filters.get("before", "Z")
    )


class Promise(MachineInFolder):
    """A server whose every step is taken by hand, writers, and followers."""

    def __init__(self) -> None:
        super().__init__()
        self.followers: list[Follower] = []
        self.start()

    def start(self) -> None:
        """Open the database, with all that it holds, and a connection to append on."""
        self.server = SteppedServer(self.folder)
        self.writer = self.server.connect()
        self.log = self.stored()
        self.versions = {stream: self.server.store.open_stream(stream, 0, None).total() for stream in STREAMS}

    def stored(self) -> list[bytes]:
        """The log as it is on disk."""
        chunk = self.server.store.open_log(bytes(16), 1 << 40)
        records = list(chunk.records)
        while chunk.rest is not None:
            chunk = self.server.store.read_on(chunk.rest)
            records += chunk.records
        return records

    # Writers.

    @rule(
        stream=st.sampled_from(STREAMS),
        count=st.sampled_from([1, 1, 2, 5, MANY, PAGES]),
        types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=3),
        tags=st.lists(st.sampled_from(TAGS), unique=True),
        cause=st.none() | st.integers(0, 3),
    )
    def append(self, stream: str, count: int, types: list[str], tags: list[str], cause: int | None) -> None:
        """Send an append of events whose types take turns; it is all stored, or none of it."""
        if self.writer.line.is_paused:
            return
        more: dict[str, Any] = {"tags": tags}
        if cause is not None and self.log:
            more["correlation_id"] = facts_of(self.log[cause % len(self.log)])["id"]
        events = [{"type": types[index % len(types)], "data": "", **more} for index in range(count)]
        fields = {"stream": stream, "version": self.versions[stream], "events": events}
        self.writer.send(request("ADD", json.dumps(fields)))
        self.versions[stream] += count

    @precondition(lambda self: self.server.thread.jobs)
    @rule()
    def commit(self) -> None:
        """The commit thread stores what waits; nobody has been told yet."""
        self.server.thread.step()
        self.log = self.stored()

    @precondition(lambda self: self.server.reactor.calls)
    @rule()
    def tell(self) -> None:
        """The reactor hears of a batch."""
        self.server.reactor.turn()
        self.writer.take()

    @precondition(lambda self: self.server.pool.reads)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """A thread reads for someone."""
        self.server.pool.step(data.draw(st.integers(0, len(self.server.pool.reads) - 1)))

    @rule()
    def turn(self) -> None:
        """The reactor does what it put off."""
        self.server.clock.advance(0)

    # Followers.

    @rule(
        stream=st.sampled_from([None, *STREAMS]),
        place=st.sampled_from(["now", "all", "version", "after", "offset"]),
        is_resp3=st.booleans(),
        has_filters=st.booleans(),
        data=st.data(),
    )
    def follow(self, stream: str | None, place: str, is_resp3: bool, has_filters: bool, data: st.DataObject) -> None:
        """Subscribe to the log or to a stream, or to some events of it, from some place."""
        if len(self.followers) >= 6:
            return
        filters: dict[str, Any] = {} if stream is None else {"stream": stream}
        if has_filters:
            filters |= self.draw_filters(data)
        fields = dict(filters)
        skipped = 0
        if place == "now":
            skipped = len(self.log)
        elif place == "all":
            fields["offset"] = ZERO
        elif place == "version" and stream is not None:
            own = [index for index, record in enumerate(self.log) if facts_of(record)["stream"] == stream]
            version = data.draw(st.integers(0, len(own)))
            fields["version"] = version
            skipped = own[version - 1] + 1 if version else 0
        elif self.log:
            index = data.draw(st.integers(0, len(self.log) - 1))
            fields["offset" if place == "offset" else "after"] = facts_of(self.log[index])["id"]
            skipped = index if place == "offset" else index + 1
        else:
            fields["after"] = ZERO
        connection = self.server.connect()
        follower = Follower(connection, is_resp3, filters, skipped, json.dumps(fields))
        self.followers.append(follower)
        self.subscribe(follower)

    def draw_filters(self, data: st.DataObject) -> dict[str, Any]:
        """Some conditions, each of which lets some events through."""
        types = st.lists(st.sampled_from([*TYPES, "never"]), min_size=1, unique=True)
        conditions: dict[str, st.SearchStrategy[Any]] = {
            "types": types,
            "tags": st.lists(st.sampled_from(TAGS), unique=True),
        }
        if self.log:
            ids = st.integers(0, len(self.log) - 1).map(lambda index: facts_of(self.log[index])["id"])
            conditions |= {"correlation_id": ids, "before": ids}
        names = data.draw(st.lists(st.sampled_from(list(conditions)), max_size=2, unique=True))
        return {name: data.draw(conditions[name]) for name in names}

    def subscribe(self, follower: Follower) -> None:
        """Send SUBSCRIBE on its connection."""
        if follower.is_resp3:
            follower.connection.send(request("HELLO", "3"))
            follower.connection.take()
        follower.connection.send(request("SUBSCRIBE", follower.channel))

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def stop_reading(self, data: st.DataObject) -> None:
        """A client takes nothing more."""
        data.draw(st.sampled_from(self.followers)).connection.conversation.unwritable()

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def read_on(self, data: st.DataObject) -> None:
        """A client has taken what was sent."""
        data.draw(st.sampled_from(self.followers)).connection.conversation.writable()

    @precondition(lambda self: self.followers)
    @rule(data=st.data(), is_slow=st.booleans())
    def take_turns(self, data: st.DataObject, is_slow: bool) -> None:
        """A client's socket is full after every write, or never."""
        connection = data.draw(st.sampled_from(self.followers)).connection
        connection.line.on_send = connection.conversation.unwritable if is_slow else lambda: None

    @precondition(lambda self: any(follower.is_resp3 for follower in self.followers))
    @rule(data=st.data())
    def read_a_stream_too(self, data: st.DataObject) -> None:
        """A client asks for a stream on the connection that its messages come on."""
        follower = data.draw(st.sampled_from([found for found in self.followers if found.is_resp3]))
        if not follower.connection.line.is_paused:
            follower.connection.send(get(STREAM))
            follower.stream_reads += 1

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def reconnect(self, data: st.DataObject) -> None:
        """A connection breaks, and its client resumes."""
        follower = data.draw(st.sampled_from(self.followers))
        self.receive(follower)
        follower.connection.conversation.lost()
        self.resume(follower)

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A client unsubscribes; after the confirmation nothing comes."""
        follower = data.draw(st.sampled_from(self.followers))
        if follower.connection.line.is_paused or follower.stream_reads:
            return
        self.followers.remove(follower)
        follower.connection.line.on_send = lambda: None
        follower.connection.conversation.writable()
        follower.connection.take()
        follower.connection.send(request("UNSUBSCRIBE"))
        assert read_replies(follower.connection.take())[-1][0] == b"unsubscribe"
        follower.connection.line.on_send = lambda: self.fail("sent after UNSUBSCRIBE was confirmed")

    def fail(self, reason: str) -> None:
        """What must not happen has happened."""
        raise AssertionError(reason)

    def resume(self, follower: Follower) -> None:
        """Subscribe on a new connection, after the last id that was seen."""
        if follower.seen:
            follower.channel = json.dumps({**follower.filters, "after": facts_of(follower.seen[-1])["id"]})
        elif not json.loads(follower.channel).keys() & {"offset", "after", "version"}:
            follower.skipped = len(self.log)  # from now on, which is another now
        follower.connection = self.server.connect()
        follower.unread = b""
        follower.stream_reads = 0
        self.subscribe(follower)

    # The server.

    @rule()
    def crash(self) -> None:
        """The process is gone between two steps; another one opens the same files."""
        for follower in self.followers:
            self.receive(follower)
        self.server.close()
        self.start()
        for follower in self.followers:
            self.resume(follower)

    # What must hold.

    @invariant()
    def what_came_is_a_beginning_of_what_is_owed(self) -> None:
        """Ordered, unique, without a gap, and nothing that is not on disk."""
        for follower in self.followers:
            self.receive(follower)
            assert follower.seen == follower.owed(self.log)[: len(follower.seen)]
            assert follower.connection.line.end is None

    def receive(self, follower: Follower) -> None:
        """Take what was sent; a long reply may have come in part only."""
        follower.unread += follower.connection.take()
        try:
            replies = read_replies(follower.unread)
        except (ValueError, IndexError, AssertionError):
            return
        follower.unread = b""
        for reply in replies:
            if follower.is_resp3 and not isinstance(reply, Pushed):
                own = [record for record in self.log if facts_of(record)["stream"] == STREAM]
                assert reply == own[: len(reply)], "a reply with something inside"
                follower.stream_reads -= 1
            elif reply[0] == b"message":
                assert reply[1].decode() == follower.channel
                follower.seen.append(reply[2])

    def close(self) -> None:
        """The server is no more."""
        self.server.close()

    def end(self) -> None:
        """In the end everyone gets everything."""
        for follower in self.followers:
            follower.connection.line.on_send = lambda: None
            follower.connection.conversation.writable()
        while self.server.thread.jobs or self.server.reactor.calls or self.server.pool.reads:
            self.server.finish()
            self.server.clock.advance(0)
        self.server.clock.advance(0)
        self.server.finish()
        self.log = self.stored()
        for follower in self.followers:
            self.receive(follower)
            assert follower.unread == b""
            assert follower.stream_reads == 0
            assert follower.seen == follower.owed(self.log)
            assert follower.connection.session.subscriber is not None


def test_every_subscription_gets_what_it_is_owed_whatever_happens() -> None:
    run_state_machine_as_test(Promise, settings=settings(max_examples=150, stateful_step_count=50, deadline=None))
