"""A program of a Twisted user: appends and reads through txredisapi. Run with a port; prints what it got as JSON."""

import json
import sys
import uuid
from typing import Any

import txredisapi
from twisted.internet import task
from twisted.internet.defer import Deferred


async def use(port: int, password: str) -> dict[str, Any]:
    """Append, read, and be refused."""
    connection = await txredisapi.Connection("127.0.0.1", port, reconnect=False, password=password)
    stream = str(uuid.uuid4())
    add = json.dumps({"stream": stream, "version": 0, "events": [{"type": "t", "data": "x" * 20_000}]})
    added = await connection.execute_command("ADD", add)
    got: dict[str, Any] = {"added": added}
    got["read"] = await connection.execute_command("GET", json.dumps({"stream": stream}))
    got["log"] = await connection.execute_command("GETALL")
    got["count"] = await connection.execute_command("EVENTCOUNT")
    try:
        await connection.execute_command("ADD", add)
    except txredisapi.ResponseError as refusal:
        got["refusal"] = str(refusal)
    await connection.disconnect()
    return got


def main(reactor: object) -> "Deferred[None]":
    """What `task.react` runs."""
    port, password = sys.argv[1:]
    using: Deferred[dict[str, Any]] = Deferred.fromCoroutine(use(int(port), password))
    return using.addCallback(lambda got: print(json.dumps(got)))


if __name__ == "__main__":
    task.react(main)
