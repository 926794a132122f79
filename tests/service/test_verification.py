"""VERIFY: one check at a time, for the client that asked, whatever becomes of either."""

import pytest
from msgspec.json import encode
from twisted.internet.defer import Deferred

from eventflowdb.storage.verify import Report, Update
from tests.wire.resp3 import read_one

from .fakes import Connection, FakeCheckProcess, LoggedFaults, SteppedServer, request

VERIFY = request("VERIFY")
SOUND = Report(event_count=3, stream_count=2, page_count=9, byte_count=36864, checksum="ab")


def line(done: float = 1.0, report: Report | None = None, refusal: str | None = None) -> bytes:
    """What the process writes."""
    return encode(Update(done, report, refusal)) + b"\n"


def begin(server: SteppedServer, connection: Connection) -> FakeCheckProcess:
    """Ask for a check; its process."""
    connection.send(VERIFY)
    return server.check_processes[-1]


def test_the_reply_is_a_map_of_what_was_checked(server: SteppedServer, connection: Connection) -> None:
    connection.send(request("HELLO", "3"))
    connection.take()
    process = begin(server, connection)
    assert connection.take() == b""
    server.clock.advance(1.25)
    process.listener.received(line(report=SOUND))
    assert connection.take() == b""
    process.listener.ended()
    assert read_one(connection.take()) == {
        b"events": 3,
        b"streams": 2,
        b"pages": 9,
        b"bytes": 36864,
        b"seconds": 1.25,
        b"checksum": b"ab",
        b"problem": None,
    }


def test_in_resp2_it_is_an_array_of_names_and_values(server: SteppedServer, connection: Connection) -> None:
    process = begin(server, connection)
    process.listener.received(line(report=SOUND))
    process.listener.ended()
    reply = connection.take()
    assert reply.startswith(b"*14\r\n$6\r\nevents\r\n:3\r\n")
    assert reply.endswith(b"$7\r\nproblem\r\n$-1\r\n")


def test_damage_is_replied_and_logged(server: SteppedServer, connection: Connection, faults: LoggedFaults) -> None:
    process = begin(server, connection)
    process.listener.received(line(report=Report(first_problem="page 7 is damaged: it is not there")))
    process.listener.ended()
    assert connection.take().endswith(b"$34\r\npage 7 is damaged: it is not there\r\n")
    assert "page 7" in str(faults.take_one()["problem"])


def test_a_second_one_is_refused_while_one_runs(server: SteppedServer, connection: Connection) -> None:
    process = begin(server, connection)
    process.listener.received(line(0.423))
    other = server.connect()
    other.send(VERIFY)
    assert other.take() == b"-ERR a VERIFY is under way, 42% done; INFO eventflow shows its end\r\n"
    assert len(server.check_processes) == 1
    process.listener.received(line(report=SOUND))
    process.listener.ended()
    connection.take()
    other.send(VERIFY)
    assert len(server.check_processes) == 2


def test_updates_may_come_in_any_pieces(server: SteppedServer, connection: Connection) -> None:
    process = begin(server, connection)
    for byte in line(0.1) + line(0.2) + line(report=SOUND):
        process.listener.received(bytes([byte]))
    process.listener.ended()
    assert connection.take().startswith(b"*14\r\n")


@pytest.mark.parametrize(
    ("output", "told"),
    [(b"", b"its process ended early"), (line(refusal="no such folder"), b"no such folder"), (b'{"do', b"ended early")],
)
def test_a_check_that_did_not_come_to_its_end_is_an_error(
    server: SteppedServer, connection: Connection, output: bytes, told: bytes
) -> None:
    process = begin(server, connection)
    process.listener.received(output)
    process.listener.ended()
    reply = connection.take()
    assert reply.startswith(b"-ERR the database was not checked: ")
    assert told in reply


def test_what_follows_on_the_connection_waits(server: SteppedServer, connection: Connection) -> None:
    process = begin(server, connection)
    connection.send(request("PING"))
    assert connection.take() == b""
    process.listener.received(line(report=SOUND))
    process.listener.ended()
    assert connection.take().endswith(b"+PONG\r\n")


def test_others_are_served_meanwhile(server: SteppedServer, connection: Connection) -> None:
    begin(server, connection)
    other = server.connect()
    other.send(request("PING"))
    assert other.take() == b"+PONG\r\n"


def test_the_process_is_ended_when_its_client_has_gone(server: SteppedServer, connection: Connection) -> None:
    process = begin(server, connection)
    process.listener.received(line(0.1))
    assert process.terminations == 0
    connection.conversation.lost()
    process.listener.received(line(0.2))
    assert process.terminations == 1
    process.listener.ended()
    assert server.connect().session  # and the next one may ask
    begin(server, server.connect())
    assert len(server.check_processes) == 2


def test_readers_are_forgotten_when_a_process_has_ended(server: SteppedServer, connection: Connection) -> None:
    process = begin(server, connection)
    assert server.forgotten == 0
    process.listener.ended()
    assert server.forgotten == 1


def test_a_server_that_stops_ends_the_check_and_answers(server: SteppedServer, connection: Connection) -> None:
    process = begin(server, connection)
    stopped: Deferred[None] = server.checks.stop()
    assert process.terminations == 1
    assert connection.take().startswith(b"-TRYAGAIN the server is shutting down")
    assert not stopped.called
    process.listener.ended()
    assert stopped.called
    assert connection.take() == b""


def test_a_server_without_a_check_stops_at_once(server: SteppedServer) -> None:
    assert server.checks.stop().called


def test_info_shows_the_check_that_runs_and_the_last_one(server: SteppedServer, connection: Connection) -> None:
    def facts() -> dict[str, str]:
        other = server.connect()
        other.send(request("INFO", "eventflow"))
        lines = read_one(other.take()).decode().splitlines()
        return dict(text.split(":", 1) for text in lines if text.startswith("verify_"))

    assert facts() == {"verify_in_progress": "0", "verify_done": "0.00"}
    process = begin(server, connection)
    process.listener.received(line(0.5))
    assert facts() == {"verify_in_progress": "1", "verify_done": "0.50"}
    server.clock.advance(2)
    process.listener.received(line(report=SOUND))
    process.listener.ended()
    last = {"verify_last_events": "3", "verify_last_seconds": "2.000", "verify_last_problem": ""}
    assert facts() == {"verify_in_progress": "0", "verify_done": "0.00", **last}
