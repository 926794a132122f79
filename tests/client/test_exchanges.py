"""Each command sends the bytes that the contract says, and reads its reply into typed values."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from eventflowdb.client import exchanges
from eventflowdb.client.appends import StreamAppend, Unless
from eventflowdb.client.decoding import Checksum, Page, Size
from eventflowdb.client.exchanges import Exchange
from eventflowdb.client.filters import FilterFields
from eventflowdb.client.refusals import UnexpectedReply
from eventflowdb.errors import CorruptRecord, InvalidArgument
from eventflowdb.events import NewEvent
from eventflowdb.queries import StreamSummary, TypeSummary

from .samples import EVENT, EVENT_JSON, STREAM

ZERO_ID = "0" * 26
MOMENT = "2026-01-01T00:00:00Z"
SUMMARY = StreamSummary(STREAM, 1, EVENT.id, EVENT.added_at, EVENT.id, EVENT.added_at)
STREAM_JSON = msgspec.json.encode(SUMMARY)
DIGITS = "1234567890" * 6 + "1234"


@pytest.mark.parametrize(
    ("exchange", "words"),
    [
        (exchanges.ping(), (b"PING",)),
        (exchanges.ping(""), (b"PING", b"")),
        (exchanges.ping("Zoë\r\n"), (b"PING", "Zoë\r\n".encode())),
        (exchanges.version(), (b"VERSION",)),
        (exchanges.uptime(), (b"UPTIME",)),
        (exchanges.size(), (b"SIZE",)),
        (exchanges.event_count(), (b"EVENTCOUNT",)),
        (exchanges.stream_count(), (b"STREAMCOUNT",)),
        (exchanges.event_count_estimate(), (b"EVENTCOUNTEST",)),
        (exchanges.stream_count_estimate(), (b"STREAMCOUNTEST",)),
        (exchanges.checksum(), (b"CHECKSUM",)),
        (
            exchanges.add(STREAM, 0, [NewEvent(type="Opened", data="")], request_id=None),
            (b"ADD", b'{"stream":"%b","version":0,"events":[{"type":"Opened","data":""}]}' % STREAM.encode()),
        ),
        (
            exchanges.add(
                UUID(STREAM),
                7,
                (NewEvent(type="A", data="é", metadata="", causation_id=EVENT.id, correlation_id=EVENT.id),),
                request_id="",
            ),
            (
                b"ADD",
                (
                    f'{{"stream":"{STREAM}","version":7,"events":[{{"type":"A","data":"é","metadata":"",'
                    f'"causation_id":"{EVENT.id}","correlation_id":"{EVENT.id}"}}]}}'
                ).encode(),
            ),
        ),
        (
            exchanges.add(STREAM, "any", [], unless=Unless(tags=["a"]), request_id="r"),
            (
                b"ADD",
                b'{"stream":"%b","version":"any","events":[],"unless":{"tags":["a"]},"request_id":"r"}'
                % STREAM.encode(),
            ),
        ),
        (
            exchanges.add_many([StreamAppend(UUID(STREAM), "exists")], request_id=None),
            (b"ADDMANY", b'{"appends":[{"stream":"%b","version":"exists","events":[]}]}' % STREAM.encode()),
        ),
        (exchanges.get(STREAM), (b"GET", b'{"stream":"%b"}' % STREAM.encode())),
        (exchanges.get(UUID(STREAM), 3, 2), (b"GET", b'{"stream":"%b","version":3,"limit":2}' % STREAM.encode())),
        (exchanges.get_all(), (b"GETALL",)),
        (exchanges.get_all(limit=0), (b"GETALL", b'{"limit":0}')),
        (exchanges.get_all(offset=ZERO_ID), (b"GETALL", b'{"offset":"%b"}' % ZERO_ID.encode())),
        (exchanges.get_all(after=ZERO_ID, limit=5), (b"GETALL", b'{"after":"%b","limit":5}' % ZERO_ID.encode())),
        (
            exchanges.get_all(
                backwards=True, filters={"types": ["a"], "tags": ("b",), "since": "2026-01-01T00:00:00Z"}
            ),
            (b"GETALL", b'{"types":["a"],"tags":["b"],"since":"2026-01-01T00:00:00Z","backwards":true}'),
        ),
        (
            exchanges.get(STREAM, 1, 2, after=ZERO_ID, filters={"correlation_id": ZERO_ID, "before": ZERO_ID}),
            (
                b"GET",
                b'{"stream":"%b","version":1,"after":"%b","correlation_id":"%b","before":"%b","limit":2}'
                % (STREAM.encode(), *[ZERO_ID.encode()] * 3),
            ),
        ),
        (exchanges.event(ZERO_ID), (b"EVENT", b'{"id":"%b"}' % ZERO_ID.encode())),
        (exchanges.stream(UUID(STREAM)), (b"STREAM", b'{"stream":"%b"}' % STREAM.encode())),
        (exchanges.streams(), (b"STREAMS",)),
        (
            exchanges.streams(after=UUID(STREAM), limit=3, terms={"tags": ["a"]}),
            (b"STREAMS", b'{"after":"%b","tags":["a"],"limit":3}' % STREAM.encode()),
        ),
        (exchanges.types(), (b"TYPES",)),
        (exchanges.types(after="é", limit=3), (b"TYPES", '{"after":"é","limit":3}'.encode())),
    ],
)
def test_a_command_is_sent_as_a_word_and_one_argument(exchange: Exchange[object], words: tuple[bytes, ...]) -> None:
    assert exchange.words == words


def test_each_append_gets_a_request_id_of_its_own() -> None:
    first, second = (exchanges.add(STREAM, 0, []) for _ in range(2))
    assert first.request_id is not None
    assert first.request_id != second.request_id
    assert first.words[1].endswith(b'"request_id":"%b"}' % first.request_id.encode())


@pytest.mark.parametrize(
    ("exchange", "is_repeatable"),
    [
        (exchanges.ping(), True),
        (exchanges.get(STREAM), True),
        (exchanges.add(STREAM, 0, []), True),
        (exchanges.add(STREAM, 0, [], request_id="mine"), True),
        (exchanges.add(STREAM, 0, [], request_id=None), False),
        (exchanges.add_many([], request_id=""), False),
    ],
)
def test_all_but_appends_without_a_request_id_may_be_repeated(exchange: Exchange[object], is_repeatable: bool) -> None:
    assert exchange.is_repeatable is is_repeatable


def test_a_read_knows_how_long_the_server_may_wait() -> None:
    assert exchanges.get(STREAM, wait_ms=2500).wait_seconds == 2.5
    assert exchanges.get_all(wait_ms=1).wait_seconds == 0.001
    assert exchanges.get_all().wait_seconds == 0


@pytest.mark.parametrize(
    ("exchange", "reply", "value"),
    [
        (exchanges.ping(), "PONG", "PONG"),
        (exchanges.ping(), b"PONG", "PONG"),
        (exchanges.ping("42"), b"42", "42"),
        (exchanges.ping("1e5"), b"1e5", "1e5"),
        (exchanges.ping(""), b"", ""),
        (exchanges.version(), b"1.2", "1.2"),
        (exchanges.uptime(), b"1 second", "1 second"),
        (exchanges.size(), [12345, b"12.3 kB"], Size(bytes=12345, words="12.3 kB")),
        (exchanges.event_count(), 2**53 - 1, 2**53 - 1),
        (exchanges.stream_count(), 0, 0),
        (exchanges.event_count_estimate(), 1, 1),
        (exchanges.stream_count_estimate(), 2, 2),
        (exchanges.checksum(), [ZERO_ID.encode(), DIGITS.encode()], Checksum(event_id=ZERO_ID, checksum=DIGITS)),
        (exchanges.checksum(), [ZERO_ID, DIGITS], Checksum(event_id=ZERO_ID, checksum=DIGITS)),
        (exchanges.add(STREAM, 0, []), [EVENT_JSON], [EVENT]),
        (exchanges.get(STREAM), [], []),
        (exchanges.get(STREAM), [EVENT_JSON.decode()], [EVENT]),
        (exchanges.get_all(), [EVENT_JSON, EVENT_JSON], [EVENT, EVENT]),
        (exchanges.get_all(), [EVENT_JSON[:-1] + b',"later":{"a":1}}'], [EVENT]),
        (exchanges.event(ZERO_ID), EVENT_JSON, EVENT),
        (exchanges.event(ZERO_ID), None, None),
        (exchanges.stream(STREAM), STREAM_JSON, SUMMARY),
        (exchanges.stream(STREAM), None, None),
        (exchanges.streams(), [STREAM_JSON.decode()], [SUMMARY]),
        (exchanges.types(), [b'{"type":"a","count":2}'], [TypeSummary("a", 2)]),
        (exchanges.page(FilterFields(limit=2)), [EVENT_JSON], Page([EVENT], None)),
        (exchanges.page(FilterFields(limit=1)), [EVENT_JSON], Page([EVENT], EVENT.id)),
        (exchanges.page(FilterFields(limit=1, cursor=True)), [[EVENT_JSON], None], Page([EVENT], None)),
        (exchanges.page(FilterFields(limit=1, cursor=True)), [[], ZERO_ID.encode()], Page([], ZERO_ID)),
    ],
)
def test_a_reply_is_read_into_typed_values(exchange: Exchange[object], reply: object, value: object) -> None:
    decoded = exchange.decode(reply)
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(
    ("exchange", "reply"),
    [
        (exchanges.ping(), 1),
        (exchanges.ping("x"), b"\xff"),
        (exchanges.version(), None),
        (exchanges.event_count(), b"1"),
        (exchanges.event_count(), True),
        (exchanges.size(), [1]),
        (exchanges.size(), [b"1", b"1 B"]),
        (exchanges.checksum(), b"0"),
        (exchanges.get(STREAM), b"OK"),
        (exchanges.get(STREAM), [None]),
        (exchanges.get(STREAM), [1]),
        (exchanges.get(STREAM), [b"{}"]),
        (exchanges.get(STREAM), [EVENT_JSON[:-1]]),
        (exchanges.get(STREAM), [b"\xff"]),
        (exchanges.get(STREAM), [EVENT_JSON, b"x" * 1_000_000]),
        (exchanges.event(ZERO_ID), b"{}"),
        (exchanges.event(ZERO_ID), [EVENT_JSON]),
        (exchanges.stream(STREAM), b"1"),
        (exchanges.streams(), STREAM_JSON),
        (exchanges.types(), [b'{"type":"a"}']),
        (exchanges.page(FilterFields(cursor=True)), [EVENT_JSON]),
        (exchanges.page(FilterFields(cursor=True)), [[EVENT_JSON], 7]),
    ],
)
def test_another_reply_is_refused_in_a_short_sentence(exchange: Exchange[object], reply: object) -> None:
    with pytest.raises(UnexpectedReply) as refused:
        exchange.decode(reply)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("exchange", [exchanges.get_all(), exchanges.checksum(), exchanges.size()])
def test_an_error_inside_an_array_is_raised(exchange: Exchange[object]) -> None:
    with pytest.raises(CorruptRecord):
        exchange.decode([EVENT_JSON, CorruptRecord("record 2 does not match its checksum")])


@pytest.mark.parametrize(
    "make",
    [
        lambda: exchanges.add(STREAM, 0, [NewEvent(type="A", data="\ud800")]),
        lambda: exchanges.get("\udfff"),
        lambda: exchanges.ping("a\ud800b"),
    ],
)
def test_half_a_surrogate_pair_is_refused_in_words(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument, match=r"half of a surrogate pair, '\\ud"):
        make()


def test_an_event_comes_back_character_for_character() -> None:
    data = "".join(map(chr, [*range(0x300), 0x2028, 0xFFFF, 0x10FFFF])) * 100
    event = msgspec.structs.replace(EVENT, data=data, metadata=data[::-1])
    assert exchanges.get(STREAM).decode([msgspec.json.encode(event)]) == [event]


@pytest.mark.parametrize("field", ["type", "data", "metadata"])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_refused_not_stored_as_something_else(field: str, kind: type) -> None:
    given: dict[str, Any] = {"type": "tested", "data": "", field: kind(b"text")}
    events = [NewEvent(type="tested", data=""), NewEvent(**given)]
    said = rf"events\[1\]\.{field}: expected a string, got {kind.__name__}; decode it$"
    with pytest.raises(InvalidArgument, match=f"^{said}"):
        exchanges.add(STREAM, 0, events)
    with pytest.raises(InvalidArgument, match=rf"^appends\[1\]\.{said}"):
        exchanges.add_many([StreamAppend(STREAM, 0), StreamAppend(STREAM, 0, events)])
