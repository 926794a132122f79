"""What a write transaction changes: done at once or in the end, and kept in the form in which the journal repeats it.

Every change is blind: a value put under a key, or a key taken away, whatever was there. So the changes of some commits,
repeated in their order over any state between the one they began with and the one they led to, lead to the latter.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from eventflowdb.errors import CorruptRecord
from eventflowdb.storage.environment import Environment

Entry = tuple[bytes, bytes]
Change = tuple[int, bool, list[Entry]]
"""The number of a database, whether the entries are put (else their keys are taken away), and the entries."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Change]).decode


class Changes:
    """The changes of one batch, made in a write transaction. Databases are those of the environment."""

    __slots__ = ("_later", "_log", "_made", "_numbers", "_txn")

    def __init__(self, environment: Environment, txn: Any) -> None:
        self._numbers = environment.numbers
        self._log = environment.log
        self._txn = txn
        self._made: list[Change] = []
        self._later: list[tuple[Any, list[Entry], bool]] = []

    def put(self, database: Any, key: bytes, value: bytes) -> None:
        """Put one value in place of any other."""
        self._txn.put(key, value, db=database)
        self._made.append((self._numbers[database], True, [(key, value)]))

    def put_later(self, database: Any, entries: list[Entry], *, is_append: bool = False) -> None:
        """Put values, best in the order of their keys, when `complete` is called; before, nothing must look for them.

        is_append: they belong behind all others: in the log, or of the same key of an index.
        """
        if entries:
            self._later.append((database, entries, is_append))
            self._made.append((self._numbers[database], True, entries))

    @property
    def is_complete(self) -> bool:
        """Whether nothing was left for later."""
        return not self._later

    def complete(self) -> None:
        """Put what was left for later. CorruptRecord where the log has something behind what belongs behind all others.

        No place is looked for there; and a page of an index that is split at its end stays full, not half empty.
        """
        later, self._later = self._later, []
        for database, entries, is_append in later:
            if len(entries) == 1:
                # For one, a cursor costs more than what it does. True, True: beside others of its key, or in its place;
                # if these were named, the call would take a fifth longer.
                ((key, value),) = entries
                count = int(self._txn.put(key, value, True, True, is_append, database))
            else:
                _, count = self._txn.cursor(database).putmulti(entries, True, True, is_append)
            # What cannot be appended is passed over, without an error.
            if is_append and count != len(entries):
                if database is self._log:
                    raise CorruptRecord("the log goes on beyond its head; restore from a backup")
                # Of an index that is damaged VERIFY tells. That must not keep anyone from appending.
                self._txn.cursor(database).putmulti(entries)

    def delete(self, database: Any, key: bytes) -> bool:
        """Take a key away; whether it was there."""
        if not self._txn.delete(key, db=database):
            return False
        self._made.append((self._numbers[database], False, [(key, b"")]))
        return True

    def encode(self) -> bytes:
        """What `repeat` takes (MessagePack)."""
        return _encode(self._made)


def repeat(environment: Environment, txn: Any, encoded: bytes) -> None:
    """Make the changes of a batch again; msgspec.MsgspecError where the bytes are not such."""
    changes: Sequence[Change] = _decode(encoded)
    for number, is_put, entries in changes:
        database = environment.databases[number]
        if is_put:
            txn.cursor(database).putmulti(entries)
        else:
            for key, _ in entries:
                txn.delete(key, db=database)
