"""A flipped bit in any live byte of the data file is reported: some of each kind here, all of them by hand."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.folders import IN_MEMORY

from .bit_flips import FlippedDatabase, sample

FLIPS_EACH = 12
SEED = 20261123


@pytest.fixture(scope="module")
def database() -> Iterator[FlippedDatabase]:
    """The database of which bits are flipped; it is the same after each flip."""
    with TemporaryDirectory(dir=IN_MEMORY) as name:
        database = FlippedDatabase(Path(name))
        yield database
        database.close()


def test_the_database_has_every_kind_of_page_and_entry(database: FlippedDatabase) -> None:
    kinds = set(database.live.by_kind())
    for what in ("log", "stream_events", "term_events", "streams", "terms", "requests"):
        assert {f"{what}: branch nodes", f"{what}: branch keys", f"{what}: leaf nodes"} <= kinds
    for what in ("stream_events", "term_events", "links"):
        assert {f"{what} values: fixed leaf values", f"{what} values: branch keys"} <= kinds
    assert {"stream_events: sub-page values", "stream_events: data", "log: overflow data", "free list: data"} <= kinds
    assert database.find_problem() is None


def test_a_flipped_bit_in_a_live_byte_is_reported(database: FlippedDatabase) -> None:
    flips = list(sample(database.live, FLIPS_EACH, SEED))
    missed = [flip for flip in flips if database.find_problem_of(*flip[1:]) is None]
    assert missed == []
    assert database.find_problem() is None
    assert len(flips) > 500
