"""SIGTERM: what was taken in is answered, what was answered is there afterwards, and nobody can hold the end up."""

import contextlib
import json
import signal
import threading
import uuid

import pytest

from tests.conftest import StartServer
from tests.system.logs import check_log
from tests.system.resp import Connection, Refusal, Reply, encode, encode_add
from tests.system.server import Server

pytestmark = pytest.mark.system

EVENT = {"type": "t", "data": "x" * 500}


def replies_to_end(connection: Connection) -> list[Reply]:
    """All whole replies until the server closes."""
    replies: list[Reply] = []
    try:
        while True:
            replies.append(connection.read())
    except ConnectionError:
        return replies


def test_what_was_sent_before_is_answered_or_told_to_try_again(start_server: StartServer) -> None:
    server = start_server()
    stream = str(uuid.uuid4())
    with server.connect() as connection:
        connection.send(b"".join([encode_add(stream, version, [EVENT]) for version in range(200)]))
        first = connection.read()
        server.process.send_signal(signal.SIGTERM)
        replies = [first, *replies_to_end(connection)]
    assert server.wait() == -signal.SIGTERM
    assert len(replies) == 200
    check_kept(start_server(), stream, replies)


def test_what_is_answered_while_a_client_goes_on_sending_is_kept_and_nothing_else(start_server: StartServer) -> None:
    server = start_server()
    stream = str(uuid.uuid4())
    with server.connect() as connection:
        sender = threading.Thread(target=append_on_and_on, args=(connection, stream))
        sender.start()
        first = connection.read()
        server.process.send_signal(signal.SIGTERM)
        replies = [first, *replies_to_end(connection)]
        sender.join()
    assert server.wait() == -signal.SIGTERM
    check_kept(start_server(), stream, replies)


def append_on_and_on(connection: Connection, stream: str) -> None:
    """Send appends until the connection breaks."""
    with contextlib.suppress(ConnectionError):
        for version in range(1_000_000):
            connection.send(encode_add(stream, version, [EVENT]))


def check_kept(server: Server, stream: str, replies: list[Reply]) -> None:
    """Replies to single appends to one stream: first stored ones, which are there, then TRYAGAIN."""
    answered = [reply for reply in replies if isinstance(reply, list)]
    refused = [reply for reply in replies if isinstance(reply, Refusal)]
    assert [*answered, *refused] == replies
    assert {refusal.code for refusal in refused} <= {"TRYAGAIN"}
    with server.connect() as connection:
        check_log(connection)
        assert [[record] for record in connection.read_stream(stream)] == answered


def test_stop_is_logged_and_has_the_status_that_twistd_gives(server: Server) -> None:
    with server.connect() as connection:
        assert connection.call("PING") == "PONG"
        assert server.terminate() == -signal.SIGTERM
        assert connection.read_to_end() == b""
    assert "EventflowDB has stopped" in server.output
    assert "Traceback" not in server.output
    assert "Unhandled" not in server.output


def test_interrupt_from_the_keyboard_stops_it_as_well(server: Server) -> None:
    assert server.port
    server.process.send_signal(signal.SIGINT)
    assert server.wait() == -signal.SIGINT
    assert "EventflowDB has stopped" in server.output


def test_a_second_signal_on_the_way_changes_nothing(server: Server) -> None:
    with server.connect() as connection:
        assert connection.call("PING") == "PONG"
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGTERM)
    assert server.wait() in (-signal.SIGTERM, -signal.SIGINT)
    assert "EventflowDB has stopped" in server.output
    assert "Traceback" not in server.output


def test_client_that_does_not_read_cannot_hold_up_the_end(server: Server) -> None:
    stream = str(uuid.uuid4())
    with server.connect() as connection, server.connect() as reader:
        connection.add(stream, 0, *[{"type": "t", "data": "x" * 100_000}] * 100)
        reader.send(encode("GET", json.dumps({"stream": stream})) * 10)
        assert reader.socket.recv(1) == b"*"
        # Half a request, too: its rest never comes.
        connection.send(b"*2\r\n$3\r\nADD\r\n$1000\r\n{")
        assert server.terminate() == -signal.SIGTERM
    assert "EventflowDB has stopped" in server.output
    assert "Traceback" not in server.output


def test_connections_are_refused_from_sigterm_on(start_server: StartServer) -> None:
    server = start_server()
    port = server.port
    server.terminate()
    with pytest.raises(ConnectionRefusedError):
        Connection("127.0.0.1", port)
