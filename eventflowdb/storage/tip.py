"""What the last commit left, kept for the next one: it spares the look-ups whose answers are known.

The rule: a tip is used only where it is provably what the database says. LMDB counts commits; a write transaction
whose number follows that of the tip's commit sees exactly what that commit left. An aborted one leaves no trace.
"""

from typing import Any

from eventflowdb.storage.environment import Environment
from eventflowdb.storage.layout import Head

KNOWN_MAX = 20_000
"""So many streams, and as many terms, are remembered: about 5 MB each."""


class Tip:
    """The head, and the streams and terms met lately, as of one commit.

    streams: number and count of events by stream; terms: number by key in `terms`. Both are a part of what there is.
    """

    __slots__ = ("commit", "head", "next_stream_number", "next_term_number", "streams", "terms")

    def __init__(self, environment: Environment, txn: Any) -> None:
        """The state that a write transaction sees at its beginning."""
        self.commit = int(txn.id()) - 1
        self.head: Head = environment.head(txn)
        self.next_stream_number = int(txn.stat(environment.streams)["entries"])
        self.next_term_number = int(txn.stat(environment.terms)["entries"])
        self.streams: dict[str, tuple[bytes, int]] = {}
        self.terms: dict[bytes, bytes] = {}

    def is_seen_by(self, txn: Any) -> bool:
        """Whether a write transaction begins where the tip's commit ended."""
        return bool(txn.id() == self.commit + 1)

    def forget_many(self) -> None:
        """Keep memory bounded."""
        if len(self.streams) > KNOWN_MAX:
            self.streams.clear()
        if len(self.terms) > KNOWN_MAX:
            self.terms.clear()
