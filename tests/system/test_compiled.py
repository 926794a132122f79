"""The compiled form: built as a user builds it, it passes the tests that the plain form passes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("wire", "storage", "service", "transport")
"""Those that meet the compiled modules themselves; what is started as a server is made of nothing else."""

pytestmark = pytest.mark.system


def run(folder: Path, *words: str, **variables: str) -> str:
    """What a run of this interpreter writes; it has to succeed."""
    ran = subprocess.run(
        [sys.executable, *words], cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-10_000:]
    return ran.stdout


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the compiled package and the tests, and no source of the package beside them."""
    folder = tmp_path_factory.mktemp("compiled")
    source, site = folder / "source", folder / "site"
    left_out = shutil.ignore_patterns(".*", "build", "clients", "node_modules", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=left_out)
    wheel = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", f"--target={site}", ".")
    run(source, *wheel, EVENTFLOWDB_COMPILE="1")
    for name in ("tests", "benchmarks"):
        shutil.copytree(source / name, site / name)
    shutil.copy(source / "pyproject.toml", site)
    return site


def test_the_modules_of_the_hot_path_are_extensions(compiled: Path) -> None:
    told = run(
        compiled,
        "-c",
        "from eventflowdb.wire import requests; from eventflowdb.storage import batch;"
        "from eventflowdb.service import conversation;"
        "print(*[module.__file__ for module in (requests, batch, conversation)])",
        PYTHONPATH=os.fspath(compiled),
    )
    assert len(told.split()) == 3
    for path in told.split():
        assert path.startswith(os.fspath(compiled))
        assert path.endswith(".so")


@pytest.mark.parametrize("what", TESTS)
def test_it_passes_the_tests(compiled: Path, what: str) -> None:
    told = run(compiled, "-m", "pytest", "-q", f"tests/{what}", PYTHONPATH=os.fspath(compiled))
    assert " passed" in told
