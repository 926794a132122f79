"""A RESP server over TCP that answers as a test says, and remembers what it was asked."""

from collections.abc import Callable, Sequence

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from eventflowdb.client.replies import ReplyParser

Words = list[bytes]
Answer = Callable[["FakeSession", Words], bytes | None]


class FakeSession(Protocol):
    """One connection. A request is an array of bulk strings, just as a reply can be."""

    def __init__(self, server: "FakeServer") -> None:
        self.server = server
        self.parser = ReplyParser()

    def connectionMade(self) -> None:
        self.server.opened(self)

    def dataReceived(self, data: bytes) -> None:
        for words in self.parser.receive(data):
            assert isinstance(words, list)
            self.server.asked(self, [word for word in words if isinstance(word, bytes)])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.server.closed(self)

    def reply(self, sent: bytes) -> None:
        """Send bytes."""
        assert self.transport is not None
        self.transport.write(sent)

    def close(self) -> None:
        """Close after what was sent."""
        assert self.transport is not None
        self.transport.loseConnection()


class FakeServer(ServerFactory):
    """Listens on a port of its own; `answer` may be replaced, and returns the bytes of a reply, or None for none."""

    noisy = False

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Words] = []
        self.sessions: list[FakeSession] = []
        self.sessions_opened = 0
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self._listener: IListeningPort | None = None
        self.port = 0

    def listen(self) -> None:
        """Listen, anew on the same port."""
        self._listener = IReactorTCP(reactor).listenTCP(self.port, self, interface="127.0.0.1")
        self.port = self._listener.getHost().port  # type: ignore[attr-defined]  # an IPv4Address

    async def stop_listening(self) -> None:
        """Take no new connections."""
        listener, self._listener = self._listener, None
        if listener is not None:
            stopped = listener.stopListening()
            assert isinstance(stopped, Deferred)
            await stopped

    async def stop(self) -> None:
        """Take no new connections and close those there are."""
        await self.stop_listening()
        for session in list(self.sessions):
            session.close()
        await self.until(lambda: not self.sessions)

    def buildProtocol(self, addr: IAddress | None) -> FakeSession:
        return FakeSession(self)

    def until(self, condition: Callable[[], bool]) -> "Deferred[None]":
        """Fires when the condition holds; looked at whenever a connection or a request comes, or one goes."""
        fulfilled: Deferred[None] = Deferred()
        self._waiting.append((condition, fulfilled))
        self._look()
        return fulfilled

    def until_asked(self, *commands: bytes) -> "Deferred[None]":
        """Fires when these were the commands asked so far."""
        return self.until(lambda: self.commands == list(commands))

    @property
    def commands(self) -> Sequence[bytes]:
        """The first words of all requests so far."""
        return [words[0] for words in self.requests]

    def opened(self, session: FakeSession) -> None:
        """A connection came."""
        self.sessions.append(session)
        self.sessions_opened += 1
        self._look()

    def asked(self, session: FakeSession, words: Words) -> None:
        """A request came."""
        self.requests.append(words)
        reply = self.answer(session, words)
        if reply is not None:
            session.reply(reply)
        self._look()

    def closed(self, session: FakeSession) -> None:
        """A connection went."""
        self.sessions.remove(session)
        self._look()

    def _look(self) -> None:
        for waiting in list(self._waiting):
            if waiting[0]():
                self._waiting.remove(waiting)
                waiting[1].callback(None)


def pong(session: FakeSession, words: Words) -> bytes | None:
    """As a server without a password answers: OK to AUTH, PONG to PING, and QUIT closes."""
    if words[0] == b"QUIT":
        session.reply(b"+OK\r\n")
        session.close()
        return None
    if words[0] == b"AUTH":
        return b"+OK\r\n"
    return b"+PONG\r\n" if len(words) == 1 else b"$%d\r\n%b\r\n" % (len(words[1]), words[1])


def silence(_session: FakeSession, _words: Words) -> None:
    """Never an answer."""
