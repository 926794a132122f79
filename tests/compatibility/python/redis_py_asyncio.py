"""Driver of redis-py's asyncio client."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import redis
from redis.asyncio import Redis

from tests.compatibility.python.checks import Request, given, run


class RedisPy:
    """redis.asyncio.Redis."""

    library = "redis-py asyncio"
    version = redis.__version__

    def __init__(self) -> None:
        options: dict[str, Any] = {"host": given("HOST"), "port": int(given("PORT"))}
        if given("PASSWORD"):
            options["password"] = given("PASSWORD")
        if given("RESP") != "default":
            options["protocol"] = int(given("RESP"))
        self._redis: Any = Redis(**options)

    async def ping(self) -> object:
        return await self._redis.ping()

    async def send(self, *words: str) -> Any:
        return await self._redis.execute_command(*words)

    async def send_all(self, requests: Sequence[Request]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for request in requests:
                pipeline.execute_command(*request)
            return list(await pipeline.execute())

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def read_line(self) -> None:
        await asyncio.to_thread(sys.stdin.readline)

    async def close(self) -> None:
        await self._redis.aclose()


async def main() -> None:
    """The client belongs to the loop that it is made in."""
    await run(RedisPy())


if __name__ == "__main__":
    asyncio.run(main())
