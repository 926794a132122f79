"""One password, or none, in Redis's own sentences."""

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eventflowdb.errors import EventflowError, WrongPassword
from eventflowdb.limits import REFUSED_LOGINS_LOG_SECONDS
from eventflowdb.service.access import Access, RefusedLogins

from .fakes import request, stepped_server


def test_the_password_of_the_default_user_lets_in() -> None:
    Access("sécret").authenticate(b"default", "sécret".encode())


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (b"default", b"secreT"),
        (b"default", b"secret "),
        (b"default", b""),
        (b"default", b"\xff\xfe"),
        (b"Default", b"secret"),
        (b"root", b"secret"),
        (b"", b"secret"),
        (b"root", b"wrong"),
    ],
)
def test_anything_else_is_refused_without_saying_what_was_wrong(user: bytes, password: bytes) -> None:
    with pytest.raises(WrongPassword, match=r"^invalid username-password pair or user is disabled\.$"):
        Access("secret").authenticate(user, password)


def test_without_a_password_there_is_nothing_to_authenticate_for() -> None:
    access = Access(None)
    assert not access.needs_password
    with pytest.raises(EventflowError) as refusal:
        access.authenticate(b"default", b"anything")
    assert refusal.value.code == "ERR"
    assert str(refusal.value) == (
        "AUTH <password> called without any password configured for the default user. "
        "Are you sure your configuration is correct?"
    )


def test_a_password_has_to_be_given_where_there_is_one() -> None:
    assert Access("secret").needs_password


def test_refused_logins_are_logged_now_and_then_with_their_number() -> None:
    clock = Clock()
    refused = RefusedLogins(clock.seconds)
    with capturedLogs() as logged:
        for _ in range(3):
            refused.note("peer:1")
        clock.advance(REFUSED_LOGINS_LOG_SECONDS)
        refused.note("peer:2")
    assert [(event["peer"], event["count"]) for event in logged] == [("peer:1", 1), ("peer:2", 3)]


def test_every_way_to_log_in_is_logged_when_it_is_refused() -> None:
    with stepped_server(password="secret") as server:
        for words in (
            ("AUTH", "wrong"),
            ("AUTH", "default", "wrong"),
            ("AUTH", "root", "secret"),
            ("HELLO", "3", "AUTH", "default", "wrong"),
        ):
            server.clock.advance(REFUSED_LOGINS_LOG_SECONDS)
            connection = server.connect()
            with capturedLogs() as logged:
                connection.send(request(*words))
            assert connection.take().startswith(b"-WRONGPASS ")
            assert [event["peer"] for event in logged] == ["peer:1"]
            with capturedLogs() as logged:
                connection.send(request("AUTH", "secret"))
            assert connection.take() == b"+OK\r\n"
            assert not logged
