"""What a write transaction changes: done at once or in the end, and kept in the form in which the journal repeats it.

Every change is blind: a value put under a key, or a key taken away, whatever was there. So the changes of some commits,
repeated in their order over any state between the one they began with and the one they led to, lead to the latter.

The head of the log is kept with the checksum that the log had before the batch. To extend that takes its time, and can
be done while the disk has the changes; whoever repeats them extends it again.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from eventflowdb.errors import CorruptRecord
from eventflowdb.storage import layout
from eventflowdb.storage.checksum import of_records
from eventflowdb.storage.environment import Environment
from eventflowdb.storage.layout import Head, head_of
from eventflowdb.storage.records import load_page

Entry = tuple[bytes, bytes]
Change = tuple[int, bool, list[Entry]]
"""The number of a database, whether the entries are put (else their keys are taken away), and the entries."""

_HEAD: Final = 255
"""In place of a database's number: the head, with the checksum of the log before the entries that are put in it."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Change]).decode


class Changes:
    """The changes of one batch, made in a write transaction. Databases are those of the environment."""

    __slots__ = ("_later", "_log", "_made", "_meta", "_numbers", "_records", "_txn", "head")

    def __init__(self, environment: Environment, txn: Any) -> None:
        self._numbers = environment.numbers
        self._log = environment.log
        self._meta = environment.meta
        self._txn = txn
        self._made: list[Change] = []
        self._later: list[tuple[Any, list[Entry], bool]] = []
        self.head: Head | None = None
        """The new head, when all is complete; None where the log stays what it is."""
        self._records: Sequence[bytes] = ()

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

    def put_head_later(self, head: Head, records: Sequence[bytes]) -> None:
        """Put the head when `complete` is called, after the entries of the log.

        head: the new one, but for the checksum, which is that of the log before; records: those that come to it.
        """
        self.head, self._records = head, records
        self._made.append((_HEAD, True, [(layout.HEAD_KEY, layout.pack_head(head))]))

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
        if self.head is not None and self._records:
            self.head, self._records = _extended(self.head, self._records), ()
            self._txn.put(layout.HEAD_KEY, layout.pack_head(self.head), db=self._meta)

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
    """Make the changes of a batch again; msgspec.MsgspecError, CorruptRecord where the bytes are not such."""
    changes: Sequence[Change] = _decode(encoded)
    records: list[bytes] = []
    for number, is_put, entries in changes:
        if number == _HEAD:
            heads = [(key, _extended(layout.unpack_head(packed), records)) for key, packed in entries]
            txn.cursor(environment.meta).putmulti([(key, layout.pack_head(head)) for key, head in heads])
            continue
        database = environment.databases[number]
        if is_put:
            txn.cursor(database).putmulti(entries)
        else:
            for key, _ in entries:
                txn.delete(key, db=database)
        if database is environment.log:
            records += load_page([stored for _, stored in entries], [key for key, _ in entries])


def _extended(head: Head, records: Sequence[bytes]) -> Head:
    """A head, with the checksum after these records in place of that before: 1 us for each."""
    position, last_id, checksum, added_at_us = head
    return head_of(position, last_id, of_records(records, checksum), added_at_us)
