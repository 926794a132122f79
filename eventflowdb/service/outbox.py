"""What one process has to tell another over a link: gathered, and sent once a turn of the loop."""

from collections.abc import Callable

from eventflowdb.limits import LINK_ITEMS_BYTES_MAX
from eventflowdb.wire import links

Soon = Callable[[Callable[[], None]], object]
"""Calls something at the end of this turn of the loop, or in the next."""


class Outbox:
    """The frames that wait for one end of a link; used on the reactor's thread."""

    def __init__(self, soon: Soon) -> None:
        self._soon = soon
        self._frames: list[bytes] = []
        self._items: list[tuple[int, object]] = []
        """What is gathered for a frame behind them, all of one kind."""
        self._kind = 0
        self._items_bytes = 0
        self._send: Callable[[bytes], None] | None = None
        self._is_closed = False

    def open(self, send: Callable[[bytes], None]) -> None:
        """The link is there: what was put in so far leaves, and from now on everything."""
        self._send = send
        self.flush()

    def close(self) -> None:
        """The link is gone: nothing leaves any more."""
        self._is_closed = True
        self._frames, self._items = [], []

    def put(self, frame: bytes) -> None:
        """Send a frame at the end of this turn."""
        if self._is_closed:
            return
        self._see_to_flush()
        self._end_items()
        self._frames.append(frame)

    def gather(self, kind: int, number: int, item: object, size_bytes: int = 0) -> None:
        """Send a numbered item at the end of this turn, in a frame with others of its kind, but not in a large one."""
        if self._is_closed:
            return
        self._see_to_flush()
        if kind != self._kind:
            self._end_items()
            self._kind = kind
        self._items.append((number, item))
        self._items_bytes += size_bytes
        if self._items_bytes > LINK_ITEMS_BYTES_MAX:
            self._end_items()

    def flush_behind(self, frame: bytes) -> None:
        """Send a frame now, and behind it what has waited for the end of the turn."""
        if not self._is_closed:
            self._frames.insert(0, frame)
            self.flush()

    def flush(self) -> None:
        """Send what there is."""
        send = self._send
        if send is None:
            return
        self._end_items()
        frames, self._frames = self._frames, []
        if frames:
            send(b"".join(frames))

    def _see_to_flush(self) -> None:
        if not (self._frames or self._items):
            self._soon(self.flush)

    def _end_items(self) -> None:
        if self._items:
            items, self._items, self._items_bytes = self._items, [], 0
            self._frames.append(links.encode_items(self._kind, items))
