"""The command table as the README shows it."""

from collections.abc import Iterable

from eventflowdb.commands.spec import CommandSpec


def markdown_table(specs: Iterable[CommandSpec]) -> str:
    """A Markdown table, a row a command, ending in a line break."""
    rows = ["| command | argument | reply | what it is for |", "|---|---|---|---|"]
    for spec in specs:
        cells = (spec.name, spec.argument, spec.reply, spec.summary)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"
