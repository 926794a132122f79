"""Replies are the bytes that every RESP2 client reads back as the value they stand for."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventflowdb.errors import CommandRefused, EventflowError, InvalidArgument, TryAgain, WrongExpectedVersion
from eventflowdb.wire import replies

from .resp2 import ErrorLine, SimpleString, Value, decode
from .samples import UNHURRIED

STREAM = "5f0c0d8e-8a52-4b3c-9d39-0a2f6f3f7d11"
CLIENT_LINE_BYTES_MAX = 16_384
"""Where txredisapi closes the connection."""

REPLIES: list[tuple[bytes, bytes, Value]] = [
    (replies.OK, b"+OK\r\n", SimpleString("OK")),
    (replies.PONG, b"+PONG\r\n", SimpleString("PONG")),
    (replies.integer(0), b":0\r\n", 0),
    (replies.integer(2**53 - 1), b":9007199254740991\r\n", 2**53 - 1),
    (replies.integer(-1), b":-1\r\n", -1),
    (replies.bulk(b""), b"$0\r\n\r\n", b""),
    (replies.bulk(b"a\r\nb"), b"$4\r\na\r\nb\r\n", b"a\r\nb"),
    (replies.bulk("é".encode()), b"$2\r\n\xc3\xa9\r\n", "é".encode()),
    (replies.array([]), b"*0\r\n", []),
    (
        replies.array([replies.integer(4096), replies.bulk(b"4.1 kB")]),
        b"*2\r\n:4096\r\n$6\r\n4.1 kB\r\n",
        [4096, b"4.1 kB"],
    ),
    (replies.bulk_array([]), b"*0\r\n", []),
    (replies.bulk_array([b"a", b"", b"bc"]), b"*3\r\n$1\r\na\r\n$0\r\n\r\n$2\r\nbc\r\n", [b"a", b"", b"bc"]),
    (
        replies.messages(replies.message_prefix(b"{}", is_push=False), [b"a"]),
        b"*3\r\n$7\r\nmessage\r\n$2\r\n{}\r\n$1\r\na\r\n",
        [b"message", b"{}", b"a"],
    ),
    (replies.error(CommandRefused("syntax error")), b"-ERR syntax error\r\n", ErrorLine("ERR syntax error")),
    (
        replies.error(InvalidArgument("events[0].type: expected a string, got an integer")),
        b"-INVALIDARG events[0].type: expected a string, got an integer\r\n",
        ErrorLine("INVALIDARG events[0].type: expected a string, got an integer"),
    ),
    (
        replies.error(WrongExpectedVersion.of(STREAM, 3, 5)),
        b"-CONCURRENCY stream=5f0c0d8e-8a52-4b3c-9d39-0a2f6f3f7d11 expected=3 actual=5: the stream holds 5 events, "
        b"the append expected 3; read it again and decide anew\r\n",
        ErrorLine(
            f"CONCURRENCY stream={STREAM} expected=3 actual=5: the stream holds 5 events, "
            "the append expected 3; read it again and decide anew"
        ),
    ),
    (replies.error(TryAgain("a\r\nb\rc\nd")), b"-TRYAGAIN a  b c d\r\n", ErrorLine("TRYAGAIN a  b c d")),
    (replies.error(EventflowError("é €")), b"-ERR \xc3\xa9 \xe2\x82\xac\r\n", ErrorLine("ERR é €")),
    (replies.error_line("ERR half \ud800"), b"-ERR half \\ud800\r\n", ErrorLine("ERR half \\ud800")),
    (replies.error_line("ERR \0"), b"-ERR \0\r\n", ErrorLine("ERR \0")),
    (replies.error_line("x" * 1000), b"-" + b"x" * 1000 + b"\r\n", ErrorLine("x" * 1000)),
    (replies.error_line("x" * 1001), b"-" + b"x" * 1000 + b"...\r\n", ErrorLine("x" * 1000 + "...")),
]

bulks = st.lists(st.one_of(st.binary(max_size=30), st.integers(4080, 4110).map(lambda length: b"x" * length)))


@pytest.mark.parametrize(("reply", "expected", "_value"), REPLIES)
def test_a_reply_is_these_bytes(reply: bytes, expected: bytes, _value: Value) -> None:
    assert reply == expected


@pytest.mark.parametrize(("reply", "_expected", "value"), REPLIES)
def test_a_reply_is_read_back_as_what_it_stands_for(reply: bytes, _expected: bytes, value: Value) -> None:
    decoded = decode(reply)
    assert decoded == value
    assert type(decoded) is type(value)


@UNHURRIED
@given(st.integers())
def test_an_integer_comes_back(number: int) -> None:
    assert decode(replies.integer(number)) == number


@UNHURRIED
@given(bulks)
def test_bulk_strings_come_back(values: list[bytes]) -> None:
    assert decode(replies.bulk_array(values)) == values
    assert decode(replies.array([replies.bulk(value) for value in values])) == values


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 100_000])
def test_a_bulk_string_is_the_same_alone_and_in_an_array(length: int) -> None:
    assert replies.bulk_array([b"x" * length]) == b"*1\r\n" + replies.bulk(b"x" * length)


@UNHURRIED
@given(bulks, st.data())
def test_an_array_in_pieces_is_the_same_array(values: list[bytes], data: st.DataObject) -> None:
    ends = [*sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4))), len(values)]
    chunks = [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    pieces = [replies.array_start(len(values)), *map(replies.array_items, chunks), replies.ARRAY_END]
    assert b"".join(pieces) == replies.bulk_array(values)


@UNHURRIED
@given(st.text(st.characters(), max_size=2000))
@example("\ud800" * 2000)
@example("\U0010ffff" * 2000)
@example("\r\n" * 1000)
def test_an_error_is_one_line_that_every_client_takes_whatever_its_text(text: str) -> None:
    reply = replies.error(InvalidArgument(text))
    assert len(reply) <= CLIENT_LINE_BYTES_MAX
    decoded = decode(reply)
    assert isinstance(decoded, ErrorLine)
    assert not {"\r", "\n"} & set(decoded)
    assert decoded.startswith("INVALIDARG ")


@UNHURRIED
@given(st.binary(max_size=50), bulks.filter(bool))
def test_messages_of_a_channel_stand_one_behind_the_other(channel: bytes, payloads: list[bytes]) -> None:
    messages = replies.messages(replies.message_prefix(channel, is_push=False), payloads)
    expected = [replies.bulk_array([b"message", channel, payload]) for payload in payloads]
    assert messages == b"".join(expected)
    pushes = replies.messages(replies.message_prefix(channel, is_push=True), payloads)
    assert pushes == b"".join([b">" + message[1:] for message in expected])
