"""Which connections CLIENT LIST shows and CLIENT KILL closes."""

from collections.abc import Sequence
from dataclasses import dataclass

from eventflowdb.errors import EventflowError
from eventflowdb.service.session import Session

_TYPES = ("normal", "master", "replica", "slave", "pubsub")


@dataclass(frozen=True, slots=True)
class ClientFilter:
    """Every condition that is given must hold."""

    ids: frozenset[int] | None = None
    address: str | None = None
    local_address: str | None = None
    kind: str | None = None
    user: str | None = None
    age_min: float | None = None
    skips_me: bool = False

    def holds(self, session: Session, now: float) -> bool:
        """Whether a connection is chosen."""
        return (
            (self.ids is None or session.id in self.ids)
            and (self.address is None or session.address == self.address)
            and (self.local_address is None or session.local_address == self.local_address)
            and (self.kind is None or self.kind == "normal")
            and (self.user is None or (self.user == "default" and session.is_authenticated))
            and (self.age_min is None or now - session.began_at >= self.age_min)
        )


def read_filters(words: Sequence[bytes], *, skips_me: bool = False) -> ClientFilter:
    """The filter that the words after LIST or KILL make."""
    rest = [word.decode("utf-8", "replace") for word in words]
    found: dict[str, object] = {"skips_me": skips_me}
    while rest:
        option = rest.pop(0).lower()
        if not rest:
            raise EventflowError("syntax error")
        if option == "id":
            found["ids"] = _read_ids(rest)
        else:
            name, value = _read_option(option, rest.pop(0))
            found[name] = value
    return ClientFilter(**found)  # type: ignore[arg-type]  # _read_option gives each name its type


def _read_ids(rest: list[str]) -> frozenset[int]:
    """All the numbers that follow; they are taken off."""
    ids: list[int] = []
    while rest and rest[0].isascii() and rest[0].isdigit() and len(rest[0]) < 20:
        ids.append(int(rest.pop(0)))
    if not ids:
        raise EventflowError("client-id should be greater than 0")
    return frozenset(ids)


def _read_option(option: str, value: str) -> tuple[str, object]:
    if option == "addr":
        return "address", value
    if option == "laddr":
        return "local_address", value
    if option == "user":
        return "user", value
    if option == "type":
        if value.lower() not in _TYPES:
            raise EventflowError(f"Unknown client type '{value[:128]}'")
        return "kind", value.lower()
    if option == "skipme" and value.lower() in ("yes", "no"):
        return "skips_me", value.lower() == "yes"
    if option == "maxage" and value.isascii() and value.isdigit() and len(value) < 20:
        return "age_min", float(value)
    raise EventflowError("syntax error")
