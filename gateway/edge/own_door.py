"""The door before the gateway's own addresses: what is public counts by address, everything else by who asks.

It does not know what is answered there. Whether there is such an address does not matter, so that a route that is added
cannot be uncounted by mistake; FastAPI, which answers behind it, would look only after it had read the body.
"""

from collections.abc import Mapping
from typing import Final, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.edge.boundary import Authenticate
from gateway.edge.door import Door, PublicClass
from gateway.errors import GatewayError

STATIC: Final = "/gateway/static/"


class OwnDoor:
    """An ASGI application in front of another one. `public` are paths and what a request to them counts as; a login
    is only the POST there, the form is a page.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        door: Door,
        authenticate: Authenticate,
        public: Mapping[str, Literal["page", "health", "login"]],
    ) -> None:
        self._app: Final = app
        self._door: Final = door
        self._authenticate: Final = authenticate
        self._public: Final = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        public = self._public_class(scope)
        if public is not None:
            await self._door.address(scope, public, is_route=True)
        else:
            await self._known(scope)
        await self._app(scope, receive, send)

    async def _known(self, scope: Scope) -> None:
        """A stranger is let in, because what to answer, a refusal or that there is nothing, is for the application to
        say. The refusal goes with the request, so that nothing is looked at, nor counted as a failure, twice."""
        try:
            principal = await self._authenticate(scope)
        except GatewayError as error:
            refusal = await self._door.stranger(scope, error)
            if refusal is not error:
                raise refusal from None
            scope["gateway"]["refusal"] = error
        else:
            await self._door.user(principal, "default", scope, is_route=True)

    def _public_class(self, scope: Scope) -> PublicClass | None:
        path: str = scope["path"]
        if path.startswith(STATIC):
            return "page"
        found = self._public.get(path)
        return "page" if found == "login" and scope.get("method") != "POST" else found
