"""The command table holds the commands of the contract, and the reference is made from it."""

import pytest

from eventflowdb.commands import table
from eventflowdb.commands.reference import markdown_table
from eventflowdb.commands.spec import CommandSpec, Order
from eventflowdb.commands.table import COMMANDS

# The name, the least and the most words with the name, and when it may run.
CONTRACT: list[tuple[str, int, int, Order]] = [
    ("PING", 1, 2, Order.AT_ONCE),
    ("AUTH", 2, 3, Order.AT_ONCE),
    ("QUIT", 1, 1, Order.AT_ONCE),
    ("VERSION", 1, 1, Order.AT_ONCE),
    ("UPTIME", 1, 1, Order.AT_ONCE),
    ("SIZE", 1, 1, Order.READ),
    ("EVENTCOUNT", 1, 1, Order.READ),
    ("STREAMCOUNT", 1, 1, Order.READ),
    ("EVENTCOUNTEST", 1, 1, Order.AT_ONCE),
    ("STREAMCOUNTEST", 1, 1, Order.AT_ONCE),
    ("CHECKSUM", 1, 1, Order.READ),
    ("ADD", 2, 2, Order.APPEND),
    ("GET", 2, 2, Order.READ),
    ("GETALL", 1, 2, Order.READ),
]
ANSWERED_BEFORE_AUTH = {"AUTH", "QUIT"}
WITH_JSON = {"ADD", "GET", "GETALL"}


@pytest.mark.parametrize(("name", "words_min", "words_max", "order"), CONTRACT)
def test_a_command_is_as_the_contract_has_it(name: str, words_min: int, words_max: int, order: Order) -> None:
    spec = COMMANDS[name]
    assert (spec.name, spec.words_min, spec.words_max, spec.order) == (name, words_min, words_max, order)
    assert spec.is_for_anyone == (name in ANSWERED_BEFORE_AUTH)
    assert (spec.decode is not None) == (name in WITH_JSON)


def test_there_are_no_other_commands() -> None:
    assert sorted(COMMANDS) == sorted(name for name, *_ in CONTRACT)


def test_no_name_is_given_twice() -> None:
    assert [spec.name for spec in table._SPECS] == list(COMMANDS)


@pytest.mark.parametrize("spec", COMMANDS.values(), ids=lambda spec: spec.name)
def test_a_command_says_what_it_is_for(spec: CommandSpec) -> None:
    assert spec.name.isascii()
    assert spec.name.isupper()
    assert spec.summary.endswith(".")
    assert spec.reply
    assert (spec.argument == "-") == (spec.words_max == 1)


def test_the_reference_is_a_table_with_a_row_for_each_command() -> None:
    text = markdown_table(COMMANDS.values())
    assert text.endswith("\n")
    header, rule, *rows = [line.split("|") for line in text.removesuffix("\n").split("\n")]
    assert [cell.strip() for cell in header] == ["", "command", "argument", "reply", "what it is for", ""]
    assert rule == ["", "---", "---", "---", "---", ""]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["", spec.name, spec.argument, spec.reply, spec.summary, ""] for spec in COMMANDS.values()
    ]


def test_the_reference_of_no_commands_is_a_table_without_rows() -> None:
    assert markdown_table([]) == "| command | argument | reply | what it is for |\n|---|---|---|---|\n"
