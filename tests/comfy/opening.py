"""Where a ComfyUI server would read and write for a name, in its own words: both versions, on Linux and on Windows.

Written anew from what the servers were seen to do, for the tests that ask whether anything leads out of a root.
"""

import ntpath
import posixpath
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

KEY = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32
BASES = {"input": "/srv/input", "output": "/srv/output", "temp": "/srv/temp"}
_CUT = {"[output]": "output", "[input]": "input", "[temp]": "temp"}
_TOKENS = ("%width%", "%height%", "%year%", "%month%", "%day%", "%hour%", "%minute%", "%second%")


def read_path(name: str, *, version: str, default: str = "input") -> str | None:
    """The file that is opened for an annotated name; None when the server refuses."""
    base = BASES[default]
    for suffix, folder in _CUT.items():
        if name.endswith(suffix):
            base, name = BASES[folder], name[: -len(suffix) - 1]
            break
    path = posixpath.normpath(posixpath.join(base, name))
    if version == "0.28.1" and posixpath.commonpath((base, path)) != base:
        return None
    return path


def windows_read_path(name: str) -> str:
    for suffix in _CUT:
        if name.endswith(suffix):
            name = name[: -len(suffix) - 1]
            break
    return ntpath.normpath(ntpath.join("C:\\srv", name))


def saved_path(prefix: str) -> str | None:
    """The file that is written for a prefix; None when the server refuses."""
    for token in _TOKENS:
        prefix = prefix.replace(token, "07")
    normal = posixpath.normpath(prefix)
    folder = posixpath.normpath(posixpath.join(BASES["output"], posixpath.dirname(normal)))
    if posixpath.commonpath((BASES["output"], folder)) != BASES["output"]:
        return None
    return posixpath.join(folder, f"{posixpath.basename(normal)}_00001_.png")


def windows_saved_path(prefix: str) -> str:
    normal = ntpath.normpath(prefix)
    folder = ntpath.normpath(ntpath.join("C:\\srv", ntpath.dirname(normal)))
    return ntpath.join(folder, f"{ntpath.basename(normal)}_00001_.png")


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(item)


_PIECES = [
    "..",
    ".",
    "/",
    "/",
    "\\",
    "//",
    "users",
    "Users",
    "\uff55sers",
    f"users/{KEY}",
    f"users/{OTHER}",
    f"users/{KEY}/",
    f"users/{OTHER}/",
    f"USERS/{KEY.upper()}/",
    "a",
    "b.png",
    "é",
    " ",
    "\x00",
    "\n",
    "\u2028",
    "C:",
    "~",
    "...",
    "[output]",
    " [input]",
    " [temp]",
    "[output] ",
    "%year%",
    "%date:yyyy-MM-dd%",
    "%width%",
    "blake3:aa",
    "none",
]
NAMES = st.one_of(st.lists(st.sampled_from(_PIECES), max_size=8).map("".join), st.text(max_size=20))
VALUES = st.recursive(
    st.one_of(NAMES, st.integers(), st.booleans(), st.none(), st.just(["1", 0])),
    lambda inner: st.one_of(st.builds(lambda value: {"__value__": value}, inner), st.lists(inner, max_size=2)),
    max_leaves=3,
)
