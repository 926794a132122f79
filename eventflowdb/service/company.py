"""Whether the client whose request runs is alone: nobody else waits then while the reactor serves it."""

from eventflowdb.limits import ALONE_SECONDS_MIN


class Company:
    """What the dispatcher notes of whose requests it runs. Times are seconds of its clock."""

    def __init__(self) -> None:
        self.session_id = 0
        """Whose the last request was."""
        self.alone_since = 0.0
        """When the first of the requests came that all were this client's."""
        self.now = 0.0
        """When the last one came."""

    @property
    def is_alone(self) -> bool:
        """Whether all requests of a while were those of the client whose request runs."""
        return self.now - self.alone_since >= ALONE_SECONDS_MIN
