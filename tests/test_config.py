"""The settings: where each comes from, and the one line in which a bad one is refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflowdb.config import SETTINGS, Settings, read_settings
from eventflowdb.errors import StartRefused
from eventflowdb.limits import BULK_BYTES_MAX, KIB, MIB

SECRET = "open sesame"
WHOLE = "expected a whole number from"
SIZE_END = "or with a unit such as 16MiB"
ADDRESS = "expected an IP address such as 127.0.0.1, 0.0.0.0 or ::1"
SECONDS = "expected seconds from 0.01 to 86400"

DEFAULTS: dict[str, Any] = {
    "PORT": 6543,
    "INTERFACE": "127.0.0.1",
    "DATA": Path("data").absolute(),
    "PASSWORD": None,
    "ALLOW_NO_PASSWORD": False,
    "MAX_REQUEST_BYTES": 16 * MIB,
    "MAX_INFLIGHT_BYTES": 256 * MIB,
    "MAX_CLIENTS": 10_000,
    "MAP_SIZE": MIB * MIB,
    "MIN_FREE_BYTES": 64 * MIB,
    "READ_CACHE_BYTES": 16 * MIB,
    "COUNT_INTERVAL": 1.0,
    "IDLE_TIMEOUT": 0,
    "WORKERS": 0,
}
GOOD: list[tuple[str, str, Any]] = [
    ("PORT", "0", 0),
    ("PORT", "65535", 65535),
    ("PORT", "06543", 6543),
    ("INTERFACE", "127.0.0.2", "127.0.0.2"),
    ("INTERFACE", "::1", "::1"),
    ("INTERFACE", "0:0:0:0:0:0:0:1", "::1"),
    ("INTERFACE", "localhost", "127.0.0.1"),
    ("DATA", "/var/lib/eventflowdb", Path("/var/lib/eventflowdb")),
    ("DATA", "elsewhere", Path("elsewhere").absolute()),
    ("PASSWORD", SECRET, SECRET),
    ("PASSWORD", "é \n", "é \n"),
    ("ALLOW_NO_PASSWORD", "yes", True),
    ("ALLOW_NO_PASSWORD", "YES", True),
    ("ALLOW_NO_PASSWORD", "no", False),
    ("MAX_REQUEST_BYTES", "1024", KIB),
    ("MAX_REQUEST_BYTES", "1KiB", KIB),
    ("MAX_REQUEST_BYTES", "2kB", 2000),
    ("MAX_REQUEST_BYTES", "1 mib", MIB),
    ("MAX_REQUEST_BYTES", "5MB", 5_000_000),
    ("MAX_INFLIGHT_BYTES", "1GiB", KIB * MIB),
    ("MAX_INFLIGHT_BYTES", "9007199254740991", 2**53 - 1),
    ("MAX_CLIENTS", "1", 1),
    ("MAX_CLIENTS", "1000000", 1_000_000),
    ("MAP_SIZE", "1048576", MIB),
    ("MAP_SIZE", "64TiB", 2**46),
    ("MAP_SIZE", "1TB", 10**12),
    ("MIN_FREE_BYTES", "0", 0),
    ("MIN_FREE_BYTES", "10GB", 10**10),
    ("READ_CACHE_BYTES", "0", 0),
    ("READ_CACHE_BYTES", "1GiB", KIB * MIB),
    ("COUNT_INTERVAL", "0.01", 0.01),
    ("COUNT_INTERVAL", "2.5", 2.5),
    ("COUNT_INTERVAL", "86400", 86400.0),
    ("IDLE_TIMEOUT", "300", 300),
    ("WORKERS", "1", 1),
    ("WORKERS", "16", 16),
]
BAD: list[tuple[str, str, str]] = [
    *[
        ("PORT", text, f"{WHOLE} 0 to 65535")
        for text in [
            "",
            " ",
            "65536",
            "-1",
            "+1",
            "1.0",
            "1e3",
            "0x1",
            "1_000",
            " 6543",
            "6543\n",
            "many",
            "٣",
            "9" * 5000,
        ]
    ],
    *[
        ("INTERFACE", text, ADDRESS)
        for text in ["", "*", "example.org", "1", "127.0.0", "127.0.0.256", "0.0.0.0:6543", "[::1]"]
    ],
    *[("DATA", text, "expected the path of a folder") for text in ["", "a\0b"]],
    *[
        ("PASSWORD_FILE", text, "expected the path of a file; leave it out to run without a password")
        for text in ["", "a\0b", "a\nb", "a\u2028b"]
    ],
    *[("ALLOW_NO_PASSWORD", text, "expected yes or no") for text in ["", "1", "true", "y", "yes ", "on"]],
    *[
        ("MAX_REQUEST_BYTES", text, f"expected a size in bytes from 1024 to {BULK_BYTES_MAX}, {SIZE_END}")
        for text in [
            "",
            "0",
            "1023",
            "513MiB",
            "1GiB",
            "16M",
            "16 M iB",
            "MiB",
            "-1",
            "1.5MiB",
            "16MiB\n!",
            "٣MiB",
            "9" * 30,
        ]
    ],
    *[
        ("MAX_INFLIGHT_BYTES", text, f"expected a size in bytes from 1048576 to {2**53 - 1}, {SIZE_END}")
        for text in ["", "1048575", "9007199254740992", "all"]
    ],
    *[("MAX_CLIENTS", text, f"{WHOLE} 1 to 1000000") for text in ["", "0", "1000001", "-1", "10k"]],
    *[
        ("MAP_SIZE", text, f"expected a size in bytes from 1048576 to {2**46}, {SIZE_END}")
        for text in ["", "1", "65TiB"]
    ],
    *[
        ("MIN_FREE_BYTES", text, f"expected a size in bytes from 0 to {2**53 - 1}, {SIZE_END}")
        for text in ["", "-1", "1%"]
    ],
    ("READ_CACHE_BYTES", "-1", f"expected a size in bytes from 0 to {2**53 - 1}, {SIZE_END}"),
    *[
        ("COUNT_INTERVAL", text, SECONDS)
        for text in [
            "",
            "0",
            "0.001",
            "86401",
            "-1",
            "nan",
            "inf",
            "1e1",
            "1_0",
            " 1",
            "1s",
            ".5",
            "1.",
            "٣",
            "9" * 5000,
        ]
    ],
    *[("IDLE_TIMEOUT", text, f"{WHOLE} 0 to 31536000") for text in ["", "-1", "31536001", "0.5"]],
    *[("WORKERS", text, f"{WHOLE} 0 to 16") for text in ["", "-1", "17", "auto"]],
]


def option(variable: str) -> str:
    """The option of a variable."""
    return variable.lower().replace("_", "-")


def value_of(settings: Settings, variable: str) -> Any:
    """What a variable set."""
    return getattr(settings, variable.lower())


def refusal(environment: dict[str, str], options: dict[str, str | None] | None = None) -> str:
    """Why these settings are refused, which they have to be: in one line."""
    with pytest.raises(StartRefused) as refused:
        read_settings(environment, options or {})
    text = str(refused.value)
    assert len(text.splitlines()) == 1
    return text


def test_every_setting_has_a_default() -> None:
    settings = read_settings({}, {})
    assert {variable: value_of(settings, variable) for variable in DEFAULTS} == DEFAULTS
    assert {setting.variable for setting in SETTINGS} == {*DEFAULTS, "PASSWORD_FILE"}


def test_every_setting_has_an_option_and_says_what_it_is() -> None:
    for setting in SETTINGS:
        assert setting.option == option(setting.variable)
        assert setting.meaning
    assert len({setting.option for setting in SETTINGS}) == len(SETTINGS)


@pytest.mark.parametrize(("variable", "text", "value"), GOOD)
def test_a_setting_comes_from_the_environment(variable: str, text: str, value: Any) -> None:
    settings = read_settings({variable: text, "HOME": "/root"}, {option(variable): None})
    assert value_of(settings, variable) == value
    assert type(value_of(settings, variable)) is type(value)
    others = set(DEFAULTS) - {variable}
    assert {other: value_of(settings, other) for other in others} == {other: DEFAULTS[other] for other in others}


@pytest.mark.parametrize(("variable", "text", "value"), GOOD)
def test_an_option_beats_the_environment(variable: str, text: str, value: Any) -> None:
    assert value_of(read_settings({}, {option(variable): text}), variable) == value
    # Also if what the environment says is wrong.
    assert value_of(read_settings({variable: ""}, {option(variable): text}), variable) == value


@pytest.mark.parametrize(("variable", "text", "right"), BAD)
def test_a_bad_setting_is_refused_with_what_would_be_right(variable: str, text: str, right: str) -> None:
    expected = f"{variable} (--{option(variable)}): {right}, got {text!r}"
    assert refusal({variable: text}) == expected
    assert refusal({}, {option(variable): text}) == expected


def test_every_setting_that_can_be_bad_was_tried() -> None:
    assert {variable for variable, _, _ in BAD} == {setting.variable for setting in SETTINGS} - {"PASSWORD"}


def test_an_empty_password_is_refused() -> None:
    expected = "PASSWORD (--password): is empty; leave it out to run without a password"
    assert refusal({"PASSWORD": ""}) == expected
    assert refusal({"PASSWORD": SECRET}, {"password": ""}) == expected


def test_a_password_that_is_not_utf8_is_refused_and_not_shown() -> None:
    # As os.environ gives a byte that is not UTF-8.
    assert refusal({"PASSWORD": f"{SECRET}\udcff"}) == "PASSWORD (--password): expected UTF-8 text"


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret\n\n", "secret\n"),
        (b"secret\r", "secret\r"),
        (b"two\r\nlines\rand a half\n", "two\r\nlines\rand a half"),
        (b" secret ", " secret "),
        (b"\n\n", "\n"),
        ("sécret\n".encode(), "sécret"),
    ],
)
def test_the_password_is_what_the_file_holds_without_its_last_newline(
    tmp_path: Path, content: bytes, password: str
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    assert read_settings({"PASSWORD_FILE": str(file)}, {}).password == password
    assert read_settings({}, {"password-file": str(file)}).password == password


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_an_empty_password_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    assert refusal({"PASSWORD_FILE": str(file)}) == f"PASSWORD_FILE {file} is empty"


def test_a_password_file_that_is_not_utf8_is_refused_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(SECRET.encode() + b"\xff")
    assert refusal({"PASSWORD_FILE": str(file)}) == f"PASSWORD_FILE {file} is not UTF-8 text"


def test_a_password_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert (
        refusal({"PASSWORD_FILE": str(absent)}) == f"PASSWORD_FILE {absent} cannot be read: No such file or directory"
    )
    assert refusal({"PASSWORD_FILE": str(tmp_path)}) == f"PASSWORD_FILE {tmp_path} cannot be read: Is a directory"


@pytest.mark.parametrize("of_options", [set(), {"password"}, {"password-file"}, {"password", "password-file"}])
def test_a_password_and_a_password_file_are_one_too_many(tmp_path: Path, of_options: set[str]) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET)
    given = {"PASSWORD": SECRET, "PASSWORD_FILE": str(file)}
    environment = {variable: text for variable, text in given.items() if option(variable) not in of_options}
    options: dict[str, str | None] = {option(v): text for v, text in given.items() if option(v) in of_options}
    assert refusal(environment, options) == "PASSWORD and PASSWORD_FILE are both given; give one of them"


@pytest.mark.parametrize("interface", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "128.0.0.1"])
def test_to_listen_beyond_loopback_takes_a_password_or_the_word_that_none_is_wanted(
    tmp_path: Path, interface: str
) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET)
    assert refusal({"INTERFACE": interface}) == (
        f"INTERFACE {interface} is reachable from other machines and there is no password: "
        "set PASSWORD or PASSWORD_FILE, or ALLOW_NO_PASSWORD=yes if everyone may write"
    )
    assert refusal({"INTERFACE": interface, "ALLOW_NO_PASSWORD": "no"}).startswith(f"INTERFACE {interface} ")
    for permit in ({"PASSWORD": SECRET}, {"PASSWORD_FILE": str(file)}, {"ALLOW_NO_PASSWORD": "yes"}):
        settings = read_settings({"INTERFACE": interface, **permit}, {})
        assert settings.interface == interface
        assert settings.password == (None if "ALLOW_NO_PASSWORD" in permit else SECRET)


@pytest.mark.parametrize("interface", ["127.0.0.1", "127.255.255.254", "::1", "localhost"])
def test_on_loopback_no_password_is_needed(interface: str) -> None:
    assert read_settings({"INTERFACE": interface}, {}).password is None


def test_the_largest_request_has_to_fit_into_memory() -> None:
    assert refusal({"MAX_REQUEST_BYTES": "32MiB", "MAX_INFLIGHT_BYTES": "33554431"}) == (
        "MAX_INFLIGHT_BYTES (33554431) is less than MAX_REQUEST_BYTES (33554432), so that the largest request "
        "could never be taken in: raise the one or lower the other"
    )
    equal = read_settings({"MAX_REQUEST_BYTES": "32MiB", "MAX_INFLIGHT_BYTES": "32MiB"}, {})
    assert equal.max_inflight_bytes == equal.max_request_bytes == 32 * MIB


def test_the_largest_request_has_to_fit_into_the_share_of_each_front() -> None:
    sizes = {"MAX_REQUEST_BYTES": "16MiB", "MAX_INFLIGHT_BYTES": "32MiB"}
    assert read_settings({**sizes, "WORKERS": "2"}, {}).workers == 2
    assert refusal({**sizes, "WORKERS": "3"}) == (
        "MAX_INFLIGHT_BYTES (33554432) is less than MAX_REQUEST_BYTES (16777216) for each of 3 WORKERS: "
        "raise the one or lower another"
    )


@settings(deadline=None)
@given(st.sampled_from([setting.variable for setting in SETTINGS]), st.text(st.characters(), max_size=20))
def test_any_text_gives_settings_or_one_line(variable: str, text: str) -> None:
    try:
        read_settings({variable: text}, {})
    except StartRefused as refused:
        line = str(refused)
    else:
        line = variable
    assert variable in line
    assert len(line.splitlines()) == 1


@settings(deadline=None)
@given(st.text(st.characters(), min_size=1, max_size=20))
def test_no_password_is_ever_shown(password: str) -> None:
    secret = f"<{password}>"
    bad = [{"PASSWORD_FILE": "/etc/hostname"}, {"PORT": "x"}, {"INTERFACE": "x"}, {"MAX_INFLIGHT_BYTES": "1MiB"}]
    assert all(secret not in refusal({"PASSWORD": secret, **other}) for other in bad)
