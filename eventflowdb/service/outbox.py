"""What one process has to tell another over a link: gathered, and sent once a turn of the loop."""

from collections.abc import Callable

Soon = Callable[[Callable[[], None]], object]
"""Calls something at the end of this turn of the loop, or in the next."""


class Outbox:
    """The frames that wait for one end of a link; used on the reactor's thread."""

    def __init__(self, soon: Soon) -> None:
        self._soon = soon
        self._frames: list[bytes] = []
        self._send: Callable[[bytes], None] | None = None
        self._is_closed = False

    def open(self, send: Callable[[bytes], None]) -> None:
        """The link is there: what was put in so far leaves, and from now on everything."""
        self._send = send
        self.flush()

    def close(self) -> None:
        """The link is gone: nothing leaves any more."""
        self._is_closed = True
        self._frames = []

    def put(self, frame: bytes) -> None:
        """Send a frame at the end of this turn."""
        if self._is_closed:
            return
        if not self._frames:
            self._soon(self.flush)
        self._frames.append(frame)

    def flush_behind(self, frame: bytes) -> None:
        """Send a frame now, and behind it what has waited for the end of the turn."""
        if not self._is_closed:
            self._frames.insert(0, frame)
            self.flush()

    def flush(self) -> None:
        """Send what there is."""
        send, frames = self._send, self._frames
        if send is not None and frames:
            self._frames = []
            send(b"".join(frames))
