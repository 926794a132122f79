"""The events that the load writes: they follow from seed, stream, version and client, as load/payload.c has them.

So a check can tell what must be stored without remembering what was written.
"""

from typing import NamedTuple

EVENT_TYPE = "AccountOpened"
DATA_BYTES = 256
_MASK = (1 << 64) - 1


class Stored(NamedTuple):
    """An event as a store gives it back."""

    version: int
    type: str
    data: str
    metadata: str


def stream_name(seed: int, index: int) -> str:
    """The UUID of a stream."""
    high = _mixed(_mixed(seed) + index & _MASK)
    low = _mixed(high)
    return (
        f"{high >> 32:08x}-{high >> 16 & 0xFFFF:04x}-4{high & 0xFFF:03x}-8{low >> 52:03x}-{low & 0xFFFF_FFFF_FFFF:012x}"
    )


def event(stream: str, version: int, client: int) -> Stored:
    """What a client writes as that version of a stream."""
    head = f'{{"account":"{stream}","version":{version},"note":"'
    note = (stream * (DATA_BYTES // len(stream) + 1))[: DATA_BYTES - 2 - len(head)]
    return Stored(version, EVENT_TYPE, f'{head}{note}"}}', f'{{"client":"{client:04d}","user":"{stream}"}}')


def _mixed(value: int) -> int:
    """The finalizer of splitmix64."""
    value = value + 0x9E37_79B9_7F4A_7C15 & _MASK
    value = (value ^ value >> 30) * 0xBF58_476D_1CE4_E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D0_49BB_1331_11EB & _MASK
    return value ^ value >> 31
