"""The index of a short stream, taken at once: one call of LMDB instead of one for each event."""

from typing import Any, Final

from eventflowdb.errors import CorruptRecord
from eventflowdb.ids import ULID_BYTES
from eventflowdb.storage import layout

_EVENTS_MAX: Final = 256
_ROW_BYTES: Final = layout.NUMBER_BYTES + layout.INDEX_ENTRY_BYTES
_ID_AT: Final = _ROW_BYTES - ULID_BYTES


def find_rows(cursor: Any, number: bytes, stream: str) -> bytes:
    """The rows of a stream that a cursor of `stream_events` stands on: its number and an entry, again and again.

    Nothing where it is a long one. How many entries LMDB counts has no checksum; it only says which way is the shorter
    one. stream: its name; CorruptRecord where there is not an entry for each version.
    """
    if cursor.count() > _EVENTS_MAX:
        return b""
    rows: bytes = cursor.getmulti((number,), True, layout.INDEX_ENTRY_BYTES, True).obj
    last = layout.unpack_version(rows[-layout.INDEX_ENTRY_BYTES :])
    if len(rows) != (last + 1) * _ROW_BYTES:
        raise CorruptRecord(
            f"the index of stream {stream} is damaged between versions 0 and {last}; restore from a backup"
        )
    return rows


def count_rows(rows: bytes) -> int:
    """How many events there are."""
    return len(rows) // _ROW_BYTES


def id_in(rows: bytes, version: int) -> bytes:
    """The id of the event of a version that is there."""
    at = version * _ROW_BYTES + _ID_AT
    return rows[at : at + ULID_BYTES]


def first_ids(rows: bytes, count: int) -> list[bytes]:
    """The ids of the first events, of which there are so many."""
    ids: list[bytes] = []
    at = _ID_AT
    for _ in range(count):
        ids.append(rows[at : at + ULID_BYTES])
        at += _ROW_BYTES
    return ids
