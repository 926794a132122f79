"""Every stock client works in every way of connecting that it has, and docs/COMPATIBILITY.md says so.

A program that is missing on this machine fails the tests that need it; none is skipped.
"""

from collections.abc import Iterator

import pytest

from tests.compatibility.matrix import (
    CHECKS,
    DOCUMENT,
    RUNS,
    Driver,
    Matrix,
    Mode,
    Outcome,
    ToolchainMissing,
    Verdict,
    comparable,
    document_with,
    row,
    rows_of,
    table,
)
from tests.system.installation import Installation

COMMITTED = DOCUMENT.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def matrix(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """Kits built once, and two servers; the outcomes are in outcomes.json in its folder."""
    matrix = Matrix(installation, tmp_path_factory.mktemp("matrix"))
    yield matrix
    matrix.close()


@pytest.mark.system
@pytest.mark.parametrize(("driver", "mode"), RUNS, ids=[f"{driver.name}-{mode.name}" for driver, mode in RUNS])
def test_a_stock_client_passes_every_check(driver: Driver, mode: Mode, matrix: Matrix) -> None:
    try:
        outcome = matrix.run(driver, mode)
    except ToolchainMissing as missing:
        pytest.fail(str(missing), pytrace=False)
    assert outcome.fault is None
    assert {name: verdict.detail for name, verdict in outcome.verdicts.items() if not verdict.ok} == {}
    assert comparable(row(outcome)) in map(comparable, rows_of(COMMITTED)), "run: python -m tests.compatibility.matrix"


def test_the_table_has_a_row_for_each_client_and_mode() -> None:
    rows = [line.strip("| ").split(" | ") for line in rows_of(COMMITTED)]
    assert [(cells[0], cells[2]) for cells in rows] == [(driver.name, mode.words) for driver, mode in RUNS]


def test_a_written_table_is_read_back_and_a_failed_check_shows() -> None:
    verdicts = {name: Verdict(name != "page", "") for name in CHECKS}
    failed = Outcome("redis-py 8", "DEFAULT", "redis-py", "8.1.0", "3", verdicts)
    tool = Outcome("redis-cli", "RESP3", "redis-cli", "7.0.15", "3", verdicts)
    once = document_with(table([tool]), COMMITTED)
    rows = rows_of(document_with(table([failed, tool]), once))
    assert rows[0] == "| redis-py 8 | 8.1.0 | defaults | 3 | ✓ | ✓ | ✓ | ✗ | ✓ | ✓ | ✓ | ✓ |"
    assert rows[1:] == [row(tool)]
    other = Outcome("redis-cli", "RESP3", "redis-cli", "8.0.0", "3", verdicts)
    assert comparable(row(other)) == comparable(row(tool)) != row(tool)
