"""Connections that have subscribed, on Twisted: each is read no faster than its messages are taken.

Everything here belongs to the reactor's thread.
"""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime, IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from eventflowdb.client.refusals import ClientClosed, ConnectionLost, NotConnected, UnexpectedReply
from eventflowdb.client.replies import Reply, ReplyParser
from eventflowdb.client.subscriptions import PING, SILENCE_SECONDS_MAX, no_sign_of_life
from eventflowdb.errors import EventflowError

MESSAGES_HELD_MAX = 1000
"""So many that were not taken are held; then the connection is not read."""


class Messages(Protocol):
    """A connection that sends AUTH, if there is a password, and SUBSCRIBE; `read` gives what comes."""

    def __init__(
        self, clock: IReactorTime, auth: tuple[bytes, ...], query: bytes, forget: "Callable[[Messages], None]"
    ) -> None:
        self._clock = clock
        self._auth = auth
        self._query = query
        self._is_authenticating = bool(auth)
        self._forget = forget
        self._parser = ReplyParser()
        self._held: deque[Reply] = deque()
        self._reading: Deferred[Reply] | None = None
        self._error: EventflowError | None = None
        self._is_paused = False
        self._has_asked = False
        """A PING is unanswered."""
        self._timeout: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Ask for the messages."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        if self._auth:
            self._send(*self._auth)
        self._send(b"SUBSCRIBE", self._query)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of messages."""
        self._has_asked = False
        try:
            replies = self._parser.receive(data)
        except UnexpectedReply as error:
            self.end(error)
            return
        if self._is_authenticating and replies:
            self._is_authenticating = False
            if not isinstance(replies[0], EventflowError):
                del replies[0]
        self._held += replies
        self._give()
        if len(self._held) > MESSAGES_HELD_MAX and not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """What was held is still given, and then the reason."""
        if self._error is None:
            self._error = ConnectionLost.because(reason.getErrorMessage().rstrip("."))
        self._stop_waiting()
        self._forget(self)
        self._give()

    def read(self) -> "Deferred[Reply]":
        """The next message, error or answer; ConnectionLost when the server gives no sign of life."""
        if self._held:
            reply = self._held.popleft()
            if self._is_paused and not self._held:
                self._is_paused = False
                self.transport.resumeProducing()  # type: ignore[union-attr]
            return succeed(reply)
        if self._error is not None:
            return fail(self._error)
        self._reading = Deferred(self._reading_cancelled)
        self._wait()
        return self._reading

    def end(self, error: EventflowError) -> None:
        """Close at once; nothing more is given."""
        self._error = error
        self._held.clear()
        self._stop_waiting()
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]
        self._give()

    def _send(self, *words: bytes) -> None:
        pieces = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
        self.transport.write(b"*%d\r\n%b" % (len(words), b"".join(pieces)))  # type: ignore[union-attr]

    def _give(self) -> None:
        reading = self._reading
        if reading is None or not (self._held or self._error):
            return
        self._reading = None
        self._stop_waiting()
        if self._held:
            reading.callback(self._held.popleft())
        else:
            reading.errback(self._error)

    def _wait(self) -> None:
        self._timeout = self._clock.callLater(SILENCE_SECONDS_MAX, self._is_silent)

    def _stop_waiting(self) -> None:
        timeout, self._timeout = self._timeout, None
        if timeout is not None and timeout.active():
            timeout.cancel()

    def _is_silent(self) -> None:
        if self._has_asked:
            self.end(no_sign_of_life())
            return
        self._has_asked = True
        self._send(PING)
        self._wait()

    def _reading_cancelled(self, _reading: "Deferred[Reply]") -> None:
        self._reading = None
        self._stop_waiting()


class MessageConnections:
    """The subscribed connections of one client."""

    def __init__(
        self, endpoint: IStreamClientEndpoint, clock: IReactorTime, *, password: str | None, user: str | None
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        names = () if user is None else (user.encode(),)
        self._auth = () if password is None else (b"AUTH", *names, password.encode())
        self._open: set[Messages] = set()
        self._connecting: set[Deferred[IProtocol]] = set()
        self._is_closed = False

    async def open(self, query: bytes) -> Messages:
        """Connect, and subscribe to a query; NotConnected where the server cannot be reached."""
        if self._is_closed:
            raise _closed()
        connecting = self._endpoint.connect(
            Factory.forProtocol(lambda: Messages(self._clock, self._auth, query, self._open.discard))
        )
        self._connecting.add(connecting)
        try:
            messages = await connecting
        except EventflowError:
            raise
        except Exception as error:
            if self._is_closed:
                raise _closed() from error
            raise NotConnected.because(f"cannot connect to {self._endpoint!r}: {str(error).rstrip('.')}") from error
        finally:
            self._connecting.discard(connecting)
        assert isinstance(messages, Messages)
        self._open.add(messages)
        return messages

    def close(self) -> None:
        """End all of them, and open no more."""
        self._is_closed = True
        for connecting in list(self._connecting):
            connecting.cancel()
        for messages in list(self._open):
            messages.end(_closed())


def _closed() -> NotConnected:
    return ClientClosed.because("the client was disconnected")
