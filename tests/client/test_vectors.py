"""clients/vectors.json, shared by the clients of all languages: the three in Python send and read what it says."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred, succeed

from eventflowdb import errors
from eventflowdb.client import asyncio_client, blocking_client, twisted_client
from eventflowdb.client.replies import Reply, ReplyParser
from eventflowdb.errors import EventflowError
from eventflowdb.events import NewEvent, RecordedEvent
from tests.system.installation import ROOT

from .samples import STREAM

VECTORS = json.loads((ROOT / "clients" / "vectors.json").read_text(encoding="utf-8"))
KINDS: dict[str, type[EventflowError]] = {
    "concurrency": errors.WrongExpectedVersion,
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

    def __init__(self, reply: list[Reply]) -> None:
        self.reply = reply
        self.words: tuple[bytes, ...] = ()


class BlockingRecorder(Recorder):
    def request(self, words: Sequence[bytes]) -> object:
        self.words = tuple(words)
        return self.reply


class AsyncioRecorder(Recorder):
    async def request(self, words: Sequence[bytes]) -> object:
        self.words = tuple(words)
        return self.reply


class TwistedRecorder(Recorder):
    def request(self, *words: bytes) -> "Deferred[Reply]":
        self.words = words
        return succeed(self.reply)


def _with_blocking(reply: list[Reply], method: str, *args: Any, **options: Any) -> tuple[tuple[bytes, ...], Any]:
    recorder: Any = BlockingRecorder(reply)
    given = getattr(blocking_client.EventflowClient(recorder), method)(*args, **options)
    return recorder.words, given


def _with_asyncio(reply: list[Reply], method: str, *args: Any, **options: Any) -> tuple[tuple[bytes, ...], Any]:
    recorder: Any = AsyncioRecorder(reply)
    given = asyncio.run(getattr(asyncio_client.EventflowClient(recorder), method)(*args, **options))
    return recorder.words, given


def _with_twisted(reply: list[Reply], method: str, *args: Any, **options: Any) -> tuple[tuple[bytes, ...], Any]:
    recorder: Any = TwistedRecorder(reply)
    given: list[Any] = []
    getattr(twisted_client.EventflowClient(recorder), method)(*args, **options).addCallback(given.append)
    return recorder.words, given[0]


Use = Callable[..., tuple[tuple[bytes, ...], Any]]
every_client = pytest.mark.parametrize(
    "use", [_with_blocking, _with_asyncio, _with_twisted], ids=["blocking", "asyncio", "twisted"]
)


@every_client
@pytest.mark.parametrize("vector", VECTORS["requests"], ids=lambda vector: vector["name"])
def test_a_call_is_sent_as_the_vector_says(use: Use, vector: dict[str, Any]) -> None:
    call = dict(vector["call"])
    method = call.pop("method")
    if "events" in call:
        call["events"] = [NewEvent(**event) for event in call["events"]]
    words, _ = use([], method, **call)
    assert words[0] == vector["command"].encode()
    assert [json.loads(word) for word in words[1:]] == ([vector["argument"]] if vector["argument"] else [])


@every_client
@pytest.mark.parametrize("vector", VECTORS["events"], ids=lambda vector: vector["name"])
def test_an_event_is_read_as_the_vector_says(use: Use, vector: dict[str, Any]) -> None:
    _, events = use([vector["json"].encode()], "get", STREAM)
    assert [msgspec.to_builtins(event) for event in events] == [vector["event"]]
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
    for name in ("stream", "expected", "actual"):
        assert getattr(error, name, None) == vector[name]
