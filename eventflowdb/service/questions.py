"""What one process asks of all others, so that each can speak for the whole server; and how it is encoded."""

from collections.abc import Mapping, Sequence

import msgspec

from eventflowdb.service.statistics import SlowCommand

Fact = str | int | float


class ListClients(msgspec.Struct, tag="list", frozen=True):
    """CLIENT LIST with these words: the lines, by the ids of the clients."""

    words: list[bytes]


class KillClients(msgspec.Struct, tag="kill", frozen=True):
    """CLIENT KILL with these words: how many were killed."""

    words: list[bytes]


class TellFigures(msgspec.Struct, tag="figures", frozen=True):
    """INFO with these sections: a ProcessFigures."""

    sections: list[str]


class TellSlow(msgspec.Struct, tag="slow", frozen=True):
    """SLOWLOG: what is kept, and whether to forget it."""

    forgets: bool


class ResetStatistics(msgspec.Struct, tag="reset", frozen=True):
    """CONFIG RESETSTAT: nothing."""


Question = ListClients | KillClients | TellFigures | TellSlow | ResetStatistics


class ProcessFigures(msgspec.Struct, frozen=True):
    """What one process has to tell for INFO.

    commands: calls, failed calls, seconds, most seconds of each; totals: commands, connections, rejected connections.
    """

    name: str
    pid: int
    sections: dict[str, dict[str, Fact]]
    commands: dict[str, tuple[int, int, float, float]]
    errors: dict[str, int]
    totals: tuple[int, int, int]


class Told(msgspec.Struct, frozen=True):
    """The answers to a question that had some, and how many processes gave none in time."""

    answers: list[bytes]
    missing: int


Facts = Mapping[str, Fact]
Slow = Sequence[SlowCommand]

encode_question = msgspec.msgpack.Encoder().encode
decode_question = msgspec.msgpack.Decoder(Question).decode
decode_told = msgspec.msgpack.Decoder(Told).decode
decode_lines = msgspec.msgpack.Decoder(dict[int, str]).decode
decode_count = msgspec.msgpack.Decoder(int).decode
decode_slow = msgspec.msgpack.Decoder(list[SlowCommand]).decode
decode_figures = msgspec.msgpack.Decoder(list[ProcessFigures]).decode
