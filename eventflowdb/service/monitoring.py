"""What MONITOR shows: one line a command, as Redis writes it (replication.c, replicationFeedMonitors)."""

import re
import time
from collections.abc import Sequence

_NAMED = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t", b"\a": b"\\a", b"\b": b"\\b"}
"""The backslash first: those of the others must stay as they are."""
_UNPRINTABLE = re.compile(rb"[^ -~]")


def monitor_line(address: str, words: Sequence[bytes], has_secrets: bool) -> bytes:
    """The line of one command; of one with secrets, `words` are those that may be shown."""
    seconds, micros = divmod(time.time_ns() // 1000, 1_000_000)
    shown = [_quoted(word) for word in words]
    if has_secrets:
        shown.append(b'"(redacted)"')
    return b"+%d.%06d [0 %b] %b\r\n" % (seconds, micros, address.encode(), b" ".join(shown))


def _quoted(word: bytes) -> bytes:
    """Quoted and escaped like sdscatrepr in Redis's sds.c; whole passes, since an ADD may be 16 MiB."""
    for character, escape in _NAMED.items():
        word = word.replace(character, escape)
    return b'"%b"' % _UNPRINTABLE.sub(lambda found: b"\\x%02x" % ord(found.group()), word)
