"""The listening socket, and how many connections the process can hold."""

import socket
import subprocess
import sys

import pytest

from eventflowdb.errors import StartRefused
from eventflowdb.limits import DESCRIPTORS_RESERVED
from eventflowdb.transport.listening import bind


def test_a_bound_socket_listens_and_blocks_nobody() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert not listener.getblocking()
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
            connection.close()


def test_both_kinds_of_addresses_can_be_listened_on() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with bind("::1", 0) as listener:
        assert listener.family == socket.AF_INET6


def test_a_port_in_use_is_refused_in_one_line() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(StartRefused) as refusal:
            bind("127.0.0.1", port)
    assert str(refusal.value) == (
        f"PORT {port} on 127.0.0.1 is in use by another program; stop that one, or choose another port"
    )


def test_a_port_that_was_just_in_use_can_be_taken_again() -> None:
    """A server that is started anew finds the connections of its predecessor still winding up."""
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            connection, _ = listener.accept()
            connection.close()
            assert client.recv(1) == b""
    with bind("127.0.0.1", port) as again:
        assert again.getsockname()[1] == port


def test_an_address_of_another_machine_is_refused_in_one_line() -> None:
    with pytest.raises(StartRefused) as refusal:
        bind("192.0.2.1", 6543)
    assert str(refusal.value) == "PORT 6543 on 192.0.2.1 cannot be listened on: Cannot assign requested address"


@pytest.mark.parametrize(
    ("soft", "hard", "wished", "fitting"),
    [
        (256, 512, 10_000, 512 - DESCRIPTORS_RESERVED),
        (256, 512, 100, 100),
        (256, 512, 512 - DESCRIPTORS_RESERVED, 512 - DESCRIPTORS_RESERVED),
        (40, 40, 10_000, 1),
    ],
)
def test_clients_are_fitted_to_the_hard_limit_of_the_process(soft: int, hard: int, wished: int, fitting: int) -> None:
    """In a process of its own: a hard limit cannot be raised again."""
    program = (
        "import resource, sys\n"
        "from eventflowdb.transport.listening import fit_clients\n"
        "soft, hard, wished = map(int, sys.argv[1:])\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))\n"
        "print(fit_clients(wished), *resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    arguments = [sys.executable, "-c", program, str(soft), str(hard), str(wished)]
    told = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(fitting), str(hard), str(hard)]
