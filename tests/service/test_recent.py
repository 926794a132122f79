"""A stream that is read again is answered from memory, and always as it is now."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflowdb.commands.shapes import StreamRead
from eventflowdb.limits import ALONE_SECONDS_MIN, KIB
from eventflowdb.service.recent import AskedBefore, ReadCache, RecentReplies
from eventflowdb.service.statistics import Statistics

from .fakes import MIB, OTHER, PING, STREAM, Connection, SteppedServer, add, get, read_replies, request, stepped_server

LIMITS = [None, 1, 2, 3, 10]


def ask(connection: Connection, stream: str, limit: int | None, version: int = 0) -> list[bytes]:
    """The events that a GET gives."""
    given = {"version": version, "limit": limit}
    connection.send(get(stream, **{name: number for name, number in given.items() if number}))
    (reply,) = read_replies(connection.take())
    assert isinstance(reply, list)
    return reply


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("version", [0, 1, 3])
def test_a_stream_that_has_grown_is_read_as_it_is_now(
    server: SteppedServer, connection: Connection, limit: int | None, version: int
) -> None:
    records: list[bytes] = []
    for _ in range(6):
        records += server.hold(STREAM, 1)
        expected = records[version:][:limit]
        assert ask(connection, STREAM, limit, version) == ask(connection, STREAM, limit, version) == expected


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.sampled_from([STREAM, OTHER]), st.integers(1, 3)),
            st.tuples(
                st.just("read"),
                st.sampled_from([STREAM, OTHER]),
                st.tuples(st.sampled_from(LIMITS), st.integers(0, 3)),
            ),
        ),
        max_size=30,
    )
)
def test_reads_between_appends_see_every_append_before_them(
    steps: list[tuple[str, str, int | tuple[int | None, int]]],
) -> None:
    streams: dict[str, list[bytes]] = {STREAM: [], OTHER: []}
    with stepped_server() as server:
        connection = server.connect()
        for _, stream, what in steps:
            if isinstance(what, int):
                streams[stream] += server.hold(stream, what)
            else:
                limit, version = what
                assert ask(connection, stream, limit, version) == streams[stream][version:][:limit]


@pytest.mark.parametrize("version", [0, 1])
def test_a_stream_read_again_is_not_read_from_the_log(
    server: SteppedServer, connection: Connection, version: int
) -> None:
    records = server.hold(STREAM, 3)[version:]
    # The beginning of a stream is kept when it is asked for the second time.
    for _ in range(1 if version else 2):
        assert ask(connection, STREAM, 10, version) == records
    with server.store.environment.env.begin(write=True) as txn:
        txn.drop(server.store.environment.log, delete=False)
    assert ask(connection, STREAM, 10, version) == records
    connection.send(get(STREAM, version=version, limit=2))
    assert connection.take().startswith(b"-CORRUPT ")


def test_a_page_of_a_stream_read_again_is_not_read_from_the_log(server: SteppedServer, connection: Connection) -> None:
    records = server.hold(STREAM, 200)
    connection.send(PING)
    connection.take()
    for _ in range(2):
        # Who is alone has a page read at once, one a turn.
        server.clock.advance(2 * ALONE_SECONDS_MIN)
        assert ask(connection, STREAM, 1000) == records
        server.finish()
    with server.store.environment.env.begin(write=True) as txn:
        txn.drop(server.store.environment.log, delete=False)
    assert ask(connection, STREAM, 1000) == records


def test_a_stream_read_once_is_not_kept(server: SteppedServer, connection: Connection) -> None:
    for stream in (STREAM, OTHER):
        records = server.hold(stream, 3)
        assert ask(connection, stream, 10) == records
    with server.store.environment.env.begin(write=True) as txn:
        txn.drop(server.store.environment.log, delete=False)
    for stream in (STREAM, OTHER):
        connection.send(get(stream, limit=10))
        assert connection.take().startswith(b"-CORRUPT ")


def test_those_who_read_each_new_event_once_drive_out_no_other_replies(
    server: SteppedServer, connection: Connection
) -> None:
    records = server.hold(STREAM, 1, "x" * 1000)
    for _ in range(2):
        assert ask(connection, STREAM, None) == records
    new: list[bytes] = []
    for version in range(16 * MIB // (40 * 1000)):
        new += server.hold(OTHER, 1, "x" * 40_000)
        assert ask(connection, OTHER, None, version + 1) == []
        if version:
            assert ask(connection, OTHER, None, version) == new[-1:]
    with server.store.environment.env.begin(write=True) as txn:
        txn.drop(server.store.environment.log, delete=False)
    assert ask(connection, STREAM, None) == records


def test_who_asks_in_other_words_is_answered_the_same(server: SteppedServer, connection: Connection) -> None:
    records = server.hold(STREAM, 3)
    for text in ('{"stream":"%s","limit":2}', '{"limit":2,"stream":"%s"}', '{"stream":"%s","version":0,"limit":2} '):
        for _ in range(2):
            connection.send(request("GET", text % STREAM))
            assert read_replies(connection.take()) == [records[:2]]


def test_what_is_wrong_is_said_again(server: SteppedServer, connection: Connection) -> None:
    for _ in range(2):
        connection.send(request("GET", "{}"))
        (reply,) = read_replies(connection.take())
        assert reply.text.startswith("stream: ")


def test_what_was_asked_for_not_long_ago_is_known() -> None:
    asked = AskedBefore(3)
    assert [asked.ask(b"%d" % number) for number in (1, 2, 1, 3, 2)] == [False, False, True, False, True]
    # Three others, and the first three are those of before; three more, and they are forgotten.
    assert [asked.ask(b"%d" % number) for number in (4, 5, 6, 1, 3)] == [False, False, False, True, True]
    assert not asked.ask(b"7")
    assert [asked.ask(b"%d" % number) for number in (1, 2, 4, 3, 4)] == [False, False, True, False, False]


def read_of(limit: int) -> StreamRead:
    """A read of the first events of a stream."""
    return StreamRead(STREAM, 0, limit, 0)


def test_a_large_reply_drives_out_no_others(server: SteppedServer) -> None:
    recent = RecentReplies(server.database, MIB)
    recent.keep(b"small", read_of(1), 1, b"kept")
    for size in (MIB, 2 * MIB, MIB // 2):
        recent.keep(b"large", read_of(1), 1, bytes(size))
        recent.keep(bytes(size), read_of(1), 1, b"to a large text")
    assert recent.find(b"small") == b"kept"
    assert recent.find(b"large") is None
    assert recent.find(bytes(MIB)) is None


def test_replies_are_kept_up_to_a_bound_and_the_oldest_goes_first(server: SteppedServer) -> None:
    recent = RecentReplies(server.database, 16 * MIB)
    for limit in range(1, 16):
        recent.keep(b"%d" % limit, read_of(limit), limit, bytes(MIB))
        recent.keep(b"%d" % limit, read_of(limit), limit, bytes(MIB))
    # What was asked for again is not the oldest any more.
    assert recent.find(b"1") is not None
    recent.keep(b"16", read_of(16), 16, bytes(MIB))
    kept = [limit for limit in range(1, 17) if recent.find(b"%d" % limit) is not None]
    assert kept == [1, *range(3, 17)]


def cache_of(server: SteppedServer, bytes_max: int) -> ReadCache:
    """A cache of its own."""
    return ReadCache(server.database, bytes_max, Statistics())


def read_text(limit: int) -> tuple[bytes, StreamRead]:
    """A GET of the first events, and what it asks for."""
    return b"first %d" % limit, read_of(limit)


@pytest.mark.parametrize("bytes_max", [MIB, 64 * MIB])
def test_the_cache_keeps_no_more_than_its_bound(server: SteppedServer, bytes_max: int) -> None:
    cache = cache_of(server, bytes_max)
    reply = bytes(bytes_max // 512)
    for limit in range(1, 601):
        text, read = read_text(limit)
        cache.keep(text, read, limit, reply)
        cache.keep(b"end " + text, StreamRead(STREAM, 1, limit, 0), limit, reply)
        assert cache.kept_bytes <= bytes_max
    kept, ends = (
        [limit for limit in range(1, 601) if cache.has(b"%b %d" % (what, limit))] for what in (b"first", b"end first")
    )
    for some in (kept, ends):
        assert some == list(range(601 - len(some), 601))
    assert 14 <= len(kept) / len(ends) <= 16, "a sixteenth is for the ends"
    assert cache.kept_bytes > 0.95 * bytes_max


def test_a_cache_of_nothing_keeps_nothing(server: SteppedServer) -> None:
    cache = cache_of(server, 0)
    text, read = read_text(1)
    cache.keep(text, read, 1, b"")
    assert not cache.has(text)
    assert cache.kept_bytes == 0
    assert [cache.wants(text, read) for _ in range(2)] == [False, False]
    assert not cache.wants(text, StreamRead(STREAM, 1, 1, 0))


def test_a_larger_cache_knows_for_longer_what_was_asked(server: SteppedServer) -> None:
    small, large = cache_of(server, 64 * KIB), cache_of(server, MIB)
    for cache in (small, large):
        for limit in range(1, 101):
            assert not cache.wants(*read_text(limit))
    assert [cache.wants(*read_text(1)) for cache in (small, large)] == [False, True]


def memory_facts(connection: Connection) -> dict[str, int]:
    """What INFO tells of the cache."""
    connection.send(request("INFO", "memory"))
    lines = connection.take().decode().split("\r\n")
    return {name: int(value) for name, _, value in (line.partition(":") for line in lines) if "read_cache" in name}


def test_hits_and_misses_are_counted(server: SteppedServer, connection: Connection) -> None:
    server.hold(STREAM, 3)
    for _ in range(5):
        ask(connection, STREAM, 10)
    ask(connection, OTHER, 10)
    for text in ('{"stream":"%s","types":["t"]}', '{"stream":"%s","version":9,"wait_ms":1}', "{}"):
        # None of these can be kept.
        connection.send(request("GET", text.replace("%s", STREAM)))
        server.finish()
        server.clock.advance(1)
        server.finish()
        connection.take()
    facts = memory_facts(connection)
    assert (facts["read_cache_hits"], facts["read_cache_misses"]) == (3, 3)
    assert 0 < facts["read_cache_bytes"] < facts["max_read_cache_bytes"] == 16 * MIB
    connection.send(request("CONFIG", "RESETSTAT"))
    connection.take()
    facts = memory_facts(connection)
    assert (facts["read_cache_hits"], facts["read_cache_misses"]) == (0, 0)
    assert facts["read_cache_bytes"] > 0


def test_one_that_is_let_by_while_reads_are_behind_is_counted_once(tmp_path: Path) -> None:
    server = SteppedServer(tmp_path, is_deferring=True)
    connection = server.connect()
    server.hold(STREAM, 3)
    for _ in range(2):
        ask(connection, STREAM, 3)
    connection.send(add(OTHER, 0, "x"))
    server.commit()
    connection.take()
    assert server.writer.is_stale
    ask(connection, STREAM, 3)
    assert server.parts.statistics.cache_hits == 1
    server.close()


def test_the_setting_says_how_much_is_kept(tmp_path: Path) -> None:
    for text, size in (("0", 0), ("5MiB", 5 * MIB)):
        server = SteppedServer(tmp_path / text, read_cache=text)
        connection = server.connect()
        server.hold(STREAM, 3)
        for _ in range(4):
            ask(connection, STREAM, 10)
        facts = memory_facts(connection)
        assert facts["max_read_cache_bytes"] == size
        assert facts["read_cache_hits"] == (2 if size else 0)
        assert (facts["read_cache_bytes"] > 0) is (size > 0)
        connection.send(request("CONFIG", "GET", "read-cache-bytes"))
        assert read_replies(connection.take()) == [[b"read-cache-bytes", str(size).encode()]]
        server.close()
