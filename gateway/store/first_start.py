"""What a first start leaves behind: somebody who can log in. It does not know how the password gets to them."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import InvalidRequest
from gateway.identity.passwords import Passwords
from gateway.store.database import Store

NAME: Final = "admin"
_PASSWORD_BYTES: Final = 15


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The administrator that was just made. The password is stored nowhere: it is shown once, or lost."""

    name: str
    password: str = field(repr=False)


async def ensure_admin(
    store: Store, passwords: Passwords, *, random: Callable[[int], bytes], now: float
) -> FirstAdmin | None:
    """A user `admin` with a random password of 120 bits, if there is no user at all; else None.

    Of two processes that start at once, one gets the name and shows the password.
    """
    if await store.users.all():
        return None
    password = base64.b32encode(random(_PASSWORD_BYTES)).decode("ascii").lower()
    try:
        await store.users.add(NAME, role="admin", now=now, random=random, password_hash=passwords.hash(password))
    except InvalidRequest:
        return None
    return FirstAdmin(NAME, password)
