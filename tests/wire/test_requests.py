"""Requests come out of bytes alike however the bytes are cut, and other bytes are refused in Redis's words."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventflowdb.limits import BULK_BYTES_MAX, LINE_BYTES_MAX, MIB
from eventflowdb.wire.requests import UNAUTHENTICATED, ProtocolError, RequestLimits, RequestParser, authenticated

from .samples import LIMITS, SMALL_LIMITS, UNHURRIED, Outcome, array, byte_by_byte, cut, outcomes, too_large

ALL_BYTES = bytes(range(256))

HTTP = "protocol error: this is HTTP; the server speaks the Redis protocol, and runs nothing that comes so"

COMPLETE: list[tuple[bytes, list[Outcome]]] = [
    (b"", []),
    # Arrays of bulk strings.
    (b"*1\r\n$4\r\nPING\r\n", [[b"PING"]]),
    (b"*2\r\n$3\r\nADD\r\n$2\r\n{}\r\n", [[b"ADD", b"{}"]]),
    (b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", [[b"ECHO", b""]]),
    (b"*1\r\n$0\r\n\r\n", [[b""]]),
    (b"*1\r\n$2\r\n\r\n\r\n", [[b"\r\n"]]),
    (b"*1\r\n$9\r\n*1\r\n$1\r\na\r\n", [[b"*1\r\n$1\r\na"]]),
    (array(ALL_BYTES, ALL_BYTES), [[ALL_BYTES, ALL_BYTES]]),
    (array(*[b"%d" % index for index in range(9)]), [[b"%d" % index for index in range(9)]]),
    (array(*[b"%d" % index for index in range(12)]), [[b"%d" % index for index in range(12)]]),
    (array(b"ADD", b"x" * 5000), [[b"ADD", b"x" * 5000]]),
    (array(b"a") + array(b"b", b"c") + array(b"d"), [[b"a"], [b"b", b"c"], [b"d"]]),
    # What says nothing.
    (b"*0\r\n", []),
    (b"*-1\r\n*-17\r\n*1\r\n$1\r\na\r\n*0\r\n", [[b"a"]]),
    (b"\r\n\n \t\r\nPING\r\n\r\n", [[b"PING"]]),
    # Inline commands.
    (b"PING\r\n", [[b"PING"]]),
    (b"PING\n", [[b"PING"]]),
    (b"PING \"a b\" 'c' d\r\n", [[b"PING", b"a b", b"c", b"d"]]),
    (b"ADD '{\"a\":1}'\r\n", [[b"ADD", b'{"a":1}']]),
    (b'""\r\n', [[b""]]),
    (b"$4\r\n:1\r\n+OK\r\n", [[b"$4"], [b":1"], [b"+OK"]]),
    (b" *1\r\n$1\r\n", [[b"*1"], [b"$1"]]),
    (b"PING\r\n*1\r\n$1\r\na\r\nQUIT\n", [[b"PING"], [b"a"], [b"QUIT"]]),
]
UNFINISHED: list[tuple[bytes, list[Outcome]]] = [
    (b"*", []),
    (b"*1", []),
    (b"*1\r", []),
    (b"*1\r\n", []),
    (b"*1\r\n$", []),
    (b"*1\r\n$4\r\nPING", []),
    (b"*1\r\n$4\r\nPING\r", []),
    (b"*2\r\n$4\r\nPING\r\n", []),
    (b"PING", []),
    (b'PING "a', []),
    (b"PING\r\nPING\r", [[b"PING"]]),
]
REFUSED: list[tuple[bytes, list[Outcome]]] = [
    # Headers of arrays.
    (b"*\r\n", ["protocol error: invalid multibulk length"]),
    (b"*a\r\n", ["protocol error: invalid multibulk length"]),
    (b"*1a\r\n", ["protocol error: invalid multibulk length"]),
    (b"* 1\r\n", ["protocol error: invalid multibulk length"]),
    (b"*1 \r\n", ["protocol error: invalid multibulk length"]),
    (b"*+1\r\n", ["protocol error: invalid multibulk length"]),
    (b"*-\r\n", ["protocol error: invalid multibulk length"]),
    (b"*--1\r\n", ["protocol error: invalid multibulk length"]),
    (b"*-0\r\n", ["protocol error: invalid multibulk length"]),
    (b"*01\r\n", ["protocol error: invalid multibulk length"]),
    (b"*1_0\r\n", ["protocol error: invalid multibulk length"]),
    (b"*1.0\r\n", ["protocol error: invalid multibulk length"]),
    (b"*\xb2\r\n", ["protocol error: invalid multibulk length"]),
    (b"*1\r$1\r\n", ["protocol error: invalid multibulk length"]),
    (b"*1\n$1\r\n", ["protocol error: invalid multibulk length"]),
    (b"*1048577\r\n", ["protocol error: invalid multibulk length"]),
    (b"*18446744073709551617\r\n", ["protocol error: invalid multibulk length"]),
    (b"*" + b"1" * 5000 + b"\r\n", ["protocol error: invalid multibulk length"]),
    (b"PING\r\n*a\r\nPING\r\n", [[b"PING"], "protocol error: invalid multibulk length"]),
    # Headers of bulk strings.
    (b"*1\r\n$\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\n$-1\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\n$-0\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\n$+4\r\nPING\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\n$04\r\nPING\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\n$ 4\r\nPING\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\n$4a\r\nPING\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\n$4\rxPING\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\n$536870913\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\n$18446744073709551620\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\n$" + b"4" * 5000 + b"\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\nPING\r\n", ["protocol error: expected '$', got 'P'"]),
    (b"*1\r\n:1\r\n", ["protocol error: expected '$', got ':'"]),
    (b"*1\r\n*1\r\n", ["protocol error: expected '$', got '*'"]),
    (b"*1\r\n\r\n", ["protocol error: expected '$', got ' '"]),
    (b"*1\r\n\0", ["protocol error: expected '$', got ' '"]),
    (b"*1\r\n\xe9\r\n", ["protocol error: expected '$', got 'é'"]),
    (b"*2\r\n$1\r\na\r\nx", ["protocol error: expected '$', got 'x'"]),
    # The end of a bulk string.
    (b"*1\r\n$4\r\nPINGPING\r\n", ["protocol error: expected CRLF after a bulk string"]),
    (b"*1\r\n$4\r\nPIN\r\n\r\n", ["protocol error: expected CRLF after a bulk string"]),
    (b"*1\r\n$4\r\nPING\n\r\n", ["protocol error: expected CRLF after a bulk string"]),
    (b"*1\r\n$0\r\nab", ["protocol error: expected CRLF after a bulk string"]),
    (b"*2\r\n$4\r\nPING\rx", ["protocol error: expected CRLF after a bulk string"]),
    # Inline commands that are none.
    (b'PING "a\r\n', ["protocol error: unbalanced quotes in request"]),
    (b"PING 'a'b\r\n", ["protocol error: unbalanced quotes in request"]),
    (array(b"a") + b'"\n' + array(b"b"), [[b"a"], "protocol error: unbalanced quotes in request"]),
    # HTTP.
    (b"POST / HTTP/1.1\r\nPING\r\n", [HTTP]),
    (b"GET /x HTTP/1.0\r\nPING\r\n", [HTTP]),
    (b"OPTIONS * HTTP/1.1\r\n", [HTTP]),
    (b"PING\r\nhost: 127.0.0.1:6543\r\nPING\r\n", [[b"PING"], HTTP]),
    (b"Post\n", [HTTP]),
]
REQUESTS = [*COMPLETE, *UNFINISHED, *REFUSED]

LONGEST_HEADER = LINE_BYTES_MAX - len(b"*\r\n")
LONG_LINES: list[tuple[bytes, list[Outcome]]] = [
    (b"*" + b"1" * LONGEST_HEADER + b"\r\n", ["protocol error: invalid multibulk length"]),
    (b"*" + b"1" * (LONGEST_HEADER + 1) + b"\r\n", ["protocol error: too big mbulk count string"]),
    (b"*" + b"1" * (LINE_BYTES_MAX - 2), []),
    (b"*" + b"1" * (LINE_BYTES_MAX - 1), ["protocol error: too big mbulk count string"]),
    (b"*1\r\n$" + b"1" * LONGEST_HEADER + b"\r\n", ["protocol error: invalid bulk length"]),
    (b"*1\r\n$" + b"1" * (LONGEST_HEADER + 1) + b"\r\n", ["protocol error: too big bulk count string"]),
    (b"*1\r\n$" + b"1" * (LINE_BYTES_MAX - 2), []),
    (b"*1\r\n$" + b"1" * (LINE_BYTES_MAX - 1), ["protocol error: too big bulk count string"]),
    (b"a" * (LINE_BYTES_MAX - 1) + b"\n", [[b"a" * (LINE_BYTES_MAX - 1)]]),
    (b"a" * (LINE_BYTES_MAX - 2) + b"\r\n", [[b"a" * (LINE_BYTES_MAX - 2)]]),
    (b"a" * LINE_BYTES_MAX + b"\n", ["protocol error: too big inline request"]),
    (b"a" * (LINE_BYTES_MAX - 1), []),
    (b"a" * LINE_BYTES_MAX, ["protocol error: too big inline request"]),
    (b" " * LINE_BYTES_MAX, ["protocol error: too big inline request"]),
    (b"\r\n" * LINE_BYTES_MAX + b"PING\r\n", [[b"PING"]]),
]

# What a stream may be made of, so that every state is met by everything that it must not meet.
fragments = st.sampled_from(
    [
        *[sent for sent, _ in REQUESTS if len(sent) < 100],
        *[b"*1\r\n", b"*2\r\n", b"*11\r\n", b"$1\r\n", b"$2\r\n", b"$12\r\n", b"$1000\r\n", b"a\r\n", b"ab\r\n"],
        *[b"*", b"$", b"-", b"0", b"1", b"9", b"\r", b"\n", b" ", b'"', b"'", b"\\", b"\0", b"a" * 1000],
    ]
)
streams = st.lists(st.one_of(fragments, st.binary(max_size=5)), max_size=12).map(b"".join)
any_limits = st.sampled_from([LIMITS, SMALL_LIMITS, UNAUTHENTICATED])


@pytest.mark.parametrize(("sent", "expected"), REQUESTS)
def test_requests_arrive_whole(sent: bytes, expected: list[Outcome]) -> None:
    assert outcomes([sent]) == expected


@pytest.mark.parametrize(("sent", "expected"), REQUESTS)
def test_requests_arrive_byte_by_byte(sent: bytes, expected: list[Outcome]) -> None:
    assert outcomes(byte_by_byte(sent)) == expected


@pytest.mark.parametrize(("sent", "expected"), REQUESTS)
def test_requests_arrive_in_two_pieces(sent: bytes, expected: list[Outcome]) -> None:
    for at in range(0, len(sent) + 1, 1 + len(sent) // 500):
        assert outcomes(cut(sent, [at])) == expected


@pytest.mark.parametrize(("sent", "expected"), LONG_LINES)
@pytest.mark.parametrize("piece_bytes", [997, LINE_BYTES_MAX - 1, LINE_BYTES_MAX, 1 << 20])
def test_a_line_is_as_long_as_redis_lets_it_be(sent: bytes, expected: list[Outcome], piece_bytes: int) -> None:
    assert outcomes(cut(sent, range(piece_bytes, len(sent), piece_bytes))) == expected


@UNHURRIED
@given(st.lists(st.sampled_from(COMPLETE), max_size=8), st.data())
def test_requests_keep_their_order_however_they_are_cut(
    cases: list[tuple[bytes, list[Outcome]]], data: st.DataObject
) -> None:
    sent = b"".join(case[0] for case in cases)
    cuts = data.draw(st.sets(st.integers(0, len(sent)), max_size=20))
    assert outcomes(cut(sent, cuts)) == [outcome for case in cases for outcome in case[1]]


@UNHURRIED
@given(st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=14), max_size=6), st.data())
def test_any_words_come_back_however_they_are_cut(requests: list[list[bytes]], data: st.DataObject) -> None:
    sent = b"".join(array(*words) for words in requests)
    cuts = data.draw(st.sets(st.integers(0, len(sent)), max_size=20))
    assert outcomes(cut(sent, cuts)) == requests


@UNHURRIED
@given(streams, any_limits, st.data())
@example(b"*1\r\n\r\n", LIMITS, None)
@example(b"*1\r\n$1000\r\n" + b"a" * 998 + b"\r\n\r\n", SMALL_LIMITS, None)
def test_any_bytes_give_the_same_requests_and_the_same_error_however_they_are_cut(
    sent: bytes, limits: RequestLimits, data: st.DataObject | None
) -> None:
    whole = outcomes([sent], limits)
    assert outcomes(byte_by_byte(sent), limits) == whole
    if data is not None:
        assert outcomes(cut(sent, data.draw(st.sets(st.integers(0, len(sent)), max_size=10))), limits) == whole


@UNHURRIED
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=12), any_limits)
def test_a_request_that_lies_whole_in_the_buffer_keeps_within_the_same_limits(
    words: list[bytes], limits: RequestLimits
) -> None:
    sent = array(*words) + array(b"PING")
    assert outcomes([sent], limits) == outcomes(byte_by_byte(sent), limits)


@pytest.mark.parametrize("name_bytes", [0, 1, 3, 4095, 4096, 5000])
@pytest.mark.parametrize("argument_bytes", [0, 1, 9, 10, 99, 100, 999, 1000, 4095, 4096, 9999, 10_000, 65_536, 100_000])
def test_words_of_any_size_arrive_alike_in_every_cut(name_bytes: int, argument_bytes: int) -> None:
    words = [b"n" * name_bytes, b"a" * argument_bytes]
    sent = array(*words)
    for size in (len(sent), 65_536, 1000):
        assert outcomes(cut(sent, range(size, len(sent), size))) == [words]


@pytest.mark.parametrize("request_bytes", range(1000, 1060))
def test_a_request_of_the_largest_size_is_taken_and_one_byte_more_is_not(request_bytes: int) -> None:
    words = [b"ADD", b"a" * (request_bytes - 3)]
    expected: Outcome = words if request_bytes <= 1024 else too_large(1024)
    assert outcomes([array(*words)], SMALL_LIMITS) == [expected]
    assert outcomes(byte_by_byte(array(*words)), SMALL_LIMITS) == [expected]


@pytest.mark.parametrize("bulk_bytes", [MIB, BULK_BYTES_MAX])
def test_the_header_of_the_largest_bulk_is_taken(bulk_bytes: int) -> None:
    assert outcomes([b"*2\r\n$3\r\nADD\r\n$%d\r\n{" % bulk_bytes], authenticated(BULK_BYTES_MAX)) == []


def test_a_large_bulk_is_held_as_it_comes_and_given_out_once() -> None:
    parser = RequestParser(authenticated(64 * MIB))
    argument = bytes(range(256)) * (32 * MIB // 256)
    sent = array(b"ADD", argument)
    header_bytes = len(sent) - len(argument) - 2
    held: list[int] = []
    request = None
    for offset in range(0, len(sent), 65_536):
        assert request is None
        parser.feed(sent[offset : offset + 65_536])
        request = parser.next_request()
        held.append(parser.held_bytes)
    assert request == [b"ADD", argument]
    assert held[:-1] == [3 + 65_536 * (index + 1) - header_bytes for index in range(len(held) - 1)]
    assert held[-1] == 0


def test_bytes_that_were_not_asked_for_yet_stay_unread() -> None:
    parser = RequestParser(LIMITS)
    assert not parser.has_unread
    parser.feed(array(b"a") + array(b"b"))
    assert parser.held_bytes == len(array(b"a") + array(b"b"))
    assert parser.next_request() == [b"a"]
    assert parser.has_unread
    assert parser.held_bytes == len(array(b"b"))
    parser.feed(array(b"c") + b"*1\r\n$1\r")
    assert parser.next_request() == [b"b"]
    assert parser.next_request() == [b"c"]
    assert parser.next_request() is None
    parser.feed(b"\nd\r\n")
    assert parser.next_request() == [b"d"]
    assert parser.next_request() is None
    assert not parser.has_unread
    assert parser.held_bytes == 0


def test_asking_again_and_feeding_nothing_changes_nothing() -> None:
    parser = RequestParser(LIMITS)
    for byte in byte_by_byte(array(b"PING", b"\r\n")[:-1]):
        parser.feed(byte)
        parser.feed(b"")
        assert parser.next_request() is None
        held_bytes = parser.held_bytes
        assert parser.next_request() is None
        assert parser.held_bytes == held_bytes
    parser.feed(b"\n")
    assert parser.next_request() == [b"PING", b"\r\n"]


def test_a_protocol_error_comes_after_the_requests_before_it() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(array(b"PING") + b"*x\r\n")
    assert parser.next_request() == [b"PING"]
    with pytest.raises(ProtocolError, match=r"^invalid multibulk length$"):
        parser.next_request()


def request_alone(data: bytes, limits: RequestLimits) -> list[Outcome]:
    """What the general way makes of these bytes, if that is one request; else nothing."""
    found = outcomes([data], limits)
    return found if len(found) == 1 and isinstance(found[0], list) else []


@pytest.mark.parametrize("sent", [array(b"PING"), array(b"GET", b"{}"), array(b""), array(b"ECHO", b"x" * 5000)])
def test_a_short_request_that_comes_alone_is_read_at_once(sent: bytes) -> None:
    parser = RequestParser(LIMITS)
    assert [parser.read_alone(sent)] == outcomes([sent])
    assert parser.is_between_requests


@pytest.mark.parametrize(("sent", "expected"), [*COMPLETE, *UNFINISHED, *REFUSED])
@pytest.mark.parametrize("limits", [LIMITS, UNAUTHENTICATED])
def test_what_is_read_at_once_is_what_would_be_read_otherwise(
    sent: bytes, expected: list[Outcome], limits: RequestLimits
) -> None:
    alone = RequestParser(limits).read_alone(sent)
    assert alone is None or [alone] == expected == request_alone(sent, limits)


@UNHURRIED
@given(
    st.lists(
        st.one_of(st.binary(max_size=3), st.sampled_from([b"*1", b"*2", b"$0", b"$1", b"$2", b"", b"a"])), max_size=7
    )
)
def test_any_bytes_read_at_once_are_read_as_they_would_be_otherwise(lines: list[bytes]) -> None:
    sent = b"\r\n".join(lines)
    alone = RequestParser(LIMITS).read_alone(sent)
    assert alone is None or [alone] == request_alone(sent, LIMITS)


def test_what_becomes_of_a_request_changes_none_that_comes_in_the_same_bytes() -> None:
    parser = RequestParser(LIMITS)
    for name in (b"PING", b"INFO"):
        for _ in range(3):
            words = parser.read_alone(array(name))
            assert words == [name]
            words.append(b"changed")


def test_however_many_short_requests_there_are_each_is_its_own() -> None:
    names = [b"NAME%d" % number for number in range(200)]
    for name in names + names:
        assert RequestParser(LIMITS).read_alone(array(name)) == [name]


def test_however_many_short_requests_come_and_come_again_each_is_its_own() -> None:
    parser = RequestParser(LIMITS)
    assert parser.read_alone(b"") is None
    for name in [b"NAME%d" % (number // 2 % 3) for number in range(20)]:
        assert parser.read_alone(array(name)) == [name]
        assert parser.read_alone(array(name, b"{}")) == [name, b"{}"]
        assert parser.read_alone(array(name)) == [name]
        assert parser.read_alone(array(name)[:-1]) is None


def test_a_request_over_the_limit_is_not_read_at_once() -> None:
    assert RequestParser(SMALL_LIMITS).read_alone(array(b"ADD", b"x" * 1025)) is None
    assert RequestParser(LIMITS).read_alone(array(b"ADD", b"x" * (1 << 15))) is None
