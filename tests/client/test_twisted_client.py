"""The Twisted client's methods over one connection in memory: bytes out, bytes in, typed values."""

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from eventflowdb.client.connections import Connection
from eventflowdb.client.decoding import Checksum, Size
from eventflowdb.client.messages import Messages
from eventflowdb.client.refusals import ConnectionLost, NotConnected, UnexpectedReply, UnknownRefusal
from eventflowdb.client.replies import Reply
from eventflowdb.client.twisted_client import EventflowClient
from eventflowdb.errors import (
    CommandRefused,
    CorruptRecord,
    EventflowError,
    InvalidArgument,
    NotAuthenticated,
    NotPermitted,
    StoreFull,
    TryAgain,
    WrongExpectedVersion,
)
from eventflowdb.events import NewEvent, RecordedEvent

from .samples import CONCURRENCY_TEXT, EVENT, EVENT_JSON, STREAM, array, bulk, event_json

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
OPENED = NewEvent(type="Opened", data="")


class OneConnection:
    """A connection in memory, in the place of the pool."""

    def __init__(self) -> None:
        self.transport = StringTransport()
        self.connection = Connection(charset=None, convertNumbers=False)
        self.connection.makeConnection(self.transport)

    def request(self, *words: bytes, wait_seconds: float = 0.0) -> "Deferred[Reply]":
        return self.connection.request(*words)

    def take_sent(self) -> bytes:
        """What was sent since the last call."""
        sent: bytes = self.transport.value()
        self.transport.clear()
        return sent

    def receive(self, data: bytes) -> None:
        """Bytes from the server."""
        self.connection.dataReceived(data)

    def lose(self) -> None:
        """The connection goes away."""
        self.connection.connectionLost(Failure(ConnectionDone()))

    async def subscribe(self, query: bytes) -> Messages:
        raise AssertionError("subscriptions are tested over TCP")

    async def close(self) -> None:
        self.transport.loseConnection()

    async def abort(self) -> None:
        self.transport.abortConnection()


class ClientTest(SynchronousTestCase):
    """A client over one connection in memory."""

    def setUp(self) -> None:
        self.wire = OneConnection()
        self.clock = Clock()
        self.client = EventflowClient(self.wire, self.clock)

    def asks(self, make: "Callable[[], Deferred[T]]", sent: bytes, reply: bytes) -> T:
        """What a method's Deferred fires with, once it sent just these bytes and got this reply."""
        asked = make()
        assert self.wire.take_sent() == sent
        assert not asked.called
        self.wire.receive(reply)
        return self.successResultOf(asked)

    def error_of(self, asked: "Deferred[T]", kind: type[E]) -> E:
        """What a method's Deferred failed with: just this kind of error."""
        error = self.failureResultOf(asked).value  # type: ignore[no-untyped-call]
        assert type(error) is kind
        return error

    def error_for(self, reply: bytes, kind: type[E]) -> E:
        """What a read fails with that gets this reply."""
        asked = self.client.get(STREAM)
        self.wire.take_sent()
        self.wire.receive(reply)
        return self.error_of(asked, kind)


