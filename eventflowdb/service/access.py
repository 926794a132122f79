"""Who may use the server: one password, or none."""

import hmac

from eventflowdb.errors import EventflowError, WrongPassword

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
