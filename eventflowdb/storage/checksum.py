"""The checksum of the whole log: a hash chain over the records as they are returned.

c(0) is 32 zero bytes; c(n) = SHA-256( c(n-1) followed by SHA-256( record n ) ). Anyone can recompute it from
GETALL; the server extends it inside each commit and never recomputes it to answer.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

_sha256: Final = sha256
EMPTY = bytes(32)


def of_records(records: Iterable[bytes], start: bytes = EMPTY) -> bytes:
    """The checksum after `records`, in order."""
    for record in records:
        start = _sha256(start + _sha256(record).digest()).digest()
    return start
