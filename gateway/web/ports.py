"""What the pages need of those who issue sessions. It does not know who they are."""

from typing import Protocol

from gateway.identity.authenticator import Issued
from gateway.identity.principal import Principal


class Sessions(Protocol):
    """Begins and ends sessions; see `gateway.edge.issuing`."""

    async def session(self, principal: Principal) -> Issued:
        """A new one."""

    async def end(self, principal: Principal) -> None:
        """End the one that the principal came with."""
