"""VERIFY on a real server: a process beside it, which harms nobody whatever it meets."""

import signal
import uuid

import pytest

from tests.conftest import StartServer
from tests.system.server import Server

pytestmark = pytest.mark.system

EVENT = {"type": "t", "data": "d" * 100}


def fields_of(reply: object) -> dict[bytes, object]:
    """The map of a VERIFY, in RESP2."""
    assert isinstance(reply, list), reply
    return dict(zip(reply[::2], reply[1::2], strict=True))


@pytest.mark.parametrize("reactor", ["default", "epoll"])
def test_a_check_counts_what_is_there_and_may_be_repeated(start_server: StartServer, reactor: str) -> None:
    server = start_server(*([] if reactor == "default" else [f"--reactor={reactor}"]))
    with server.connect() as connection:
        for count in (500, 1000):
            connection.add(str(uuid.uuid4()), 0, *[EVENT] * 500)
            fields = fields_of(connection.call("VERIFY"))
            assert (fields[b"events"], fields[b"streams"], fields[b"problem"]) == (count, count // 500, None)
            checksum = connection.call("CHECKSUM")
            assert isinstance(checksum, list)
            assert fields[b"checksum"] == checksum[1]


def test_damaged_pages_are_reported_and_the_server_goes_on(server: Server) -> None:
    with server.connect() as connection:
        connection.add(str(uuid.uuid4()), 0, *[EVENT] * 500)
        # A read sees them, so the data file has them; until then the journal might be all.
        assert connection.count() == 500
        data = server.data / "data.mdb"
        place = data.read_bytes().index(b'\1{"id"') & ~4095
        with data.open("r+b") as file:
            file.seek(place + 16)
            file.write(b"\xff\xff" * 4)
        fields = fields_of(connection.call("VERIFY"))
        assert fields[b"problem"] == b"page %d is damaged: a node stands outside it" % (place // 4096)
        assert connection.call("PING") == "PONG"
    assert "VERIFY found damage: page" in server.output


def test_a_server_that_stops_takes_its_check_along(server: Server) -> None:
    with server.connect() as connection, server.connect() as other:
        for _ in range(20):
            connection.add(str(uuid.uuid4()), 0, *[EVENT] * 1000)
        connection.send(b"VERIFY\r\n")
        while b"verify_in_progress:1" not in (told := other.call("INFO", "eventflow")):  # type: ignore[operator]
            assert isinstance(told, bytes)
        assert server.terminate() == -signal.SIGTERM
    assert "Traceback" not in server.output
