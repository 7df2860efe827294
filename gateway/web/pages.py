"""The pages and what their forms do. They know no ComfyUI and no database; who asks is for the authenticator to say."""

from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from gateway.comfy.query import query_values
from gateway.config import Settings
from gateway.errors import GatewayError, InvalidRequest, NotFound, TooLarge, TooMany, Unauthenticated, UnsupportedMedia
from gateway.identity.authenticator import Authenticator
from gateway.identity.names import MOST, require_login
from gateway.identity.principal import Principal
from gateway.log import get_logger
from gateway.policy.origin import own_origins, require_same_origin
from gateway.web.ports import Sessions
from gateway.web.rendering import page, static_file
from gateway.web.returning import HOME, local_path
from gateway.web.session_cookie import clear_cookie, only_cookie, set_cookie
from gateway.web.sign_on import SignOns, buttons

_LOGIN: Final = "/gateway/login"
PUBLIC: Final[Mapping[str, Literal["page", "login"]]] = {
    "/gateway": "page",
    _LOGIN: "login",
    "/gateway/logout": "page",
}
"""What nobody has to log in for, but for the static files; what is posted to the login page is a login."""
_MAX_FORM: Final = 16 * 1024
_WRONG: Final = "The name or the password is wrong."
_BOTH: Final = ["GET", "HEAD"]

log = get_logger(__name__)
Scope = MutableMapping[str, Any]


def router(
    *, authenticator: Authenticator, sessions: Sessions, settings: Settings, sign_ons: SignOns | None = None
) -> APIRouter:
    """The routes of the pages, to be included where `/gateway` is served."""
    pages = Pages(authenticator=authenticator, sessions=sessions, settings=settings, sign_ons=sign_ons)
    routes = APIRouter(include_in_schema=False)
    routes.add_api_route("/gateway", pages.to_account, methods=_BOTH)
    routes.add_api_route("/gateway/", pages.account, methods=_BOTH)
    routes.add_api_route("/gateway/login", pages.login_form, methods=_BOTH)
    routes.add_api_route("/gateway/login", pages.login, methods=["POST"])
    routes.add_api_route("/gateway/logout", pages.logout_form, methods=_BOTH)
    routes.add_api_route("/gateway/logout", pages.logout, methods=["POST"])
    routes.add_api_route("/gateway/static/{name}", pages.static, methods=_BOTH)
    return routes


class Pages:
    """The handlers of the routes."""

    def __init__(
        self, *, authenticator: Authenticator, sessions: Sessions, settings: Settings, sign_ons: SignOns | None = None
    ) -> None:
        self._authenticator: Final = authenticator
        self._sessions: Final = sessions
        self._sign_ons: Final = sign_ons
        self._public_url: Final = settings.public_url

    async def to_account(self) -> Response:
        return RedirectResponse("/gateway/", 308)

    async def account(self, request: Request) -> Response:
        """Who am I, and the way to the editor and out."""
        try:
            principal = await self._authenticator.authenticate(request.scope)
        except Unauthenticated:
            return RedirectResponse(f"{_LOGIN}?next={quote('/gateway/', safe='/')}", 303, {"Cache-Control": "no-store"})
        return page("account", principal=principal)

    async def login_form(self, request: Request) -> Response:
        """The form. It changes nothing, also not for somebody who is logged in."""
        asked = local_path(_asked_next(request))
        return page("login", next=asked, name="", message="", details="", sign_ons=self._buttons(asked))

    async def login(self, request: Request) -> Response:
        """Begin a session, and go where one was going; the form again, with what is wrong, if not."""
        fields: dict[str, str] = {}
        try:
            self._require_own_page(request)
            fields = await _form(request)
            principal = await self._principal(fields, ip=request.scope["gateway"]["client_ip"])
        except GatewayError as error:
            return self._refused_login(request, error, fields)
        await self._end_current(request)
        response = RedirectResponse(local_path(fields.get("next")), 303, {"Cache-Control": "no-store"})
        set_cookie(response, await self._sessions.session(principal), secure=request.scope["gateway"]["secure"])
        request.scope["gateway"]["principal"] = principal
        log.info("login", user=principal.name, via=principal.via, ip=request.scope["gateway"]["client_ip"])
        return response

    async def logout_form(self) -> Response:
        """A button: a link, or a picture of that address in somebody's page, logs nobody out."""
        return page("logout")

    async def logout(self, request: Request) -> Response:
        """End the session in the store, so that no copy of the cookie is good any more, and clear it in the browser."""
        self._require_own_page(request)
        await self._end_current(request)
        response = RedirectResponse(_LOGIN, 303, {"Cache-Control": "no-store", "Clear-Site-Data": '"cookies"'})
        clear_cookie(response, secure=request.scope["gateway"]["secure"])
        return response

    async def static(self, name: str) -> Response:
        response = static_file(name)
        if response is None:
            raise NotFound("There is no such file.")
        return response

    async def _principal(self, fields: dict[str, str], *, ip: str) -> Principal:
        name, password = fields.get("name", "").strip(), fields.get("password", "")
        require_login(name, password)
        return await self._authenticator.login(name, password, ip=ip)

    async def _end_current(self, request: Request) -> None:
        with suppress(Unauthenticated):
            principal = await self._authenticator.authenticate(only_cookie(request.scope))
            await self._sessions.end(principal)
            log.info("logout", user=principal.name)

    def _refused_login(self, request: Request, error: GatewayError, fields: dict[str, str]) -> Response:
        """The form again. What exactly was wrong with a name or a password is for the log only."""
        request.scope["gateway"]["reason"] = error.reason or error.type
        is_wrong = isinstance(error, Unauthenticated)
        asked = local_path(fields.get("next"))
        return page(
            "login",
            status=error.status,
            headers=error.headers,
            next=asked,
            name=fields.get("name", "")[:MOST],
            message=_WRONG if is_wrong else error.message,
            details="" if is_wrong or isinstance(error, TooMany) else error.details,
            sign_ons=self._buttons(asked),
        )

    def _buttons(self, next_address: str) -> list[tuple[str, str]]:
        return [] if self._sign_ons is None else buttons(self._sign_ons, next_address=next_address)

    def _require_own_page(self, request: Request) -> None:
        """A foreign page must not log anybody in as somebody else, nor out."""
        origins = own_origins(public_url=self._public_url, host=request.headers.get("host"))
        require_same_origin(method="POST", headers=request.headers.raw, own_origins=origins, websocket=False)


def _asked_next(request: Request) -> str | None:
    try:
        return query_values(request.scope["query_string"]).get("next")
    except InvalidRequest:
        return HOME


async def _form(request: Request) -> dict[str, str]:
    """The fields, read as strictly as a query: each once, no control characters."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise UnsupportedMedia("The login form is sent as application/x-www-form-urlencoded.")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_FORM:
            raise TooLarge(f"The form has more than {_MAX_FORM} bytes.")
    return query_values(body)
