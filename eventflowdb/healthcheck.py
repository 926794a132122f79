"""Whether the server of this machine answers, for HEALTHCHECK: AUTH where a password is set, and PING.

It reads the settings that the server reads, from the same environment; so options given to twistd alone are
unknown to it. `python -m eventflowdb.healthcheck` ends with status 0, or with 1 and one line that says why.
"""

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator

from eventflowdb.config import Settings, read_settings
from eventflowdb.errors import StartRefused

TIMEOUT_SECONDS = 3.0
_LINE_BYTES_MAX = 1024


def find_problem(settings: Settings) -> str | None:
    """What is wrong with the server of these settings; None if it is well. Each step takes TIMEOUT_SECONDS at most."""
    address = _address(settings.interface)
    try:
        with socket.create_connection((address, settings.port), TIMEOUT_SECONDS) as connection:
            for request, expected in _conversation(settings.password):
                connection.sendall(request)
                reply = _read_line(connection)
                if reply != expected:
                    return f"answered {reply.decode('utf-8', 'replace').strip()!r}"
    except OSError as error:
        return f"does not answer on {address} port {settings.port}: {error}"
    return None


def _conversation(password: str | None) -> Iterator[tuple[bytes, bytes]]:
    """Each request, and the reply of a server that is well."""
    if password is not None:
        secret = password.encode()
        yield b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%b\r\n" % (len(secret), secret), b"+OK\r\n"
    yield b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"


def _address(interface: str) -> str:
    """Where to reach a server that listens on `interface`; one that listens everywhere is on loopback too."""
    address = ipaddress.ip_address(interface)
    if not address.is_unspecified:
        return interface
    return "127.0.0.1" if address.version == 4 else "::1"


def _read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) < _LINE_BYTES_MAX:
        received = connection.recv(_LINE_BYTES_MAX)
        if not received:
            break
        line += received
    return line


def main() -> None:
    """Exit with status 0 if the server answers, else with 1."""
    try:
        problem = find_problem(read_settings(os.environ, {}))
    except StartRefused as refusal:
        problem = f"cannot have been started: {refusal}"
    if problem is not None:
        sys.exit(f"eventflowdb {problem}")


if __name__ == "__main__":
    main()
