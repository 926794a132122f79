"""Replies as a server sends them, written by hand, and the events in them."""

from eventflowdb.events import RecordedEvent

STREAM = "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c"
EVENT = RecordedEvent(
    id="01KARS6Z4P0000000000000001",
    stream=STREAM,
    version=0,
    position=1,
    type="Opened",
    data='{"by": "Zoë"}',
    metadata=None,
    causation_id="01KARS6Z4P0000000000000001",
    correlation_id="01KARS6Z4P0000000000000001",
    added_at="2025-11-23T19:23:14.123456Z",
)
EVENT_JSON = (
    '{"id":"01KARS6Z4P0000000000000001","stream":"c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c","version":0,"position":1,'
    '"type":"Opened","data":"{\\"by\\": \\"Zoë\\"}","metadata":null,"causation_id":"01KARS6Z4P0000000000000001",'
    '"correlation_id":"01KARS6Z4P0000000000000001","added_at":"2025-11-23T19:23:14.123456Z"}'
).encode()
CONCURRENCY_TEXT = f"stream={STREAM} expected=2 actual=3: the stream holds 3 events, the append expected 2"


def bulk(value: bytes) -> bytes:
    """A bulk string."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def array(*replies: bytes) -> bytes:
    """An array."""
    return b"*%d\r\n" % len(replies) + b"".join(replies)


def event_json(number: int, data: str = "") -> bytes:
    """The JSON of one of many events of STREAM, whose id ends in its number."""
    return (
        EVENT_JSON.replace(b"0001", b"%04d" % number, 1)
        .replace(b'"position":1,', b'"position":%d,' % number)
        .replace(b'{\\"by\\": \\"Zo\xc3\xab\\"}', data.encode())
    )
