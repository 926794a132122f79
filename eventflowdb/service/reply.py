"""What a responder gives: a reply now, later, or in pieces."""

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred

from eventflowdb.storage.spans import Chunk, Rendered, Span
from eventflowdb.wire import replies


class LongReply:
    """A reply in pieces, of which the first are there; the rest, if there is one, is read as the client takes it.

    ending: what follows the last event; next: the chunk that is being read, None while the client does not keep up.
    """

    __slots__ = ("ending", "next", "pieces", "rest")

    def __init__(self, pieces: list[bytes], rest: Span | None, ending: bytes = replies.ARRAY_END) -> None:
        self.pieces = pieces
        self.rest = rest
        self.ending = ending
        self.next: Deferred[Rendered] | None = None

    def join(self) -> bytes:
        """All of it, where there is no rest."""
        return b"".join([*self.pieces, self.ending])


class PendingReply:
    """A reply that is settled later, once, on the reactor's thread.

    weight_bytes: what its request weighs until then.
    """

    __slots__ = (
        "_count",
        "_decided",
        "_on_hurried",
        "_on_settled",
        "is_abandoned",
        "is_muted",
        "is_read",
        "is_urgent",
        "value",
        "weight_bytes",
    )

    def __init__(self) -> None:
        self.value: bytes | LongReply | None = None
        self.weight_bytes = 0
        self.is_read = False
        """It reads: nothing after it may run before it is there."""
        self.is_muted = False
        """The client asked not to get it."""
        self.is_abandoned = False
        """The client is gone, and what is done for it alone need not be done to the end."""
        self.is_urgent = False
        """Others wait behind it, or nobody comes back for it: it must not be held."""
        self._decided: bytes | None = None
        self._count: Callable[[object], None] | None = None
        self._on_hurried: Callable[[], None] | None = None
        self._on_settled: Callable[[PendingReply], None] | None = None

    def settle(self, value: bytes | LongReply) -> None:
        """Give the reply."""
        self.value = value
        # Let go of all: they refer to this reply, and would keep it and its request until the garbage collector comes.
        self._on_hurried = None
        count, self._count = self._count, None
        on_settled, self._on_settled = self._on_settled, None
        if count is not None:
            count(value)
        if on_settled is not None:
            on_settled(self)

    def hold(self, decided: bytes, on_hurried: Callable[[], None]) -> None:
        """It is decided, and settled later on purpose: the time until then is not the command's.

        decided: what it would be now; on_hurried: settles it if it must not be held any longer.
        """
        self._decided, self._on_hurried = decided, on_hurried
        count, self._count = self._count, None
        if count is not None:
            count(decided)

    def hurry(self) -> None:
        """It must not be held, or not any longer."""
        self.is_urgent = True
        on_hurried, self._on_hurried = self._on_hurried, None
        if on_hurried is not None:
            on_hurried()

    def count_with(self, count: Callable[[object], None]) -> None:
        """Have `count` called with the reply when it is decided, before anyone else hears of it; at once if it is."""
        decided = self._decided if self.value is None else self.value
        if decided is None:
            self._count = count
        else:
            count(decided)

    def when_settled(self, call: "Callable[[PendingReply], None]") -> None:
        """Have `call` told; at once if the reply is there."""
        if self.value is None:
            self._on_settled = call
        else:
            call(self)


class BlockedReply(PendingReply):
    """A reply to a command that waits for events; it may be told to wait no longer."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.is_read = True

    def count_with(self, count: Callable[[object], None]) -> None:
        """Counted at once: a command that waits is not slow."""
        count(self.value)

    def end(self) -> None:
        """Wait no longer: answer with what there is."""
        raise NotImplementedError


Answer = Chunk | Rendered
"""What a reply is made of: a few records, or a page of them rendered."""

Reply = bytes | PendingReply | LongReply
_PIECES_JOINED_MAX: Final = 4
"""So few pieces are sent sooner when they are one."""


def chunk_reply(chunk: Answer, behind: Sequence[bytes] = ()) -> bytes | LongReply:
    """The reply to a read that begins with this chunk. behind: events that follow the last one.

    The bytes of it if the chunk is all there is, and not so much that it is rendered in pieces.
    """
    if isinstance(chunk, Chunk):
        records, rest = chunk
        if rest is None:
            return replies.bulk_array([*records, *behind] if behind else records)
        pieces = [replies.array_items(records)]
    else:
        pieces, _, rest, _ = chunk
    start = replies.array_start(chunk.total() + len(behind))
    ending = replies.array_items(behind) + replies.ARRAY_END
    if rest is None and len(pieces) <= _PIECES_JOINED_MAX:
        return b"".join([start, *pieces, ending])
    return LongReply([start, *pieces], rest, ending)
