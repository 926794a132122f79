"""clients/vectors.json, shared by the clients of all languages: the three in Python send and read what it says."""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from eventflowdb import errors
from eventflowdb.client import asyncio_client, blocking_client, twisted_client
from eventflowdb.client.appends import StreamAppend, Unless
from eventflowdb.client.replies import Reply, ReplyParser
from eventflowdb.errors import EventflowError
from eventflowdb.events import NewEvent, RecordedEvent
from tests.system.installation import ROOT

from .samples import STREAM

VECTORS = json.loads((ROOT / "clients" / "vectors.json").read_text(encoding="utf-8"))
RUN = {"events", "errors", "requests"}
NOT_RUN = {"consumer_requests", "consumers", "parked"}
"""Those of consumers, which the clients in Go and TypeScript run: these clients have none."""
LOOK_UPS = ("event", "stream")
"""Methods whose reply may be null."""
KINDS: dict[str, type[EventflowError]] = {
    "concurrency": errors.WrongExpectedVersion,
    "unless_matched": errors.UnlessMatched,
    "not_held": errors.NotHeld,
    "no_such_consumer": errors.NoSuchConsumer,
    "request_conflict": errors.RequestConflict,
    "invalid_argument": errors.InvalidArgument,
    "not_authenticated": errors.NotAuthenticated,
    "wrong_password": errors.WrongPassword,
    "not_permitted": errors.NotPermitted,
    "try_again": errors.TryAgain,
    "store_full": errors.StoreFull,
    "corrupt": errors.CorruptRecord,
}


class Recorder:
    """Connections of any of the clients: keeps what is asked, and gives one reply."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.words: tuple[bytes, ...] = ()


class BlockingRecorder(Recorder):
    def request(self, words: Sequence[bytes], _wait_seconds: float) -> object:
        self.words = tuple(words)
        return self.reply


class AsyncioRecorder(Recorder):
    async def request(self, words: Sequence[bytes], _wait_seconds: float) -> object:
        self.words = tuple(words)
        return self.reply


class TwistedRecorder(Recorder):
    def request(self, *words: bytes, wait_seconds: float = 0.0) -> "Deferred[Reply]":
        self.words = words
        return succeed(self.reply)


def _with_blocking(reply: Reply, method: str, *args: Any, **options: Any) -> tuple[tuple[bytes, ...], Any]:
    recorder: Any = BlockingRecorder(reply)
    given = getattr(blocking_client.EventflowClient(recorder), method)(*args, **options)
    return recorder.words, given


def _with_asyncio(reply: Reply, method: str, *args: Any, **options: Any) -> tuple[tuple[bytes, ...], Any]:
    recorder: Any = AsyncioRecorder(reply)
    given = asyncio.run(getattr(asyncio_client.EventflowClient(recorder), method)(*args, **options))
    return recorder.words, given


def _with_twisted(reply: Reply, method: str, *args: Any, **options: Any) -> tuple[tuple[bytes, ...], Any]:
    recorder: Any = TwistedRecorder(reply)
    given: list[Any] = []
    getattr(twisted_client.EventflowClient(recorder, Clock()), method)(*args, **options).addCallback(given.append)
    return recorder.words, given[0]


Use = Callable[..., tuple[tuple[bytes, ...], Any]]
every_client = pytest.mark.parametrize(
    "use", [_with_blocking, _with_asyncio, _with_twisted], ids=["blocking", "asyncio", "twisted"]
)


def test_every_part_of_the_vectors_is_run_or_named() -> None:
    assert VECTORS.keys() == RUN | NOT_RUN


@every_client
@pytest.mark.parametrize("vector", VECTORS["requests"], ids=lambda vector: vector["name"])
def test_a_call_is_sent_as_the_vector_says(use: Use, vector: dict[str, Any]) -> None:
    call = _with_values(vector["call"])
    method = call.pop("method")
    words, _ = use(None if method in LOOK_UPS else [], method, **call)
    assert words[0] == vector["command"].encode()
    arguments = [json.loads(word) for word in words[1:]]
    for argument in arguments:
        if "request_id" in argument and "request_id" not in call:
            assert re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", argument["request_id"])
            argument["request_id"] = "<a fresh ULID>"
    assert arguments == ([vector["argument"]] if vector["argument"] else [])


def _with_values(call: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call, with our classes where the vector has objects."""
    values = dict(call)
    if "id" in call:
        values["event_id"] = values.pop("id")
    if "events" in call:
        values["events"] = [NewEvent(**{**event, "tags": tuple(event.get("tags", ()))}) for event in call["events"]]
    if "unless" in call:
        values["unless"] = [Unless(**item) for item in call["unless"]]
    if "appends" in call:
        values["appends"] = [StreamAppend(**_with_values(append)) for append in call["appends"]]
    return values


@every_client
@pytest.mark.parametrize("vector", VECTORS["events"], ids=lambda vector: vector["name"])
def test_an_event_is_read_as_the_vector_says(use: Use, vector: dict[str, Any]) -> None:
    _, events = use([vector["json"].encode()], "get", STREAM)
    assert [json.loads(msgspec.json.encode(event)) for event in events] == [vector["event"]]
    assert [event.tags for event in events] == [tuple(vector["event"].get("tags", ()))]
    assert type(events[0]) is RecordedEvent


@pytest.mark.parametrize("vector", VECTORS["errors"], ids=lambda vector: vector["name"])
def test_an_error_is_of_the_kind_that_the_vector_says(vector: dict[str, Any]) -> None:
    # That the clients over redis-py make the same of these texts is shown in test_redis_py_clients, over TCP.
    (error,) = ReplyParser().receive(b"-%b\r\n" % vector["text"].encode())
    assert isinstance(error, EventflowError)
    if vector["kind"] == "other":
        assert type(error) not in KINDS.values()
    else:
        assert type(error) is KINDS[vector["kind"]]
    for name in ("stream", "expected", "actual", "unless", "event", "consumer"):
        assert getattr(error, name, None) == vector.get(name)
