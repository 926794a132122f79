"""The listening socket: bound before twistd forks, so that a port in use is told in one line."""

import errno
import resource
import socket

from eventflowdb.errors import StartRefused
from eventflowdb.limits import DESCRIPTORS_RESERVED, KEEPALIVE_SECONDS, LISTEN_BACKLOG


def bind(interface: str, port: int) -> socket.socket:
    """A listening, non-blocking socket on an IP address; StartRefused where that cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in interface else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind((interface, port))
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartRefused(
                f"PORT {port} on {interface} is in use by another program; stop that one, or choose another port"
            ) from None
        raise StartRefused(f"PORT {port} on {interface} cannot be listened on: {error.strerror}") from None
    return listener


def fit_clients(clients_max: int) -> int:
    """How many of the wished connections the process may hold, after its soft limit was raised to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return clients_max
    return max(1, min(clients_max, hard - DESCRIPTORS_RESERVED))


def keep_alive(connection: socket.socket) -> None:
    """When the system asks an idle connection's other end: as Redis has it, then twice more before it gives up."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_SECONDS // 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
