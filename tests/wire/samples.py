"""What the tests of requests send, and how they look at what came of it."""

from collections.abc import Iterable
from typing import TypeAlias

from hypothesis import HealthCheck, settings

from eventflowdb.limits import LINE_BYTES_MAX, MIB
from eventflowdb.wire.requests import DroppedRequest, ProtocolError, RequestLimits, RequestParser, authenticated

Outcome: TypeAlias = "list[bytes] | str"
"""The words of a request; `dropped: ...` or `protocol error: ...` where there are none to be had."""

LIMITS = authenticated(MIB)
SMALL_LIMITS = authenticated(1024)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How long a machine takes to think of an example says nothing of the server."""


def array(*words: bytes) -> bytes:
    """A request as clients send it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def too_large(request_bytes_max: int) -> str:
    """What becomes of a request over MAX_REQUEST_BYTES."""
    return (
        f"dropped: the request is larger than MAX_REQUEST_BYTES ({request_bytes_max} bytes); "
        "send fewer events at a time, or raise it"
    )


def byte_by_byte(data: bytes) -> list[bytes]:
    """The same bytes in pieces of one."""
    return [data[index : index + 1] for index in range(len(data))]


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """The same bytes in pieces, cut at these offsets."""
    ends = [*sorted(at), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def outcomes(pieces: Iterable[bytes], limits: RequestLimits = LIMITS) -> list[Outcome]:
    """What a parser makes of bytes that come in these pieces. On the way it may hold one request, and half a line."""
    parser = RequestParser(limits)
    found: list[Outcome] = []
    for piece in pieces:
        parser.feed(piece)
        try:
            take_all(parser, found)
        except ProtocolError as error:
            return [*found, f"protocol error: {error}"]
        assert parser.held_bytes <= limits.request_bytes_max + LINE_BYTES_MAX
    return found


def take_all(parser: RequestParser, found: list[Outcome]) -> None:
    """Add every request that a parser has to those that were found."""
    request = parser.next_request()
    while request is not None:
        found.append(f"dropped: {request.error}" if isinstance(request, DroppedRequest) else request)
        request = parser.next_request()
