"""Each user's role and own limits, by user id. It does not know what a role may do."""

from dataclasses import dataclass
from typing import Final

from gateway.errors import UserGone
from gateway.store.changes import Changes
from gateway.store.users import Users

_MOST_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Assigned:
    """A user's role, and the limits that the user has instead of the role's, a JSON object as text."""

    role: str
    limits: str


class Roles:
    """The roles, kept in memory until anything about users changes, in whichever process."""

    def __init__(self, users: Users, changes: Changes) -> None:
        self._users, self._changes = users, changes
        self._known: dict[int, Assigned] = {}
        self._version = -1

    async def of(self, user_id: int) -> str:
        """The user's role now. Raises UserGone for one who was removed, StoreUnavailable."""
        return (await self.assigned(user_id)).role

    async def assigned(self, user_id: int) -> Assigned:
        """The user's role and limits now. Raises UserGone for one who was removed, StoreUnavailable."""
        version = self._changes.version()
        if version != self._version or len(self._known) >= _MOST_KEPT:
            self._known.clear()
            self._version = version
        known = self._known.get(user_id)
        if known is not None:
            return known
        user = await self._users.get(user_id)
        if user is None:
            raise UserGone
        found = Assigned(user.role, user.limits)
        # Kept only under the version that it was looked up under: a change meanwhile may be in it or not.
        if version == self._version:
            self._known[user_id] = found
        return found
