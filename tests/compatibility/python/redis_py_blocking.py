"""Driver of redis-py's blocking client."""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

import redis

from tests.compatibility.python.checks import Request, given, run


class RedisPy:
    """redis.Redis; its coroutines never wait."""

    library = "redis-py"
    version = redis.__version__

    def __init__(self) -> None:
        options: dict[str, Any] = {"host": given("HOST"), "port": int(given("PORT"))}
        if given("PASSWORD"):
            options["password"] = given("PASSWORD")
        if given("RESP") != "default":
            options["protocol"] = int(given("RESP"))
        self._redis: Any = redis.Redis(**options)

    async def ping(self) -> object:
        return self._redis.ping()

    async def send(self, *words: str) -> Any:
        return self._redis.execute_command(*words)

    async def send_all(self, requests: Sequence[Request]) -> list[Any]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for request in requests:
                pipeline.execute_command(*request)
            return list(pipeline.execute())

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    async def read_line(self) -> None:
        sys.stdin.readline()

    async def close(self) -> None:
        self._redis.close()


if __name__ == "__main__":
    asyncio.run(run(RedisPy()))
