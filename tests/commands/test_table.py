"""The command table holds the commands of the contract, and the reference is made from it."""

import re

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
    ("ADDMANY", 2, 2, Order.APPEND),
    ("GET", 2, 2, Order.READ),
    ("GETALL", 1, 2, Order.READ),
]
OF_CONTRACT = {name for name, *_ in CONTRACT}
ANSWERED_BEFORE_AUTH = {"AUTH", "HELLO", "QUIT", "RESET"}
WITH_JSON = {"ADD", "ADDMANY", "GET", "GETALL"}


@pytest.mark.parametrize(("name", "words_min", "words_max", "order"), CONTRACT)
def test_a_command_is_as_the_contract_has_it(name: str, words_min: int, words_max: int, order: Order) -> None:
    spec = COMMANDS[name]
    assert (spec.name, spec.words_min, spec.words_max, spec.order) == (name, words_min, words_max, order)
    assert (spec.decode is not None) == (name in WITH_JSON)


def test_every_command_of_the_contract_is_there() -> None:
    assert set(COMMANDS) >= OF_CONTRACT


def test_before_auth_nothing_is_answered_but_what_the_contract_names() -> None:
    answered = {spec.name for spec in COMMANDS.values() if spec.is_for_anyone}
    assert {"AUTH", "QUIT"} <= answered <= ANSWERED_BEFORE_AUTH


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
    header, rule, *rows = [_cells(line) for line in text.removesuffix("\n").split("\n")]
    assert header == ["", "command", "argument", "reply", "what it is for", ""]
    assert rule == ["", "---", "---", "---", "---", ""]
    assert rows == [["", spec.name, spec.argument, spec.reply, spec.summary, ""] for spec in COMMANDS.values()]


def _cells(row: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)]


def test_the_reference_of_no_commands_is_a_table_without_rows() -> None:
    assert markdown_table([]) == "| command | argument | reply | what it is for |\n|---|---|---|---|\n"
