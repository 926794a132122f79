"""README.md as a program sees it: its blocks, and the tables in it that are made from code.

`python -m tests.readme` writes the tables anew.
"""

import re
from pathlib import Path

from eventflowdb.commands.reference import markdown_table
from eventflowdb.commands.table import COMMANDS
from eventflowdb.config import SETTINGS

README = Path(__file__).resolve().parent.parent / "README.md"


def blocks(text: str, marker: str) -> list[str]:
    """The contents of the fenced blocks that follow `<!-- marker -->`, in order."""
    return re.findall(rf"^<!-- {marker} -->\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def with_tables(text: str) -> str:
    """The text with its tables as the code has them."""
    settings = ["| variable | meaning | default |", "|---|---|---|"]
    settings += [f"| `{setting.variable}` | {setting.meaning} | {setting.default or 'none'} |" for setting in SETTINGS]
    text = _with_section(text, "commands", markdown_table(COMMANDS.values()))
    return _with_section(text, "settings", "\n".join(settings) + "\n")


def _with_section(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{content}\n{end}{tail}"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
