"""The protocol over a transport that only notes what it is told."""

import gc

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.protocols.basic import LineReceiver
from zope.interface.verify import verifyObject

from eventflowdb.errors import CorruptRecord
from eventflowdb.limits import DRAIN_SECONDS_MAX
from eventflowdb.service.conversation import Conversation
from tests.service.fakes import PING, PONG, STREAM, LoggedFaults, add, get, read_replies, request

from .fakes import CLIENTS_MAX, Bench, NotedTransport

NOT_RESP = b"*1\r\n!\r\n"
NOT_RESP_TEXT = b"-ERR Protocol error: expected '$', got '!'\r\n"


def test_a_protocol_is_what_twisted_takes_it_for(bench: Bench) -> None:
    protocol = bench.factory.buildProtocol(None)
    assert isinstance(protocol, LineReceiver)
    assert verifyObject(IHalfCloseableProtocol, protocol)
    assert verifyObject(IPushProducer, protocol)


def test_small_replies_are_not_held_back_and_dead_peers_are_found(bench: Bench) -> None:
    transport = bench.connect()
    assert transport.is_no_delay
    assert transport.is_keep_alive


def test_requests_are_answered_however_they_are_cut(bench: Bench) -> None:
    transport = bench.connect()
    transport.protocol.dataReceived(PING + PING[:3])
    assert transport.take() == PONG
    transport.protocol.dataReceived(PING[3:])
    assert transport.take() == PONG


def test_a_line_longer_than_twisted_takes_is_no_matter(bench: Bench) -> None:
    transport = bench.connect()
    transport.protocol.dataReceived(b"PING " + b"x" * 40_000)
    transport.protocol.dataReceived(b"x\r\n")
    assert transport.take() == b"$40001\r\n" + b"x" * 40_001 + b"\r\n"


def test_a_long_reply_leaves_in_pieces_between_its_neighbours(bench: Bench) -> None:
    records = bench.server.hold(STREAM, 100)
    transport = bench.connect()
    transport.protocol.dataReceived(PING + get(STREAM, limit=100) + PING)
    bench.server.finish()
    assert read_replies(transport.take()) == ["PONG", records, "PONG"]
    assert len(transport.sequences) == 1
    assert len(transport.sequences[0]) > 4


# Too many clients.


def test_above_the_number_of_clients_one_is_told_so_and_closed(bench: Bench) -> None:
    admitted = [bench.connect() for _ in range(CLIENTS_MAX)]
    refused = bench.connect()
    assert refused.take() == b"-ERR max number of clients reached\r\n"
    assert refused.disconnecting
    refused.protocol.dataReceived(PING)
    refused.protocol.readConnectionLost()
    assert refused.take() == b""
    assert not any(transport.disconnecting for transport in admitted)


def test_the_place_of_one_that_has_gone_is_free_and_only_that(bench: Bench) -> None:
    admitted = [bench.connect() for _ in range(CLIENTS_MAX)]
    bench.connect().lose()
    assert bench.connect().disconnecting, "one that was refused had no place to leave"
    admitted[0].lose()
    assert not bench.connect().disconnecting
    assert bench.connect().disconnecting
    assert len(bench.factory.connections) == CLIENTS_MAX


# Pace.


def test_a_transport_with_a_full_buffer_gets_no_more_until_it_is_empty(bench: Bench) -> None:
    transport = bench.connect()
    protocol, producer = transport.protocol, transport.producer
    assert producer == protocol
    assert transport.streaming
    protocol.pauseProducing()
    protocol.dataReceived(PING)
    assert transport.take() == b""
    assert transport.is_paused
    protocol.resumeProducing()
    assert transport.take() == PONG
    assert not transport.is_paused


def test_the_transport_may_speak_after_the_end(bench: Bench) -> None:
    transport = bench.connect()
    transport.lose()
    transport.protocol.pauseProducing()
    transport.protocol.resumeProducing()
    transport.protocol.stopProducing()
    transport.protocol.dataReceived(PING)
    transport.protocol.finish()
    assert transport.take() == b""


# Endings.


def test_quit_closes_when_everything_is_out(bench: Bench) -> None:
    transport = bench.connect()
    transport.protocol.dataReceived(request("QUIT"))
    assert transport.take() == b"+OK\r\n"
    assert transport.producer is None, "or the transport would wait for it"
    assert transport.disconnecting
    assert not transport.disconnected


