"""What users install: the source distribution, the wheels built from it, and a venv that holds a wheel."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from building.hot_path import SWITCH

ROOT = Path(__file__).resolve().parents[2]
FORM_VARIABLE = "EVENTFLOWDB_TEST_FORM"
"""Where it is "plain", the servers under test have nothing compiled."""
_LEFT_OUT = shutil.ignore_patterns(
    ".*_cache", ".git", ".hypothesis", ".venv", "__pycache__", "*.egg-info", "build", "data", "dist", "dropin.cache"
)


@dataclass(frozen=True, slots=True)
class Distributions:
    """The two files of a release, and the copy of the checkout that they were built from. The wheel is compiled."""

    checkout: Path
    sdist: Path
    wheel: Path


@dataclass(frozen=True, slots=True)
class Installation:
    """A venv with the wheel and the libraries it asks for, and nothing else."""

    venv: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.venv / "bin" / "python"

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment of a user of this installation: no variable of whoever runs the tests is in it."""
        path = os.pathsep.join([str(self.venv / "bin"), os.defpath])
        return {"PATH": path, "HOME": str(self.venv), "LANG": "C.UTF-8", **variables}


def copy_checkout(target: Path) -> Path:
    """A copy of the checkout as a clone would be: builds leave their traces there, and find none of older builds."""
    return Path(shutil.copytree(ROOT, target, ignore=_LEFT_OUT))


def build_distributions(folder: Path) -> Distributions:
    """Build the sdist from the checkout, and from it the wheel as it is where it can be compiled."""
    checkout = copy_checkout(folder / "checkout")
    command = [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(checkout)]
    run(command, folder, {**os.environ, SWITCH: "1"})
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    return Distributions(checkout, sdist, wheel)


def plain_wheel(source: Path, folder: Path) -> Path:
    """The wheel of an sdist or a checkout as it is on a machine whose compiler does not work."""
    folder.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != SWITCH}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "wheels", str(source)]
    run(command, folder, {**environment, "CC": "false"})
    (wheel,) = (folder / "wheels").glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Installation:
    """Install the wheel into a new venv, with its libraries from the registry."""
    installation = Installation(folder / "venv")
    run([sys.executable, "-m", "venv", str(installation.venv)], folder)
    run(
        [str(installation.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)], folder
    )
    return installation


def run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command that has to succeed, in a folder; gives what it printed."""
    ended = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
    return ended.stdout
