"""What is too large is read and dropped, the connection goes on, and memory stays bounded meanwhile."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflowdb.errors import TryAgain
from eventflowdb.limits import ARGUMENTS_KEPT_MAX, BULK_BYTES_MAX, KIB, MIB
from eventflowdb.wire.requests import UNAUTHENTICATED, DroppedRequest, ProtocolError, RequestParser, authenticated

from .samples import LIMITS, SMALL_LIMITS, UNHURRIED, Outcome, array, byte_by_byte, cut, outcomes, too_large

OVERLOADED = TryAgain("overloaded")


def pieces_of(size_bytes: int, piece: bytes) -> list[bytes]:
    """So many bytes as the same piece over and over, which takes no memory, and a shorter last one."""
    return [piece] * (size_bytes // len(piece)) + [piece[: size_bytes % len(piece)]]


def dropped(request: object) -> str:
    """Why a request was dropped, which it has to be."""
    assert isinstance(request, DroppedRequest)
    return str(request.error)


def test_of_a_huge_request_nothing_is_held_and_the_next_request_is_answered() -> None:
    size_bytes = 100 * MIB
    parser = RequestParser(authenticated(MIB))
    parser.feed(b"*2\r\n$3\r\nADD\r\n$%d\r\n" % size_bytes)
    assert parser.next_request() is None
    assert parser.held_bytes == 0
    for piece in pieces_of(size_bytes, b"x" * 65_536):
        parser.feed(piece)
        assert parser.next_request() is None
        assert parser.held_bytes <= 2
    parser.feed(b"\r\n" + array(b"PING"))
    assert "dropped: " + dropped(parser.next_request()) == too_large(MIB)
    assert parser.next_request() == [b"PING"]
    assert parser.held_bytes == 0


def test_a_huge_request_that_does_not_end_in_crlf_is_a_protocol_error() -> None:
    sent = [b"*1\r\n$%d\r\n" % (2 * MIB), *pieces_of(2 * MIB, b"\r\n" * 1000), b"\rx"]
    assert outcomes(sent) == ["protocol error: expected CRLF after a bulk string"]


@pytest.mark.parametrize("words", [[b"a" * 600, b"b" * 600], [b"a" * 1024, b"b"], [b"", b"a" * 1025], [b"ab"] * 600])
def test_words_that_are_too_large_together_are_dropped(words: list[bytes]) -> None:
    sent = array(*words) + array(b"PING")
    expected: list[Outcome] = [too_large(1024), [b"PING"]]
    assert outcomes([sent], SMALL_LIMITS) == expected
    assert outcomes(byte_by_byte(sent), SMALL_LIMITS) == expected


def test_words_before_the_one_that_is_too_large_are_let_go() -> None:
    parser = RequestParser(SMALL_LIMITS)
    parser.feed(b"*3\r\n$1000\r\n" + b"a" * 1000 + b"\r\n$24\r\n" + b"b" * 24 + b"\r\n")
    assert parser.next_request() is None
    assert parser.held_bytes == 1024
    parser.feed(b"$1\r\n")
    assert parser.next_request() is None
    assert parser.held_bytes == 0


@pytest.mark.parametrize("line", [b"a" * 1025, b"a" * 1000 + b" " + b"b" * 25, b'"' + b"a b" * 500 + b'"'])
def test_an_inline_command_keeps_to_the_same_size(line: bytes) -> None:
    expected: list[Outcome] = [too_large(1024), [b"PING"]]
    assert outcomes([line + b"\r\nPING\r\n"], SMALL_LIMITS) == expected
    assert outcomes([b"\\x41" * 256 + b"\r\n"], SMALL_LIMITS) == [[b"\\x41" * 256]]


@pytest.mark.parametrize("count", [ARGUMENTS_KEPT_MAX - 1, ARGUMENTS_KEPT_MAX])
def test_as_many_words_are_kept_as_any_command_could_need(count: int) -> None:
    words = [b"%d" % index for index in range(count)]
    sent = array(*words)
    assert outcomes([sent]) == [words]
    assert outcomes(cut(sent, range(7, len(sent), 7))) == [words]


@pytest.mark.parametrize("count", [ARGUMENTS_KEPT_MAX + 1, 100_000])
def test_more_words_are_counted_and_dropped(count: int) -> None:
    sent = b"*%d\r\n" % count + b"$1\r\nx\r\n" * count + array(b"PING")
    expected: list[Outcome] = [f"dropped: the request has {count} words; the most is 1024", [b"PING"]]
    for size in (len(sent), 65_536, 1009):
        assert outcomes(cut(sent, range(size, len(sent), size))) == expected


def test_more_words_that_are_too_large_besides_are_refused_for_their_number() -> None:
    sent = b"*1025\r\n" + b"$2000\r\n" + b"x" * 2000 + b"\r\n" + b"$0\r\n\r\n" * 1024
    assert outcomes([sent], SMALL_LIMITS) == ["dropped: the request has 1025 words; the most is 1024"]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (array(*[b"x" * 16_384] * 10), [[b"x" * 16_384] * 10]),
        (array(*[b"x"] * 9), [[b"x"] * 9]),
        (b"*11\r\n", ["protocol error: unauthenticated multibulk length"]),
        (b"*1048576\r\n", ["protocol error: unauthenticated multibulk length"]),
        (b"*1048577\r\n", ["protocol error: invalid multibulk length"]),
        (b"*1\r\n$16385\r\n", ["protocol error: unauthenticated bulk length"]),
        (array(b"AUTH", b"x" * 16_385), ["protocol error: unauthenticated bulk length"]),
        (b"*1\r\n$536870912\r\n", ["protocol error: unauthenticated bulk length"]),
        (b"*1\r\n$536870913\r\n", ["protocol error: invalid bulk length"]),
        (b"AUTH " + b"x" * 60_000 + b"\n", [[b"AUTH", b"x" * 60_000]]),
    ],
)
def test_before_auth_little_is_taken(sent: bytes, expected: list[Outcome]) -> None:
    assert outcomes([sent], UNAUTHENTICATED) == expected
    assert outcomes(cut(sent, range(1009, len(sent), 1009)), UNAUTHENTICATED) == expected


def test_limits_that_change_hold_from_the_next_request_on() -> None:
    parser = RequestParser(UNAUTHENTICATED)
    parser.feed(array(b"AUTH", b"secret") + array(*[b"x" * 20_000] * 12) + array(b"ADD", b"y" * 20_000))
    assert parser.next_request() == [b"AUTH", b"secret"]
    parser.limits = LIMITS
    assert parser.next_request() == [b"x" * 20_000] * 12
    parser.limits = UNAUTHENTICATED
    with pytest.raises(ProtocolError, match=r"^unauthenticated bulk length$"):
        parser.next_request()


def test_a_request_of_the_largest_bulk_there_is_can_be_dropped() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(b"*1\r\n$%d\r\n" % BULK_BYTES_MAX)
    piece = b"x" * (4 * MIB)
    for part in pieces_of(BULK_BYTES_MAX, piece):
        parser.feed(part)
        assert parser.next_request() is None
        assert parser.held_bytes <= 2
    parser.feed(b"\r\n")
    assert "dropped: " + dropped(parser.next_request()) == too_large(MIB)


@pytest.mark.parametrize("sent", [b"", array(b"PING"), b"PING", b"*1\r", b"*0\r\n"])
def test_where_no_request_is_unfinished_there_is_none_to_give_up(sent: bytes) -> None:
    parser = RequestParser(LIMITS)
    parser.feed(sent)
    parser.next_request()
    assert not parser.drop_current(OVERLOADED)


@UNHURRIED
@given(st.data())
def test_a_request_given_up_anywhere_is_refused_when_its_rest_has_come(data: st.DataObject) -> None:
    sent = array(b"ADD", b"x" * 20, b"\r\n")
    at = data.draw(st.integers(len(b"*3\r\n"), len(sent) - 1))
    parser = RequestParser(LIMITS)
    parser.feed(sent[:at])
    assert parser.next_request() is None
    assert parser.drop_current(OVERLOADED)
    assert parser.held_bytes <= len(b"$20\r")
    parser.feed(sent[at:] + array(b"PING"))
    request = parser.next_request()
    assert isinstance(request, DroppedRequest)
    assert request.error is OVERLOADED
    assert parser.next_request() == [b"PING"]


@pytest.mark.parametrize("so_far", [b"x" * 20, b"x" * 20 + b"\r", b"x", b""])
def test_of_a_request_given_up_the_end_is_still_checked(so_far: bytes) -> None:
    parser = RequestParser(LIMITS)
    parser.feed(b"*1\r\n$20\r\n" + so_far)
    assert parser.next_request() is None
    assert parser.drop_current(OVERLOADED)
    parser.feed(b"x" * (22 - len(so_far)))
    with pytest.raises(ProtocolError, match=r"^expected CRLF after a bulk string$"):
        parser.next_request()


def test_a_request_given_up_frees_what_it_held() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(b"*3\r\n$100000\r\n" + b"x" * 100_000 + b"\r\n$100000\r\n" + b"y" * 50_000)
    assert parser.next_request() is None
    assert parser.held_bytes == 150_000
    assert parser.drop_current(OVERLOADED)
    assert parser.held_bytes == 2


def test_the_first_reason_to_drop_a_request_stays() -> None:
    # A request that is too large must not be answered TRYAGAIN: no retry could help.
    parser = RequestParser(SMALL_LIMITS)
    parser.feed(b"*1\r\n$2000\r\nxx")
    assert parser.next_request() is None
    assert parser.drop_current(OVERLOADED)
    parser.feed(b"x" * 1998 + b"\r\n")
    assert "dropped: " + dropped(parser.next_request()) == too_large(1024)


def test_small_pieces_of_a_bulk_weigh_no_more_than_what_is_held() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(b"*1\r\n$%d\r\n" % MIB)
    tracemalloc.start()
    try:
        for index in range(30_000):
            parser.feed(index.to_bytes(2, "big"))
            assert parser.next_request() is None
        used_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert parser.held_bytes == 60_000
    assert used_bytes < 2 * parser.held_bytes


@pytest.mark.parametrize("rest", [b"", b"*1\r\n$2", b"PIN", b"*2\r\n$3\r\nADD\r\n"])
def test_a_connection_that_waits_keeps_no_bytes_that_were_read(rest: bytes) -> None:
    parser = RequestParser(LIMITS)
    tracemalloc.start()
    try:
        parser.feed(b"*0\r\n" * (64 * KIB // 4) + rest)
        assert parser.next_request() is None
        used_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert parser.held_bytes <= len(rest)
    assert used_bytes < 8 * KIB
