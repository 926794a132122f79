"""What the shim recorded: the calls of one or more processes to their disk and their clients, in order.

The layout of an entry is `struct entry` in disk_shim.c: a head, the path, the data.
"""

import enum
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEAD = struct.Struct("=IIIIQqqII")
_MAGIC = 0x4D494853
_MAGIC_BYTES = struct.pack("=I", _MAGIC)
_SYNCED = 1


class Kind(enum.IntEnum):
    """What was called."""

    WRITE = 1
    SYNC = 2
    TRUNCATE = 3
    ALLOCATE = 4
    CREATE = 5
    MAKE_FOLDER = 6
    RENAME = 7
    UNLINK = 8
    MAP_WRITABLE = 9
    SEND = 10


@dataclass(eq=False, slots=True)
class Call:
    """One call. path: of the file, or of the socket; data: what was written or sent, or the new name of a RENAME.

    began, ended: the places of its two entries in the log (ended is None where the process was killed first);
    result: what it returned, -errno where it failed; process: 0, 1 ... for the first, second process recorded.
    """

    kind: Kind
    is_synced: bool
    path: str
    data: bytes
    offset: int
    began: int
    process: int
    ended: int | None = None
    result: int | None = None

    def has_succeeded(self) -> bool:
        """Whether it has returned, and no error."""
        return self.result is not None and self.result >= 0

    def has_ended_by(self, other: "Call") -> bool:
        """Whether it had returned when another began."""
        return self.ended is not None and self.ended < other.began

    def written(self) -> bytes:
        """What it wrote, or may have written where it has not returned or failed."""
        return self.data if self.result is None or self.result < 0 else self.data[: self.result]


@dataclass(frozen=True, slots=True)
class Recording:
    """All calls in the order of their beginnings; `length` is the number of entries in the log."""

    calls: list[Call]
    length: int

    def entries(self) -> Iterator[tuple[int, Call]]:
        """Every place of the log, with the call that began or ended there."""
        places = {call.began: call for call in self.calls} | {
            call.ended: call for call in self.calls if call.ended is not None
        }
        return ((place, places[place]) for place in range(self.length))


def read(log: Path) -> Recording:
    """The recording in a log."""
    calls: list[Call] = []
    running: dict[int, Call] = {}
    process = place = -1
    for place, (head, path, data) in enumerate(_entries(log.read_bytes())):
        _, kind, is_end, flags, number, offset, result, _, _ = head
        if is_end:
            call = running.pop(number)
            call.ended, call.result = place, result
            continue
        if number == 1:
            # Each process counts its calls from 1; what the one before had not finished, it never did.
            process += 1
            running.clear()
        call = Call(Kind(kind), bool(flags & _SYNCED), path, data, offset, place, process)
        running[number] = call
        calls.append(call)
    return Recording(calls, place + 1)


def _entries(log: bytes) -> Iterator[tuple[tuple[int, ...], str, bytes]]:
    """The entries that are whole.

    One is cut where a process was killed while it wrote it: at the end of the log, or where those of the next process
    begin.
    """
    offset = 0
    while 0 <= offset <= len(log) - _HEAD.size:
        head = _HEAD.unpack_from(log, offset)
        assert head[0] == _MAGIC, f"no entry begins at byte {offset} of the log"
        path_at = offset + _HEAD.size
        data_at = path_at + head[7]
        end = data_at + head[8]
        following = _following(log, end)
        if following is None:
            following = log.find(_MAGIC_BYTES, offset + len(_MAGIC_BYTES))
        else:
            yield head, log[path_at:data_at].decode(), log[data_at:end]
        offset = following


def _following(log: bytes, end: int) -> int | None:
    """Where the next entry begins if one ends here: of one that was cut there may be a few bytes between."""
    if end > len(log):
        return None
    for cut in range(len(_MAGIC_BYTES)):
        begin = end + cut
        if log[end:begin] == _MAGIC_BYTES[:cut] and log[begin : begin + len(_MAGIC_BYTES)] in (_MAGIC_BYTES, b""):
            return begin
    return None


def sent(recording: Recording) -> dict[str, list[tuple[int, bytes]]]:
    """What was sent on each socket: pieces with the place from which on the client could have had them."""
    streams: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for call in recording.calls:
        if call.kind is Kind.SEND:
            length = len(call.data) if call.result is None else max(call.result, 0)
            streams[f"{call.process} {call.path}"].append((call.began, call.data[:length]))
    return streams


def events_shown(recording: Recording) -> list[tuple[int, bytes]]:
    """Every event that any client was told of, as its record, with the place from which on it could know it."""
    shown = [event for pieces in sent(recording).values() for event in _events_in(pieces)]
    return sorted(shown)


def _events_in(pieces: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    ends: list[tuple[int, int]] = []
    stream = b"".join([data for _, data in pieces])
    size = 0
    for place, data in pieces:
        size += len(data)
        ends.append((size, place))
    piece = at = 0
    while (at := stream.find(b'\r\n{"id":"', at)) >= 0:
        length = int(stream[stream.rindex(b"$", 0, at) + 1 : at])
        at += 2
        while ends[piece][0] < min(at + length, size):
            piece += 1
        if at + length <= size:
            yield ends[piece][1], stream[at : at + length]
        at += length
