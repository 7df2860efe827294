"""Where to go after a login: an address of our own, or the editor. It does not know which addresses exist.

`next` comes from a link that anybody can write. It is taken only if no reader could see another host in it, however
often he decodes it; what is in doubt is not repaired, but replaced by `/`.
"""

import re
from typing import Final
from urllib.parse import unquote

HOME: Final = "/"

_MAX_LENGTH: Final = 2048
_LAYERS: Final = 3
_LOCAL: Final = re.compile(r"/[A-Za-z0-9._~%/+,=-]*(?:\?[A-Za-z0-9._~%/+,=&!$'()*:@?-]*)?", re.ASCII)
"""A path and a query of plain characters: no `@`, `:`, `;` or `\\` in the path, no fragment."""
_HOST_LIKE: Final = re.compile(r"[/\\][\s.]*[/\\]|[^\x20-\x5b\x5d-\x7e]|%(?![0-9A-Fa-f]{2})")
"""Two slashes of any kind with nothing that counts between them; what a browser drops or turns; broken escapes."""
_OWN_PAGES: Final = re.compile(r"/gateway/(?:login|logout|t)(?:[/?].*)?")
"""Coming back to the login page after a login is a loop."""


def local_path(text: str | None) -> str:
    """`text`, if it is an address of our own; `/` for everything else, and for nothing."""
    if text is None or len(text) > _MAX_LENGTH or _LOCAL.fullmatch(text) is None or _OWN_PAGES.fullmatch(text):
        return HOME
    layer = text
    for _ in range(_LAYERS):
        if _HOST_LIKE.search(layer):
            return HOME
        layer = unquote(layer, errors="replace")
    return HOME if _HOST_LIKE.search(layer) or "%" in layer else text
