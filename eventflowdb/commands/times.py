"""Times as RFC 3339 writes them, read to the microsecond."""

import re
from datetime import date

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
_SECOND_US = 1_000_000
_DAY_SECONDS = 24 * 60 * 60
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_LARGEST_US = (date(9999, 12, 31).toordinal() - _EPOCH_DAY + 1) * _DAY_SECONDS * _SECOND_US - 1


def find_microseconds(text: str) -> int | None:
    """Microseconds since 1970, rounded up; None where the text is not a time. What lies before 1970 is 0.

    No event can tell a part of a microsecond: one added not before (or before) the time given was added not before
    (or before) the one rounded up.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = found.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    # A leap second counts as the one after it, as in Unix time.
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60 or int(offset_hours or 0) > 23:
        return None
    if int(offset_minutes or 0) > 59:
        return None
    seconds = days * _DAY_SECONDS + int(hour) * 3600 + int(minute) * 60 + int(second)
    if sign:
        offset = int(offset_hours) * 3600 + int(offset_minutes) * 60
        seconds += offset if sign == "-" else -offset
    us = seconds * _SECOND_US + _microseconds(fraction or "")
    return min(max(us, 0), _LARGEST_US)


def _microseconds(fraction: str) -> int:
    return int(fraction[:6].ljust(6, "0")) + bool(fraction[6:].strip("0"))
