"""What every request passes first and every answer last: ids, the path token, refusals as answers, one line of log.

It does not know who asks or what for; it learns of that only what `scope["gateway"]` says in the end.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.comfy.paths import split_token
from gateway.config import Settings
from gateway.edge.access_log import AccessLog
from gateway.edge.addresses import TrustedProxies
from gateway.edge.ambience import Ambience
from gateway.edge.answer import mint_request_id
from gateway.edge.cors import ALLOW, Cors
from gateway.edge.door import Door
from gateway.edge.egress import Egress
from gateway.edge.exchange import Exchange
from gateway.errors import GatewayError, NotFound
from gateway.identity.principal import Principal
from gateway.log import get_logger

Authenticate = Callable[[Scope], Awaitable[Principal]]

_OURS: Final = "/gateway"

log = get_logger(__name__)


class Boundary:
    """The outermost ASGI application. It makes the dict `scope["gateway"]` for those below:

    `request_id`; `client_ip`; `secure`, whether the browser speaks https with us; `path_token`, text or None;
    `ambient`, the credentials that nobody sent; and, for them to set, `principal`; `sends_file`, whether the answer's
    body is a file that counts for them; `carried`, whether a credential came along that somebody sent; `own_origins`,
    those of our own pages, for an ambient credential; `added`, headers for the answer, until it begins; `refusal`, the
    GatewayError for a stranger who is let through to where it is said; `reason`, why it was refused, for the log.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        authenticate: Authenticate,
        door: Door,
        access_log: AccessLog | None = None,
        egress: Egress | None = None,
    ) -> None:
        self._app: Final = app
        self._authenticate: Final = authenticate
        self._door: Final = door
        self._access_log: Final = access_log
        self._egress: Final = egress
        self._proxies: Final = TrustedProxies(settings.trusted_proxies)
        self._ambience: Final = Ambience(settings)
        self._cors: Final = Cors(settings.cors_origins)
        self._is_public_https: Final = (settings.public_url or "").startswith("https:")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope = self._entered(scope)
        exchange = Exchange(scope, send, added=self._cors.headers(scope["headers"]))
        scope["gateway"]["added"] = exchange.added
        try:
            if scope["type"] == "http" and scope["method"] == "OPTIONS":
                await self._answer_options(scope, exchange)
            elif _take_path_token(scope, exchange):
                await self._app(scope, receive, exchange.send)
            else:
                await self._door.address(scope, "page")
                await exchange.answer(308, [(b"location", scope["raw_path"] + b"/")])
        except GatewayError as error:
            await exchange.refuse(await self._door.stranger(scope, error))
        except Exception as error:
            log.exception("request_failed", request_id=exchange.request_id)
            await exchange.refuse(GatewayError("The gateway failed.", reason=type(error).__name__))
        finally:
            if self._access_log is not None:
                self._access_log.write(exchange.line())
            self._count(scope, exchange)

    def _count(self, scope: Scope, exchange: Exchange) -> None:
        about = scope["gateway"]
        if about["sends_file"] and self._egress is not None and about["principal"] is not None:
            self._egress.count(about["principal"], exchange.sent_bytes)

    def _entered(self, scope: Scope) -> Scope:
        """A copy: what the server made stays as it is. A request id of the client's own choice is not taken over."""
        peer = scope.get("client")
        client = self._proxies.client(peer=peer[0] if peer else None, scheme=scope["scheme"], headers=scope["headers"])
        headers, ambient = self._ambience.of(scope, client_ip=client.ip)
        about = {
            "request_id": mint_request_id(),
            "client_ip": client.ip,
            "secure": client.secure or self._is_public_https,
            "path_token": None,
            "ambient": ambient,
            "principal": None,
            "carried": False,
            "sends_file": False,
            "own_origins": frozenset(),
            "added": [],
            "refusal": None,
            "reason": "",
        }
        return {**scope, "headers": headers, "gateway": about}

    async def _answer_options(self, scope: Scope, exchange: Exchange) -> None:
        """Answered here, never by ComfyUI: a browser's question for a listed site without a credential, others with
        one.
        """
        headers = self._cors.preflight(scope["headers"])
        if headers is not None:
            await self._door.address(scope, "page")
        else:
            await self._door.user(await self._authenticate(scope), "default", scope)
            headers = [(b"allow", ALLOW)]
        await exchange.answer(204, headers)


def _take_path_token(scope: Scope, exchange: Exchange) -> bool:
    """`/gateway/t/<token>/view` is `/view` with a credential; its pages must not tell others their address.

    False for `/gateway/t/<token>` alone: the relative links of a page at that address would lose the token.
    """
    token, rest = split_token(scope["raw_path"])
    if token is None:
        return True
    if rest == b"":
        return False
    path = unquote(rest.decode("latin-1"))
    # On what it means, not on how it is spelled: whoever comes after us decides on the decoded path, too.
    if path == _OURS or path.startswith(f"{_OURS}/"):
        raise NotFound("Behind a path token there are only the addresses of ComfyUI.")
    scope["gateway"].update(path_token=token, carried=True)
    scope.update(raw_path=rest, path=path)
    exchange.added.append((b"referrer-policy", b"no-referrer"))
    return True
