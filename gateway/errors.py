"""Every refusal and fault of the gateway, as one tree: each leaf knows its HTTP status, its type and its websocket
close code.

It does not know how an error is sent: `edge` turns one into an answer, `proxy` into a close frame.

    GatewayError
    ├── InvalidRequest        400 invalid_request
    │   ├── InvalidPrompt     400 invalid_prompt
    │   │   └── OverCap       400 invalid_prompt        (larger than the role allows; says in which nodes)
    │   └── TimedOut          408 request_timeout
    ├── Unauthenticated       401 unauthenticated       4401
    │   ├── TokenExpired      401 token_expired         4401
    │   └── UserGone          401 unauthenticated       4401   (removed or disabled, after the credential was looked at)
    ├── Forbidden             403 forbidden             4403
    │   ├── RouteNotAllowed   403 route_not_allowed
    │   ├── CsrfRefused       403 csrf
    │   ├── NotAdmitted       403 forbidden             (somebody else vouches for them, and they may not come in)
    │   └── PartNotAllowed    403 forbidden             (something named in a workflow; says in which nodes)
    │       ├── FileNotAllowed    403 file_not_allowed
    │       ├── NodeNotAllowed    403 node_not_allowed
    │       └── ModelNotAllowed   403 model_not_allowed
    ├── NotFound              404 not_found
    ├── MethodNotAllowed      405 method_not_allowed
    ├── PromptIdTaken         409 prompt_id_taken
    ├── TooLarge              413 too_large
    │   ├── StorageFull       413 storage_full
    │   ├── AddressTooLong    414 address_too_long
    │   └── HeadTooLarge      431 headers_too_large
    ├── UnsupportedMedia      415 unsupported_media_type
    ├── TooMany               429 rate_limited          4429
    │   ├── QueueFull         429 queue_full
    │   ├── BudgetExhausted   429 budget_exhausted
    │   └── LockedOut         429 locked_out
    └── UpstreamFault         502 bad_gateway
        ├── Disabled          503 SERVICE_DISABLED
        ├── NoServer          503 no_server_available
        │   └── NobodyThere   503 no_server_available   (the address refuses connections)
        ├── StoreUnavailable  503 store_unavailable
        ├── IssuerUnavailable 503 issuer_unavailable    (somebody else's login cannot be asked)
        └── UpstreamTimeout   504 upstream_timeout
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

CHALLENGE: Final = 'Bearer realm="ComfyUI Gateway"'
"""Never `Basic`: for that a browser opens a password dialog of its own, on top of the login page."""


class GatewayError(Exception):
    """A refusal. `message` and `details` go to the client; `reason` goes to the log only, and may name what the client
    must not see."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal_error"
    close_code: ClassVar[int] = 1011

    def __init__(
        self,
        message: str,
        *,
        details: str = "",
        extra_info: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.extra_info = dict(extra_info or {})
        self.headers = dict(headers or {})
        self.reason = reason

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON that a client gets: also ComfyUI's own shape for `/prompt`, so that its editor can show it."""
        error = {
            "type": self.type,
            "message": self.message,
            "details": self.details,
            "extra_info": self.extra_info,
        }
        return {"error": error, "node_errors": {}, "request_id": request_id}


class InvalidRequest(GatewayError):
    """The request cannot be read in one way only."""

    status, type, close_code = 400, "invalid_request", 1008


class InvalidPrompt(InvalidRequest):
    """The body of a submit has a shape that would hurt ComfyUI or mean nothing to it."""

    type = "invalid_prompt"


class OverCap(InvalidPrompt):
    """A workflow that is larger than its user may run. `node_errors` is ComfyUI's form, empty for the workflow as a
    whole."""

    def __init__(self, message: str, *, node_errors: Mapping[str, Any] | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.node_errors = dict(node_errors or {})

    def body(self, request_id: str) -> dict[str, Any]:
        """As any error, with the nodes."""
        return {**super().body(request_id), "node_errors": self.node_errors}


class TimedOut(InvalidRequest):
    """The client did not send in time what it had begun."""

    status, type = 408, "request_timeout"


class Unauthenticated(GatewayError):
    """No valid credential came with the request."""

    status, type, close_code = 401, "unauthenticated", 4401


class TokenExpired(Unauthenticated):
    """The only credential was good once."""

    type = "token_expired"


class UserGone(Unauthenticated):
    """The user was removed or disabled while the request was under way."""

    def __init__(self) -> None:
        super().__init__("This user is no longer here.", headers={"WWW-Authenticate": CHALLENGE})


class Forbidden(GatewayError):
    """Known, but not allowed."""

    status, type, close_code = 403, "forbidden", 4403


class RouteNotAllowed(Forbidden):
    """A route that the table does not have, or does not give to this role."""

    type = "route_not_allowed"


class CsrfRefused(Forbidden):
    """A cookie session that cannot prove the request comes from our own pages."""

    type = "csrf"


class NotAdmitted(Forbidden):
    """Known to somebody else, and not let in here."""

    def __init__(
        self, reason: str, *, message: str = "Your login is good, but you may not come in here.", details: str = ""
    ) -> None:
        super().__init__(message, details=details or "Ask whoever runs this gateway to let you in.", reason=reason)


class PartNotAllowed(Forbidden):
    """Something that a request names is not for this user. `node_errors` is ComfyUI's form, so that its editor marks
    the nodes; it is empty where no workflow is involved."""

    def __init__(self, message: str, *, node_errors: Mapping[str, Any] | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.node_errors = dict(node_errors or {})

    def body(self, request_id: str) -> dict[str, Any]:
        """As any error, with the nodes."""
        return {**super().body(request_id), "node_errors": self.node_errors}


class FileNotAllowed(PartNotAllowed):
    """A file name that leads out of one's own files, or that can be read in two ways."""

    type = "file_not_allowed"


class NodeNotAllowed(PartNotAllowed):
    """A node class that this role may not use."""

    type = "node_not_allowed"


class ModelNotAllowed(PartNotAllowed):
    """A model that this role may not load."""

    type = "model_not_allowed"


class NotFound(GatewayError):
    """Absent, or somebody else's: the two must look the same."""

    status, type, close_code = 404, "not_found", 1008


class MethodNotAllowed(GatewayError):
    """A known path asked with a method that it does not have."""

    status, type, close_code = 405, "method_not_allowed", 1008


class PromptIdTaken(GatewayError):
    """The client chose an id that some job already has."""

    status, type, close_code = 409, "prompt_id_taken", 1008


class TooLarge(GatewayError):
    """A body, header or address over its limit."""

    status, type, close_code = 413, "too_large", 1009


class StorageFull(TooLarge):
    """The user keeps as much as the role allows."""

    type = "storage_full"


class AddressTooLong(TooLarge):
    """The path and query together are over their limit."""

    status, type = 414, "address_too_long"


class HeadTooLarge(TooLarge):
    """More than 100 headers, or more than 64 KiB of them."""

    status, type = 431, "headers_too_large"


class UnsupportedMedia(GatewayError):
    """A body in a form that this route does not take."""

    status, type, close_code = 415, "unsupported_media_type", 1003


class TooMany(GatewayError):
    """Too often; `headers` carries `Retry-After` in seconds."""

    status, type, close_code = 429, "rate_limited", 4429


class QueueFull(TooMany):
    """The user has as many unfinished jobs as the role allows."""

    type = "queue_full"


class BudgetExhausted(TooMany):
    """The user has used as much GPU time as the role allows for this day, week or month."""

    type = "budget_exhausted"


class LockedOut(TooMany):
    """Too many wrong passwords from this address for this name."""

    type = "locked_out"


class UpstreamFault(GatewayError):
    """ComfyUI did not do its part. `sent` is whether the request may have reached it."""

    status, type, close_code = 502, "bad_gateway", 1011

    def __init__(self, message: str, *, sent: bool = True, **more: Any) -> None:
        super().__init__(message, **more)
        self.sent = sent


class Disabled(UpstreamFault):
    """A part of ComfyUI that the gateway answers for as switched off; the type is ComfyUI's own word."""

    status, type = 503, "SERVICE_DISABLED"


class NoServer(UpstreamFault):
    """No ComfyUI server can be reached; nothing was sent."""

    status, type, close_code = 503, "no_server_available", 1013


class NobodyThere(NoServer):
    """The address refuses connections, so no process listens there: more than silence, which a model load explains."""


class StoreUnavailable(UpstreamFault):
    """The database cannot answer; nothing is allowed on a guess."""

    status, type = 503, "store_unavailable"


class IssuerUnavailable(UpstreamFault):
    """Somebody else's login does not answer, or not with what it has to; so nobody knows who asks."""

    status, type = 503, "issuer_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "Whoever vouches for you cannot be asked now.",
            details="Try again in a moment.",
            headers={"Retry-After": "10"},
            sent=False,
            reason=reason,
        )


class UpstreamTimeout(UpstreamFault):
    """ComfyUI was asked and kept silent for longer than the route allows."""

    status, type = 504, "upstream_timeout"
