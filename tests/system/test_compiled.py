"""The two forms of the hot path: compiled it passes the tests that it passes plain; plain it runs a server too."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.system.installation import FORM_VARIABLE, Distributions, Installation
from tests.system.resp import Refusal
from tests.system.server import Server

STREAM = "0d9f6d1c-5a0e-4ac1-8f0c-4f6d4f3d2b1a"
EVENT = {"type": "Counted", "data": "{}"}
TESTS = ("test_append.py", "test_ids.py", "commands", "wire", "storage", "service", "transport")
"""Those that meet the compiled modules themselves; the servers of all other tests are compiled."""

pytestmark = pytest.mark.system


def run(folder: Path, *words: str) -> str:
    """What a run of this interpreter on the modules of a folder writes; it has to succeed."""
    ran = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.fspath(folder)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-10_000:]
    return ran.stdout


@pytest.fixture(scope="module")
def compiled(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds, and the tests."""
    folder = tmp_path_factory.mktemp("compiled")
    with zipfile.ZipFile(distributions.wheel) as wheel:
        wheel.extractall(folder)
    for name in ("tests", "benchmarks", "building"):
        shutil.copytree(distributions.checkout / name, folder / name)
    shutil.copy(distributions.checkout / "pyproject.toml", folder)
    return folder


def test_the_modules_of_the_hot_path_are_extensions(compiled: Path) -> None:
    told = run(
        compiled,
        "-c",
        "from eventflowdb.wire import requests; from eventflowdb.storage import batch;"
        "from eventflowdb.service import conversation;"
        "print(*[module.__file__ for module in (requests, batch, conversation)])",
    )
    assert len(told.split()) == 3
    for path in told.split():
        assert path.startswith(os.fspath(compiled))
        assert path.endswith(".so")


@pytest.mark.parametrize("what", TESTS)
def test_it_passes_the_tests(compiled: Path, what: str) -> None:
    told = run(compiled, "-m", "pytest", "-q", f"tests/{what}")
    assert " passed" in told


def test_servers_under_test_are_of_the_form_that_was_asked_for(server: Server) -> None:
    with server.connect() as connection:
        assert connection.figure("hot_path") == os.environ.get(FORM_VARIABLE, "compiled")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_plain_server_keeps_what_it_answered(plain_installation: Installation, tmp_path: Path, workers: str) -> None:
    added = []
    for version in range(3):
        with (
            Server.of(plain_installation, tmp_path, {"WORKERS": workers}) as server,
            server.connect() as connection,
        ):
            assert connection.figure("hot_path") == "plain"
            added += connection.add(STREAM, version, EVENT)
            with pytest.raises(Refusal, match="CONCURRENCY"):
                connection.add(STREAM, 9, EVENT)
            assert connection.call("GET", f'{{"stream": "{STREAM}"}}') == connection.call("GETALL") == added


def test_a_form_reads_what_the_other_one_wrote(
    compiled_installation: Installation, plain_installation: Installation, tmp_path: Path
) -> None:
    added = []
    for version in range(4):
        form = (compiled_installation, plain_installation)[version % 2]
        with Server.of(form, tmp_path, {}) as server, server.connect() as connection:
            assert connection.figure("hot_path") == ("compiled", "plain")[version % 2]
            added += connection.add(STREAM, version, EVENT)
            assert connection.call("GETALL") == added
