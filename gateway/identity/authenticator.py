"""What the rooms that answer people need of whoever authenticates them and issues what they asked for, as types.

It does not know how a credential is proved, nor how anything is signed: `gateway.edge` does.
"""

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
    """A signed session or access token; see `gateway.edge.issuing`."""

    @property
    def text(self) -> str:
        """What the cookie holds, or what goes behind `Bearer`."""

    @property
    def seconds(self) -> int:
        """How long it holds."""
