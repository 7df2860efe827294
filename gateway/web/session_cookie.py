"""The session cookie: how it is set, cleared, and looked at alone. It does not know what is in it."""

from collections.abc import MutableMapping
from typing import Any

from fastapi.responses import Response

from gateway.identity.authenticator import Issued
from gateway.identity.credentials import CREDENTIAL_HEADERS
from gateway.policy.origin import cookie_name


def set_cookie(response: Response, issued: Issued, *, secure: bool) -> None:
    """Scripts cannot read it, other sites cannot make it be sent with a form, other hosts cannot set it."""
    response.set_cookie(
        cookie_name(secure=secure),
        issued.text,
        max_age=issued.seconds,
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def clear_cookie(response: Response, *, secure: bool) -> None:
    """Take it from the browser; what ends the session is the store."""
    response.delete_cookie(cookie_name(secure=secure), path="/", secure=secure, httponly=True, samesite="lax")


def only_cookie(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The same request as if the session cookie were its only credential."""
    headers = [field for field in scope["headers"] if field[0] not in CREDENTIAL_HEADERS]
    about = {**scope["gateway"], "path_token": None, "ambient": ()}
    return {**scope, "headers": headers, "query_string": b"", "gateway": about}
