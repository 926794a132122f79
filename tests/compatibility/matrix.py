"""Which stock Redis clients work with the server: builds their drivers, runs them, and keeps docs/COMPATIBILITY.md.

`python -m tests.compatibility.matrix` runs all of them and writes the table anew. A new driver is an entry of KITS,
if it is built in a way of its own, and one of DRIVERS. README.md beside this says what a driver is.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from tests.system.installation import ROOT, Installation, build_distributions, install
from tests.system.server import Server

HERE = Path(__file__).resolve().parent
DOCUMENT = ROOT / "docs" / "COMPATIBILITY.md"
PASSWORD = "open sésame"
RUN_SECONDS_MAX = 60.0
BUILD_SECONDS_MAX = 600.0
CHECKS = ("connect", "add", "read", "page", "concurrency", "too_large", "pipeline", "restart")
_LEFT_OUT = shutil.ignore_patterns("node_modules", "target", "driver", "__pycache__")
_START, _END = "<!-- matrix -->", "<!-- end of the matrix -->"


class Mode(Enum):
    """How a client is told to connect: the protocol it is asked for, and whether the server has a password."""

    DEFAULT = ("default", False)
    PASSWORD = ("default", True)
    RESP2 = ("2", True)
    RESP3 = ("3", True)

    @property
    def resp(self) -> str:
        """EVENTFLOWDB_RESP."""
        return self.value[0]

    @property
    def has_password(self) -> bool:
        """Whether the server asks for one."""
        return self.value[1]

    @property
    def words(self) -> str:
        """The same for people."""
        return {
            Mode.DEFAULT: "defaults",
            Mode.PASSWORD: "password",
            Mode.RESP2: "password, asked for RESP2",
            Mode.RESP3: "password, asked for RESP3",
        }[self]


ALL_MODES = tuple(Mode)
NO_RESP3 = (Mode.DEFAULT, Mode.PASSWORD, Mode.RESP2)


@dataclass(frozen=True)
class Kit:
    """What drivers are built from, once.

    folder: beside this file, copied; None: an empty one. tools: programs that have to be on the machine.
    """

    folder: str | None
    tools: tuple[str, ...] = ()
    build: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Driver:
    """One client library of one version. checks: those it has; is_pinned: whether the version is ours to choose."""

    name: str
    kit: str
    command: tuple[str, ...]
    modes: tuple[Mode, ...] = ALL_MODES
    checks: tuple[str, ...] = CHECKS
    is_pinned: bool = True


@dataclass(frozen=True)
class Verdict:
    """What a check came to."""

    ok: bool
    detail: str


@dataclass
class Outcome:
    """What a driver printed in one mode. fault: why it did not get to its end; None if it did."""

    driver: str
    mode: str
    client: str = ""
    version: str = ""
    resp: str = ""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    fault: str | None = None


class ToolchainMissing(Exception):
    """A program is not on this machine, without which a part of the matrix cannot be run."""


def _venv(*requirements: str) -> Kit:
    install_them = ("venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
    return Kit(None, (), ((sys.executable, "-m", "venv", "venv"), install_them))


def _python(module: str, interpreter: str = "venv/bin/python") -> tuple[str, ...]:
    return (interpreter, "-m", f"tests.compatibility.python.{module}")


def _java(driver: str) -> tuple[str, ...]:
    return ("java", "-cp", "target/classes:target/lib/*", f"eventflowdb.compatibility.{driver}")


KITS = {
    "redis-py 5": _venv("redis==5.2.1"),
    "redis-py 8": _venv("redis==8.1.0"),
    "txredisapi": _venv("txredisapi==1.6.0", "Twisted==26.10.0"),
    "node": Kit("node", ("node", "npm"), (("npm", "ci", "--no-audit", "--no-fund"),)),
    "go": Kit("go", ("go",), (("go", "build", "-buildvcs=false", "-o", "driver", "."),)),
    "java": Kit("java", ("java", "mvn"), (("mvn", "-q", "-B", "compile"),)),
    "redis-tools": Kit(
        None, ("redis-cli", "redis-benchmark"), ((sys.executable, "-m", "venv", "--without-pip", "venv"),)
    ),
}
DRIVERS = (
    Driver("redis-py 5", "redis-py 5", _python("redis_py_blocking")),
    Driver("redis-py 5, asyncio", "redis-py 5", _python("redis_py_asyncio")),
    Driver("redis-py 8", "redis-py 8", _python("redis_py_blocking")),
    Driver("redis-py 8, asyncio", "redis-py 8", _python("redis_py_asyncio")),
    Driver("txredisapi", "txredisapi", _python("txredisapi_reconnecting"), (Mode.DEFAULT, Mode.PASSWORD)),
    Driver("ioredis 5", "node", ("node", "driver.mjs", "ioredis-5"), NO_RESP3),
    Driver("ioredis 6", "node", ("node", "driver.mjs", "ioredis-6")),
    Driver("node-redis 5", "node", ("node", "driver.mjs", "node-redis-5")),
    Driver("node-redis 6", "node", ("node", "driver.mjs", "node-redis-6")),
    Driver("go-redis", "go", ("./driver",)),
    Driver("lettuce", "java", _java("LettuceDriver")),
    Driver("Jedis", "java", _java("JedisDriver")),
    Driver("redis-cli", "redis-tools", _python("redis_cli", sys.executable), is_pinned=False),
    Driver(
        "redis-benchmark",
        "redis-tools",
        _python("redis_benchmark", sys.executable),
        (Mode.DEFAULT, Mode.PASSWORD, Mode.RESP3),
        ("connect", "add", "read", "pipeline"),
        is_pinned=False,
    ),
)
DRIVER_BY_NAME = {driver.name: driver for driver in DRIVERS}
RUNS = tuple((driver, mode) for driver in DRIVERS for mode in driver.modes)


class Matrix:
    """Builds what a run needs when it first needs it, in a folder of its own, and keeps the outcomes."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.outcomes: list[Outcome] = []
        self._installation = installation
        self._folder = folder
        self._built: dict[str, Path | Exception] = {}
        self._servers: dict[bool, RestartedServer] = {}

    def run(self, driver: Driver, mode: Mode) -> Outcome:
        """Run a driver. Raises ToolchainMissing; a driver that fails is an outcome."""
        folder = self.kit(driver.kit)
        server = self._servers.get(mode.has_password)
        if server is None:
            server = RestartedServer(self._installation, self._folder, mode.has_password)
            self._servers[mode.has_password] = server
        outcome = _run(driver, mode, folder, server)
        self.outcomes.append(outcome)
        self.write_outcomes()
        return outcome

    def close(self) -> None:
        """End the servers."""
        for server in self._servers.values():
            server.server.kill()

    def write_outcomes(self) -> None:
        """All outcomes so far, as JSON."""
        lines = [json.dumps(asdict(outcome), ensure_ascii=False) for outcome in self.outcomes]
        (self._folder / "outcomes.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")

    def kit(self, name: str) -> Path:
        """The folder that a kit was built in; a build that failed fails every run of it, and is not tried again."""
        if name not in self._built:
            try:
                self._built[name] = _build(KITS[name], self._folder / name.replace(" ", "-"))
            except Exception as error:
                self._built[name] = error
        built = self._built[name]
        if isinstance(built, Exception):
            raise built
        return built


