"""User names for people who come from elsewhere: their own as far as it can be one, and others when it is taken. It
does not know which are taken.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.identity.names import MOST, is_name

_TRIES: Final = 99
_ODD: Final = re.compile(r"[^A-Za-z0-9._@-]+", re.ASCII)


def proposals(names: Iterable[str], *, otherwise: str) -> Iterator[str]:
    """Names to try in this order. `otherwise` is a name that nobody else gets, for when nothing is left."""
    wanted = list(dict.fromkeys(filter(is_name, map(_plain, names))))
    yield from wanted
    for number in range(2, _TRIES if wanted else 0):
        yield f"{wanted[0][: MOST - 3]}-{number}"
    yield otherwise


def _plain(text: str) -> str:
    """Without accents, with “-” for whatever else a name cannot have."""
    letters = unicodedata.normalize("NFKD", text[: 4 * MOST]).encode("ascii", "ignore").decode("ascii")
    return _ODD.sub("-", letters).lstrip("._@-")[:MOST].rstrip("-")
