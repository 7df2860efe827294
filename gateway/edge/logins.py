"""Logins of people who may log in, but not without end: each makes a session or a token. It knows no form."""

from typing import Final

from starlette.types import Scope

from gateway.edge.authentication import Authenticator
from gateway.edge.door import Door
from gateway.errors import GatewayError
from gateway.identity.principal import Principal


class Logins:
    """An Authenticator whose good logins count by user; what is wrong with the others is for the slow-down."""

    def __init__(self, authenticator: Authenticator, door: Door) -> None:
        self._authenticator: Final = authenticator
        self._door: Final = door

    async def authenticate(self, scope: Scope) -> Principal:
        """As the Authenticator does, which has said no already if the door says so."""
        refusal: GatewayError | None = scope["gateway"]["refusal"]
        if refusal is not None:
            raise refusal
        return await self._authenticator.authenticate(scope)

    async def login(self, name: str, password: str, *, ip: str) -> Principal:
        """As the Authenticator does; raises TooMany, too. Strangers, who do not come this far, use up nothing."""
        principal = await self._authenticator.login(name, password, ip=ip)
        await self._door.user(principal, "login")
        return principal
