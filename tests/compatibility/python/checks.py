"""The checks of ../README.md, on any client: the coroutines await nothing but what the client gives them."""

import json
import os
import re
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

MIB = 1024 * 1024
RECONNECT_SECONDS_MAX = 30.0
TEXT = 'Zoë, 北京, 😀, שלום, \u0000\r\n"\\'

Request = tuple[str, ...]


class Client(Protocol):
    """One client object of a library, not connected yet."""

    library: str
    version: str

    async def ping(self) -> object:
        """PING, as the library has it; connects."""

    async def send(self, *words: str) -> Any:
        """One command. Raises what the library raises for an error reply."""

    async def send_all(self, requests: Sequence[Request]) -> list[Any]:
        """Many commands in one pipeline, of which none fails."""

    async def pause(self, seconds: float) -> None:
        """Wait, and let the library do what it does meanwhile."""

    async def read_line(self) -> None:
        """Wait for a line on standard input, and let the library do what it does meanwhile."""

    async def close(self) -> None:
        """Let the program end."""


class CheckFailed(Exception):
    """What the server answered is not what a check expects."""


def given(name: str) -> str:
    """A variable of those that the runner gives."""
    return os.environ[f"EVENTFLOWDB_{name}"]


def say(**line: object) -> None:
    """One line to the runner."""
    print(json.dumps(line), flush=True)


def expect(is_so: bool, otherwise: str) -> None:
    """Fail the check if it is not so."""
    if not is_so:
        raise CheckFailed(otherwise)


def add(stream: str, version: int, *events: dict[str, str]) -> Request:
    """An append."""
    return ("ADD", json.dumps({"stream": stream, "version": version, "events": events}, ensure_ascii=False))


def text(reply: Any) -> str:
    """A bulk string, which some libraries give as bytes."""
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def texts(reply: Any) -> list[str]:
    """An array of bulk strings."""
    expect(isinstance(reply, list), f"expected an array, got {reply!r:.100}")
    return [text(item) for item in reply]


class Checks:
    """All checks, on one client, in their order."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.stream = str(uuid.uuid4())
        self.stored: list[str] = []

    async def connect(self) -> str:
        pong = await self.client.ping()
        expect(pong in {True, "PONG", b"PONG"}, f"PING answered {pong!r}")
        return ""

    async def add(self) -> str:
        events = {"type": "Opened", "data": TEXT}, {"type": "Geöffnet", "data": "", "metadata": TEXT}
        self.stored = texts(await self.client.send(*add(self.stream, 0, *events)))
        first, second = map(json.loads, self.stored)
        expect((first["version"], second["version"]) == (0, 1), f"versions {first['version']}, {second['version']}")
        expect((first["data"], second["metadata"]) == (TEXT, TEXT), "the text did not come back as it went in")
        return ""

    async def read(self) -> str:
        read = texts(await self.client.send("GET", json.dumps({"stream": self.stream})))
        expect(bool(read) and read == self.stored, "GET differs from what ADD answered")
        return ""

    async def page(self) -> str:
        stream = str(uuid.uuid4())
        added = texts(await self.client.send(*add(stream, 0, *[{"type": "Paged", "data": str(n)} for n in range(25)])))
        log: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = texts(await self.client.send("GETALL", json.dumps({**after, "limit": 10})))
            log += page
            if len(page) < 10:
                break
            after = {"after": json.loads(page[-1])["id"]}
        events = [json.loads(event) for event in log]
        expect(len({event["id"] for event in events}) == len(events), "an id came twice")
        read = [record for record, event in zip(log, events, strict=True) if event["stream"] == stream]
        expect(read == added, "the log does not hold the 25 events in order")
        return ""

    async def concurrency(self) -> str:
        refused = await self.refusal(add(self.stream, 7, {"type": "t", "data": ""}))
        wrong = await self.refusal(add(self.stream, 2, {"type": "", "data": ""}))
        expect(str(refused).startswith(f"CONCURRENCY stream={self.stream} expected=7 actual=2: "), repr(refused))
        expect(str(wrong).startswith("INVALIDARG events[0].type: "), repr(wrong))
        return f"by the text of {type(refused).__name__}, which begins with the code"

    async def too_large(self) -> str:
        before = await self.client.send("CLIENT", "ID")
        refused = await self.refusal(add(self.stream, 2, {"type": "Large", "data": "x" * 2 * MIB}))
        expect(str(refused).startswith("INVALIDARG "), repr(refused)[:200])
        expect(int(await self.client.send("EVENTCOUNT")) > 0, "EVENTCOUNT is 0")
        expect(before == await self.client.send("CLIENT", "ID"), "it is another connection")
        return "on the same connection"

    async def pipeline(self) -> str:
        stream = str(uuid.uuid4())
        requests: list[Request] = []
        for version in range(500):
            requests.append(add(stream, version, {"type": "Piped", "data": str(version)}))
            requests.append(("GET", json.dumps({"stream": stream, "version": version, "limit": 1})))
        replies = [texts(reply) for reply in await self.client.send_all(requests)]
        expect(len(replies) == 1000, f"{len(replies)} replies")
        expect(replies[0::2] == replies[1::2], "a GET did not see its ADD")
        versions = [json.loads(stored)["version"] for (stored,) in replies[0::2]]
        expect(versions == list(range(500)), "the replies are out of order")
        return ""

    async def restart(self) -> str:
        before = int(await self.client.send("EVENTCOUNT"))
        say(**{"await": "restart"})
        await self.client.read_line()
        deadline = time.monotonic() + RECONNECT_SECONDS_MAX
        failures = 0
        while True:
            try:
                after = int(await self.client.send("EVENTCOUNT"))
                break
            except Exception:
                failures += 1
                if time.monotonic() > deadline:
                    raise
                await self.client.pause(0.1)
        expect(after >= before, f"{after} events, before it were {before}")
        return f"{failures} failed before it had reconnected"

    async def refusal(self, request: Request) -> Exception:
        """What the library raises for a request that is refused."""
        try:
            reply = await self.client.send(*request)
        except Exception as error:
            return error
        raise CheckFailed(f"it was not refused: {reply!r:.100}")


async def run(client: Client, names: Sequence[str] = ()) -> None:
    """All checks, or those named, and the lines about them."""
    checks = Checks(client)
    all_checks: list[Callable[[], Awaitable[str]]] = [
        checks.connect,
        checks.add,
        checks.read,
        checks.page,
        checks.concurrency,
        checks.too_large,
        checks.pipeline,
        checks.restart,
    ]
    for check in all_checks:
        name = getattr(check, "__name__", "")
        if names and name not in names:
            continue
        try:
            detail = await check()
        except Exception as error:
            print(f"{name}: {error!r}", file=sys.stderr)
            say(check=name, ok=False, detail=f"{type(error).__name__}: {error}"[:300])
        else:
            say(check=name, ok=True, detail=detail)
    say(done=True, client=client.library, version=client.version, resp=await _find_resp(client))
    await client.close()


async def _find_resp(client: Client) -> str:
    """What the connection speaks, as the server says; libraries make different things of that reply."""
    try:
        found = re.search(r"\bresp\W+([23])", str(await client.send("CLIENT", "INFO")))
    except Exception:
        return given("RESP")
    return found[1] if found else given("RESP")
