"""Which role, with which limits, somebody has now: the role of the settings, with the user's own limits over it.

It does not know what the limits are for.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import orjson

from gateway.config import Role
from gateway.identity.principal import Principal
from gateway.log import get_logger
from gateway.policy.limits import overridden
from gateway.store.roles import Roles

NOTHING: Final = Role(permissions=frozenset())
"""What somebody may whose role the settings no longer have, as in `policy.access`."""

log = get_logger(__name__)


class RoleOf:
    """Looks roles up. A principal came with the limits of its request; whoever stays longer asks by user id."""

    def __init__(self, roles: Mapping[str, Role], assigned: Roles) -> None:
        self._roles, self._assigned = roles, assigned
        self.named: Final = lru_cache(maxsize=4096)(self._make)
        """The role of this name, with these limits over it."""

    def __call__(self, principal: Principal) -> Role:
        """The role of whoever makes a request."""
        return self.named(principal.role, principal.limits)

    async def user(self, user_id: int) -> Role:
        """A user's role now. Raises UserGone for one who was removed, StoreUnavailable."""
        assigned = await self._assigned.assigned(user_id)
        return self.named(assigned.role, assigned.limits)

    def _make(self, name: str, limits: str) -> Role:
        role, problems = overridden(self._roles.get(name, NOTHING), orjson.loads(limits))
        for problem in problems:
            log.warning("limit_of_a_user_ignored", reason=problem)
        return role
