"""Which connections CLIENT LIST shows and CLIENT KILL closes."""

from collections.abc import Sequence
from dataclasses import dataclass

from eventflowdb.errors import EventflowError
from eventflowdb.service.access import DEFAULT_USER
from eventflowdb.service.session import Session
from eventflowdb.wire.integers import read_integer

_TYPES = ("normal", "master", "replica", "slave", "pubsub")


@dataclass(frozen=True, slots=True)
class ClientFilter:
    """Every condition that is given must hold. There is one user, so USER, once it is checked, is none."""

    ids: frozenset[int] | None = None
    address: str | None = None
    local_address: str | None = None
    kind: str | None = None
    age_min: float | None = None
    skips_me: bool = False

    def holds(self, session: Session, now: float) -> bool:
        """Whether a connection is chosen."""
        return (
            (self.ids is None or session.id in self.ids)
            and (self.address is None or session.address == self.address)
            and (self.local_address is None or session.local_address == self.local_address)
            and (self.kind is None or self.kind == ("normal" if session.subscriber is None else "pubsub"))
            and (self.age_min is None or now - session.began_at >= self.age_min)
        )


def list_filter(words: Sequence[bytes]) -> ClientFilter:
    """The filter of CLIENT LIST: TYPE or ID, as in Redis."""
    if not words:
        return ClientFilter()
    option = words[0].lower()
    if option == b"type" and len(words) == 2:
        return ClientFilter(kind=_read_type(words[1]))
    if option == b"id" and len(words) > 1:
        return ClientFilter(ids=frozenset(_read_number(word, "Invalid client ID") for word in words[1:]))
    raise EventflowError("syntax error")


def kill_filter(words: Sequence[bytes]) -> ClientFilter:
    """The filter of CLIENT KILL: pairs of an option and its value; ID takes several."""
    rest = list(words)
    found: dict[str, object] = {"skips_me": True}
    while rest:
        option = rest.pop(0).lower()
        if not rest:
            raise EventflowError("syntax error")
        name, value = _read_option(option, rest.pop(0))
        if name == "ids":
            ids = {value}
            while rest and (more := read_integer(rest[0])) is not None:
                ids.add(more)
                rest.pop(0)
            found[name] = frozenset(ids)
        elif name != "user":
            found[name] = value
    return ClientFilter(**found)  # type: ignore[arg-type]  # _read_option gives each name its type


def _read_option(option: bytes, word: bytes) -> tuple[str, object]:
    value = word.decode("utf-8", "replace")
    if option in (b"addr", b"laddr"):
        return "address" if option == b"addr" else "local_address", value
    if option == b"id":
        return "ids", _read_number(word, "client-id should be greater than 0", minimum=1)
    if option == b"user":
        if word != DEFAULT_USER:
            raise EventflowError(f"No such user '{value[:128]}'")
        return "user", value
    if option == b"type":
        return "kind", _read_type(word)
    if option == b"skipme" and value.lower() in ("yes", "no"):
        return "skips_me", value.lower() == "yes"
    if option == b"maxage":
        return "age_min", float(_read_number(word, "maxage is not an integer or out of range"))
    raise EventflowError("syntax error")


def _read_type(word: bytes) -> str:
    value = word.decode("utf-8", "replace")
    if value.lower() not in _TYPES:
        raise EventflowError(f"Unknown client type '{value[:128]}'")
    return value.lower()


def _read_number(word: bytes, refusal: str, minimum: int = -(1 << 63)) -> int:
    number = read_integer(word)
    if number is None or number < minimum:
        raise EventflowError(refusal)
    return number
