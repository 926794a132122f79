"""The command table as the README shows it."""

from collections.abc import Iterable

from eventflowdb.commands.spec import CommandSpec


def markdown_table(specs: Iterable[CommandSpec]) -> str:
    """A Markdown table, a row a command, ending in a line break."""
    rows = ["| command | argument | reply | what it is for |", "|---|---|---|---|"]
    rows += [f"| {spec.name} | {spec.argument} | {spec.reply} | {spec.summary} |" for spec in specs]
    return "\n".join(rows) + "\n"
