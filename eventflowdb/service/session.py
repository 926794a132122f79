"""What the server knows of one connection and its user."""


class Session:
    """One connection, from its beginning to its end.

    has_changed: set by whoever changes one of the others, so that the conversation looks at them.
    """

    __slots__ = ("has_changed", "is_authenticated", "is_ending", "peer")

    def __init__(self, peer: str, is_authenticated: bool) -> None:
        self.peer = peer
        self.is_authenticated = is_authenticated
        self.is_ending = False
        self.has_changed = False

    def authenticate(self) -> None:
        """From now on the connection may do what its user may."""
        self.is_authenticated = True
        self.has_changed = True

    def end(self) -> None:
        """Nothing more is taken, and the connection closes when its replies are out."""
        self.is_ending = True
        self.has_changed = True
