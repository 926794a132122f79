"""Driver of redis-benchmark, which ends at the first error reply; what it cannot do is not checked."""

import json
import re
import subprocess
import uuid
from collections.abc import Callable

from tests.compatibility.python.checks import CheckFailed, given, say

_MEASURED = re.compile(r"requests per second")
_NUMBERS = "2000000000"
"""Of how many random numbers one is drawn for each append: as many as redis-benchmark can count."""


def append(*arguments: str) -> str:
    """Append to new streams, each of a random number. Once in thousands of times one is drawn twice, so try again."""
    try:
        return measure("-r", _NUMBERS, *arguments, "ADD", _add())
    except CheckFailed:
        return measure("-r", _NUMBERS, *arguments, "ADD", _add())


def _add() -> str:
    stream = str(uuid.uuid4())[:24] + "__rand_int__"
    return json.dumps({"stream": stream, "version": 0, "events": [{"type": "Measured", "data": "x"}]})


def measure(*arguments: str) -> str:
    """Run it; every request has to be answered."""
    options = ["-h", given("HOST"), "-p", given("PORT"), "-n", "1000", "-q"]
    if given("PASSWORD"):
        options += ["-a", given("PASSWORD")]
    if given("RESP") == "3":
        options.append("-3")
    ended = subprocess.run(["redis-benchmark", *options, *arguments], capture_output=True, text=True, timeout=30)
    printed = ended.stdout + ended.stderr
    if ended.returncode != 0 or _MEASURED.search(printed) is None or "WARNING" in printed:
        raise CheckFailed(printed.strip()[-300:])
    return "1,000 requests"


CHECKS: dict[str, Callable[[], str]] = {
    "connect": lambda: measure("-t", "ping"),
    "add": append,
    "read": lambda: measure("GETALL", '{"limit":10}'),
    "pipeline": lambda: append("-P", "1000", "-c", "1"),
}


def main() -> None:
    """All checks that it has."""
    for name, check in CHECKS.items():
        try:
            say(check=name, ok=True, detail=check())
        except Exception as error:
            say(check=name, ok=False, detail=f"{type(error).__name__}: {error}"[:300])
    version = subprocess.run(["redis-benchmark", "--version"], capture_output=True, text=True).stdout.split()[1]
    say(done=True, client="redis-benchmark", version=version, resp="3" if given("RESP") == "3" else "2")


if __name__ == "__main__":
    main()
