"""A request to append, checked, as every layer hands it on.

Of classes of its own, not of structs: each of their fields is looked at several times on an append's way, and compiled
code finds a field of its own class without looking its name up.
"""

from typing import Final

from eventflowdb.events import CheckedEvent, Checkpoint, ExpectedVersion, Unless

StreamAppendFields = tuple[str, ExpectedVersion, list[CheckedEvent]]
AppendFields = tuple[list[StreamAppendFields], int, tuple[Unless, ...], str | None, Checkpoint | None]


class StreamAppend:  # noqa: PLW1641 - its events are a list
    """Events for one stream, if it holds what is expected; without events it is a check alone.

    stream: canonical lower-case UUID.
    """

    __slots__ = ("events", "expected_version", "stream")

    def __init__(self, stream: str, expected_version: ExpectedVersion, events: list[CheckedEvent]) -> None:
        self.stream: Final = stream
        self.expected_version: Final[ExpectedVersion] = expected_version
        self.events: Final = events

    def fields(self) -> StreamAppendFields:
        """All of it."""
        return self.stream, self.expected_version, self.events

    def __eq__(self, other: object) -> bool:
        """Whether both ask for the same."""
        return isinstance(other, StreamAppend) and self.fields() == other.fields()

    def __repr__(self) -> str:
        return f"StreamAppend{self.fields()}"


class Append:  # noqa: PLW1641 - its parts are a list
    """One request to append: all of its parts are stored if every condition holds, else nothing.

    parts: each of another stream; request_id: under which the answer is remembered; checkpoint: an event that it acks;
    size_bytes: what the request weighed, for the bounds on batches.
    """

    __slots__ = ("checkpoint", "parts", "request_id", "size_bytes", "unless")

    def __init__(
        self,
        parts: list[StreamAppend],
        size_bytes: int,
        unless: tuple[Unless, ...] = (),
        request_id: str | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.parts: Final = parts
        self.size_bytes: Final = size_bytes
        self.unless: Final = unless
        self.request_id: Final = request_id
        self.checkpoint: Final = checkpoint

    @classmethod
    def to_stream(
        cls, stream: str, expected_version: ExpectedVersion, events: list[CheckedEvent], size_bytes: int
    ) -> "Append":
        """An append to one stream, without further conditions."""
        return Append([StreamAppend(stream, expected_version, events)], size_bytes)

    @classmethod
    def of_fields(cls, fields: AppendFields) -> "Append":
        """What these were the fields of."""
        parts, size_bytes, unless, request_id, checkpoint = fields
        return Append([StreamAppend(*part) for part in parts], size_bytes, unless, request_id, checkpoint)

    def with_checkpoint(self, checkpoint: Checkpoint) -> "Append":
        """The same with another checkpoint."""
        return Append(self.parts, self.size_bytes, self.unless, self.request_id, checkpoint)

    def fields(self) -> AppendFields:
        """All of it, in plain tuples."""
        parts = [part.fields() for part in self.parts]
        return parts, self.size_bytes, self.unless, self.request_id, self.checkpoint

    def __eq__(self, other: object) -> bool:
        """Whether both ask for the same."""
        return isinstance(other, Append) and self.fields() == other.fields()

    def __repr__(self) -> str:
        return f"Append{self.fields()}"
