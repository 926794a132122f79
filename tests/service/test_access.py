"""One password, or none, in Redis's own sentences."""

import pytest

from eventflowdb.errors import EventflowError, WrongPassword
from eventflowdb.service.access import Access


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
