"""What our JWTs say about where they come from: who signs them for whom, and the API token that one was got with.

It does not know whether that token still holds.

A login or a token request may be made with an API token. What comes of it must end with that token and have no more
scopes than it; so the token's id is written into the `jti`, where the signature protects it.
"""

import re
from collections.abc import Callable
from typing import Final

ISSUER: Final = "comfy-gateway"
AUDIENCE: Final = "comfy-gateway"

_ID_BYTES: Final = 16
_WITH_PARENT: Final = re.compile(r"[0-9a-f]{32}-([a-z2-7]{8})")


def new_id(random: Callable[[int], bytes], *, parent: str | None) -> str:
    """A new `jti`; `parent` is the id of the API token that the JWT is got with, None for a password."""
    own = random(_ID_BYTES).hex()
    return own if parent is None else f"{own}-{parent}"


def parent_token(jti: str | None) -> str | None:
    """The id of the API token that a JWT with this `jti` was got with; None if it was got with a password."""
    found = _WITH_PARENT.fullmatch(jti or "")
    return None if found is None else found[1]
