"""What stands at the beginning of an event's JSON, found without reading the rest: a record may be large.

{"id":"01M851XQ5N6D2F8H0J2K4M6P8R","stream":"6f3c52e8-9d7f-4a0e-8a53-0c5c2a8e6d11","version":0,"position":1,...
"""

from typing import Final

from eventflowdb.storage.records import STREAM_AT, STREAM_END

_VERSION_BEGIN: Final = STREAM_END + len('","version":')
_COMMA: Final[int] = ord(",")
_ZERO: Final[int] = ord("0")


def stream_of(record: bytes) -> str:
    """The stream of an event."""
    return record[STREAM_AT:STREAM_END].decode()


def version_of(record: bytes) -> int:
    """The version of an event in its stream. ValueError, IndexError where the bytes are no record."""
    # Digit by digit: most versions are short, and compiled this takes a tenth of cutting them out.
    place = _VERSION_BEGIN
    version = 0
    while record[place] != _COMMA:
        digit = record[place] - _ZERO
        if not 0 <= digit <= 9:
            raise ValueError(f"no version at byte {_VERSION_BEGIN} of {record[:160]!r}")
        version = 10 * version + digit
        place += 1
    return version
