"""A stream that is read again is answered from memory, and always as it is now."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflowdb.limits import RECENT_REPLIES_BYTES_MAX
from eventflowdb.service.recent import RecentReplies

from .fakes import MIB, OTHER, STREAM, Connection, SteppedServer, get, read_replies, stepped_server

LIMITS = [None, 1, 2, 3, 10]


def ask(connection: Connection, stream: str, limit: int | None) -> list[bytes]:
    """The events that a GET gives."""
    connection.send(get(stream) if limit is None else get(stream, limit=limit))
    (reply,) = read_replies(connection.take())
    assert isinstance(reply, list)
    return reply


@pytest.mark.parametrize("limit", LIMITS)
def test_a_stream_that_has_grown_is_read_as_it_is_now(
    server: SteppedServer, connection: Connection, limit: int | None
) -> None:
    records: list[bytes] = []
    for _ in range(4):
        records += server.hold(STREAM, 1)
        assert ask(connection, STREAM, limit) == ask(connection, STREAM, limit) == records[:limit]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.sampled_from([STREAM, OTHER]), st.integers(1, 3)),
            st.tuples(st.just("read"), st.sampled_from([STREAM, OTHER]), st.sampled_from(LIMITS)),
        ),
        max_size=30,
    )
)
def test_reads_between_appends_see_every_append_before_them(steps: list[tuple[str, str, int | None]]) -> None:
    streams: dict[str, list[bytes]] = {STREAM: [], OTHER: []}
    with stepped_server() as server:
        connection = server.connect()
        for kind, stream, count in steps:
            if kind == "append":
                streams[stream] += server.hold(stream, count or 0)
            else:
                assert ask(connection, stream, count) == streams[stream][:count]


def test_a_stream_read_again_is_not_read_from_the_log(server: SteppedServer, connection: Connection) -> None:
    records = server.hold(STREAM, 3)
    assert ask(connection, STREAM, 10) == records
    with server.store.environment.env.begin(write=True) as txn:
        txn.drop(server.store.environment.log, delete=False)
    assert ask(connection, STREAM, 10) == records
    connection.send(get(STREAM, limit=2))
    assert connection.take().startswith(b"-CORRUPT ")


def test_replies_are_kept_up_to_a_bound_and_the_oldest_goes_first(server: SteppedServer) -> None:
    recent = RecentReplies(server.database)
    fitting = RECENT_REPLIES_BYTES_MAX // MIB - 1
    for limit in range(1, fitting + 1):
        recent.keep(STREAM, limit, limit, bytes(MIB))
        recent.keep(STREAM, limit, limit, bytes(MIB))
    # What was asked for again is not the oldest any more.
    assert recent.find(STREAM, 1) is not None
    recent.keep(STREAM, fitting + 1, fitting + 1, bytes(MIB))
    kept = [limit for limit in range(1, fitting + 2) if recent.find(STREAM, limit) is not None]
    assert kept == [1, *range(3, fitting + 2)]
