"""Many clients, of every manner, on one server: none harms another."""

import json
import socket
import uuid

import pytest

from tests.conftest import StartServer
from tests.system.logs import check_log
from tests.system.resp import Connection, Refusal, encode, encode_add
from tests.system.server import Server

pytestmark = pytest.mark.system

EVENT = {"type": "t", "data": "d"}


def test_person_with_netcat_gets_answers(server: Server) -> None:
    stream = str(uuid.uuid4())
    with server.connect() as connection:
        add = json.dumps({"stream": stream, "version": 0, "events": [EVENT]})
        connection.send(f"PING\r\nADD '{add}'\nEVENTCOUNT\n".encode())
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.read() == "PONG"
        assert isinstance(connection.read(), list)
        assert connection.read() == 1
        assert connection.read_to_end() == b""


def test_client_too_many_is_told_and_others_go_on(start_server: StartServer) -> None:
    server = start_server(MAX_CLIENTS="2")
    with server.connect() as first, server.connect() as second:
        assert [first.call("PING"), second.call("PING")] == ["PONG", "PONG"]
        with server.connect() as third:
            assert third.read_to_end() == b"-ERR max number of clients reached\r\n"
        assert first.call("PING") == "PONG"
        # Its place is free when the server has closed it, which the end of the replies tells.
        second.call("QUIT")
        second.read_to_end()
        with server.connect() as fourth:
            assert fourth.call("PING") == "PONG"


def test_garbage_ends_its_connection_and_no_other(server: Server) -> None:
    stream = str(uuid.uuid4())
    with server.connect() as neighbour:
        for version, garbage in enumerate(
            (b"*2\r\n+PING\r\n", b"*x\r\n", b"*1\r\n$-7\r\n", b"PING '\r\n", b"a" * 70_000)
        ):
            with server.connect() as connection:
                connection.send(encode("PING") + garbage)
                assert connection.read() == "PONG"
                refusal = connection.read()
                assert isinstance(refusal, Refusal)
                assert str(refusal).startswith("ERR Protocol error: ")
                assert connection.read_to_end() == b""
            neighbour.add(stream, version, EVENT)
        assert len(check_log(neighbour)) == 5
    assert "Traceback" not in server.output


def test_request_that_is_too_large_is_refused_and_the_connection_goes_on(start_server: StartServer) -> None:
    server = start_server(MAX_REQUEST_BYTES="64KiB")
    stream = str(uuid.uuid4())
    with server.connect() as connection:
        connection.send(encode_add(stream, 0, [{"type": "t", "data": "x" * 50_000_000}]) + encode("PING"))
        refusal = connection.read()
        assert isinstance(refusal, Refusal)
        assert str(refusal).startswith("INVALIDARG the request is larger than MAX_REQUEST_BYTES (65536 bytes)")
        assert connection.read() == "PONG"
        connection.add(stream, 0, {"type": "t", "data": "x" * 60_000})
        assert len(check_log(connection)) == 1


def test_client_that_vanishes_in_the_middle_of_a_request_leaves_nothing(server: Server) -> None:
    stream = str(uuid.uuid4())
    with server.connect() as connection:
        connection.send(encode_add(stream, 0, [EVENT])[:-10])
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with server.connect() as connection:
        assert connection.count() == 0
        connection.add(stream, 0, EVENT)
    assert "Traceback" not in server.output


def test_appends_of_a_client_that_left_are_stored_in_order(server: Server) -> None:
    stream = str(uuid.uuid4())
    with server.connect() as connection:
        connection.send(b"".join([encode_add(stream, version, [EVENT]) for version in range(100)]))
        connection.socket.shutdown(socket.SHUT_WR)
        connection.read()
    with server.connect() as connection:
        while connection.count() < 100:
            assert server.process.poll() is None
        assert len(check_log(connection)) == 100


def test_one_stream_wanted_by_many_grows_by_one_event_a_version(server: Server) -> None:
    stream = str(uuid.uuid4())
    connections = [server.connect() for _ in range(20)]
    for version in range(20):
        for connection in connections:
            connection.send(encode_add(stream, version, [EVENT]))
        outcomes = [connection.read() for connection in connections]
        assert sum(isinstance(outcome, list) for outcome in outcomes) == 1
        refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        assert {refusal.code for refusal in refusals} == {"CONCURRENCY"}
    assert len(check_log(connections[0])) == 20
    for connection in connections:
        connection.close()


def test_password_is_asked_of_every_connection(start_server: StartServer) -> None:
    server = start_server(PASSWORD="open sesame")
    with Connection("127.0.0.1", server.port) as connection:
        with pytest.raises(Refusal, match=r"^NOAUTH Authentication required\.$"):
            connection.call("EVENTCOUNT")
        with pytest.raises(Refusal, match=r"^WRONGPASS "):
            connection.call("AUTH", "guess")
        assert connection.call("AUTH", "default", "open sesame") == "OK"
        assert connection.count() == 0
