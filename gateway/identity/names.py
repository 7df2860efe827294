"""What a user name can be, and what may be sent in the place of one. It does not know which names there are."""

import re
from typing import Final

from gateway.errors import InvalidRequest
from gateway.identity.passwords import MAX_LENGTH

MOST: Final = 64
"""Characters."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_name(text: str) -> bool:
    """Whether somebody can have this name."""
    return _NAME.fullmatch(text) is not None


def require_login(name: str, password: str) -> None:
    """Raise InvalidRequest for what nobody can mean as a login: too long, empty, or with a line end in the name.

    A name that merely nobody can have passes: it is answered as any wrong one, in the same words and the same time.
    """
    if len(name) > MOST or not 0 < len(password) <= MAX_LENGTH:
        raise InvalidRequest(f"A name has at most {MOST} characters, a password 1 to {MAX_LENGTH}.")
    if _CONTROL.search(name) is not None:
        raise InvalidRequest("A name has no control characters.")