class RestartedServer:
    """A server that is ended and started again on the same port and DATA, by SIGTERM or, with a password, SIGKILL."""

    def __init__(self, installation: Installation, folder: Path, has_password: bool) -> None:
        self._installation = installation
        self._folder = folder
        name = "with-password" if has_password else "without-password"
        self._settings = {"DATA": name, "MAX_REQUEST_BYTES": "1MiB", **({"PASSWORD": PASSWORD} if has_password else {})}
        self._has_password = has_password
        self.server = Server.of(installation, folder, self._settings)
        self.port = self.server.port

    def restart(self) -> None:
        """End it, and start it again; it listens when this returns."""
        if self._has_password:
            self.server.kill()
        else:
            self.server.terminate()
        self.server = Server.of(self._installation, self._folder, {**self._settings, "PORT": str(self.port)})
        assert self.server.port == self.port


def _build(kit: Kit, folder: Path) -> Path:
    for tool in kit.tools:
        if shutil.which(tool) is None:
            raise ToolchainMissing(f"{tool} is not on this machine, and the compatibility matrix needs it")
    if kit.folder is None:
        folder.mkdir()
    else:
        shutil.copytree(HERE / kit.folder, folder, ignore=_LEFT_OUT)
    for command in kit.build:
        ended = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX
        )
        assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
    return folder


