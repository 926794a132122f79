"""Driver of txredisapi."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import txredisapi
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread

from tests.compatibility.python.checks import Request, given, run


class TxRedisApi:
    """txredisapi.Connection."""

    library = "txredisapi"
    version = version("txredisapi")

    def __init__(self) -> None:
        self._redis: Any = None

    async def ping(self) -> object:
        password = given("PASSWORD") or None
        self._redis = await txredisapi.Connection(given("HOST"), int(given("PORT")), password=password)
        return await self._redis.ping()

    async def send(self, *words: str) -> Any:
        return await self._redis.execute_command(*words)

    async def send_all(self, requests: Sequence[Request]) -> list[Any]:
        pipeline = await self._redis.pipeline()
        for request in requests:
            pipeline.execute_command(*request)
        return list(await pipeline.execute_pipeline())

    async def pause(self, seconds: float) -> None:
        await task.deferLater(IReactorTime(reactor), seconds)

    async def read_line(self) -> None:
        await deferToThread(sys.stdin.readline)

    async def close(self) -> None:
        await self._redis.disconnect()


def main(_reactor: object) -> "Deferred[None]":
    """What `task.react` runs."""
    return Deferred.fromCoroutine(run(TxRedisApi()))


if __name__ == "__main__":
    task.react(main)
