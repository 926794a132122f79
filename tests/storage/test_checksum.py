"""The checksum of the log, against an implementation that shares nothing with the store's."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from eventflowdb.storage.checksum import of_records
from eventflowdb.storage.lmdb_store import LmdbStore

from .samples import OTHER, STREAM, OpenDatabase, append_of, read_log, stored


def recompute(records: list[bytes]) -> str:
    """The checksum as the contract tells any client to compute it."""
    checksum = b"\0" * 32
    for record in records:
        digest = hashlib.new("sha256", record).digest()
        checksum = hashlib.new("sha256", checksum + digest).digest()
    return checksum.hex()


def test_the_checksum_of_an_empty_log_is_32_zero_bytes(store: LmdbStore) -> None:
    assert store.head().checksum.hex() == "0" * 64


def test_the_checksum_is_what_anyone_computes_from_the_log(database: OpenDatabase) -> None:
    stored(database.store, append_of(STREAM, 0, "a", "zażółć \0"))
    assert database.store.head().checksum.hex() == recompute(read_log(database.store))
    database.store.append_batch(
        [append_of(OTHER, 0, "b"), append_of(OTHER, 0, "refused"), append_of(STREAM, 2, "c", "d")]
    )
    assert database.store.head().checksum.hex() == recompute(read_log(database.store))
    stored(database.reopen(), append_of(OTHER, 1, "e"))
    assert database.store.head().checksum.hex() == recompute(read_log(database.store))


def test_the_checksum_of_known_records_is_known() -> None:
    # echo -n | sha256sum and so on, by hand: c(1) = SHA-256( 32 zeros, SHA-256("a") ).
    expected = "8c374a53782642f7514d087d26a3e733f1b806009a03e04a43b288ef2fa9f9c0"
    assert of_records([b"a"]).hex() == expected


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(0, 8))
def test_the_checksum_can_go_on_from_any_event(records: list[bytes], split: int) -> None:
    assert of_records(records[split:], of_records(records[:split])).hex() == recompute(records)
