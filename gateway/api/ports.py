"""What the control plane needs of those around it. It does not know who they are."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from gateway.identity.authenticator import Issued
from gateway.identity.principal import Principal

Readiness = Callable[[], Awaitable[Mapping[str, bool]]]
"""Looks whether the gateway can do its work: the name of each part that it needs, and whether it has it."""


class AccessTokens(Protocol):
    """Issues access tokens; see `gateway.edge.issuing`."""

    async def access(self, principal: Principal) -> Issued:
        """A new one."""
