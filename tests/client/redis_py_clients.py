"""Both clients over redis-py behind one face for the tests, and a server that says what it is told."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

from eventflowdb.client import asyncio_client, blocking_client
from eventflowdb.client.replies import ReplyParser
from eventflowdb.events import RecordedEvent

T = TypeVar("T")
Answer = Callable[[list[bytes]], bytes | None]


class BlockingFace:
    """The blocking client as it is."""

    def connect(self, **options: Any) -> Any:
        return blocking_client.connect(**options)

    def connect_lazily(self, **options: Any) -> Any:
        return blocking_client.connect_lazily(**options)

    def read_all(self, client: Any, **options: Any) -> list[RecordedEvent]:
        return list(client.read_all(**options))

    def follow(self, client: Any, count: int, **options: Any) -> list[RecordedEvent]:
        return list(islice(client.follow(**options), count))

    def subscribe(self, client: Any, **fields: Any) -> Any:
        return client.subscribe(**fields)

    def consumer(self, client: Any, name: str, **options: Any) -> Any:
        return client.consumer(name, **options)

    def pages(self, consumer: Any, count: int) -> list[list[RecordedEvent]]:
        return list(islice(consumer.pages(), count))

    def work(self, consumer: Any, decide: Callable[[RecordedEvent], str | None]) -> None:
        """A whole loop, in a with statement; for each event it is decided what is said of it: None ends the loop."""
        with consumer:
            for event in consumer:
                method = decide(event)
                if method is None:
                    break
                getattr(consumer, method)(event)

    def take(self, subscribed: Any, count: int) -> list[RecordedEvent]:
        """The next events of a subscription, or of a consumer."""
        return list(islice(subscribed, count))

    def end(self, subscribed: Any) -> None:
        """End a subscription."""
        subscribed.close()

    def close(self) -> None:
        """Nothing is open."""


class AsyncioFace:
    """The asyncio client on a loop of its own, which runs as long as a method takes."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def connect(self, **options: Any) -> Any:
        return _Driven(self, self.run(asyncio_client.connect(**options)))

    def connect_lazily(self, **options: Any) -> Any:
        async def make() -> asyncio_client.EventflowClient:
            return asyncio_client.connect_lazily(**options)

        return _Driven(self, self.run(make()))

    def read_all(self, client: Any, **options: Any) -> list[RecordedEvent]:
        async def read() -> list[RecordedEvent]:
            return [event async for event in client.client.read_all(**options)]

        return self.run(read())

    def follow(self, client: Any, count: int, **options: Any) -> list[RecordedEvent]:
        async def read() -> list[RecordedEvent]:
            followed = client.client.follow(**options)
            events = [await anext(followed) for _ in range(count)]
            await followed.aclose()
            return events

        return self.run(read())

    def subscribe(self, client: Any, **fields: Any) -> Any:
        return client.client.subscribe(**fields)

    def consumer(self, client: Any, name: str, **options: Any) -> Any:
        return _DrivenConsumer(self, client.client.consumer(name, **options))

    def pages(self, consumer: Any, count: int) -> list[list[RecordedEvent]]:
        async def read() -> list[list[RecordedEvent]]:
            pages = consumer.client.pages()
            return [await anext(pages) for _ in range(count)]

        return self.run(read())

    def work(self, consumer: Any, decide: Callable[[RecordedEvent], str | None]) -> None:
        """A whole loop, in a with statement; for each event it is decided what is said of it: None ends the loop."""

        async def loop() -> None:
            async with consumer.client as member:
                async for event in member:
                    method = decide(event)
                    if method is None:
                        break
                    await getattr(member, method)(event)

        self.run(loop())

    def take(self, subscribed: Any, count: int) -> list[RecordedEvent]:
        """The next events of a subscription, or of a consumer."""

        async def read() -> list[RecordedEvent]:
            events = subscribed.client if isinstance(subscribed, _Driven) else subscribed
            return [await anext(events) for _ in range(count)]

        return self.run(read())

    def end(self, subscribed: Any) -> None:
        """End a subscription."""
        self.run(subscribed.aclose())

    def close(self) -> None:
        self.loop.close()


class _Driven:
    """An asyncio client whose methods wait."""

    def __init__(self, face: AsyncioFace, client: Any) -> None:
        self.face, self.client = face, client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **options: self.face.run(getattr(self.client, name)(*args, **options))


class _DrivenConsumer(_Driven):
    """An asyncio consumer whose methods wait."""

    @property
    def member(self) -> str:
        name: str = self.client.member
        return name

    def checkpoint(self, event: RecordedEvent) -> Any:
        return self.client.checkpoint(event)


Face = BlockingFace | AsyncioFace


class ScriptedServer:
    """Answers what its `answer` says, None for closing the connection; remembers what it was asked.

    The first words that redis-py says by itself are answered OK, and are in `handshakes`.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[list[bytes]] = []
        self.handshakes: list[list[bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen)]

    def __enter__(self) -> "ScriptedServer":
        self._threads[0].start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop_listening()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads[1:]:
            thread.join()

    def hang_up(self) -> None:
        """Break every connection there is."""
        connections, self._connections = self._connections, []
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop_listening(self) -> None:
        """Take no new connections."""
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._threads[0].join()
            self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        parser = ReplyParser()
        with connection:
            while data := _receive(connection):
                for words in parser.receive(data):
                    assert isinstance(words, list)
                    reply = self._reply([word for word in words if isinstance(word, bytes)])
                    if reply is None:
                        return
                    connection.sendall(reply)

    def _reply(self, words: list[bytes]) -> bytes | None:
        if words[0] in {b"CLIENT", b"AUTH", b"HELLO"}:
            self.handshakes.append(words)
            return b"+OK\r\n"
        self.requests.append(words)
        return self.answer(words)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""
