"""The index of a short stream, taken at once: one call of LMDB instead of one for each event."""

from typing import Any, Final

from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import ULID_BYTES
from eventflowdb.storage import layout

_EVENTS_MAX: Final = 256
_ROW_BYTES: Final = layout.NUMBER_BYTES + layout.INDEX_ENTRY_BYTES
_ID_AT: Final = _ROW_BYTES - ULID_BYTES
_VERSION_AT: Final = layout.NUMBER_BYTES


def find_rows(cursor: Any, number: bytes, stream: str) -> bytes:
    """The rows of a stream that a cursor of `stream_events` stands on: its number and an entry, again and again.

    Nothing where it is a long one. How many entries LMDB counts has no checksum: where it says too few, all are taken.
    stream: its name; CorruptRecord where there are not as many entries as versions.
    """
    if cursor.count() > _EVENTS_MAX:
        return b""
    rows: bytes = cursor.getmulti((number,), True, layout.INDEX_ENTRY_BYTES, True).tobytes()
    last = layout.unpack_version(rows[-layout.INDEX_ENTRY_BYTES :])
    if len(rows) != (last + 1) * _ROW_BYTES:
        raise CorruptRecord(
            f"the index of stream {stream} is damaged: the last of its {len(rows) // _ROW_BYTES} entries is of version "
            f"{last}; restore from a backup"
        )
    return rows


def count_rows(rows: bytes) -> int:
    """How many events there are."""
    return len(rows) // _ROW_BYTES


def id_in(rows: bytes, version: int) -> bytes:
    """The id of the event of a version; nothing where the entry in its place is of another one."""
    row = version * _ROW_BYTES
    at = row + _ID_AT
    return rows[at : at + ULID_BYTES] if rows[row + _VERSION_AT : at] == layout.pack_version(version) else b""


def first_ids(rows: bytes, count: int) -> list[bytes]:
    """The ids of the first events, of which there are so many."""
    ids: list[bytes] = []
    at = _ID_AT
    for _ in range(count):
        ids.append(rows[at : at + ULID_BYTES])
        at += _ROW_BYTES
    return ids
