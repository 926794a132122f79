"""The README's two commands: the one that runs the server as it stands; the one that runs the tests by .ci/run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from building.hot_path import SWITCH
from tests.readme import README, blocks
from tests.system.installation import copy_checkout
from tests.system.resp import Connection
from tests.system.server import Server

pytestmark = pytest.mark.system


def test_run_command_of_the_readme_runs_the_server(tmp_path: Path) -> None:
    (command,) = blocks(README.read_text(encoding="utf-8"), "run-command")
    checkout = copy_checkout(tmp_path / "checkout")
    # The port is the only thing changed: the default one may be taken on the machine that runs the tests.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("DATA", "INTERFACE", "PASSWORD", SWITCH)
    }
    with Server(["bash", "-c", command], {**environment, "PORT": "0", "DATA": "data"}, checkout, 600.0) as server:
        with Connection("127.0.0.1", server.port) as connection:
            assert connection.call("PING") == "PONG"
            # Whoever has a compiler need not ask for it.
            assert connection.figure("hot_path") == "compiled"
        assert (checkout / "data" / "data.mdb").exists()


class Machine:
    """A machine with few programs, most of which only say how they were called."""

    def __init__(self, folder: Path) -> None:
        self._checkout = copy_checkout(folder / "checkout")
        self._programs = folder / "programs"
        self._programs.mkdir()
        for name in ("sh", "bash", "awk", "dirname", "env", "mkdir", "chmod"):
            found = shutil.which(name)
            assert found is not None
            (self._programs / name).symlink_to(found)
        self.install("sudo", 'shift; exec "$@"')

    def install(self, name: str, script: str) -> None:
        """Give it a program."""
        program = self._programs / name
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)

    def install_python(self) -> None:
        """A python3 whose venvs hold a pip and a python that say how they were called."""
        say = r"""printf '#!/bin/sh\necho %s "$@"\n' $name >.venv/bin/$name; chmod +x .venv/bin/$name"""
        self.install(
            "python3", f'test "$2" != venv || {{ mkdir -p .venv/bin; for name in pip python; do {say}; done; }}'
        )

    def install_apt(self, installs: str) -> None:
        """An apt-get that says how it was called, and at `apt-get install` does what it is given."""
        self.install("apt-get", f'echo apt-get "$@"; test "$1" = update || {{ {installs}; }}')

    def run_ci(self) -> tuple[int, list[str]]:
        """Run .ci/run; its status, and what the programs said."""
        ended = subprocess.run(
            ["bash", str(self._checkout / ".ci" / "run")],
            cwd="/",
            env={"PATH": str(self._programs), "CI": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return ended.returncode, ended.stdout.splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with neither Python nor redis-cli nor a C compiler."""
    return Machine(tmp_path)


THE_TESTS = ["pip install .[test]", "python -m tests"]


def test_ci_runs_the_test_command_of_the_readme(machine: Machine) -> None:
    (command,) = blocks(README.read_text(encoding="utf-8"), "test-command")
    assert command == "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/python -m tests\n"
    machine.install_python()
    machine.install("redis-cli", "")
    machine.install("cc", "")
    assert machine.run_ci() == (0, THE_TESTS)


def test_ci_installs_what_is_missing(machine: Machine) -> None:
    machine.install_python()
    machine.install_apt("for name in redis-cli cc; do ln -s /bin/true $(dirname $0)/$name; done")
    machine.install("ln", 'exec /bin/ln "$@"')
    status, said = machine.run_ci()
    assert said[0] == "apt-get update --quiet"
    assert said[1].endswith(" redis-tools gcc libc6-dev python3-dev")
    assert " python3 " not in said[1]
    assert (status, said[2:]) == (0, THE_TESTS)


def test_ci_fails_where_it_cannot_install(machine: Machine) -> None:
    machine.install_apt("exit 100")
    status, said = machine.run_ci()
    assert status == 100
    assert said[1].endswith(" python3 python3-venv redis-tools gcc libc6-dev python3-dev")
    assert not set(THE_TESTS) & set(said)


def test_ci_fails_where_what_it_installed_is_not_there(machine: Machine) -> None:
    machine.install_apt("true")
    status, said = machine.run_ci()
    assert status == 1
    assert not set(THE_TESTS) & set(said)
