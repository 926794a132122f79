"""Who may use the server: one password, or none."""

import hmac
from collections.abc import Callable

from twisted.logger import Logger

from eventflowdb.errors import EventflowError, WrongPassword
from eventflowdb.limits import REFUSED_LOGINS_LOG_SECONDS

DEFAULT_USER = b"default"


class Access:
    """Checks passwords. The sentences are Redis's own: clients match on them."""

    def __init__(self, password: str | None) -> None:
        self._password = None if password is None else password.encode()

    @property
    def needs_password(self) -> bool:
        """Whether a connection has to AUTH before anything else."""
        return self._password is not None

    def authenticate(self, user: bytes, password: bytes) -> None:
        """Return if the password is the user's; raise WrongPassword, or EventflowError where none is set."""
        if self._password is None:
            raise EventflowError(
                "AUTH <password> called without any password configured for the default user. "
                "Are you sure your configuration is correct?"
            )
        # Both are always compared, in constant time, so that timing tells nothing.
        is_right_password = hmac.compare_digest(password, self._password)
        if not (hmac.compare_digest(user, DEFAULT_USER) and is_right_password):
            raise WrongPassword("invalid username-password pair or user is disabled.")


class RefusedLogins:
    """Logs who was refused: a line for the first one, then at most one in a while, with how many there were since."""

    _log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._quiet_until = float("-inf")
        self._unlogged = 0

    def note(self, peer: str) -> None:
        """One from this address was refused."""
        self._unlogged += 1
        now = self._seconds()
        if now < self._quiet_until:
            return
        self._quiet_until = now + REFUSED_LOGINS_LOG_SECONDS
        count, self._unlogged = self._unlogged, 0
        self._log.warn("a wrong user or password from {peer}; {count} since the last such line", peer=peer, count=count)
