"""What a disk may hold when the power fails: worked out from a recording, place by place.

A disk keeps what a flush that has returned had covered. Of everything else that was written it may keep any part,
sector by sector of 512 bytes, in any order; and a file may be as long as any of the writes made it. Names (a file
that was made, renamed, removed) last when their folder was flushed; of those that wait a disk keeps the first few.
Room that was allocated (posix_fallocate) is no content: LMDB never reads behind its last page.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tests.crash.recording import Call, Kind, Recording

SECTOR_BYTES = 512
_NAMINGS = (Kind.CREATE, Kind.MAKE_FOLDER, Kind.RENAME, Kind.UNLINK)


@dataclass(eq=False)
class _File:
    """A file: what is surely on the disk of it, and what else was written."""

    durable: bytearray = field(default_factory=bytearray)
    waiting: list[Call] = field(default_factory=list)

    def settle(self, covered: set[Call]) -> None:
        """A flush of these writes has returned."""
        for call in self.waiting:
            if call in covered:
                _apply(self.durable, call)
        self.waiting = [call for call in self.waiting if call not in covered]


@dataclass(eq=False, frozen=True, slots=True)
class _Naming:
    """A name that was given, changed or taken; of a folder `file` is None."""

    call: Call
    file: _File | None

    def apply(self, names: dict[str, _File | None]) -> None:
        """Do it to these names."""
        path, kind = self.call.path, self.call.kind
        if kind in (Kind.RENAME, Kind.UNLINK):
            names.pop(path, None)
        if kind is not Kind.UNLINK:
            names[self.call.data.decode() if kind is Kind.RENAME else path] = self.file


class Disk:
    """A disk under a recording, led through it entry by entry.

    is_flushing: False makes a disk that takes no flush seriously, so that whoever checks can be checked.
    """

    def __init__(self, recording: Recording, *, is_flushing: bool = True) -> None:
        self._recording = recording
        self._is_flushing = is_flushing
        self._names: dict[str, _File | None] = {}
        """As processes see them."""
        self._durable_names: dict[str, _File | None] = {}
        self._waiting_names: list[_Naming] = []
        self._covered: dict[Call, set[Call]] = {}
        self._covered_names: dict[Call, set[_Naming]] = {}

    def places(self) -> Iterator[tuple[int, Call]]:
        """Step from entry to entry of the log; after each, the power may fail.

        It ends early where a process was killed within a write: what the next one then saw is not recorded.
        """
        process = 0
        for place, call in self._recording.entries():
            if call.process > process and any(waiting.ended is None for waiting in self._all_waiting()):
                return
            process = call.process
            if call.began == place:
                self._begin(call)
            else:
                self._end(call)
            yield place, call

    def now(self) -> dict[str, bytes]:
        """The files as processes see them: everything written is there."""
        return {path: bytes(_content(file, file.waiting)) for path, file in self._names.items() if file}

    def is_settled(self) -> bool:
        """Whether nothing waits for a flush, so that there is but one thing the disk can hold."""
        return not self._waiting_names and not any(True for _ in self._all_waiting())

    def after_power_loss(self, chance: random.Random) -> dict[str, bytes]:
        """The files as the disk may hold them now, by path."""
        names = dict(self._durable_names)
        for naming in self._waiting_names[: chance.randint(0, len(self._waiting_names))]:
            naming.apply(names)
        folders = {path for path, file in self._names.items() if file is None}
        return {
            path: _choose(file, chance)
            for path, file in names.items()
            if file and all(folder in names for folder in _folders_above(path) & folders)
        }

    def _all_waiting(self) -> Iterator[Call]:
        return (call for file in self._names.values() if file for call in file.waiting)

    def _begin(self, call: Call) -> None:
        if call.kind in _NAMINGS and call.has_succeeded():
            naming = _Naming(call, _File() if call.kind is Kind.CREATE else self._names.get(call.path))
            naming.apply(self._names)
            self._waiting_names.append(naming)
        elif call.kind in (Kind.WRITE, Kind.TRUNCATE):
            file = self._names[call.path]
            assert file is not None
            file.waiting.append(call)
        elif call.kind is Kind.SYNC:
            file = self._names.get(call.path)
            self._covered[call] = {written for written in file.waiting if written.has_ended_by(call)} if file else set()
            self._covered_names[call] = {
                naming for naming in self._waiting_names if call.path == str(PurePosixPath(naming.call.path).parent)
            }
        elif call.kind is Kind.MAP_WRITABLE:
            assert not call.path.endswith("/data.mdb"), "what is written through a mapping cannot be recorded"

    def _end(self, call: Call) -> None:
        if not call.has_succeeded() or not self._is_flushing:
            return
        file = self._names.get(call.path)
        if call.kind is Kind.WRITE and call.is_synced and file:
            file.settle({call})
        elif call.kind is Kind.SYNC:
            if file:
                file.settle(self._covered.pop(call))
            covered = self._covered_names.pop(call)
            for naming in self._waiting_names:
                if naming in covered:
                    naming.apply(self._durable_names)
            self._waiting_names = [naming for naming in self._waiting_names if naming not in covered]


def _folders_above(path: str) -> set[str]:
    return {str(folder) for folder in PurePosixPath(path).parents}


def _content(file: _File, calls: Iterable[Call]) -> bytearray:
    content = bytearray(file.durable)
    for call in calls:
        _apply(content, call)
    return content


def _apply(content: bytearray, call: Call) -> None:
    if call.kind is Kind.TRUNCATE:
        del content[call.offset :]
        content.extend(bytes(call.offset - len(content)))
    else:
        _put(content, call.offset, call.written())


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _choose(file: _File, chance: random.Random) -> bytes:
    """One of the contents that a file may have; the extremes are as likely as all mixtures."""
    waiting = file.waiting
    if not waiting:
        return bytes(file.durable)
    unlucky = chance.choice(waiting)
    chosen = chance.choice(
        [
            [],
            waiting,
            waiting[: chance.randint(0, len(waiting))],
            [call for call in waiting if call is not unlucky],
            [unlucky],
            [call for call in waiting if chance.random() < 0.5],
        ]
    )
    if chance.random() < 0.5:
        return bytes(_content(file, chosen))
    return _torn(file, chosen, chance)


def _torn(file: _File, calls: list[Call], chance: random.Random) -> bytes:
    """The content where of each write only some sectors came to the disk, and perhaps its length."""
    content = bytearray(file.durable)
    kept = chance.random()
    for call in calls:
        if call.kind is Kind.TRUNCATE:
            _apply(content, call)
            continue
        data = call.written()
        if chance.random() < 0.5:
            _put(content, call.offset + len(data), b"")
        for start, end in _sectors(call.offset, call.offset + len(data)):
            if chance.random() < kept:
                _put(content, start, data[start - call.offset : end - call.offset])
    return bytes(content)


def _sectors(start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        next_start = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield start, next_start
        start = next_start
