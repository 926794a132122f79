"""What the Dockerfile says, read without an engine: its last stage, the one that becomes the image."""

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple


class Instruction(NamedTuple):
    """One instruction: its word, and the rest of its line with continued lines joined."""

    word: str
    rest: str

    @property
    def exec_form(self) -> list[str]:
        """The words of a command that no shell sees: a JSON array."""
        words: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return words


def last_stage(path: Path) -> list[Instruction]:
    """The instructions from the last FROM on."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    instructions = [Instruction(*line.split(maxsplit=1)) for line in lines]
    begins = [index for index, instruction in enumerate(instructions) if instruction.word == "FROM"]
    return instructions[begins[-1] :]


def environment_of(stage: list[Instruction]) -> dict[str, str]:
    """The variables that a stage sets."""
    words = [word for instruction in stage if instruction.word == "ENV" for word in shlex.split(instruction.rest)]
    return dict(word.split("=", 1) for word in words)


def the_only(stage: list[Instruction], word: str) -> Instruction:
    """The one instruction of this word."""
    (instruction,) = [instruction for instruction in stage if instruction.word == word]
    return instruction


def context_of(ignore_file: Path) -> list[str]:
    """The files and folders that a .dockerignore of the form "nothing but ..." lets into a build."""
    lines = [line for line in ignore_file.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    return [line[1:] for line in lines if line[0] == "!"]
