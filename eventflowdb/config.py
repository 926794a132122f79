"""The settings: read from the environment and the command line, checked, and told wrong in one line."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from eventflowdb.errors import StartRefused
from eventflowdb.limits import BULK_BYTES_MAX, INTEGER_MAX, MIB, WORKERS_MAX

_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_UNITS = {"": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4}
_BINARY_UNITS = {"kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is started with; sizes in bytes, times in seconds."""

    port: int
    interface: str
    data: Path
    password: str | None
    allow_no_password: bool
    max_request_bytes: int
    max_inflight_bytes: int
    max_clients: int
    map_size: int
    min_free_bytes: int
    read_cache_bytes: int
    count_interval: float
    idle_timeout: int
    workers: int


class Setting(NamedTuple):
    """One setting: its variable, from which the option's name follows, and how its text is read."""

    variable: str
    read: Callable[[str], Any]
    default: str | None
    meaning: str

    @property
    def option(self) -> str:
        """MAX_CLIENTS is --max-clients on the command line."""
        return self.variable.lower().replace("_", "-")


def read_settings(environment: Mapping[str, str], options: Mapping[str, str | None]) -> Settings:
    """The settings; an option (by its name) beats the environment. StartRefused, in one line, for a bad one."""
    values = {setting.variable.lower(): _read(setting, environment, options) for setting in SETTINGS}
    values["password"] = _choose_password(values["password"], values.pop("password_file"))
    settings = Settings(**values)
    _require_password_beyond_loopback(settings)
    _require_room_for_one_request(settings)
    return settings


def _read(setting: Setting, environment: Mapping[str, str], options: Mapping[str, str | None]) -> Any:
    text = options.get(setting.option)
    if text is None:
        text = environment.get(setting.variable, setting.default)
    if text is None:
        return None
    try:
        return setting.read(text)
    except ValueError as error:
        shown = "" if setting.variable == "PASSWORD" else f", got {text!r}"
        raise StartRefused(f"{setting.variable} (--{setting.option}): {error}{shown}") from None


def _whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= 19 and minimum <= int(text) <= maximum:
            return int(text)
        raise ValueError(f"expected a whole number from {minimum} to {maximum}")

    return read


def _size(minimum: int, maximum: int) -> Callable[[str], int]:
    """Bytes: a whole number, or one with a unit (16MiB, 10GB)."""

    def read(text: str) -> int:
        digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        unit = {**_UNITS, **_BINARY_UNITS}.get(text[len(digits) :].lower())
        digits = digits.strip()
        if unit is not None and digits.isascii() and digits.isdigit() and len(digits) <= 19:
            size = int(digits) * unit
            if minimum <= size <= maximum:
                return size
        raise ValueError(f"expected a size in bytes from {minimum} to {maximum}, or with a unit such as 16MiB")

    return read


def _interface(text: str) -> str:
    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("expected an IP address such as 127.0.0.1, 0.0.0.0 or ::1") from None


def _folder(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("expected the path of a folder")
    # Absolute from here on: a daemon leaves the folder it was started in.
    return Path(text).absolute()


def _password(text: str) -> str:
    if not text:
        raise ValueError("is empty; leave it out to run without a password")
    try:
        text.encode()
    except UnicodeEncodeError:
        # Python's own sentence would show the character.
        raise ValueError("expected UTF-8 text") from None
    return text


def _password_file(text: str) -> str:
    if "\0" in text or text.splitlines() != [text]:
        raise ValueError("expected the path of a file; leave it out to run without a password")
    return text


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ValueError("expected yes or no")
    return text.lower() == "yes"


def _seconds(text: str) -> float:
    if _DECIMAL.fullmatch(text) is None or not 0.01 <= float(text) <= 86400:
        raise ValueError("expected seconds from 0.01 to 86400")
    return float(text)


def _choose_password(password: str | None, password_file: str | None) -> str | None:
    if password_file is None:
        return password
    if password is not None:
        raise StartRefused("PASSWORD and PASSWORD_FILE are both given; give one of them")
    try:
        text = Path(password_file).read_bytes().decode()
    except OSError as error:
        raise StartRefused(f"PASSWORD_FILE {password_file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StartRefused(f"PASSWORD_FILE {password_file} is not UTF-8 text") from None
    text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
    if not text:
        raise StartRefused(f"PASSWORD_FILE {password_file} is empty")
    return text


def _require_password_beyond_loopback(settings: Settings) -> None:
    is_exposed = not ipaddress.ip_address(settings.interface).is_loopback
    if is_exposed and settings.password is None and not settings.allow_no_password:
        raise StartRefused(
            f"INTERFACE {settings.interface} is reachable from other machines and there is no password: "
            "set PASSWORD or PASSWORD_FILE, or ALLOW_NO_PASSWORD=yes if everyone may write"
        )


def _require_room_for_one_request(settings: Settings) -> None:
    if settings.max_inflight_bytes < settings.max_request_bytes:
        raise StartRefused(
            f"MAX_INFLIGHT_BYTES ({settings.max_inflight_bytes}) is less than MAX_REQUEST_BYTES "
            f"({settings.max_request_bytes}), so that the largest request could never be taken in: "
            "raise the one or lower the other"
        )
    if settings.max_inflight_bytes // max(1, settings.workers) < settings.max_request_bytes:
        raise StartRefused(
            f"MAX_INFLIGHT_BYTES ({settings.max_inflight_bytes}) is less than MAX_REQUEST_BYTES "
            f"({settings.max_request_bytes}) for each of {settings.workers} WORKERS: raise the one or lower another"
        )


SETTINGS = (
    Setting("PORT", _whole_number(0, 65535), "6543", "TCP port; 0 takes a free one and logs it"),
    Setting("INTERFACE", _interface, "127.0.0.1", "address to listen on"),
    Setting("DATA", _folder, "./data", "folder of the database, made if absent"),
    Setting("PASSWORD", _password, None, "what clients must AUTH with"),
    Setting("PASSWORD_FILE", _password_file, None, "a file that holds the password; its last newline is dropped"),
    Setting("ALLOW_NO_PASSWORD", _yes_or_no, "no", "yes lets it listen beyond loopback without a password"),
    Setting("MAX_REQUEST_BYTES", _size(1024, BULK_BYTES_MAX), "16MiB", "the largest single request"),
    Setting(
        "MAX_INFLIGHT_BYTES",
        _size(MIB, INTEGER_MAX),
        "256MiB",
        "requests held in memory, all clients together; beyond it sockets are not read",
    ),
    Setting("MAX_CLIENTS", _whole_number(1, 1_000_000), "10000", "connections at once"),
    Setting("MAP_SIZE", _size(MIB, 1 << 46), "1TiB", "LMDB's address space, the bound of the database"),
    Setting("MIN_FREE_BYTES", _size(0, INTEGER_MAX), "64MiB", "appends are refused when the disk has less"),
    Setting(
        "READ_CACHE_BYTES",
        _size(0, INTEGER_MAX),
        "16MiB",
        "replies to GET that each process keeps in memory, for whoever reads the same again; 0: none",
    ),
    Setting("COUNT_INTERVAL", _seconds, "1", "seconds between periodic count indexes"),
    Setting(
        "IDLE_TIMEOUT",
        _whole_number(0, 86400 * 365),
        "0",
        "seconds after which an unused connection is closed; 0: never",
    ),
    Setting(
        "WORKERS",
        _whole_number(0, WORKERS_MAX),
        "0",
        f"processes that clients talk to, beside one that commits, up to {WORKERS_MAX}; 0: one process does everything",
    ),
)
