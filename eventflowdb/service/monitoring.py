"""What MONITOR shows: one line a command, as Redis writes it (replication.c, replicationFeedMonitors)."""

import time
from collections.abc import Sequence

_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 92: "\\\\"}


def monitor_line(address: str, words: Sequence[bytes], has_secrets: bool) -> bytes:
    """The line of one command; of one with secrets, `words` are those that may be shown."""
    seconds, micros = divmod(time.time_ns() // 1000, 1_000_000)
    shown = [_quoted(word) for word in words]
    if has_secrets:
        shown.append('"(redacted)"')
    return f"+{seconds}.{micros:06d} [0 {address}] {' '.join(shown)}\r\n".encode()


def _quoted(word: bytes) -> str:
    """Quoted and escaped like sdscatrepr in Redis's sds.c."""
    return '"' + "".join([_ESCAPES.get(byte) or _character(byte) for byte in word]) + '"'


def _character(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}"
