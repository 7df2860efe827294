"""The addresses of single sign-on: out to a provider, and back. They do not know what is said there.

A browser comes back by a link from another site, so it proves nothing by being one of our pages: what proves it is the
cookie that it got on its way out.
"""

from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from gateway.comfy.query import query_values
from gateway.config import Settings
from gateway.errors import GatewayError, InvalidRequest, Unauthenticated
from gateway.identity.authenticator import Authenticator
from gateway.identity.principal import Principal
from gateway.log import get_logger
from gateway.policy.origin import own_origins
from gateway.web.ports import Sessions
from gateway.web.rendering import page
from gateway.web.returning import HOME, local_path
from gateway.web.session_cookie import only_cookie, set_cookie

BEGIN: Final = "/gateway/sso/"
_SECURE_COOKIE: Final = "__Host-cgw_login"
_PLAIN_COOKIE: Final = "cgw_login"
_NO_STORE: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}

log = get_logger(__name__)


class Begun(Protocol):
    """See `gateway.edge.sign_on`."""

    @property
    def address(self) -> str:
        """Where the browser goes."""

    @property
    def cookie(self) -> str:
        """What it keeps."""

    @property
    def seconds(self) -> int:
        """For how long."""


class Finished(Protocol):
    """See `gateway.edge.sign_on`."""

    @property
    def principal(self) -> Principal:
        """Who has logged in."""

    @property
    def next(self) -> str:
        """Where they were going."""


class SignOns(Protocol):
    """Logins at somebody else's; see `gateway.edge.sign_on`."""

    def titles(self) -> dict[str, str]:
        """What stands on the button of each provider, by its name."""

    async def begin(self, name: str, *, next_address: str) -> Begun:
        """Begin one."""

    async def finish(
        self, name: str, scope: MutableMapping[str, Any], *, said: Mapping[str, str], cookie: str | None
    ) -> Finished:
        """Finish it."""


def public(settings: Settings) -> dict[str, Literal["page"]]:
    """What nobody has to log in for. Logins that come back are counted as such where they are looked at."""
    return {f"{BEGIN}{name}{end}": "page" for name in settings.sso for end in ("", "/callback")}


def buttons(sign_ons: SignOns, *, next_address: str) -> list[tuple[str, str]]:
    """Address and words of a button for each provider."""
    query = "" if next_address == HOME else f"?next={quote(next_address, safe='/')}"
    return [(f"{BEGIN}{name}{query}", title) for name, title in sign_ons.titles().items()]


def sign_on_router(
    *, sign_ons: SignOns, authenticator: Authenticator, sessions: Sessions, settings: Settings
) -> APIRouter:
    """The routes, to be included where `/gateway` is served."""
    handlers = _SignOnPages(sign_ons, authenticator=authenticator, sessions=sessions, settings=settings)
    routes = APIRouter(include_in_schema=False)
    routes.add_api_route(BEGIN + "{name}", handlers.begin, methods=["GET"])
    routes.add_api_route(BEGIN + "{name}/callback", handlers.finish, methods=["GET"])
    return routes


class _SignOnPages:
    def __init__(
        self, sign_ons: SignOns, *, authenticator: Authenticator, sessions: Sessions, settings: Settings
    ) -> None:
        self._sign_ons: Final = sign_ons
        self._authenticator: Final = authenticator
        self._sessions: Final = sessions
        self._public_url: Final = settings.public_url

    async def begin(self, name: str, request: Request) -> Response:
        """To the provider; first to our own public address, because the cookie has to be there when one comes back.

        But only once: a server in front may write another Host than it was asked for.
        """
        query = _query(request)
        asked = local_path(query.get("next"))
        if "moved" not in query and not self._is_public(request) and name in self._sign_ons.titles():
            there = f"{self._public_url}{BEGIN}{name}?next={quote(asked, safe='/')}&moved=1"
            return RedirectResponse(there, 303, _NO_STORE)
        try:
            begun = await self._sign_ons.begin(name, next_address=asked)
        except GatewayError as error:
            return self._refused(request, error, next_address=asked)
        response = RedirectResponse(begun.address, 303, _NO_STORE)
        self._set(request, response, begun.cookie, seconds=begun.seconds)
        return response

    async def finish(self, name: str, request: Request) -> Response:
        """Begin a session, and go where one was going; the login page, with what is wrong, if not."""
        try:
            finished = await self._sign_ons.finish(
                name, request.scope, said=query_values(request.scope["query_string"]), cookie=self._cookie(request)
            )
            await self._end_current(request)
            issued = await self._sessions.session(finished.principal)
        except GatewayError as error:
            return self._refused(request, error, next_address=HOME)
        response = RedirectResponse(local_path(finished.next), 303, _NO_STORE)
        set_cookie(response, issued, secure=request.scope["gateway"]["secure"])
        self._set(request, response, "", seconds=0)
        request.scope["gateway"]["principal"] = finished.principal
        client_ip = request.scope["gateway"]["client_ip"]
        log.info("login", user=finished.principal.name, via="sso", provider=name, ip=client_ip)
        return response

    def _refused(self, request: Request, error: GatewayError, *, next_address: str) -> Response:
        """The login page, where one can try again or take another way. What exactly was wrong is for the log."""
        request.scope["gateway"]["reason"] = error.reason or error.type
        if error.status == 404:
            raise error
        response = page(
            "login",
            status=error.status,
            headers={**error.headers, "Referrer-Policy": "no-referrer"},
            next=next_address,
            name="",
            message=error.message,
            details=error.details,
            sign_ons=self._buttons(next_address),
        )
        self._set(request, response, "", seconds=0)
        return response

    def _buttons(self, next_address: str) -> list[tuple[str, str]]:
        return buttons(self._sign_ons, next_address=next_address)

    def _is_public(self, request: Request) -> bool:
        asked = own_origins(public_url=None, host=request.headers.get("host"))
        return own_origins(public_url=self._public_url, host=None) <= asked

    async def _end_current(self, request: Request) -> None:
        with suppress(Unauthenticated):
            await self._sessions.end(await self._authenticator.authenticate(only_cookie(request.scope)))

    def _cookie(self, request: Request) -> str | None:
        """The one that was set here; with two of the name, one is somebody else's, and neither is taken."""
        name = _cookie_name(request)
        pairs = (
            pair.strip().partition("=") for value in request.headers.getlist("cookie") for pair in value.split(";")
        )
        found = [value for key, _, value in pairs if key == name]
        return found[0] if len(found) == 1 else None

    def _set(self, request: Request, response: Response, text: str, *, seconds: int) -> None:
        """Lax, not strict: one comes back by a link from another site. With no seconds it is taken away."""
        response.set_cookie(
            _cookie_name(request),
            text,
            max_age=seconds,
            path="/",
            secure=request.scope["gateway"]["secure"],
            httponly=True,
            samesite="lax",
        )


def _cookie_name(request: Request) -> str:
    return _SECURE_COOKIE if request.scope["gateway"]["secure"] else _PLAIN_COOKIE


def _query(request: Request) -> dict[str, str]:
    try:
        return query_values(request.scope["query_string"])
    except InvalidRequest:
        return {}
