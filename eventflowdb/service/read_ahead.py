"""The next page of the log, read before it is asked for.

Who reads the log page by page asks for one, looks at it while the server has nothing to do, and then waits for the
server to read the next one. For a client that is alone and goes on where its last page ended, that one is read while
it looks. A full page is the same whenever it is read, since the log only grows; others are not kept.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from eventflowdb.ids import id_after
from eventflowdb.limits import CHUNK_BYTES_MAX
from eventflowdb.service.reply import Answer
from eventflowdb.storage.spans import Rendered


class ReadAhead:
    """The one page that is expected next, on the reactor's thread; up to CHUNK_BYTES_MAX are kept for it.

    read: a page of the log from the first id not below one (16 bytes) on, of so many events; may_read: whether it may
    be read now, which keeps others waiting for a moment; next_turn: calls in the reactor's next turn.
    """

    def __init__(
        self,
        read: Callable[[bytes, int], "Answer | Deferred[Answer]"],
        may_read: Callable[[], bool],
        next_turn: Callable[[Callable[[], None]], object],
    ) -> None:
        self._read = read
        self._may_read = may_read
        self._next_turn = next_turn
        self._last_id: bytes | None = None
        """Where the last page ended; None where it was not a full one."""
        self._expected: tuple[bytes, int] | None = None
        """What will be asked for: its start and how many events."""
        self._page: Rendered | None = None

    def take(self, start: bytes, limit: int) -> Rendered | None:
        """The page that is asked for now, if it is there."""
        page, self._page = self._page, None
        expected, self._expected = self._expected, None
        return page if expected == (start, limit) else None

    def answered(self, start: bytes, limit: int, page: Rendered) -> None:
        """This page is the answer to what was asked for."""
        last_id, self._last_id = self._last_id, None
        if not _is_full(page, limit):
            return
        self._last_id = page.last_id
        if last_id is None:
            return
        # Clients go on at the last event they have, or behind it.
        if start == last_id:
            self._expect(page.last_id, limit)
        elif start == id_after(last_id):
            self._expect(id_after(page.last_id), limit)

    def _expect(self, start: bytes, limit: int) -> None:
        self._expected = start, limit
        self._next_turn(self._read_next)

    def _read_next(self) -> None:
        expected = self._expected
        if expected is None or self._page is not None or not self._may_read():
            return
        try:
            page = self._read(*expected)
        except Exception:  # whatever is wrong is told to who asks for it
            return
        if isinstance(page, Deferred):
            page.addCallbacks(lambda page: self._keep(expected, page), lambda _failure: None)
        else:
            self._keep(expected, page)

    def _keep(self, expected: tuple[bytes, int], page: Answer) -> None:
        if expected != self._expected or not isinstance(page, Rendered) or not _is_full(page, expected[1]):
            return
        # The first event of a step may be of any size.
        if sum(map(len, page.pieces)) <= CHUNK_BYTES_MAX:
            self._page = page


def _is_full(page: Rendered, limit: int) -> bool:
    return page.rest is None and page.event_count == limit
