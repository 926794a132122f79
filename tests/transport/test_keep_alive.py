"""What the system is told of a connection that says nothing for long."""

import socket

from eventflowdb.transport.listening import bind, keep_alive


def test_an_accepted_connection_is_asked_after_300_seconds_as_in_redis() -> None:
    listener = bind("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            keep_alive(accepted)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 300
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 100
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3


def test_a_connection_that_is_not_tcp_is_left_alone() -> None:
    one, other = socket.socketpair()
    with one, other:
        keep_alive(one)
