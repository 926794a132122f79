"""RESP2 replies are framed alike however the bytes are cut, and other bytes are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflowdb.client.refusals import UnexpectedReply
from eventflowdb.client.replies import LINE_BYTES_MAX, NESTING_MAX, Reply, ReplyParser
from eventflowdb.errors import InvalidArgument

from .samples import array, bulk

CASES: list[tuple[bytes, Reply]] = [
    (b"+OK\r\n", "OK"),
    (b"+\r\n", ""),
    (b"+42\r\n", "42"),
    (b"+QUEUED\r\n", "QUEUED"),
    (b":0\r\n", 0),
    (b":-1\r\n", -1),
    (b":9007199254740991\r\n", 2**53 - 1),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"$2\r\n42\r\n", b"42"),
    (b"$3\r\n1.5\r\n", b"1.5"),
    (b"$4\r\n\r\n\r\n\r\n", b"\r\n\r\n"),
    (b"$9\r\n$1\r\nx\r\n:1\r\n", b"$1\r\nx\r\n:1"),
    (bulk(bytes(range(256))), bytes(range(256))),
    (bulk(b"x" * 100_000), b"x" * 100_000),
    (array(b":1\r\n", b"+two\r\n", bulk(b"three"), b"$-1\r\n"), [1, "two", b"three", None]),
    (array(array(), array(bulk(b"a"), array(b":1\r\n")), b"*-1\r\n"), [[], [b"a", [1]], None]),
]


@pytest.mark.parametrize(("sent", "reply"), CASES)
def test_a_reply_arrives_whole(sent: bytes, reply: Reply) -> None:
    assert ReplyParser().receive(sent) == [reply]


@pytest.mark.parametrize(("sent", "reply"), [case for case in CASES if len(case[0]) < 1000])
def test_a_reply_arrives_byte_by_byte_with_its_last_byte(sent: bytes, reply: Reply) -> None:
    parser = ReplyParser()
    arrived = [parser.receive(sent[index : index + 1]) for index in range(len(sent))]
    assert arrived == [[]] * (len(sent) - 1) + [[reply]]


@given(st.lists(st.sampled_from(CASES), max_size=8), st.data())
def test_replies_keep_their_order_however_they_are_cut(cases: list[tuple[bytes, Reply]], data: st.DataObject) -> None:
    sent = b"".join(case[0] for case in cases)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=20)))
    parser = ReplyParser()
    arrived: list[Reply] = []
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        arrived += parser.receive(sent[start:end])
    assert arrived == [case[1] for case in cases]


@given(st.lists(st.one_of(st.binary(), st.sampled_from([b"*", b"$", b":", b"+", b"-", b"1", b"\r\n", b"x\r\n"]))))
def test_any_bytes_give_replies_or_are_refused(pieces: list[bytes]) -> None:
    parser = ReplyParser()
    try:
        for piece in pieces:
            parser.receive(piece)
    except UnexpectedReply:
        pass


def test_an_error_is_a_value_alone_and_inside_an_array() -> None:
    alone, within = ReplyParser().receive(b"-INVALIDARG stream: missing\r\n" + array(b":1\r\n", b"-ERR no\r\n"))
    assert isinstance(alone, InvalidArgument)
    assert str(alone) == "stream: missing"
    assert isinstance(within, list)
    assert [str(item) for item in within] == ["1", "no"]


def test_an_error_that_is_no_utf8_is_still_an_error() -> None:
    (error,) = ReplyParser().receive(b"-ERR \xff\r\n")
    assert str(error) == "\N{REPLACEMENT CHARACTER}"


def test_an_event_of_the_largest_size_arrives_in_small_chunks() -> None:
    event = b"0123456789abcdef" * (1 << 20)
    sent = memoryview(array(bulk(event), b":1\r\n"))
    parser = ReplyParser()
    arrived = [
        reply for start in range(0, len(sent), 65536) for reply in parser.receive(bytes(sent[start : start + 65536]))
    ]
    assert arrived == [[event, 1]]


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"%1\r\n",
        b":one\r\n",
        b":\r\n",
        b"$x\r\n",
        b"*x\r\n",
        b"+" + b"x" * LINE_BYTES_MAX + b"x",
        b"*1\r\n" * (NESTING_MAX + 1),
    ],
)
def test_what_is_no_resp2_is_refused(sent: bytes) -> None:
    with pytest.raises(UnexpectedReply):
        ReplyParser().receive(sent)
