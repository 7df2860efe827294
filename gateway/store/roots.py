"""Each user's root on the servers, by user id. It does not know what lies below it."""

from typing import Final

from gateway.comfy.files import Root
from gateway.errors import UserGone
from gateway.store.users import Users, root_of

_MOST_KEPT: Final = 10_000


class Roots:
    """The roots, kept in memory: a key never changes, and the id of a removed user never comes back."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._known: dict[int, Root] = {}

    async def of(self, user_id: int) -> Root:
        """The user's root. Raises UserGone when the user was removed meanwhile, StoreUnavailable."""
        known = self._known.get(user_id)
        if known is not None:
            return known
        user = await self._users.get(user_id)
        if user is None:
            raise UserGone
        if len(self._known) >= _MOST_KEPT:
            self._known.clear()
        return self._known.setdefault(user_id, root_of(user.key))
