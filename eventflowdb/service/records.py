"""What stands at the beginning of an event's JSON, found without reading the rest: a record may be large.

{"id":"01M851XQ5N6D2F8H0J2K4M6P8R","stream":"6f3c52e8-9d7f-4a0e-8a53-0c5c2a8e6d11","version":0,"position":1,...
"""

_ID_BEGIN = len('{"id":"')
_ID_END = _ID_BEGIN + 26
_STREAM_BEGIN = _ID_END + len('","stream":"')
_STREAM_END = _STREAM_BEGIN + 36
_VERSION_BEGIN = _STREAM_END + len('","version":')


def id_of(record: bytes) -> str:
    """The id of an event."""
    return record[_ID_BEGIN:_ID_END].decode()


def stream_of(record: bytes) -> str:
    """The stream of an event."""
    return record[_STREAM_BEGIN:_STREAM_END].decode()


def version_of(record: bytes) -> int:
    """The version of an event in its stream."""
    return int(record[_VERSION_BEGIN : record.index(b",", _VERSION_BEGIN)])
