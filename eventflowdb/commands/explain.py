"""Why an argument was rejected, in words that name the path and what would be right.

The validator is msgspec; here its messages are turned into sentences, and where it only says that the text is
malformed, the standard library's slower parser finds out more. Neither may decide what is valid.
"""

import json
import re
from typing import Any, get_args, get_origin

import msgspec

from eventflowdb.limits import INTEGER_MAX, MIB

_EXPLAINED_BYTES_MAX = 1 * MIB
"""Looking twice at a longer text would keep everybody else waiting."""
_AT = re.compile(r"(?s)(?P<what>.*) - at `\$\.?(?P<path>.*)`")
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")
_UNKNOWN = re.compile(r"(?s)Object contains unknown field `(?P<field>.*)`")
_TYPE = re.compile(r"Expected `(?P<expected>.*)`, got `(?P<found>.*)`")
_RANGE = re.compile(r"Expected `int` [<>]=")
_INDEX = re.compile(r"\[\d+\]")
_TYPE_WORDS = {
    "int": "an integer",
    "str": "a string",
    "array": "an array",
    "object": "an object",
    "float": "a number with a fraction or an exponent",
    "bool": "a boolean",
    "null": "null",
}


class _Object(list[tuple[str, Any]]):
    """A JSON object with every field that the text gives, repeated ones too."""


def explain_rejection(text: bytes, rejection: Exception, shape: type[msgspec.Struct]) -> str:
    """The sentence for what msgspec refused."""
    if isinstance(rejection, msgspec.ValidationError):
        return _explain_validation(str(rejection), shape)
    if isinstance(rejection, RecursionError):
        return "the argument is nested too deeply"
    return _explain_malformed(text, rejection)


def find_repeated_field(text: bytes) -> str:
    """The path of a field that a JSON text gives twice; a general word where the text is too long to look."""
    if len(text) > _EXPLAINED_BYTES_MAX:
        return "a field of the argument"

    return _find_repeated(json.loads(text, object_pairs_hook=_Object), "") or "a field of the argument"


def _explain_validation(message: str, shape: type[msgspec.Struct]) -> str:
    located = _AT.fullmatch(message)
    what, path = (located["what"], located["path"]) if located else (message, "")
    missing = _MISSING.fullmatch(what)
    if missing is not None:
        return f"{_joined(path, missing['field'])}: is required"
    unknown = _UNKNOWN.fullmatch(what)
    if unknown is not None:
        known = ", ".join(_shape_at(path, shape).__struct_fields__)
        return f"{_joined(path, unknown['field'])}: unknown field; known are {known}"
    where = path or "the argument"
    if _RANGE.match(what):
        return f"{where}: expected an integer from 0 to {INTEGER_MAX}"
    kinds = _TYPE.fullmatch(what)
    if kinds is not None:
        return f"{where}: expected {_in_words(kinds['expected'])}, got {_in_words(kinds['found'])}"
    return f"{where}: {what}"


def _explain_malformed(text: bytes, rejection: Exception) -> str:
    """The second look: where the text is not UTF-8 or not JSON, or which string holds half a surrogate pair."""
    if not text:
        return "the argument is empty; expected a JSON object"
    if len(text) > _EXPLAINED_BYTES_MAX:
        return f"the argument is not valid JSON: {rejection}"
    try:
        value = json.loads(text.decode())
    except UnicodeDecodeError as error:
        return f"the argument is not valid UTF-8 (byte {error.start})"
    except json.JSONDecodeError as error:
        return f"the argument is not valid JSON: {error.msg} at character {error.pos}"
    except (RecursionError, ValueError):
        return f"the argument is not valid JSON: {rejection}"
    path = _find_half_surrogate(value, "")
    if path is None:
        return f"the argument is not valid JSON: {rejection}"
    return f"{path}: holds half of a surrogate pair, which is not a Unicode character; send both halves or none"


def _find_repeated(value: Any, path: str) -> str | None:
    if isinstance(value, _Object):
        names = [name for name, _ in value]
        repeated = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if repeated is not None:
            return _joined(path, repeated)
    found = (_find_repeated(child, child_path) for child_path, child in _children(value, path))
    return next((repeated for repeated in found if repeated is not None), None)


def _find_half_surrogate(value: Any, path: str) -> str | None:
    if isinstance(value, str):
        return path or "the argument" if _has_half_surrogate(value) else None
    if isinstance(value, dict) and any(_has_half_surrogate(name) for name in value):
        return path or "a field's name"
    found = (_find_half_surrogate(child, child_path) for child_path, child in _children(value, path))
    return next((half for half in found if half is not None), None)


def _children(value: Any, path: str) -> list[tuple[str, Any]]:
    """The values inside an object or an array, each with its path."""
    if isinstance(value, _Object):
        return [(_joined(path, name), child) for name, child in value]
    if isinstance(value, dict):
        return [(_joined(path, name), child) for name, child in value.items()]
    if isinstance(value, list):
        return [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    return []


def _has_half_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _shape_at(path: str, shape: Any) -> Any:
    """The struct that stands at a path such as `events[0]`."""
    for step in _INDEX.sub("", path).split("."):
        annotation = getattr(shape, "__annotations__", {}).get(step)
        if get_origin(annotation) is list:
            shape = get_args(annotation)[0]
    return shape


def _joined(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def _in_words(kinds: str) -> str:
    return " or ".join(_TYPE_WORDS.get(kind, kind) for kind in kinds.split(" | "))
