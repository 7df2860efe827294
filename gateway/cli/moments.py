"""Times as people write and read them on the command line. It does not know what they are for."""

import re
from datetime import UTC, datetime
from typing import Final

from gateway.errors import InvalidRequest

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST: Final = 100 * 365 * 86400


def seconds(text: str) -> int:
    """A duration such as `30d`, `12h` or `2w`, in seconds.

    Raises:
        InvalidRequest: it is none, is nothing, or is longer than a hundred years.
    """
    found = re.fullmatch(r"([0-9]{1,12})([smhdw])", text, re.ASCII)
    length = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 0 < length <= _LONGEST:
        raise InvalidRequest(f"“{text}” is no duration: write a number and s, m, h, d or w, such as 30d.")
    return length


def day(moment: float | None) -> str:
    """A time in seconds since 1970 as a date and time of day in UTC; None is a dash."""
    return "-" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")
