"""The protocol over Twisted's TCP transport and real sockets: bytes keep their order, whichever way they leave."""

import socket

from hypothesis import given, settings
from hypothesis import strategies as st

from eventflowdb.limits import CHUNK_BYTES_MAX
from tests.service.fakes import PING, PONG, STREAM, add, get, read_replies, request, stepped_server

from .fakes import Bench, HandReactor, SocketClient

NOT_RESP = b"*1\r\n!\r\n"
NOT_RESP_TEXT = b"-ERR Protocol error: expected '$', got '!'\r\n"


def echo(number: int, size: int) -> tuple[bytes, bytes]:
    """A request and its reply, which can be told from all others."""
    message = (b"%d." % number * size)[:size]
    return request("PING", message), b"$%d\r\n%b\r\n" % (len(message), message)


def test_a_reply_that_the_socket_takes_leaves_at_once(client: SocketClient, reactor: HandReactor) -> None:
    client.socket.send(PING)
    reactor.turn()
    assert not reactor.writers, "the reactor is not asked for"
    assert client.socket.recv(100) == PONG


def test_what_the_socket_does_not_take_follows_in_order(client: SocketClient, reactor: HandReactor) -> None:
    requests, replies = zip(*[echo(number, 60_000) for number in range(5)], strict=True)
    client.send(requests[0])
    assert reactor.writers, "the socket was too small"
    assert client.take_all() == replies[0]
    for asked in requests[1:]:
        client.send(asked)
        client.take(1000)
    assert client.take_all() == b"".join(replies)
    client.send(PING)
    assert not reactor.writers, "after that, replies leave at once again"


def test_a_small_reply_never_overtakes_the_rest_of_a_large_one(client: SocketClient, reactor: HandReactor) -> None:
    """The rest fits into the transport's buffer, so that the client is not taken to be behind."""
    large, reply = echo(7, 50_000)
    client.send(large)
    assert reactor.writers
    client.send(PING)
    client.take(40_000)  # the socket has room again, but the transport has not heard of it
    client.protocol.dataReceived(PING)
    assert client.take_all() == reply + PONG * 2


def test_a_small_reply_never_overtakes_what_the_transport_has_begun_to_write(
    client: SocketClient, reactor: HandReactor
) -> None:
    first, first_reply = echo(1, 60_000)
    client.send(first)
    capacity = len(first_reply) - client.transport._tempDataLen
    client.take_all()
    second, second_reply = echo(2, capacity + 60_000)
    client.send(second)
    client.take(capacity)
    reactor.turn()
    assert client.transport.dataBuffer, "a part of the rest has been written, and a part has not"
    assert not client.transport._tempDataBuffer
    client.take(capacity)  # the socket has room again, but the transport has not heard of it
    client.protocol.dataReceived(PING)
    assert client.take_all() == first_reply + second_reply + PONG


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(0, 100), st.integers(0, 200_000)), min_size=1, max_size=8),
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 100_000)), max_size=20),
)
def test_bytes_keep_their_order_whatever_the_client_takes_when(sizes: list[int], steps: list[tuple[bool, int]]) -> None:
    with stepped_server() as server:
        reactor = HandReactor()
        client = SocketClient(Bench(server), reactor)
        requests, replies = zip(*[echo(number, size) for number, size in enumerate(sizes)], strict=True)
        unsent = b"".join(requests)
        for is_sending, size in steps:
            if is_sending and client.transport in reactor.readers:
                unsent = unsent[client.socket.send(unsent[:size]) :] if unsent else b""
            else:
                client.take(size)
            reactor.turn()
        while unsent:
            client.take_all()
            client.send(unsent[:50_000])
            unsent = unsent[50_000:]
        assert client.take_all() == b"".join(replies)
        client.close()
        assert not client.is_connected


def test_a_long_reply_is_read_at_the_pace_of_the_client(bench: Bench, client: SocketClient) -> None:
    records = bench.server.hold(STREAM, 50, "x" * (CHUNK_BYTES_MAX // 10))
    client.send(get(STREAM) + PING)
    bench.server.read()
    assert bench.server.pool.count == 1, "the first chunk fills the socket"
    buffered = client.transport._tempDataLen + len(client.transport.dataBuffer)
    assert buffered < 2 * CHUNK_BYTES_MAX
    while len(client.taken) < 50 * CHUNK_BYTES_MAX // 10:
        client.take_all()
        bench.server.read()
    assert read_replies(client.take_all()) == [records, "PONG"]
    assert bench.server.pool.count > 4


def test_what_is_owed_is_sent_before_the_connection_closes(client: SocketClient) -> None:
    asked, reply = echo(1, 300_000)
    client.send(asked + request("QUIT"))
    assert client.take_all() == reply + b"+OK\r\n"
    assert client.has_seen_end
    assert not client.is_connected


def test_one_that_half_closes_gets_every_reply_and_then_the_end(bench: Bench, client: SocketClient) -> None:
    asked, reply = echo(1, 300_000)
    client.send(asked + add(STREAM, 0, "x") + PING)
    client.socket.shutdown(socket.SHUT_WR)
    assert client.take_all().startswith(reply)
    bench.server.commit()
    client.take_all()
    assert [type(reply) for reply in read_replies(client.taken)] == [bytes, list, str]
    assert client.has_seen_end
    assert not client.is_connected


def test_the_text_of_a_protocol_error_comes_after_all_replies_and_then_the_end(client: SocketClient) -> None:
    asked, reply = echo(1, 300_000)
    client.send(asked + NOT_RESP)
    client.take_all()
    assert client.taken == reply + NOT_RESP_TEXT
    assert client.has_seen_end
    assert client.is_connected, "it is read on"
    client.send(b"more of the same" * 10_000)
    client.close()
    assert not client.is_connected


def test_a_client_that_never_hangs_up_after_a_protocol_error_is_cut_off(
    bench: Bench, client: SocketClient, reactor: HandReactor
) -> None:
    client.send(NOT_RESP)
    client.take_all()
    bench.server.clock.advance(1.0)
    reactor.turn()
    assert not client.is_connected
    assert not bench.factory.connections


def test_a_client_that_hangs_up_before_its_reply_is_forgotten(bench: Bench, client: SocketClient) -> None:
    client.send(add(STREAM, 0, "x"))
    client.close()
    bench.server.commit()
    client.reactor.turn()
    assert not client.is_connected
    assert not bench.factory.connections
    assert bench.server.store.event_count() == 1


def test_a_client_that_hangs_up_in_a_long_reply_is_forgotten(bench: Bench, client: SocketClient) -> None:
    bench.server.hold(STREAM, 50, "x" * (CHUNK_BYTES_MAX // 10))
    client.send(get(STREAM) + PING)
    bench.server.pool.step()
    client.close()
    assert not client.is_connected
    bench.server.read()
    assert not bench.factory.connections
    assert bench.server.budget.used_bytes == 0


def test_a_client_that_takes_nothing_is_not_read_either(client: SocketClient, reactor: HandReactor) -> None:
    asked, reply = echo(1, 300_000)
    client.send(asked)
    client.socket.send(PING * 100)
    reactor.turn()
    reactor.turn()
    assert client.transport not in reactor.readers
    assert client.take_all() == reply + PONG * 100
    assert client.transport in reactor.readers
