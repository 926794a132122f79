"""Redis's glob patterns (util.c, stringmatchlen): * ? [abc] [^abc] [a-z] and a backslash before any of them.

Not by way of a regular expression: `*?*?*?*?` would try every way to share the text out among its stars.
"""

from collections.abc import Callable

_Fits = Callable[[str], bool]
"""Whether one character fits a place of the pattern."""


def matches(pattern: str, text: str) -> bool:
    """Whether a text matches a pattern, letters in either case; in at most len(pattern) * len(text) steps."""
    places = _places(pattern.lower())
    text = text.lower()
    at, star, resume = 0, -1, 0
    index = 0
    while index < len(text):
        place = places[at] if at < len(places) else None
        if place is not None and place(text[index]):
            at, index = at + 1, index + 1
        elif at < len(places) and place is None:
            star, resume = at, index
            at += 1
        elif star >= 0:
            # Only the latest star has to give way: what an earlier one could win, it can win too.
            resume += 1
            at, index = star + 1, resume
        else:
            return False
    return all(place is None for place in places[at:])


def _places(pattern: str) -> list[_Fits | None]:
    """What the characters of a text are held against, one after the other; None is a star."""
    places: list[_Fits | None] = []
    index = 0
    while index < len(pattern):
        character = pattern[index]
        index += 1
        if character == "*":
            places.append(None)
        elif character == "?":
            places.append(lambda _: True)
        elif character == "[":
            fits, index = _class(pattern, index)
            places.append(fits)
        else:
            if character == "\\" and index < len(pattern):
                character = pattern[index]
                index += 1
            places.append(character.__eq__)
    return places


def _class(pattern: str, index: int) -> tuple[_Fits, int]:
    """The class whose bracket stands before `index`, and where it ends: without a bracket, with the pattern."""
    is_negated = pattern.startswith("^", index)
    index += is_negated
    ranges: list[tuple[str, str]] = []
    while index < len(pattern) and pattern[index] != "]":
        if pattern[index] == "\\" and index + 1 < len(pattern):
            ranges.append((pattern[index + 1], pattern[index + 1]))
            index += 2
        elif pattern.startswith("-", index + 1) and index + 2 < len(pattern):
            low, high = sorted((pattern[index], pattern[index + 2]))
            ranges.append((low, high))
            index += 3
        else:
            ranges.append((pattern[index], pattern[index]))
            index += 1
    return lambda character: any(low <= character <= high for low, high in ranges) is not is_negated, index + 1
