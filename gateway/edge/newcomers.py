"""Who somebody is here for whom another vouches: a user that is known, or a new one. It does not know how that was
proved.
"""

import hashlib
from collections.abc import Callable, Collection
from typing import Final

from gateway.config import Admission
from gateway.errors import NotAdmitted
from gateway.identity.derived_names import proposals
from gateway.identity.vouched import Vouched
from gateway.log import get_logger
from gateway.policy.admission import admit
from gateway.store.identities import Identities, Standing
from gateway.store.users import User

log = get_logger(__name__)


class Newcomers:
    """Lets people in. `reserved` are names that nobody gets this way, because the settings give them a meaning."""

    def __init__(
        self,
        identities: Identities,
        *,
        reserved: Collection[str],
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._identities: Final = identities
        self._reserved: Final = frozenset(name.lower() for name in reserved)
        self._clock: Final = clock
        self._random: Final = random

    async def user(self, vouched: Vouched, rules: Admission) -> User:
        """The user, with the role and the groups that the rules give now. Raises NotAdmitted."""
        admitted = admit(vouched, rules)
        standing = Standing(admitted.role, admitted.first_role, admitted.groups, vouched.said_at)
        now = self._clock()
        known = await self._identities.used(vouched.issuer, vouched.subject, standing, now=now)
        if known is not None:
            return known
        if not admitted.create:
            raise NotAdmitted(f"{vouched.subject} of {vouched.issuer} is no user here")
        names = tuple(self._names(vouched))
        user = await self._identities.create(
            vouched.issuer, vouched.subject, standing, names=names, now=now, random=self._random
        )
        log.info("user_came", user=user.name, role=user.role, issuer=vouched.issuer, subject=vouched.subject)
        return user

    def _names(self, vouched: Vouched) -> list[str]:
        digest = hashlib.sha256(f"{vouched.issuer}\n{vouched.subject}".encode()).hexdigest()
        offered = proposals(vouched.names, otherwise=f"user-{digest[:16]}")
        return [name for name in offered if name.lower() not in self._reserved]
