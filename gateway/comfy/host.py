"""Texts of a ComfyUI host without the host in them: absolute paths become base names.

It does not know which texts come from whom; whoever hands on an error, a traceback or a history message calls it.
"""

import re
from typing import Any

_MAX_DEPTH = 100
"""Levels; nothing that ComfyUI says about a job is as deep. What is deeper is left out."""

_SEGMENT = r"[^\s/\\\"'<>|:*?,;()\[\]{}]"
_PATHS = re.compile(
    # An address is no path of the host; it is matched first so that its own path is left alone.
    r"(?P<url>\b(?!file:)[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s\"'<>]*)"
    # In quotes a path may hold blanks: File "/home/me/My ComfyUI/x.py"
    r"|(?P<quote>[\"'])(?P<quoted>(?:file://)?(?:[A-Za-z]:)?[\\/][^\"'\r\n]*)(?P=quote)"
    rf"|(?:\bfile://|(?<![\w.~%/\\-]))(?P<posix>/(?:{_SEGMENT}+/)+{_SEGMENT}*)"
    rf"|(?<![A-Za-z0-9])(?P<drive>[A-Za-z]:[\\/](?:{_SEGMENT}+[\\/])*{_SEGMENT}*)"
    rf"|(?<![\w\\])(?P<share>\\\\(?:{_SEGMENT}+\\)+{_SEGMENT}*)"
)
_SINGLE = re.compile(r"[\\/][^\\/]*")
"""Such as the address "/prompt": it says nothing about a host."""


def without_host_paths(value: Any) -> Any:
    """Give a JSON value whose strings, keys included, name no absolute path of the host, POSIX or Windows."""
    return _blanked(value, _MAX_DEPTH)


def _blanked(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _blanked_text(value)
    if depth == 0 and isinstance(value, dict | list):
        return None
    if isinstance(value, dict):
        return {_blanked_text(key): _blanked(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_blanked(item, depth - 1) for item in value]
    return value


def _blanked_text(text: str) -> str:
    if "/" not in text and "\\" not in text:
        return text
    return _PATHS.sub(_base_name, text)


def _base_name(match: re.Match[str]) -> str:
    quoted = match["quoted"]
    if match["url"] or (quoted and _SINGLE.fullmatch(quoted)):
        return match[0]
    quote = match["quote"] or ""
    path = quoted or match["posix"] or match["drive"] or match["share"]
    return quote + re.split(r"[\\/]", path.rstrip("/\\"))[-1] + quote
