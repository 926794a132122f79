"""Events that are on disk and answered, but that reads of the store do not see yet; by stream.

While appends are deferred (writer.py) most streams are as the store says, and of the others it lacks just the last
events, which are at hand. So a GET need not wait until the store shows all: that spares a commit for each event where
those who append to a stream also read it.
"""

from eventflowdb.append import Append
from eventflowdb.service.records import version_of
from eventflowdb.storage.batch import Write

Tail = list[bytes]
"""The last events of a stream, without a gap: those that the store does not show. Empty where that is in doubt."""


class Unseen:
    """What one writer has deferred, on the reactor's thread."""

    def __init__(self) -> None:
        self.tails: dict[str, Tail] = {}

    def add(self, write: Write, records: list[bytes]) -> None:
        """An append was answered with these records; some may have been stored, and shown, long before."""
        if not isinstance(write, Append):
            return
        tails, begin = self.tails, 0
        for part in write.parts:
            end = begin + len(part.events)
            added, begin = records[begin:end], end
            if not added:
                continue
            stream: str = part.stream
            tail = tails.get(stream)
            if tail is None:
                tails[stream] = added
            elif tail and version_of(added[0]) == version_of(tail[-1]) + 1:
                tail.extend(added)
            else:
                tails[stream] = []

    def doubt(self, write: Write) -> None:
        """What an append has added is not known: its streams are to be read when the store shows them."""
        if isinstance(write, Append):
            for part in write.parts:
                self.tails[part.stream] = []

    def clear(self) -> None:
        """The store shows everything."""
        if self.tails:
            self.tails = {}
