"""Redis's glob patterns (util.c, stringmatchlen): * ? [abc] [^abc] [a-z] and a backslash before any of them."""

import re


def matches(pattern: str, text: str) -> bool:
    """Whether a text matches a pattern, letters in either case."""
    return re.fullmatch(_expression(pattern), text, re.IGNORECASE | re.DOTALL) is not None


def _expression(pattern: str) -> str:
    pieces: list[str] = []
    index = 0
    while index < len(pattern):
        character = pattern[index]
        index += 1
        if character == "*":
            pieces.append(".*")
        elif character == "?":
            pieces.append(".")
        elif character == "\\" and index < len(pattern):
            pieces.append(re.escape(pattern[index]))
            index += 1
        elif character == "[" and "]" in pattern[index:]:
            end = pattern.index("]", index)
            pieces.append(_class(pattern[index:end]))
            index = end + 1
        else:
            pieces.append(re.escape(character))
    return "".join(pieces)


def _class(members: str) -> str:
    is_negated = members.startswith("^")
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", members.removeprefix("^"))
    if not escaped:
        return "." if is_negated else "(?!)"
    return f"[{'^' if is_negated else ''}{escaped}]"
