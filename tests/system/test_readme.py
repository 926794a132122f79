"""What the README shows is what happens: its tables, its tour, its example."""

import subprocess
from pathlib import Path

import pytest

from eventflowdb import errors
from tests.conftest import StartServer
from tests.readme import README, blocks, with_tables
from tests.system.installation import Installation
from tests.tours import steps, without_chance

pytestmark = pytest.mark.system

TEXT = README.read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_code() -> None:
    assert with_tables(TEXT) == TEXT, "run python -m tests.readme"


def test_every_code_of_a_refusal_is_explained() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.code for kind in kinds if issubclass(kind, errors.EventflowError)}
    explained = TEXT.partition("Errors are `-CODE text`.")[2].partition("\n\n")[0]
    assert {code for code in codes if code not in explained} == set()


def test_the_tour_shows_what_happens(start_server: StartServer) -> None:
    server = start_server()
    shown_steps = steps(TEXT)
    assert len(shown_steps) >= 8
    for command, shown in shown_steps:
        here = command.replace("6543", str(server.port))
        done = subprocess.run(here, shell=True, capture_output=True, text=True, timeout=60)
        assert without_chance(done.stdout) == without_chance(shown), command


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
    assert (done.returncode, done.stderr) == (0, "")


def test_it_has_the_two_commands() -> None:
    assert len(blocks(TEXT, "run-command")) == 1
    assert len(blocks(TEXT, "test-command")) == 1
