"""Replies to GET that were sent not long ago: a stream that is read again and again is read and encoded once.

The events of a stream never change. So a reply with as many events as were asked for is right for ever; one with fewer
is as long as the stream has not grown, which one look at the index tells: 2 microseconds where reading, checking and
encoding ten events takes 25. Many ask for the same when they lost the race for a stream and read what the winner wrote.
"""

from collections import OrderedDict

from eventflowdb.service.database import Database

_ENTRY_BYTES = 400
"""What an entry weighs beside its reply."""
_LARGEST_SHARE = 4
"""A reply of more than this part of the bound is not kept: it would drive out most of the others."""


class RecentReplies:
    """Those of one server, on the reactor's thread: at most `bytes_max` are kept."""

    def __init__(self, database: Database, bytes_max: int) -> None:
        self._database = database
        self._bytes_max = bytes_max
        self._replies: OrderedDict[tuple[str, int, int | None], tuple[int, bytes]] = OrderedDict()
        """By stream, version and limit: the version behind its last event, and the reply."""
        self._kept_bytes = 0

    def find(self, stream: str, version: int, limit: int | None) -> bytes | None:
        """The reply to a GET, if it is kept and right."""
        key = (stream, version, limit)
        found = self._replies.get(key)
        if found is None:
            return None
        end, reply = found
        if end - version != limit and self._database.find_stream_length(stream) != end:
            return None
        self._replies.move_to_end(key)
        return reply

    def keep(self, stream: str, version: int, limit: int | None, count: int, reply: bytes) -> None:
        """Remember a whole reply of so many events."""
        if len(reply) + _ENTRY_BYTES > self._bytes_max // _LARGEST_SHARE:
            return
        key = (stream, version, limit)
        replaced = self._replies.pop(key, None)
        if replaced is not None:
            self._kept_bytes -= len(replaced[1]) + _ENTRY_BYTES
        self._replies[key] = (version + count, reply)
        self._kept_bytes += len(reply) + _ENTRY_BYTES
        while self._kept_bytes > self._bytes_max:
            _, (_, oldest) = self._replies.popitem(last=False)
            self._kept_bytes -= len(oldest) + _ENTRY_BYTES
