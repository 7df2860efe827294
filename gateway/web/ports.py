"""What the pages need of those who authenticate and issue sessions. It does not know who they are."""

from collections.abc import MutableMapping
from typing import Any, Protocol

from gateway.identity.principal import Principal


class Authenticator(Protocol):
    """Says who asks; see `gateway.edge.authentication`."""

    async def authenticate(self, scope: MutableMapping[str, Any]) -> Principal:
        """The principal of a request, or a refusal."""

    async def login(self, name: str, password: str, *, ip: str) -> Principal:
        """The principal with this name and password, or with the API token in the password's place, or a refusal."""


class Issued(Protocol):
    """A signed session."""

    @property
    def text(self) -> str:
        """The cookie's value."""

    @property
    def seconds(self) -> int:
        """How long it holds."""


class Sessions(Protocol):
    """Begins and ends sessions; see `gateway.edge.issuing`."""

    async def session(self, principal: Principal) -> Issued:
        """A new one."""

    async def end(self, principal: Principal) -> None:
        """End the one that the principal came with."""
