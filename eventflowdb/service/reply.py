"""What a responder gives: a reply now, later, or in pieces."""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from eventflowdb.storage.lmdb_store import Chunk, Span
from eventflowdb.wire import replies


class LongReply:
    """A reply whose beginning is there; the rest is read as the client takes it.

    ending: what follows the last event; next: the chunk that is being read, None while the client does not keep up.
    """

    __slots__ = ("beginning", "ending", "next", "rest")

    def __init__(self, beginning: bytes, rest: Span, ending: bytes = replies.ARRAY_END) -> None:
        self.beginning = beginning
        self.rest = rest
        self.ending = ending
        self.next: Deferred[Chunk] | None = None


class PendingReply:
    """A reply that is settled later, once, on the reactor's thread.

    weight_bytes: what its request weighs until then.
    """

    __slots__ = ("_count", "_on_settled", "is_abandoned", "is_muted", "is_read", "value", "weight_bytes")

    def __init__(self) -> None:
        self.value: bytes | LongReply | None = None
        self.weight_bytes = 0
        self.is_read = False
        """It reads: nothing after it may run before it is there."""
        self.is_muted = False
        """The client asked not to get it."""
        self.is_abandoned = False
        """The client is gone, and what is done for it alone need not be done to the end."""
        self._count: Callable[[], None] | None = None
        self._on_settled: Callable[[PendingReply], None] | None = None

    def settle(self, value: bytes | LongReply) -> None:
        """Give the reply."""
        self.value = value
        # Let go of both: they refer to this reply, and would keep it and its request until the garbage collector comes.
        count, self._count = self._count, None
        on_settled, self._on_settled = self._on_settled, None
        if count is not None:
            count()
        if on_settled is not None:
            on_settled(self)

    def count_with(self, count: Callable[[], None]) -> None:
        """Have `count` called when the reply is there, before anyone else hears of it; at once if it is."""
        if self.value is None:
            self._count = count
        else:
            count()

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

    def count_with(self, count: Callable[[], None]) -> None:
        """Counted at once: a command that waits is not slow."""
        count()

    def end(self) -> None:
        """Wait no longer: answer with what there is."""
        raise NotImplementedError


Reply = bytes | PendingReply | LongReply


def chunk_reply(chunk: Chunk) -> bytes | LongReply:
    """The whole reply to a read if its first chunk is all there is; else its beginning."""
    if chunk.rest is None:
        return replies.bulk_array(chunk.records)
    return LongReply(replies.array_start(chunk.total()) + replies.array_items(chunk.records), chunk.rest)
