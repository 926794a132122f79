"""Members of a consumer over a server that is stepped by hand: what they ask, and what they are told."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .fakes import Connection, ReplyError, SteppedServer, read_replies, request

NAME = "mail"
STREAMS = {letter: f"c3b07384-d9a0-4c9b-8f3e-{number:012x}" for number, letter in enumerate("abcdefgh", 1)}
RESULTS = "1f0e2d4b-6c5a-4384-9b8f-3ed9a07384c3"
"""The stream that members append to."""
LONG = 3_600_000
TIMEOUT_MS = 30_000
RETRY_MS = 1000


class Members:
    """The members of one consumer, each with a connection of its own.

    Events are called by their data, which no other event has: its first letter names the stream. What a member is given
    is checked to be what was stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = SteppedServer(folder)
        self.ids: dict[str, str] = {}
        self._connections: dict[str, Connection] = {}
        self._sent_to: list[str] = []
        """Whom what was sent to them since the last time, and not told yet, is for; in the order in which it was."""

    def close(self) -> None:
        """The end of the test."""
        self.server.close()

    def restart(self) -> None:
        """End the server without a word, and begin another one on the same folder."""
        now_us = self.server.now_us()
        self.server.close()
        self.server = SteppedServer(self.folder, began_us=now_us)
        self._connections.clear()
        self._sent_to.clear()

    # Connections.

    def connection(self, member: str) -> Connection:
        """Where a member asks."""
        if member not in self._connections:
            self._connections[member] = connection = self.server.connect()
            connection.line.on_send = lambda: self._sent_to.append(member)
        return self._connections[member]

    def lose(self, member: str) -> None:
        """A member's connection is lost; its next one is new."""
        self.connection(member).conversation.lost()
        del self._connections[member]
        self._sent_to = [other for other in self._sent_to if other != member]

    def send(self, member: str, *words: str) -> None:
        """Let a member ask something; nothing moves yet."""
        self.connection(member).send(request(*words))

    def run(self) -> None:
        """Let everything happen that needs no time."""
        clock = self.server.clock
        self.server.finish()
        while any(call.getTime() <= clock.seconds() for call in clock.getDelayedCalls()):
            clock.advance(0)
            self.server.finish()

    def told(self, member: str) -> list[Any]:
        """What a member was answered since the last time."""
        self._sent_to = [other for other in self._sent_to if other != member]
        return [self._named(reply) for reply in read_replies(self.connection(member).take())]

    def told_all(self) -> list[tuple[str, Any]]:
        """What everybody was answered since the last time, in the order in which it was sent."""
        told: list[tuple[str, Any]] = []
        for member in self._sent_to:
            sent = self.connection(member).line.sends.pop(0)
            told += [(member, self._named(reply)) for reply in read_replies(sent)]
        self._sent_to.clear()
        return told

    def ask(self, member: str, command: str, /, **argument: Any) -> Any:
        """Let a member ask, and everything happen; the one answer."""
        self.send(member, command, json.dumps(argument))
        self.run()
        (reply,) = self.told(member)
        return reply

    def pass_ms(self, milliseconds: int) -> None:
        """Let time pass, and everything happen."""
        self.server.clock.advance(milliseconds / 1000)
        self.run()

    def on_a_full_disk(self, is_full: bool = True) -> None:
        """Have every write refused for want of room; or no more."""
        self.server.store.writing.min_free_bytes = 1 << 62 if is_full else 0

    # What members ask.

    def fetch(self, member: str, limit: int | None = None, consumer: str = NAME) -> Any:
        """Fetch without waiting."""
        return self.ask(member, "FETCH", consumer=consumer, member=member, limit=limit)

    def begin_fetch(self, member: str, limit: int | None = None, wait_ms: int = LONG) -> None:
        """Fetch, and wait; whatever can happen does."""
        self.send(member, "FETCH", self.fetching(member, limit, wait_ms))
        self.run()

    @staticmethod
    def fetching(member: str, limit: int | None = None, wait_ms: int = 0) -> str:
        """The argument of a FETCH."""
        return json.dumps({"consumer": NAME, "member": member, "limit": limit, "wait_ms": wait_ms})

    def acking(self, member: str, *names: str, extend: Iterable[str] = ()) -> str:
        """The argument of an ACK."""
        return json.dumps(
            {"consumer": NAME, "member": member, "ids": self.ids_of(names), "extend": self.ids_of(extend)}
        )

    def nacking(self, member: str, *names: str, **options: Any) -> str:
        """The argument of a NACK."""
        return json.dumps({"consumer": NAME, "member": member, "ids": self.ids_of(names), **options})

    def ack(self, member: str, *names: str, extend: Iterable[str] = ()) -> Any:
        """Ack events."""
        return self.ask(member, "ACK", **json.loads(self.acking(member, *names, extend=extend)))

    def nack(self, member: str, *names: str, **options: Any) -> Any:
        """Say that events failed."""
        return self.ask(member, "NACK", **json.loads(self.nacking(member, *names, **options)))

    def release(self, member: str, over: str | None = None) -> Any:
        """Give back all that a member holds; over: where that is asked, if not on its own connection."""
        return self.ask(over or member, "NACK", consumer=NAME, member=member, release=True)

    def adding(self, member: str, name: str, result: str, **options: Any) -> str:
        """The argument of an ADD to RESULTS that acks an event."""
        checkpoint = {"consumer": NAME, "member": member, "id": self.ids[name]}
        events = [{"type": "result", "data": result}]
        return json.dumps({"stream": RESULTS, "version": "any", "events": events, "checkpoint": checkpoint, **options})

    def add(self, member: str, name: str, result: str, **options: Any) -> Any:
        """Append a result and ack an event in one step."""
        return self.ask(member, "ADD", **json.loads(self.adding(member, name, result, **options)))

    # What everybody may ask.

    def make(self, **options: Any) -> Any:
        """Make the consumer, of events of type `t`."""
        return json.loads(self.ask("admin", "CONSUMER", **{"create": NAME, "query": {"types": ["t"]}, **options}))

    def have(self, *names: str) -> None:
        """Have events appended by some client."""
        for name in names:
            self.ask("writer", "ADD", **json.loads(adding(name)))

    def results(self) -> list[str]:
        """The data of what members have appended."""
        records = [json.loads(record) for record in self.server.store.open_stream(RESULTS, 0, None).records]
        return [record["data"] for record in records]

    def parked(self, **page: Any) -> list[dict[str, Any]]:
        """What failed too often."""
        listed = self.ask("admin", "CONSUMER", parked=NAME, **page)
        return [json.loads(item) for item in listed]

    def parked_names(self) -> list[str]:
        """The events of those."""
        return [item["event"]["data"] for item in self.parked()]

    def listed(self) -> dict[str, Any]:
        """The consumer as CONSUMER LIST has it."""
        self.send("admin", "CONSUMER", "LIST")
        self.run()
        ((item,),) = read_replies(self.connection("admin").take())
        return dict(json.loads(item))

    def checkpoint(self) -> str | None:
        """The event where the consumer stands; None: before the first."""
        event_id = self.listed()["checkpoint"]
        return next((name for name, known in self.ids.items() if known == event_id), None)

    def ids_of(self, names: Iterable[str]) -> list[str]:
        """The ids of events."""
        return [self.ids[name] for name in names]

    def _named(self, reply: Any) -> Any:
        """A reply with the data of events instead of the events."""
        if not isinstance(reply, list) or not all(isinstance(item, bytes) and b'"data"' in item for item in reply):
            return reply
        found = [json.loads(item) for item in reply]
        if not all("data" in event for event in found):
            return reply
        for event in found:
            if event["type"] == "t":
                assert self.ids.setdefault(event["data"], event["id"]) == event["id"]
        return [event["data"] for event in found]


def add_many(members: Members, stream: str, count: int) -> list[str]:
    """Append so many events at once; their names."""
    names = [f"{stream}{number}" for number in range(count)]
    assert members.ask("w", "ADD", stream=STREAMS[stream], version="any", events=[event(name) for name in names])
    return names


def event(name: str) -> dict[str, str]:
    """An event as it is given."""
    return {"type": "t", "data": name}


def adding(name: str, **fields: str) -> str:
    """The argument of an ADD of an event to its stream."""
    return json.dumps({"stream": STREAMS[name[0]], "version": "any", "events": [{**event(name), **fields}]})


def code_of(reply: object) -> str:
    """The code of a refusal, which it has to be."""
    assert isinstance(reply, ReplyError), reply
    return reply.code