def _run(driver: Driver, mode: Mode, folder: Path, server: RestartedServer) -> Outcome:
    outcome = Outcome(driver.name, mode.name)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "EVENTFLOWDB_HOST": "127.0.0.1",
        "EVENTFLOWDB_PORT": str(server.port),
        "EVENTFLOWDB_PASSWORD": PASSWORD if mode.has_password else "",
        "EVENTFLOWDB_RESP": mode.resp,
    }
    with tempfile.TemporaryFile() as stderr:
        with _process(driver.command, folder, environment, stderr) as process:
            is_done = _follow(process, outcome, server)
        if is_done and process.returncode == 0:
            missing = [name for name in driver.checks if name not in outcome.verdicts]
            outcome.fault = f"it did not check {', '.join(missing)}" if missing else None
        else:
            stderr.seek(0)
            said = stderr.read().decode(errors="replace")[-2000:]
            outcome.fault = f"it ended with {process.returncode}, and before its end: {said}"
    return outcome


@contextmanager
def _process(
    command: tuple[str, ...], folder: Path, environment: dict[str, str], stderr: Any
) -> "Iterator[subprocess.Popen[str]]":
    """A process, and all that it starts, which has RUN_SECONDS_MAX."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        encoding="utf-8",
        start_new_session=True,
    )

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(RUN_SECONDS_MAX, kill)
    timer.start()
    try:
        with process:
            yield process
    finally:
        timer.cancel()
        kill()


def _follow(process: "subprocess.Popen[str]", outcome: Outcome, server: RestartedServer) -> bool:
    """Read what a driver prints, and restart the server when it asks; gives whether it said that it is done."""
    assert process.stdout is not None
    assert process.stdin is not None
    is_done = False
    for line in process.stdout:
        said = json.loads(line)
        if "await" in said:
            server.restart()
            with suppress(BrokenPipeError):
                process.stdin.write("\n")
                process.stdin.flush()
        elif "check" in said:
            outcome.verdicts[said["check"]] = Verdict(said["ok"], said.get("detail", ""))
        elif "done" in said:
            outcome.client, outcome.version, outcome.resp = said["client"], said["version"], said["resp"]
            is_done = True
    return is_done


def row(outcome: Outcome) -> str:
    """A line of the table."""
    driver = DRIVER_BY_NAME[outcome.driver]
    mode = Mode[outcome.mode]
    marks = [_mark(outcome, name) if name in driver.checks else "–" for name in CHECKS]
    return _line([driver.name, outcome.version, mode.words, outcome.resp, *marks])


def _mark(outcome: Outcome, name: str) -> str:
    verdict = outcome.verdicts.get(name)
    return "✓" if verdict is not None and verdict.ok else "✗"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table(outcomes: Iterable[Outcome]) -> str:
    """The table of a whole run."""
    heads = ["client", "version", "connects with", "RESP", *(name.replace("_", " ") for name in CHECKS)]
    rows = [row(outcome) for outcome in outcomes]
    return "\n".join([_line(heads), _line("---" for _ in heads), *rows])


def document_with(new_table: str, document: str) -> str:
    """The document with another table."""
    before, _, rest = document.partition(_START)
    _, _, after = rest.partition(_END)
    return f"{before}{_START}\n{new_table}\n{_END}{after}"


def rows_of(document: str) -> list[str]:
    """The rows of the document's table."""
    lines = document.partition(_START)[2].partition(_END)[0].strip().splitlines()
    return lines[2:]


def comparable(line: str) -> str:
    """A row without what is not ours to choose: the version of a tool that the machine came with."""
    name, _, *rest = line.strip("| ").split(" | ")
    return line if DRIVER_BY_NAME[name].is_pinned else _line([name, "", *rest])


def main() -> None:
    """Run everything, say what failed, and write the table."""
    with tempfile.TemporaryDirectory(prefix="compatibility-") as name:
        folder = Path(name)
        matrix = Matrix(install(build_distributions(folder).wheel, folder), folder)
        try:
            for driver, mode in RUNS:
                outcome = matrix.run(driver, mode)
                failed = {check: verdict.detail for check, verdict in outcome.verdicts.items() if not verdict.ok}
                print(row(outcome), failed or "", outcome.fault or "", flush=True)
        finally:
            matrix.close()
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(document_with(table(matrix.outcomes), document), encoding="utf-8")


if __name__ == "__main__":
    main()
