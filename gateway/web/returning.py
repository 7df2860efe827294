"""Where to go after a login: an address of our own, or the editor. It does not know which addresses exist.

`next` comes from a link that anybody can write. It is taken only if no reader could see another host in it, however
often he decodes it; what is in doubt is not repaired, but replaced by `/`.
"""

import re
from typing import Final
from urllib.parse import unquote

HOME: Final = "/"

_MAX_LENGTH: Final = 2048
_LAYERS: Final = 4
_PATH: Final = re.compile(r"/[A-Za-z0-9._~%/+,=-]*", re.ASCII)
"""Plain characters: no `@`, `:`, `;` or `\\`."""
_QUERY: Final = re.compile(r"[A-Za-z0-9._~%/+,=&!$'()*:@?-]*", re.ASCII)
_HOST_LIKE: Final = re.compile(r"[/\\][\s.]*[/\\]|[^\x20-\x5b\x5d-\x7e]|%(?![0-9A-Fa-f]{2})")
"""Two slashes of any kind with nothing that counts between them; what a browser drops or turns; broken escapes."""
_OWN_PAGES: Final = re.compile(r"/gateway/(?:login|logout|t)(?:[/?].*)?")
"""Coming back to the login page after a login is a loop."""


def local_path(text: str | None) -> str:
    """`text`, if it is an address of our own; `/` for everything else, and for nothing."""
    if text is None or len(text) > _MAX_LENGTH or _OWN_PAGES.fullmatch(text):
        return HOME
    path, _, query = text.partition("?")
    if _QUERY.fullmatch(query) is None:
        return HOME
    for _ in range(_LAYERS):
        if _PATH.fullmatch(path) is None or _HOST_LIKE.search(path) or _HOST_LIKE.search(query):
            return HOME
        path, query = unquote(path, errors="replace"), unquote(query, errors="replace")
    return HOME if "%" in path + query else text
