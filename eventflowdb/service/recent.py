"""READ_CACHE_BYTES: replies to GET that were sent not long ago, for a stream that is read again and again.

The events of a stream never change. So a reply with as many events as were asked for is right for ever; one with fewer
is as long as the stream has not grown, which one look at the index tells: 2 microseconds where reading, checking and
encoding ten events takes 25. Many ask for the same when they lost the race for a stream and read what the winner wrote.

They are found by the text of the argument as it came: who asks again does so in the same words, and need not be
understood again.

Where streams are many and read at random, a reply that is kept is seldom asked for again. To keep it costs a quarter of
the read: memory that no processor cache holds is written, and that of another reply is given back. So replies with the
first events of a stream are kept when they are asked for the second time, and the short ones with later events at once.
"""

from collections import OrderedDict

from eventflowdb.commands.shapes import StreamRead
from eventflowdb.limits import READ_CACHE_BYTES_ASKED, READ_CACHE_ENDS_SHARE
from eventflowdb.service.database import Database
from eventflowdb.service.statistics import Statistics

_ENTRY_BYTES = 400
"""What an entry weighs beside its reply and its text."""
_LARGEST_SHARE = 4
"""A reply of more than this part of the bound is not kept: it would drive out most of the others."""


class AskedBefore:
    """Which texts were asked for not long ago: the last `texts_max` that were not, and up to as many before them.

    To be asked for again makes no text newer. Only hashes are kept: where two are the same, a reply is kept early.
    """

    def __init__(self, texts_max: int) -> None:
        self._texts_max = texts_max
        self._newer: set[int] = set()
        self._older: set[int] = set()

    def ask(self, text: bytes) -> bool:
        """Whether it was asked for not long ago. From now on it was."""
        mark = hash(text)
        if mark in self._newer or mark in self._older:
            return True
        if len(self._newer) == self._texts_max:
            self._older, self._newer = self._newer, set()
        self._newer.add(mark)
        return False


class RecentReplies:
    """Some of them: at most `bytes_max` are kept."""

    def __init__(self, database: Database, bytes_max: int) -> None:
        self._database = database
        self._bytes_max = bytes_max
        self._replies: OrderedDict[bytes, tuple[str | None, int, bytes]] = OrderedDict()
        """By text: the stream, None where it may grow and the reply stays right; the version behind its last event; and
        the reply."""
        self.kept_bytes = 0

    def find(self, text: bytes) -> bytes | None:
        """The reply to a GET with this argument, if it is kept and right."""
        found = self._replies.get(text)
        if found is None:
            return None
        stream, end, reply = found
        if stream is not None and self._database.find_stream_length(stream) != end:
            return None
        self._replies.move_to_end(text)
        return reply

    def keep(self, text: bytes, read: StreamRead, count: int, reply: bytes) -> None:
        """Remember a whole reply of so many events. read: what the text asks for."""
        weight_bytes = _weight_bytes(text, reply)
        if weight_bytes > self._bytes_max // _LARGEST_SHARE:
            return
        replaced = self._replies.pop(text, None)
        if replaced is not None:
            self.kept_bytes -= _weight_bytes(text, replaced[2])
        self._replies[text] = (None if count == read.limit else read.stream, read.version + count, reply)
        self.kept_bytes += weight_bytes
        while self.kept_bytes > self._bytes_max:
            oldest_text, (_, _, oldest) = self._replies.popitem(last=False)
            self.kept_bytes -= _weight_bytes(oldest_text, oldest)


class ReadCache:
    """The replies that one process keeps, at most `bytes_max` of them; statistics: counts how often that was of use."""

    def __init__(self, database: Database, bytes_max: int, statistics: Statistics) -> None:
        # Apart, or those who read each new event once would drive out what is read again and again.
        ends_bytes = bytes_max // READ_CACHE_ENDS_SHARE
        self._ends = RecentReplies(database, ends_bytes)
        self._beginnings = RecentReplies(database, bytes_max - ends_bytes)
        self._asked_before = AskedBefore(max(1, bytes_max // READ_CACHE_BYTES_ASKED))
        self._is_on = bytes_max > 0
        self._statistics = statistics

    @property
    def kept_bytes(self) -> int:
        """What the replies weigh."""
        return self._beginnings.kept_bytes + self._ends.kept_bytes

    def has(self, text: bytes) -> bool:
        """Whether the reply to a GET with this argument is kept and right."""
        return self._find(text) is not None

    def take(self, text: bytes) -> bytes | None:
        """The reply to a GET that is about to be answered, if it is kept and right."""
        reply = self._find(text)
        if reply is not None:
            self._statistics.cache_hits += 1
        return reply

    def missed(self) -> None:
        """The reply to a GET might have been kept, but was not."""
        self._statistics.cache_misses += 1

    def wants(self, text: bytes, read: StreamRead) -> bool:
        """Whether the reply to a GET that was read is to be kept, if it is whole. read: what the text asks for."""
        return self._is_on and (read.version > 0 or self._asked_before.ask(text))

    def keep(self, text: bytes, read: StreamRead, count: int, reply: bytes) -> None:
        """See RecentReplies.keep."""
        (self._ends if read.version else self._beginnings).keep(text, read, count, reply)

    def _find(self, text: bytes) -> bytes | None:
        return self._beginnings.find(text) or self._ends.find(text)


def _weight_bytes(text: bytes, reply: bytes) -> int:
    return len(text) + len(reply) + _ENTRY_BYTES
