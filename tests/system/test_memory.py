"""The server's memory stays bounded, whatever its clients send, and however little they take."""

import json
import socket
import threading
import uuid
from contextlib import ExitStack, suppress

import pytest

from tests.conftest import StartServer
from tests.system.resp import Connection, Refusal, Reply, encode, encode_add, records
from tests.system.server import Server

pytestmark = pytest.mark.system

MIB = 1024 * 1024
LOG_EVENTS = 200_000
EVENTS_PER_APPEND = 2000


def connect_narrowly(server: Server) -> Connection:
    """A connection whose own buffers take little, so that the server notices at once what its client does not take."""
    connection = server.connect()
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    return connection


def fill(server: Server) -> None:
    """Append LOG_EVENTS events, each to about 500 bytes in a reply."""
    stream = str(uuid.uuid4())
    events = [{"type": "t", "data": "x" * 200}] * EVENTS_PER_APPEND
    with server.connect() as connection:
        for version in range(0, LOG_EVENTS, EVENTS_PER_APPEND):
            connection.send(encode_add(stream, version, events))
            assert len(records(connection.read())) == EVENTS_PER_APPEND


def test_slow_reader_of_a_long_log_costs_no_memory_and_delays_nobody(server: Server) -> None:
    fill(server)
    before_bytes = server.private_bytes()
    stream = str(uuid.uuid4())
    with connect_narrowly(server) as reader, server.connect() as neighbour:
        reader.send(encode("GETALL", json.dumps({"limit": LOG_EVENTS})))
        assert reader.socket.recv(1, socket.MSG_PEEK) == b"*"
        peak_bytes = 0
        for version in range(200):
            # The reader stands still; the reply that waits for it is some 90 MB.
            neighbour.add(stream, version, {"type": "t", "data": "d"})
            assert len(records(neighbour.call("GETALL", '{"limit":5}'))) == 5
            peak_bytes = max(peak_bytes, server.private_bytes())
        assert peak_bytes - before_bytes < 24 * MIB
        # Fixed to the head as of its start, the read now goes on to its end.
        log = records(reader.read())
    assert len(log) == LOG_EVENTS
    assert json.loads(log[-1])["position"] == LOG_EVENTS
    assert server.private_bytes() - before_bytes < 24 * MIB


@pytest.mark.parametrize("command", ["PING", "GET", "ADD"])
def test_client_that_sends_and_never_reads_is_paused(server: Server, command: str) -> None:
    stream = str(uuid.uuid4())
    with server.connect() as connection:
        connection.add(stream, 0, *[{"type": "t", "data": "x" * 1000}] * 100)
    requests = {
        "PING": encode("PING", "x" * 10_000),
        "GET": encode("GET", json.dumps({"stream": stream})),
        # The version is wrong for all but the first, whose refusals are no smaller than the requests.
        "ADD": encode_add(stream, 100, [{"type": "t", "data": "x" * 100}]),
    }
    before_bytes = server.private_bytes()
    with connect_narrowly(server) as sender, server.connect() as neighbour:
        sent_bytes = send_until_paused(sender, requests[command])
        assert sent_bytes < 100 * MIB
        # 32 MiB of replies that are kept, what the connection has under way, and the outcomes of the batch it is in.
        assert server.private_bytes() - before_bytes < 52 * MIB
        assert neighbour.call("PING") == "PONG"


def send_until_paused(sender: Connection, request: bytes) -> int:
    """Send a request over and over until nobody takes it for a second; gives how many bytes were taken."""
    sender.socket.settimeout(1.0)
    data = request * max(1, 65536 // len(request))
    sent_bytes = 0
    while sent_bytes < 200 * MIB:
        try:
            sent_bytes += sender.socket.send(data[sent_bytes % len(request) :])
        except TimeoutError:
            break
    return sent_bytes


def test_unfinished_requests_are_held_up_to_the_budget(start_server: StartServer) -> None:
    server = start_server(MAX_REQUEST_BYTES="8MiB", MAX_INFLIGHT_BYTES="16MiB")
    request = encode_add(str(uuid.uuid4()), 0, [{"type": "t", "data": "x" * 7 * MIB}])
    assert server.port
    before_bytes = server.private_bytes()
    with ExitStack() as clients:
        for _ in range(30):
            client = clients.enter_context(server.connect())
            client.socket.settimeout(0.05)
            with suppress(TimeoutError):
                client.send(request[:-1])
        # 210 MiB want to be taken in, and none of it can be finished.
        assert server.private_bytes() - before_bytes < 48 * MIB


def test_large_requests_at_once_in_a_small_budget_are_all_answered(start_server: StartServer) -> None:
    server = start_server(MAX_REQUEST_BYTES="8MiB", MAX_INFLIGHT_BYTES="16MiB")
    replies: list[Reply] = []

    def append() -> None:
        with server.connect() as connection:
            connection.send(encode_add(str(uuid.uuid4()), 0, [{"type": "t", "data": "x" * 7 * MIB}]))
            replies.append(connection.read())

    clients = [threading.Thread(target=append) for _ in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(replies) == len(clients)
    refused = [reply for reply in replies if isinstance(reply, Refusal)]
    # They stand in each other's way, and after 5 s some have to give way.
    assert {refusal.code for refusal in refused} <= {"TRYAGAIN"}
    with server.connect() as connection:
        assert connection.count() == len(clients) - len(refused)