def test_a_protocol_error_is_told_half_closed_and_then_read_on_for_a_moment(bench: Bench) -> None:
    transport = bench.connect()
    transport.protocol.dataReceived(NOT_RESP + PING)
    assert transport.take() == NOT_RESP_TEXT
    assert transport.is_half_closed
    assert transport.producer is None
    assert not transport.disconnecting
    assert not transport.is_paused, "what is not read makes TCP reset, and eats the text"
    transport.protocol.dataReceived(PING)
    assert transport.take() == b""
    bench.server.clock.advance(DRAIN_SECONDS_MAX - 0.01)
    assert not transport.disconnected
    bench.server.clock.advance(0.01)
    assert transport.disconnected, "the client did not hang up in time"


def test_a_connection_that_was_paused_is_read_on_after_a_protocol_error(bench: Bench) -> None:
    transport = bench.connect()
    transport.protocol.dataReceived(add(STREAM, 0, "x") + get(STREAM) + NOT_RESP)
    assert transport.is_paused
    bench.server.commit()
    assert transport.is_half_closed
    assert not transport.is_paused


def test_a_client_that_hangs_up_after_a_protocol_error_is_closed_at_once(bench: Bench) -> None:
    transport = bench.connect()
    transport.protocol.dataReceived(NOT_RESP)
    transport.protocol.writeConnectionLost()
    assert not transport.disconnecting
    transport.protocol.readConnectionLost()
    assert transport.disconnecting
    transport.lose()
    assert not bench.server.clock.getDelayedCalls(), "nothing is left to abort"


def test_a_connection_that_was_cut_off_leaves_nothing_behind(bench: Bench) -> None:
    transport = bench.connect()
    transport.protocol.dataReceived(NOT_RESP)
    bench.server.clock.advance(DRAIN_SECONDS_MAX)
    transport.lose()
    assert not bench.server.clock.getDelayedCalls()
    assert not bench.factory.connections


def test_one_that_has_sent_all_it_will_gets_every_reply(bench: Bench) -> None:
    transport = bench.connect()
    transport.protocol.dataReceived(add(STREAM, 0, "x") + get(STREAM) + PING)
    transport.protocol.readConnectionLost()
    assert not transport.disconnecting
    bench.server.commit()
    added, read, pong = read_replies(transport.take())
    assert added == read
    assert pong == "PONG"
    assert transport.disconnecting


def test_one_that_has_sent_nothing_and_will_not_is_closed(bench: Bench) -> None:
    transport = bench.connect()
    transport.protocol.readConnectionLost()
    assert transport.disconnecting


def test_finishing_closes_an_idle_connection_and_waits_for_replies_owed(bench: Bench) -> None:
    idle, busy = bench.connect(), bench.connect()
    busy.protocol.dataReceived(add(STREAM, 0, "x"))
    idle.protocol.finish()
    busy.protocol.finish()
    assert idle.disconnecting
    assert not busy.disconnecting
    bench.server.commit()
    assert len(read_replies(busy.take())) == 1
    assert busy.disconnecting


def test_everyone_who_waits_for_the_end_of_a_connection_is_told(bench: Bench) -> None:
    transport = bench.connect()
    waiters = [transport.protocol.when_lost(), transport.protocol.when_lost()]
    assert not any(waiter.called for waiter in waiters)
    transport.lose()
    assert all(waiter.called for waiter in waiters)


def test_appends_of_a_connection_that_is_gone_are_stored_and_answered_to_nobody(bench: Bench) -> None:
    transport = bench.connect()
    transport.protocol.dataReceived(add(STREAM, 0, "x"))
    transport.lose()
    bench.server.commit()
    assert bench.server.store.event_count() == 1
    assert transport.take() == b""
    assert bench.server.budget.used_bytes == 0


def test_a_long_reply_that_breaks_off_aborts_the_connection_and_names_the_client(
    bench: Bench, faults: LoggedFaults
) -> None:
    transport = bench.connect()
    bench.server.hold(STREAM, 70)
    transport.protocol.dataReceived(get(STREAM))
    bench.server.pool.fail(CorruptRecord("stored bytes do not match"))
    assert transport.disconnected
    assert faults.take_one()["peer"] == "192.0.2.7:50123"


def test_clients_of_a_kind_without_addresses_are_served_too(bench: Bench) -> None:
    transport = NotedTransport(bench.factory.buildProtocol(None))
    transport.protocol.dataReceived(PING)
    assert transport.take() == PONG


def _count_conversations() -> int:
    """How many are not freed."""
    return sum([type(found) is Conversation for found in gc.get_objects()])


def test_the_conversation_of_a_lost_connection_is_freed_without_the_garbage_collector(bench: Bench) -> None:
    """With it what its last requests hold, which the budget has stopped to count."""
    gc.collect()
    count = _count_conversations()
    transport = bench.connect()
    transport.protocol.dataReceived(PING)
    assert _count_conversations() == count + 1
    gc.disable()
    try:
        transport.lose()
        del transport
        assert _count_conversations() == count
    finally:
        gc.enable()
