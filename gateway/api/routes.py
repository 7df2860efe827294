"""The routes of the control plane. They do not know how a credential is proved, nor what makes the gateway ready."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Form, Request, Response

from gateway.api.grants import TokenRequest, login_of
from gateway.api.ports import AccessTokens, Readiness
from gateway.api.shapes import AccessToken, Error, Health, Me, Ready
from gateway.identity.authenticator import Authenticator
from gateway.identity.names import require_login
from gateway.identity.principal import Principal

PUBLIC: Final[Mapping[str, Literal["health", "login"]]] = {
    "/gateway/healthz": "health",
    "/gateway/readyz": "health",
    "/gateway/api/v1/auth/token": "login",
}
"""What nobody has to log in for."""
_REFUSED: dict[int | str, dict[str, Any]] = {401: {"model": Error}, 429: {"model": Error}}


def router(*, authenticator: Authenticator, tokens: AccessTokens, ready: Readiness) -> APIRouter:
    """The routes, to be included where `/gateway` is served."""
    routes = APIRouter()
    _add_health(routes, ready)
    _add_token(routes, authenticator, tokens)
    _add_me(routes, authenticator)
    return routes


def _add_health(routes: APIRouter, ready: Readiness) -> None:
    async def healthz() -> Health:
        """Liveness: the process runs and answers."""
        return Health()

    async def readyz(response: Response) -> Ready:
        """Readiness: 503 while a part is missing that requests need."""
        checks = dict(await ready())
        is_ready = all(checks.values())
        response.status_code = 200 if is_ready else 503
        return Ready(status="ready" if is_ready else "unavailable", checks=checks)

    for path, endpoint in (("/gateway/healthz", healthz), ("/gateway/readyz", readyz)):
        routes.add_api_route(path, endpoint, methods=["GET"], tags=["health"])
        routes.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)


def _add_token(routes: APIRouter, authenticator: Authenticator, tokens: AccessTokens) -> None:
    async def token(request: Request, response: Response, form: Annotated[TokenRequest, Form()]) -> AccessToken:
        """Change a name and a password, or an API token, into a token for `Authorization: Bearer`.

        An API token goes into the password's place (grant type `password`), or into that of the client's secret (grant
        type `client_credentials`; in the form, or as Basic). What comes of it holds for minutes, and ends at once when
        the user is disabled or changes the password, and with the API token.
        """
        name, password = login_of(form, request.headers.getlist("authorization"))
        require_login(name, password)
        principal = await authenticator.login(name, password, ip=request.scope["gateway"]["client_ip"])
        issued = await tokens.access(principal)
        request.scope["gateway"]["principal"] = principal
        # RFC 6749, 5.1, asks for both.
        response.headers.update({"Cache-Control": "no-store", "Pragma": "no-cache"})
        return AccessToken(
            access_token=issued.text, expires_in=issued.seconds, scope=" ".join(sorted(principal.permissions))
        )

    routes.add_api_route("/gateway/api/v1/auth/token", token, methods=["POST"], responses=_REFUSED, tags=["auth"])


def _add_me(routes: APIRouter, authenticator: Authenticator) -> None:
    async def caller(request: Request) -> Principal:
        return await authenticator.authenticate(request.scope)

    async def me(principal: Annotated[Principal, Depends(caller)], response: Response) -> Me:
        """Who the credential belongs to, and what it allows."""
        response.headers["Cache-Control"] = "no-store"
        return Me(
            name=principal.name,
            role=principal.role,
            permissions=sorted(principal.permissions),
            via=principal.via,
            expires_at=principal.expires_at,
        )

    routes.add_api_route("/gateway/api/v1/me", me, methods=["GET"], responses=_REFUSED, tags=["account"])
