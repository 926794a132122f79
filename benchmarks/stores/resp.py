"""A connection that asks one thing and waits for the reply: for the checks, which need no speed."""

import socket
from types import TracebackType

HOST = "127.0.0.1"
_SILENCE_SECONDS_MAX = 60.0

Answer = int | str | None | list["Answer"]


class Refused(Exception):
    """The server's error reply."""


class Connection:
    """RESP2."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), _SILENCE_SECONDS_MAX)
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, *words: str) -> Answer:
        """The answer; Refused where it is an error."""
        encoded = [word.encode() for word in words]
        self._socket.sendall(
            b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
        )
        return self._answer()

    def ask_number(self, *words: str) -> int:
        """An answer that is a number."""
        answer = self.ask(*words)
        if not isinstance(answer, int):
            raise Refused(f"{words[0]} was answered {answer!r}")
        return answer

    def ask_list(self, *words: str) -> list[Answer]:
        """An answer that is an array."""
        answer = self.ask(*words)
        if not isinstance(answer, list):
            raise Refused(f"{words[0]} was answered {answer!r}")
        return answer

    def _answer(self) -> Answer:
        line = self._lines.readline()
        if not line:
            raise Refused("the server closed the connection")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise Refused(rest)
        if kind == b":":
            return int(rest)
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        if kind == b"$":
            return self._lines.read(int(rest) + 2)[:-2].decode() if int(rest) >= 0 else None
        return rest


def is_answering(port: int) -> bool:
    """Whether PING is answered with PONG: neither refused nor not listened to."""
    try:
        with Connection(port) as connection:
            return connection.ask("PING") == "PONG"
    except (OSError, Refused):
        return False
