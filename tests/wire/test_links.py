"""The frames between a front and the core, whole and byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflowdb.append import Append, StreamAppend
from eventflowdb.events import CheckedEvent, Checkpoint, Collision, Unless
from eventflowdb.wire import links
from eventflowdb.wire.links import Frame, FrameReader

STREAM = "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c"
OTHER = "1f0e2d4b-6c5a-4384-9b8f-3ed9a07384c3"
CASES = [
    (
        links.encode_request(258, 3, [b"ACK", b""]),
        b"\x15\0\0\0\x01\x02\x01\0\0\0\0\0\0\x03\x03\0\0\0ACK\0\0\0\0",
        Frame(links.REQUEST, 258, b"\x03\x03\0\0\0ACK\0\0\0\0"),
    ),
    (
        links.encode_frame(links.ANSWER, 1, b"+OK\r\n"),
        b"\x0e\0\0\0\x02\x01\0\0\0\0\0\0\0+OK\r\n",
        Frame(links.ANSWER, 1, b"+OK\r\n"),
    ),
    (links.encode_frame(links.WATCHES, 0), b"\x09\0\0\0\x05\0\0\0\0\0\0\0\0", Frame(links.WATCHES, 0, b"")),
    (
        links.encode_items(links.OUTCOMES, [(7, [b"{}"]), (8, b"-")]),
        b"\x16\0\0\0\x0c\x02\0\0\0\0\0\0\0\x92\x92\x07\x91\xc4\x02{}\x92\x08\xc4\x01-",
        Frame(links.OUTCOMES, 2, b"\x92\x92\x07\x91\xc4\x02{}\x92\x08\xc4\x01-"),
    ),
    (links.encode_grew(None), b"\x09\0\0\0\x04\0\0\0\0\0\0\0\0", Frame(links.GREW, 0, b"")),
    (
        links.encode_grew([STREAM]),
        b"\x2d\0\0\0\x04\x01\0\0\0\0\0\0\0" + STREAM.encode(),
        Frame(links.GREW, 1, STREAM.encode()),
    ),
]


@pytest.mark.parametrize(("encoded", "drawn", "frame"), CASES)
def test_a_frame_is_as_it_is_drawn_and_is_read_back(encoded: bytes, drawn: bytes, frame: Frame) -> None:
    assert encoded == drawn
    assert FrameReader().feed(drawn) == [frame]


def test_frames_are_cut_out_of_single_bytes() -> None:
    reader = FrameReader()
    stream = b"".join([drawn for _, drawn, _ in CASES])
    found = [frame for at in range(len(stream)) for frame in reader.feed(stream[at : at + 1])]
    assert found == [frame for _, _, frame in CASES]


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**64 - 1), st.binary(max_size=50))),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_however_a_stream_is_dealt_out_the_frames_are_the_same(
    frames: list[tuple[int, int, bytes]], sizes: list[int]
) -> None:
    stream = b"".join([links.encode_frame(*frame) for frame in frames])
    reader, found = FrameReader(), []
    while stream:
        for size in sizes:
            found += reader.feed(stream[:size])
            stream = stream[size:]
    assert found == frames


@given(st.sampled_from([2, 3]), st.lists(st.binary(max_size=300)))
def test_the_words_of_a_request_come_out_as_they_went_in(protocol: int, words: list[bytes]) -> None:
    [frame] = FrameReader().feed(links.encode_request(7, protocol, words))
    assert (frame.kind, frame.number) == (links.REQUEST, 7)
    assert links.decode_request(frame.body) == (protocol, words)


APPENDS = [
    Append.to_stream(
        STREAM, "any", [CheckedEvent.of(type="t", data="\u20ac"), CheckedEvent.of(type="t", data="", metadata="m")], 9
    ),
    Append(
        [
            StreamAppend(
                STREAM, 3, [CheckedEvent.of(type="t", data="", causation_id="c", correlation_id="d", tags=("a", "b"))]
            ),
            StreamAppend(OTHER, "exists", []),
        ],
        300,
        (Unless(types=("t",), after=bytes(range(16))), Unless(tags=("a",))),
        "request",
        Checkpoint("consumer", "member", bytes(16)),
    ),
]


def test_appends_come_out_as_they_went_in() -> None:
    items = list(enumerate(APPENDS, 2**40))
    [frame] = FrameReader().feed(links.encode_items(links.APPENDS, items))
    assert (frame.kind, frame.number) == (links.APPENDS, 2)
    assert links.decode_appends(frame.body) == items


def test_outcomes_come_out_as_they_went_in() -> None:
    collisions = [Collision(STREAM, 3, 4), Collision(OTHER, "exists", 0)]
    outcomes: list[links.Outcome] = [[b"{}", b'{"a":1}'], b"-ERR no\r\n", [], *collisions]
    items = list(enumerate(outcomes))
    [frame] = FrameReader().feed(links.encode_items(links.OUTCOMES, items))
    assert links.decode_outcomes(frame.body) == items


@pytest.mark.parametrize("streams", [None, set(), {STREAM}, {STREAM, OTHER}])
def test_the_streams_that_grew_come_out_as_they_went_in(streams: set[str] | None) -> None:
    [frame] = FrameReader().feed(links.encode_grew(streams))
    assert links.decode_grew(frame) == streams
