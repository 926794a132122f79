"""Tours in the documentation: commands with the output that is shown under each, to be run against a server.

`python -m tests.tours PORT FILE` writes the outputs of a server that holds nothing into a page.
"""

import re
import subprocess
import sys
from pathlib import Path

_BLOCK = re.compile(r"(^<!-- tour -->\n```console\n)(.*?)(^```$)", re.MULTILINE | re.DOTALL)
_CHANGING = (
    (re.compile(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b"), "<ULID>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[0-9:.]+Z"), "<time>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<checksum>"),
)
_MARK = "--- the end of a step ---"


def steps(text: str) -> list[tuple[str, str]]:
    """The commands of a page, each with the output that it shows under it."""
    found: list[tuple[str, str]] = []
    for _, block, _ in _BLOCK.findall(text):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            found.append((command, output))
    return found


def outputs(commands: list[str], port: int) -> list[str]:
    """What the commands write when they run one after the other in one shell, as a reader's would."""
    script = "".join(f"{command}\necho '{_MARK}'\n" for command in commands).replace("6543", str(port))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    return done.stdout.split(f"{_MARK}\n")[:-1]


def without_chance(text: str) -> str:
    """The text with all that differs from run to run replaced."""
    for pattern, word in _CHANGING:
        text = pattern.sub(word, text)
    return text.strip()


def _written(text: str, port: int) -> str:
    """The page with the outputs of a server."""
    commands = [command for command, _ in steps(text)]
    found = iter(zip(commands, outputs(commands, port), strict=True))

    def block(match: "re.Match[str]") -> str:
        count = len(re.findall(r"^\$ ", match[2], flags=re.MULTILINE))
        lines = [f"$ {command}\n{output}" for command, output in (next(found) for _ in range(count))]
        return match[1] + "".join(lines) + match[3]

    return _BLOCK.sub(block, text)


if __name__ == "__main__":
    page = Path(sys.argv[2])
    page.write_text(_written(page.read_text(encoding="utf-8"), int(sys.argv[1])), encoding="utf-8")
