"""Whether a request with a credential that nobody sent comes from one of our own pages. It does not know whose it is.

What a proof is, `gateway.policy.origin` says; here it is looked for in a request.
"""

from starlette.types import Scope

from gateway.identity.principal import Principal
from gateway.policy.origin import may_be_forged, own_origins, require_lax, require_own_host, require_same_origin


def require_own_page(scope: Scope, principal: Principal, *, public_url: str | None) -> None:
    """Raises CsrfRefused. Sets `own_origins` for whoever has to ask for more: for some routes a GET changes something.

    A session's cookie was kept back by the browser where another site's page asked for a part; a proxy's header and a
    network were not.
    """
    headers, about = scope["headers"], scope["gateway"]
    method, websocket = scope.get("method", "GET"), scope["type"] == "websocket"
    host = next((value.decode("latin-1") for name, value in headers if name == b"host"), None)
    about["own_origins"] = own_origins(public_url=public_url, host=host)
    if principal.via == "network":
        require_own_host(public_url=public_url, host=host)
    if not may_be_forged(principal, headers):
        return
    if not principal.is_cookie:
        require_lax(method=method, headers=headers, websocket=websocket)
    require_same_origin(method=method, headers=headers, own_origins=about["own_origins"], websocket=websocket)
