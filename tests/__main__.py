"""The one gate: `python -m tests` runs every check there is; its exit status is 0 if all of them pass.

Further arguments go to pytest. The quick checks all run, so that one round shows all that is wrong; if one of them
fails, the tests are not started. Pytest's closing line is the last one.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Check(NamedTuple):
    """One check: what it is called, and what the interpreter that runs the gate is to run."""

    name: str
    arguments: list[str]


QUICK_CHECKS = (
    Check("lint", ["-m", "ruff", "check", "."]),
    Check("format", ["-m", "ruff", "format", "--check", "."]),
    Check("types", ["-m", "mypy"]),
    # import-linter cannot be run with -m.
    Check("import layers", ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]),
)


def passes(check: Check) -> bool:
    """Say what is run, and run it."""
    print(f"== {check.name}: python {' '.join(check.arguments)}", flush=True)
    return subprocess.run([sys.executable, *check.arguments], cwd=ROOT).returncode == 0


def main() -> None:
    """Run every check."""
    failed = [check.name for check in QUICK_CHECKS if not passes(check)]
    if failed:
        sys.exit(f"== failed: {', '.join(failed)}; the tests were not started")
    sys.exit(0 if passes(Check("tests", ["-m", "pytest", *sys.argv[1:]])) else 1)


if __name__ == "__main__":
    main()
