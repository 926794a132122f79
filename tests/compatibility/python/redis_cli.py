"""Driver of redis-cli: a process for each command, as scripts use it, and one prompt that stays connected."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from tests.compatibility.python.checks import CheckFailed, Request, given, run

_CODE = re.compile(r"^[A-Z]{3,} ")
_PIPED = re.compile(r"errors: (\d+), replies: (\d+)")


class RedisCliError(Exception):
    """What redis-cli printed for an error reply."""


class RedisCli:
    """The command line tool. EVENTCOUNT and CLIENT ID are typed into one that stays."""

    library = "redis-cli"
    version = subprocess.run(["redis-cli", "--version"], capture_output=True, text=True).stdout.split()[1]

    def __init__(self) -> None:
        protocol = {"default": [], "2": ["-2"], "3": ["-3"]}[given("RESP")]
        self._command = ["redis-cli", "-h", given("HOST"), "-p", given("PORT"), *protocol]
        self._environment = {**os.environ, **({"REDISCLI_AUTH": given("PASSWORD")} if given("PASSWORD") else {})}
        self._session: subprocess.Popen[str] | None = None

    async def ping(self) -> object:
        return await self.send("PING")

    async def send(self, *words: str) -> Any:
        if words in {("EVENTCOUNT",), ("CLIENT", "ID")}:
            return self._type(" ".join(words))
        # A long argument is given on standard input: an argument of the system has at most 128 KiB.
        is_long = len(words[-1].encode()) > 100_000
        command = [*self._command, "-e", *(["-x", *words[:-1]] if is_long else words)]
        ended = subprocess.run(
            command,
            input=words[-1] if is_long else None,
            stdin=None if is_long else subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            env=self._environment,
        )
        if ended.returncode != 0:
            raise RedisCliError((ended.stdout + ended.stderr).strip())
        printed = ended.stdout.removesuffix("\n")
        # Not splitlines: events may hold other characters that end a line for Python.
        return printed.split("\n") if words[0] in {"ADD", "GET", "GETALL"} else printed

    async def send_all(self, requests: Sequence[Request]) -> list[Any]:
        """`redis-cli --pipe` counts the replies, and does not show them: they are read by what follows."""
        packed = b"".join(
            b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
            for words in ([word.encode() for word in request] for request in requests)
        )
        # It takes its password from the command line or the environment, and speaks RESP2 here.
        ended = subprocess.run([*self._command, "--pipe"], input=packed, capture_output=True, env=self._environment)
        found = _PIPED.search(ended.stdout.decode())
        if found is None or found.groups() != ("0", str(len(requests))):
            raise CheckFailed(f"--pipe said {ended.stdout + ended.stderr!r}")
        stored = await self.send("GET", requests[-1][1].replace('"version": 499, "limit": 1', '"version": 0'))
        return [[event] for event in stored for _ in range(2)]

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    async def read_line(self) -> None:
        sys.stdin.readline()

    async def close(self) -> None:
        if self._session is not None:
            self._session.communicate("QUIT\n", timeout=10)

    def _type(self, line: str) -> str:
        """Type a command at the prompt; the reply is one line."""
        session = self._session or subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env=self._environment,
        )
        self._session = session
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(line + "\n")
        session.stdin.flush()
        printed = session.stdout.readline().strip()
        if _CODE.match(printed) or not printed:
            raise RedisCliError(printed)
        return printed


if __name__ == "__main__":
    asyncio.run(run(RedisCli()))
