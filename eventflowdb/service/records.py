"""What stands at the beginning of an event's JSON, found without reading the rest: a record may be large.

{"id":"01M851XQ5N6D2F8H0J2K4M6P8R","stream":"6f3c52e8-9d7f-4a0e-8a53-0c5c2a8e6d11","version":0,"position":1,...
"""

from eventflowdb.storage.records import STREAM_AT, STREAM_END

_VERSION_BEGIN = STREAM_END + len('","version":')


def stream_of(record: bytes) -> str:
    """The stream of an event."""
    return record[STREAM_AT:STREAM_END].decode()


def version_of(record: bytes) -> int:
    """The version of an event in its stream."""
    return int(record[_VERSION_BEGIN : record.index(b",", _VERSION_BEGIN)])
