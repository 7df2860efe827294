"""File names in the strings of node classes that no table describes: those of custom packs an administrator trusts.

It does not know the packs. This is a best effort: a graph can put a path together while it runs, and a bare name means
whatever the pack makes of it.
"""

import re
from collections.abc import Callable
from typing import Any

from gateway.comfy.files import FileRef, Root, annotated, folded
from gateway.errors import FileNotAllowed

Placed = Callable[[FileRef], FileRef]

_ANNOTATED = re.compile(r"\[(?:input|output|temp)\]\s*\Z")
_UP = re.compile(r"(?:^|[\s/\\'\"=:])\.\.[/\\]|(?:^|[/\\])\.\.\s*$", re.MULTILINE)
# A text of one line is a path when it begins like one; in a longer text, which may be a prompt with a command such as
# `/no_think`, only what has a second slash.
_ABSOLUTE = re.compile(r"\s*(?:[/\\]|~[^\s/\\]*[/\\]|[A-Za-z]:[/\\]|file:)", re.IGNORECASE)
_ABSOLUTE_LINE = re.compile(r"^\s*(?:[/\\~][^\s/\\]*[/\\]|[A-Za-z]:[/\\]|file:)", re.IGNORECASE | re.MULTILINE)
_ROOT = re.compile(r"users[/\\]+([0-9a-f]{32})", re.IGNORECASE)


def visible_names(value: Any, root: Root) -> Any:
    """The value with annotated names as their owner sees them; other strings stay as they are."""
    return _each(value, lambda text: _visible(text, root))


def rooted_names(value: Any, root: Root, *, placed: Placed, strict: bool = True) -> Any:
    """The value with annotated names as the server has them; `placed` gives the server's name for a visible one.

    Raises FileNotAllowed for a string that is an absolute path, goes up, or names another's root; not `strict`, leaves
    such strings as they are.
    """
    return _each(value, lambda text: _rooted(text, root, placed) if strict else _leniently(text, root, placed))


def _each(value: Any, change: Callable[[str], str]) -> Any:
    # The node id of a link too: what a class did not declare as a link is handed to it as it is.
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _each(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    return value


def _visible(text: str, root: Root) -> str:
    try:
        return root.stripped(annotated(text.rstrip())).text() if _ANNOTATED.search(text) else text
    except FileNotAllowed:
        return text


def _rooted(text: str, root: Root, placed: Placed) -> str:
    if _ANNOTATED.search(text):
        ref = annotated(text.rstrip())
        _require_no_other_root(ref.path, root)
        return placed(ref).text()
    _require_harmless(text, root)
    return text


def _leniently(text: str, root: Root, placed: Placed) -> str:
    try:
        return _rooted(text, root, placed)
    except FileNotAllowed:
        return text


def _require_harmless(text: str, root: Root) -> None:
    lines = len(text.strip().splitlines())
    if _UP.search(text) or (_ABSOLUTE_LINE.search(text) if lines > 1 else _ABSOLUTE.match(text)):
        raise FileNotAllowed("Nodes of custom packs may not be given a path that is absolute or goes up.")
    _require_no_other_root(text, root)


def _require_no_other_root(text: str, root: Root) -> None:
    if any(key.lower() != root.key for key in _ROOT.findall(folded(text))):
        raise FileNotAllowed("This names the folder of another user.")
