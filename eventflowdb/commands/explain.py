"""Why an argument was rejected, in words that name the path and what would be right.

The validator is msgspec; here its messages are turned into sentences, and where it only says that the text is
malformed, the standard library's slower parser finds out more. Neither may decide what is valid.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, get_args, get_type_hints

import msgspec

from eventflowdb.limits import CONSUMER_TIMEOUT_MS_MAX, INTEGER_MAX, KIB, RETRY_MS_MAX, TRIES_MAX, WAIT_MS_MAX

_EXPLAINED_BYTES_MAX = 256 * KIB
"""Looking twice at a longer text would keep everybody else waiting."""
_SHOWN_CHARACTERS_MAX = 60
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_AT = re.compile(r"(?s)(?P<what>.*) - at `\$\.?(?P<path>[\w.\[\]]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")
_UNKNOWN = re.compile(r"(?s)Object contains unknown field `(?P<field>.*)`")
_TYPE = re.compile(r"Expected `(?P<expected>.*)`, got `(?P<found>.*)`")
_RANGE = re.compile(r"Expected `int` [<>]=")
_TOO_LARGE = re.compile(r"(Integer value|Number) out of range")
_INDEX = re.compile(r"\[\d+\]")
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_TYPE_WORDS = {
    "int | str": 'a number of events, "any" or "exists"',  # the version that an append expects
    "object | array | null": "an object, an array of objects or null",
    "int": "an integer",
    "str": "a string",
    "array": "an array",
    "object": "an object",
    "float": "a number with a fraction or an exponent",
    "bool": "a boolean",
    "null": "null",
}


_RANGES = {
    "delay_ms": (0, RETRY_MS_MAX),
    "retry_ms": (0, RETRY_MS_MAX),
    "timeout_ms": (1, CONSUMER_TIMEOUT_MS_MAX),
    "tries_max": (0, TRIES_MAX),
    "wait_ms": (0, WAIT_MS_MAX),
}
"""Of fields whose bounds are looked at when msgspec has found no fault with them."""


class _Object(list[tuple[str, Any]]):
    """A JSON object with every field that the text gives, repeated ones too."""


def explain_rejection(text: bytes, rejection: Exception, shape: type[msgspec.Struct]) -> str:
    """The sentence for what msgspec refused."""
    if _is_bare(text):
        return f"the argument is not JSON: expected {_example(shape)}, got {_quoted(text)}"
    if isinstance(rejection, msgspec.ValidationError):
        return _explain_validation(str(rejection), shape)
    return _explain_malformed(text, str(rejection).removeprefix("JSON is malformed: "))


def _is_bare(text: bytes) -> bool:
    """Whether it is a word, a UUID say, where an object should be: no parser's sentence about it is of any use."""
    start = text.lstrip()[:1]
    if not start or start in b'{["' or len(text) > _EXPLAINED_BYTES_MAX or text.startswith(_BYTE_ORDER_MARK):
        return False
    try:
        json.loads(text.decode(), parse_constant=int)
    except UnicodeDecodeError:
        return False
    except (RecursionError, ValueError):
        return True
    return False


def _example(shape: type[msgspec.Struct]) -> str:
    required = [field.name for field in msgspec.structs.fields(shape) if field.required]
    if not required:
        return "a JSON object"
    return "a JSON object such as {" + ", ".join(f'"{name}": ...' for name in required) + "}"


def _quoted(text: bytes) -> str:
    return repr(shortened(text.decode()))


def find_repeated_field(text: bytes) -> str:
    """The path of a field that a JSON text gives twice; a general word where the text is too long to look."""
    repeated = _find_repeated(_parse(text)) if len(text) <= _EXPLAINED_BYTES_MAX else None
    return "a field of the argument" if repeated is None else repeated.removeprefix(".")


def shortened(text: str) -> str:
    """A text of the client's, cut to what a sentence can hold."""
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + "..."


