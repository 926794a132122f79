"""What the README shows is what happens: its tables, its tour, its example."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.readme import README, blocks, with_tables
from tests.system.installation import Installation

pytestmark = pytest.mark.system

TEXT = README.read_text(encoding="utf-8")
_CHANGING = (
    (re.compile(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b"), "<ULID>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[0-9:.]+Z"), "<time>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<checksum>"),
)


def _without_chance(text: str) -> str:
    """The text with all that differs from run to run replaced."""
    for pattern, word in _CHANGING:
        text = pattern.sub(word, text)
    return text.strip()


def _steps() -> list[tuple[str, str]]:
    """The commands of the tour, each with the output that the README shows under it."""
    steps: list[tuple[str, str]] = []
    for block in blocks(TEXT, "tour"):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            steps.append((command, output))
    return steps


def test_the_tables_are_those_of_the_code() -> None:
    assert with_tables(TEXT) == TEXT, "run python -m tests.readme"


def test_the_tour_shows_what_happens(start_server: StartServer) -> None:
    server = start_server()
    steps = _steps()
    assert len(steps) >= 8
    for command, shown in steps:
        here = command.replace("6543", str(server.port))
        done = subprocess.run(here, shell=True, capture_output=True, text=True, timeout=60)
        assert _without_chance(done.stdout) == _without_chance(shown), command


def test_the_python_example_runs(start_server: StartServer, installation: Installation, tmp_path: Path) -> None:
    server = start_server()
    [example] = blocks(TEXT, "example")
    script = tmp_path / "example.py"
    script.write_text(example.replace("6543", str(server.port)), encoding="utf-8")
    done = subprocess.run(
        ["python", str(script)],
        cwd=tmp_path,
        env=installation.environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["the stream holds 1 event", '0 AccountOpened {"owner": "Grace"}'], done.stderr


def test_it_has_the_two_commands() -> None:
    assert len(blocks(TEXT, "run-command")) == 1
    assert len(blocks(TEXT, "test-command")) == 1
