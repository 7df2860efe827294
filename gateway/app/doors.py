"""What a request meets first inside: whether it is for us or for ComfyUI, and what a known caller may ask.

It does not know what is behind either door.
"""

from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.comfy.table import Call
from gateway.errors import NotFound
from gateway.identity.principal import Principal
from gateway.policy.access import decide
from gateway.policy.origin import may_be_forged, require_json, require_same_origin

OURS: Final = "/gateway"


class Doors:
    """Two applications behind one: everything below `/gateway` is ours, everything else is ComfyUI's."""

    def __init__(self, proxy: ASGIApp, control: ASGIApp) -> None:
        self._proxy, self._control = proxy, control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        ours = path == OURS or path.startswith(f"{OURS}/")
        if ours and scope["type"] == "websocket":
            # FastAPI would close it without a word of why.
            raise NotFound("There is no websocket at this address.", details="ComfyUI's is at /ws.")
        await (self._control if ours else self._proxy)(scope, receive, send)


def guard(principal: Principal, call: Call, scope: Scope) -> None:
    """What a known caller may ask. The same-origin proof of an ambient credential was part of knowing the caller, but
    for those routes of ComfyUI-Manager that change something on a GET."""
    decide(principal, call)
    if not may_be_forged(principal, scope["headers"]):
        return
    if call.row.mutates and scope["type"] == "http":
        require_same_origin(
            method=call.method,
            headers=scope["headers"],
            own_origins=scope["gateway"]["own_origins"],
            websocket=False,
            mutates=True,
        )
    if call.row.json and has_body(scope["headers"]):
        require_json(scope["headers"])


def has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request announces a body: the editor sends some of its POSTs without any, and without a type."""
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)
