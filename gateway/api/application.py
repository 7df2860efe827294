"""The application behind `/gateway`: the control plane's routes, others that are handed in, and 404 for everything
else.

It does not know what the others are.
"""

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter, FastAPI, Request

from gateway import __version__
from gateway.api.documentation import add_documentation
from gateway.api.ports import AccessTokens, Readiness
from gateway.api.refusals import BodyLimit, add_refusals
from gateway.api.routes import router
from gateway.identity.authenticator import Authenticator

_MAX_BODY: Final = 64 * 1024


def control(
    *, authenticator: Authenticator, tokens: AccessTokens, ready: Readiness, routers: Sequence[APIRouter] = ()
) -> FastAPI:
    """The application. It serves whole paths (`/gateway/…`) and must sit behind the boundary, which sets
    `scope["gateway"]`.

    FastAPI's own pages for its documentation are off: they are open to everybody and load scripts from elsewhere.
    """
    app = FastAPI(
        title="ComfyUI Gateway",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(BodyLimit, limit=_MAX_BODY)
    add_refusals(app)
    app.include_router(router(authenticator=authenticator, tokens=tokens, ready=ready))
    for others in routers:
        app.include_router(others)

    async def require_login(request: Request) -> None:
        await authenticator.authenticate(request.scope)

    add_documentation(app, require_login=require_login)
    return app