def _explain_validation(message: str, shape: type[msgspec.Struct]) -> str:
    located = _AT.fullmatch(message)
    what, path = (located["what"], located["path"]) if located else (message, "")
    missing = _MISSING.fullmatch(what)
    if missing is not None:
        return f"{_joined(path, missing['field'])}: is required"
    unknown = _UNKNOWN.fullmatch(what)
    if unknown is not None:
        known = ", ".join(_shape_at(path, shape).__struct_fields__)
        return f"{_joined(path, shortened(unknown['field']))}: unknown field; known are {known}"
    where = path or "the argument"
    if _RANGE.match(what):
        least, most = _RANGES.get(path.rpartition(".")[2], (0, INTEGER_MAX))
        return f"{where}: expected an integer from {least} to {most}"
    if _TOO_LARGE.match(what):
        return f"{where}: the number is too large; integers are 0 to {INTEGER_MAX}"
    kinds = _TYPE.fullmatch(what)
    if kinds is not None:
        return f"{where}: expected {_in_words(kinds['expected'])}, got {_in_words(kinds['found'])}"
    return f"{where}: {what}"


def _explain_malformed(text: bytes, reason: str) -> str:
    """The second look: where the text is not UTF-8 or not JSON, or which string holds half a surrogate pair."""
    if not text:
        return "the argument is empty; expected a JSON object"
    if text.startswith(_BYTE_ORDER_MARK):
        return "the argument begins with a byte order mark; send the JSON alone"
    half = None
    try:
        text.decode()
        if len(text) <= _EXPLAINED_BYTES_MAX:
            half = _find_half_surrogate(_parse(text))
    except UnicodeDecodeError as error:
        return f"the argument is not valid UTF-8 (byte {error.start})"
    except json.JSONDecodeError as error:
        # Some of its messages count on the position to follow.
        return f"the argument is not valid JSON: {error.msg.removesuffix(' at')} at character {error.pos}"
    except (RecursionError, ValueError):
        pass  # nested too deeply, or a number too long: msgspec's own reason has to do
    if half is None:
        hint = "; escapes from \\ud800 to \\udfff have to come in pairs" if _SURROGATE_ESCAPE.search(text) else ""
        return f"the argument is not valid JSON: {reason}{hint}"
    path, holder = half
    return (
        f"{path.removeprefix('.') or 'the argument'}: {holder} half of a surrogate pair, "
        "which is not a Unicode character; send both halves or none"
    )


def _parse(text: bytes) -> Any:
    return json.loads(text, object_pairs_hook=_Object)


def _find_repeated(value: Any) -> str | None:
    """The path from a value down to a field that is given twice."""
    seen: set[str | int] = set()
    for key, child in _children(value):
        if key in seen:
            return _step(key)
        seen.add(key)
        repeated = _find_repeated(child)
        if repeated is not None:
            return _step(key) + repeated
    return None


def _find_half_surrogate(value: Any) -> tuple[str, str] | None:
    """The path from a value down to half of a surrogate pair, and what holds it."""
    if isinstance(value, str):
        return ("", "holds") if _HALF_SURROGATE.search(value) else None
    for key, child in _children(value):
        if isinstance(key, str) and _HALF_SURROGATE.search(key):
            return "", "the name of a field holds"
        found = _find_half_surrogate(child)
        if found is not None:
            return _step(key) + found[0], found[1]
    return None


def _children(value: Any) -> Iterable[tuple[str | int, Any]]:
    """The values inside an object or an array, each with its name or index."""
    if isinstance(value, _Object):
        return value
    return enumerate(value) if isinstance(value, list) else ()


def _step(key: str | int) -> str:
    return f"[{key}]" if isinstance(key, int) else f".{shortened(key)}"


def _shape_at(path: str, shape: Any) -> Any:
    """The struct that stands at a path such as `events[0]`."""
    for step in _INDEX.sub("", path).split("."):
        shape = _find_struct(get_type_hints(shape).get(step)) or shape
    return shape


def _find_struct(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct in an annotation such as `list[EventArgument] | None`."""
    parts = get_args(annotation)
    if parts:  # first, since Python 3.10 takes list[...] for a class
        return next((found for part in parts if (found := _find_struct(part))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct) else None


def _joined(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def _in_words(kinds: str) -> str:
    return _TYPE_WORDS.get(kinds) or " or ".join(_TYPE_WORDS.get(kind, kind) for kind in kinds.split(" | "))
