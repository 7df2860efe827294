"""What the control plane needs of those who authenticate and issue tokens. It does not know who they are."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol

from gateway.identity.principal import Principal

Readiness = Callable[[], Awaitable[Mapping[str, bool]]]
"""Looks whether the gateway can do its work: the name of each part that it needs, and whether it has it."""


class Authenticator(Protocol):
    """Says who asks; see `gateway.edge.authentication`."""

    async def authenticate(self, scope: MutableMapping[str, Any]) -> Principal:
        """The principal of a request, or a refusal."""

    async def login(self, name: str, password: str, *, ip: str) -> Principal:
        """The principal with this name and password, or with the API token in the password's place, or a refusal."""


class Issued(Protocol):
    """A signed token."""

    @property
    def text(self) -> str:
        """What goes behind `Bearer`."""

    @property
    def seconds(self) -> int:
        """How long it holds."""


class AccessTokens(Protocol):
    """Issues access tokens; see `gateway.edge.issuing`."""

    async def access(self, principal: Principal) -> Issued:
        """A new one."""
