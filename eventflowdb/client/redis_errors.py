"""What redis-py raises, turned into what our clients raise.

redis-py takes the code off an error reply when it knows it and makes a class of it; since version 8 it keeps the code
in `status_code`. Some of these classes it derives from its ConnectionError, though the connection is well: an error
reply has to be told from a lost connection here. What this relies on holds for redis-py 5 to 8.
"""

import re
from typing import TypeVar

from redis import exceptions

from eventflowdb.client.exchanges import Exchange
from eventflowdb.client.refusals import ConnectionLost, NotConnected, UnexpectedReply, error_of
from eventflowdb.errors import EventflowError

T = TypeVar("T")

FAILURES = (exceptions.RedisError, OSError)
"""What redis-py's connections raise."""

_CODE_BY_CLASS: tuple[tuple[type[exceptions.RedisError], str], ...] = (
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.ExecAbortError, "EXECABORT"),
    (exceptions.NoScriptError, "NOSCRIPT"),
)
_AUTHENTICATION_CODES = (
    ("invalid username-password pair", "WRONGPASS"),
    ("Authentication required", "NOAUTH"),
    ("HELLO must be called", "NOAUTH"),
)
"""Two codes and one sentence of ERR become one class: the sentences, Redis's own, tell them apart."""
_TOO_MANY_CLIENTS = "max number of clients reached"
_STARTS_WITH_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,}( |$)")


def decoded(exchange: Exchange[T], reply: object) -> T:
    """The value of a reply, or the condition that it tells of."""
    try:
        return exchange.decode(reply)
    except exceptions.RedisError as error:
        raise failure_of(error, was_sent=True) from error


def failure_of(error: Exception, *, was_sent: bool) -> EventflowError:
    """The condition that one of FAILURES tells of. was_sent: whether any of the request may have left."""
    if isinstance(error, exceptions.RedisError):
        refusal = find_refusal(error)
        if refusal is not None:
            return refusal
        if isinstance(error, exceptions.InvalidResponse):
            return UnexpectedReply(f"the server sent what is not RESP: {error}")
    reason = str(error).rstrip(".") or type(error).__name__
    if not was_sent:
        return NotConnected.because(reason)
    return ConnectionLost.because(reason, is_overdue=isinstance(error, exceptions.TimeoutError))


def find_refusal(error: exceptions.RedisError) -> EventflowError | None:
    """The error reply that redis-py made this of, as our class; None if it was no reply."""
    text = str(error)
    code = getattr(error, "status_code", None) or _find_code(error, text)
    if code is not None:
        return error_of(f"{code} {text}")
    if not isinstance(error, exceptions.ResponseError):
        return None
    return error_of(text if _STARTS_WITH_CODE.match(text) else f"{EventflowError.code} {text}")


def _find_code(error: exceptions.RedisError, text: str) -> str | None:
    """The code that was taken off, by what redis-py made of it."""
    if isinstance(error, exceptions.AuthenticationError):
        return next((code for start, code in _AUTHENTICATION_CODES if text.startswith(start)), EventflowError.code)
    if isinstance(error, exceptions.ConnectionError) and text == _TOO_MANY_CLIENTS:
        return EventflowError.code
    return next((code for kind, code in _CODE_BY_CLASS if isinstance(error, kind)), None)
