"""Pages of events that subscriptions share: what many need at the same place is read and encoded once.

A page that holds events is the same whenever it is read, since the log only grows; so it can be kept for those who
come to its place soon after. That nothing was there is kept too, for as long as no notice has told of more.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from twisted.python.failure import Failure

from eventflowdb.limits import SHARED_PAGES_BYTES_MAX
from eventflowdb.service.notices import Notices
from eventflowdb.service.sources import Page, Place, Source
from eventflowdb.wire import replies

_Key = tuple[Hashable, Place, int]
_ENTRY_BYTES = 200
"""What an entry weighs without its events."""


class SharedPage:
    """A page, and its messages as they were sent. generation: of the notices when the page began to be read."""

    __slots__ = ("encoded", "generation", "is_kept", "page", "weight_bytes")

    def __init__(self, page: Page, generation: int) -> None:
        self.page = page
        self.generation = generation
        self.encoded: dict[bytes, bytes] = {}
        self.is_kept = False
        self.weight_bytes = _ENTRY_BYTES + sum([len(record) for record in page.records])


Tell = Callable[[SharedPage | Failure], None]


class SharedPages:
    """The pages of one server, on the reactor's thread: at most SHARED_PAGES_BYTES_MAX are kept.

    reads: how many were read.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._pages: OrderedDict[_Key, SharedPage] = OrderedDict()
        self._asking: dict[_Key, list[Tell]] = {}
        """Pages that are being read, and those who want them."""
        self._kept_bytes = 0
        self.reads = 0

    def find(
        self, source: Source, place: Place, events_max: int, *, is_behind: bool, generation: int, tell: Tell
    ) -> SharedPage | None:
        """The page at a place; None if it has to be read first: then `tell` is called, with a Failure if that fails.

        An empty page is as of this generation or a later one.
        """
        key = (source.key, place, events_max)
        found = self._pages.get(key)
        if found is not None and (found.page.records or found.generation >= generation):
            self._pages.move_to_end(key)
            return found
        asking = self._asking.get(key)
        if asking is not None:
            asking.append(tell)
            return None
        self.reads += 1
        now = self._notices.generation
        read = source.read(place, events_max, is_behind)
        if isinstance(read, Page):
            return self._keep(key, SharedPage(read, now))
        self._asking[key] = [tell]
        read.addCallback(lambda page: self._keep(key, SharedPage(page, now)))
        read.addBoth(lambda outcome: self._tell(key, outcome))
        return None

    def messages(self, shared: SharedPage, prefix: bytes) -> bytes:
        """The events of a page as messages of a channel; see replies.messages."""
        encoded = shared.encoded.get(prefix)
        if encoded is None:
            encoded = replies.messages(prefix, shared.page.records)
            if shared.is_kept:
                shared.encoded[prefix] = encoded
                shared.weight_bytes += len(encoded)
                self._kept_bytes += len(encoded)
                self._forget_oldest()
        return encoded

    def _keep(self, key: _Key, shared: SharedPage) -> SharedPage:
        replaced = self._pages.pop(key, None)
        if replaced is not None:
            self._drop(replaced)
        self._pages[key] = shared
        shared.is_kept = True
        self._kept_bytes += shared.weight_bytes
        self._forget_oldest()
        return shared

    def _forget_oldest(self) -> None:
        while self._kept_bytes > SHARED_PAGES_BYTES_MAX:
            self._drop(self._pages.popitem(last=False)[1])

    def _drop(self, shared: SharedPage) -> None:
        shared.is_kept = False
        self._kept_bytes -= shared.weight_bytes

    def _tell(self, key: _Key, outcome: SharedPage | Failure) -> None:
        for tell in self._asking.pop(key):
            tell(outcome)