class CommandTest(ClientTest):
    """Each command, byte for byte."""

    def test_ping_gives_pong_or_the_message(self) -> None:
        assert self.asks(self.client.ping, b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n") == "PONG"
        reply = self.asks(
            lambda: self.client.ping("Zoë"), b"*2\r\n$4\r\nPING\r\n$4\r\nZo\xc3\xab\r\n", b"$4\r\nZo\xc3\xab\r\n"
        )
        assert reply == "Zoë"

    def test_what_looks_like_a_number_stays_text(self) -> None:
        assert self.asks(lambda: self.client.ping("42"), b"*2\r\n$4\r\nPING\r\n$2\r\n42\r\n", b"$2\r\n42\r\n") == "42"
        assert self.asks(self.client.version, b"*1\r\n$7\r\nVERSION\r\n", b"$3\r\n1.0\r\n") == "1.0"
        reply = array(bulk(b"0" * 26), bulk(b"1" * 64))
        found = self.asks(self.client.checksum, b"*1\r\n$8\r\nCHECKSUM\r\n", reply)
        assert found == Checksum(event_id="0" * 26, checksum="1" * 64)

    def test_uptime_gives_words(self) -> None:
        assert self.asks(self.client.uptime, b"*1\r\n$6\r\nUPTIME\r\n", bulk(b"1 hour")) == "1 hour"

    def test_size_gives_bytes_and_words(self) -> None:
        found = self.asks(self.client.size, b"*1\r\n$4\r\nSIZE\r\n", array(b":12345\r\n", bulk(b"12.3 kB")))
        assert found == Size(bytes=12345, words="12.3 kB")

    def test_counts_give_integers(self) -> None:
        assert self.asks(self.client.event_count, b"*1\r\n$10\r\nEVENTCOUNT\r\n", b":7\r\n") == 7
        assert self.asks(self.client.stream_count, b"*1\r\n$11\r\nSTREAMCOUNT\r\n", b":6\r\n") == 6
        assert self.asks(self.client.event_count_estimate, b"*1\r\n$13\r\nEVENTCOUNTEST\r\n", b":5\r\n") == 5
        assert self.asks(self.client.stream_count_estimate, b"*1\r\n$14\r\nSTREAMCOUNTEST\r\n", b":4\r\n") == 4

    def test_add_gives_the_events_as_stored(self) -> None:
        argument = b'{"stream":"%b","version":0,"events":[{"type":"Opened","data":""}]}' % STREAM.encode()
        sent = b"*2\r\n$3\r\nADD\r\n" + bulk(argument)
        assert self.asks(
            lambda: self.client.add(STREAM, 0, [OPENED], request_id=None), sent, array(bulk(EVENT_JSON))
        ) == [EVENT]

    def test_get_gives_the_events_of_a_stream(self) -> None:
        sent = b"*2\r\n$3\r\nGET\r\n" + bulk(b'{"stream":"%b","version":1,"limit":2}' % STREAM.encode())
        assert self.asks(lambda: self.client.get(STREAM, 1, 2), sent, array()) == []

    def test_get_all_gives_the_events_of_the_log(self) -> None:
        reply = array(bulk(EVENT_JSON), bulk(EVENT_JSON))
        assert self.asks(self.client.get_all, b"*1\r\n$6\r\nGETALL\r\n", reply) == [EVENT, EVENT]

    def test_an_event_of_many_kilobytes_with_line_breaks_arrives_in_any_chunks(self) -> None:
        reply = array(bulk(event_json(1, "x\\r\\n" * 50_000)), bulk(b" \r\n" * 30_000 + EVENT_JSON))
        asked = self.client.get(STREAM)
        for start in range(0, len(reply), 1000):
            self.wire.receive(reply[start : start + 1000])
        large, spaced = self.successResultOf(asked)
        assert large.data == "x\r\n" * 50_000
        assert spaced == EVENT

    def test_requests_are_sent_at_once_and_answered_in_order(self) -> None:
        asked = [self.client.ping(str(number)) for number in range(100)]
        assert self.wire.take_sent().count(b"PING") == 100
        self.wire.receive(b"".join(bulk(b"%d" % number) for number in range(100)))
        assert [self.successResultOf(one) for one in asked] == [str(number) for number in range(100)]

    def test_a_cancelled_request_leaves_the_others_their_replies(self) -> None:
        first, second = self.client.ping("1"), self.client.ping("2")
        first.cancel()
        self.wire.receive(bulk(b"1") + bulk(b"2"))
        self.error_of(first, CancelledError)
        assert self.successResultOf(second) == "2"


class ErrorTest(ClientTest):
    """What fails, and with what."""

    def test_an_error_reply_is_its_class(self) -> None:
        for code, kind in {
            "INVALIDARG": InvalidArgument,
            "NOAUTH": NotAuthenticated,
            "NOPERM": NotPermitted,
            "OOM": StoreFull,
            "CORRUPT": CorruptRecord,
            "ERR": EventflowError,
        }.items():
            error: EventflowError = self.error_for(f"-{code} what is wrong\r\n".encode(), kind)
            assert str(error) == "what is wrong"
        self.error_for(b"-ERR unknown command 'GET', with args beginning with: \r\n", CommandRefused)

    def test_a_refused_append_says_what_the_stream_holds(self) -> None:
        asked = self.client.add(STREAM, 2, [OPENED])
        self.wire.receive(f"-CONCURRENCY {CONCURRENCY_TEXT}\r\n".encode())
        error = self.error_of(asked, WrongExpectedVersion)
        assert (error.stream, error.expected, error.actual) == (STREAM, 2, 3)

    def test_an_unknown_code_keeps_its_text_and_code(self) -> None:
        error = self.error_for(b"-READONLY this server follows another\r\n", UnknownRefusal)
        assert (error.code, str(error)) == ("READONLY", "READONLY this server follows another")

    def test_an_error_among_the_events_is_not_passed_over(self) -> None:
        self.error_for(array(bulk(EVENT_JSON), b"-CORRUPT record 2\r\n"), CorruptRecord)

    def test_an_error_leaves_the_connection_in_use(self) -> None:
        self.error_for(b"-OOM full\r\n", StoreFull)
        assert self.asks(self.client.event_count, b"*1\r\n$10\r\nEVENTCOUNT\r\n", b":7\r\n") == 7

    def test_a_reply_of_another_shape_is_unexpected(self) -> None:
        self.error_for(b":1\r\n", UnexpectedReply)

    def test_bytes_that_are_no_replies_fail_all_requests_and_end_the_connection(self) -> None:
        asked = [self.client.ping(), self.client.ping()]
        self.wire.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        for one in asked:
            self.error_of(one, UnexpectedReply)
        assert self.wire.transport.disconnected

    def test_requests_under_way_when_the_connection_is_lost_say_that_their_outcome_is_unknown(self) -> None:
        asked = [self.client.add(STREAM, 0, [OPENED], request_id=None) for _ in range(2)]
        self.wire.receive(b"*1\r\n$100\r\n{")
        self.wire.lose()
        for one in asked:
            assert "may or may not" in str(self.error_of(one, ConnectionLost))

    def test_a_request_on_a_lost_connection_is_not_sent(self) -> None:
        self.wire.lose()
        self.error_of(self.client.ping(), NotConnected)
        assert self.wire.take_sent() == b""

    def test_text_that_utf8_cannot_carry_fails_the_deferred_and_is_not_sent(self) -> None:
        self.error_of(self.client.add(STREAM, 0, [NewEvent(type="A", data="\ud800")]), InvalidArgument)
        assert self.wire.take_sent() == b""


class RetryTest(ClientTest):
    """What the server asks to try again. Lost connections are in test_connections."""

    def test_a_request_is_repeated_as_it_was_until_it_is_answered(self) -> None:
        asked = self.client.add(STREAM, 0, [OPENED])
        sent = self.wire.take_sent()
        assert b"request_id" in sent
        for pause in (0.2, 0.5, 1.5):
            self.wire.receive(b"-TRYAGAIN overloaded\r\n")
            self.clock.advance(pause / 2)
            assert self.wire.take_sent() == b""
            self.clock.advance(pause / 2)
            assert self.wire.take_sent() == sent
        self.wire.receive(array(bulk(EVENT_JSON)))
        assert self.successResultOf(asked) == [EVENT]

    def test_a_request_is_repeated_three_times_at_most(self) -> None:
        asked = self.client.add(STREAM, 0, [OPENED], request_id=None)
        for _ in range(4):
            assert self.wire.take_sent() != b""
            self.wire.receive(b"-TRYAGAIN overloaded\r\n")
            self.clock.advance(10)
        assert str(self.error_of(asked, TryAgain)) == "overloaded"
        assert self.wire.take_sent() == b""
        assert not self.clock.getDelayedCalls()

    def test_a_request_that_is_cancelled_between_attempts_is_not_sent_again(self) -> None:
        asked = self.client.event_count()
        self.wire.take_sent()
        self.wire.receive(b"-TRYAGAIN overloaded\r\n")
        asked.cancel()
        self.error_of(asked, CancelledError)
        self.clock.advance(10)
        assert self.wire.take_sent() == b""


class ReadAllTest(ClientTest):
    """The whole log, page by page."""

    def read(self, events: AsyncIterator[RecordedEvent], *, stop_after: int | None = None) -> "Deferred[list[int]]":
        """The positions of the events."""

        async def positions() -> list[int]:
            found = []
            async for event in events:
                found.append(event.position)
                if len(found) == stop_after:
                    break
            return found

        return Deferred.fromCoroutine(positions())

    def serve(self, argument: bytes, numbers: range) -> None:
        """Answer a GETALL, which has to have this argument."""
        assert self.wire.take_sent() == b"*2\r\n$6\r\nGETALL\r\n" + bulk(argument)
        self.wire.receive(array(*[bulk(event_json(number)) for number in numbers]))

    def test_a_page_is_asked_for_past_the_last_event_of_the_one_before(self) -> None:
        read = self.read(self.client.read_all(page_events=3))
        self.serve(b'{"limit":3}', range(1, 4))
        self.serve(b'{"after":"01KARS6Z4P0000000000000003","limit":3}', range(4, 7))
        self.serve(b'{"after":"01KARS6Z4P0000000000000006","limit":3}', range(7, 8))
        assert self.successResultOf(read) == [1, 2, 3, 4, 5, 6, 7]
        assert self.wire.take_sent() == b""

    def test_a_log_that_ends_with_a_page_ends_with_an_empty_one(self) -> None:
        read = self.read(self.client.read_all(after="01KARS6Z4P0000000000000001", page_events=1))
        self.serve(b'{"after":"01KARS6Z4P0000000000000001","limit":1}', range(2, 3))
        self.serve(b'{"after":"01KARS6Z4P0000000000000002","limit":1}', range(3, 3))
        assert self.successResultOf(read) == [2]

    def test_a_reader_that_has_enough_asks_for_no_more(self) -> None:
        read = self.read(self.client.read_all(page_events=3), stop_after=3)
        self.serve(b'{"limit":3}', range(1, 4))
        assert self.successResultOf(read) == [1, 2, 3]
        assert self.wire.take_sent() == b""

    def test_who_follows_the_log_gets_its_pages_and_then_waits_for_what_comes(self) -> None:
        read = self.read(self.client.follow(page_events=2, wait_ms=500), stop_after=4)
        self.serve(b'{"limit":2,"wait_ms":500}', range(1, 3))
        self.serve(b'{"after":"01KARS6Z4P0000000000000002","limit":2,"wait_ms":500}', range(3, 4))
        for _ in range(2):
            self.serve(b'{"after":"01KARS6Z4P0000000000000003","limit":2,"wait_ms":500}', range(4, 4))
        self.serve(b'{"after":"01KARS6Z4P0000000000000003","limit":2,"wait_ms":500}', range(4, 5))
        assert self.successResultOf(read) == [1, 2, 3, 4]
        assert self.wire.take_sent() == b""

    def test_who_follows_the_log_has_to_wait(self) -> None:
        self.error_of(self.read(self.client.follow(wait_ms=0)), InvalidArgument)
        self.error_of(self.read(self.client.follow(page_events=0)), InvalidArgument)
        assert self.wire.take_sent() == b""

    def test_an_error_reaches_the_reader(self) -> None:
        read = self.read(self.client.read_all())
        self.wire.receive(b"-NOAUTH Authentication required.\r\n")
        self.error_of(read, NotAuthenticated)

    def test_a_page_holds_at_least_one_event(self) -> None:
        self.error_of(self.read(self.client.read_all(page_events=0)), InvalidArgument)
        assert self.wire.take_sent() == b""
