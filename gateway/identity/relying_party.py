"""What a relying party of OpenID Connect says and checks, as values: addresses and requests to be made, answers to be
judged. It does not send anything, and does not know the browser.

authlib writes the requests (authorization code with PKCE) and checks what an ID token says of the login that it was
made for; its signature, issuer, audience and times are for `issuer_jwt`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus

from authlib.oauth2.client import OAuth2Client
from authlib.oauth2.rfc6749.parameters import prepare_token_request
from authlib.oidc.core import CodeIDToken

from gateway.config.issuer_checks import address
from gateway.identity.issuer_jwt import Signed
from gateway.identity.segments import InvalidJwt

_ENDPOINTS: Final = ("jwks_uri", "authorization_endpoint", "token_endpoint", "userinfo_endpoint")
_FORM: Final = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}


class UnusableMetadataError(Exception):
    """The issuer does not say where it can be asked, or says so of another. The reason is for the log."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an issuer says of itself (OpenID Connect Discovery 1.0, 3). `names_itself`: it answers a browser with its
    own name (RFC 9207). `basic`: the client's secret goes into `Authorization`, else into the form.
    """

    issuer: str
    keys: str
    authorization: str | None
    token: str | None
    user_info: str | None
    names_itself: bool
    basic: bool
    challenges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Client:
    """What we are to a provider. `secret` is None for a client that can keep none; PKCE protects its logins too."""

    id: str
    secret: str | None = field(repr=False)
    scopes: tuple[str, ...]
    back: str


@dataclass(frozen=True, slots=True)
class Request:
    """A POST to be made."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: str = field(repr=False)


def read_metadata(document: object, *, issuer: str) -> Metadata:
    """What a discovery document says, if it is that of `issuer`, to the letter. Raises UnusableMetadataError."""
    if not isinstance(document, Mapping) or document.get("issuer") != issuer:
        named = document.get("issuer") if isinstance(document, Mapping) else None
        raise UnusableMetadataError(f"the document is of another issuer: {named!r:.200}")
    if issuer.startswith("https:") and any(
        isinstance(url, str) and not url.startswith("https:") for url in map(document.get, _ENDPOINTS)
    ):
        # Nobody out there leads us to a server on this machine.
        raise UnusableMetadataError("it leads to an address without https")
    methods = document.get("token_endpoint_auth_methods_supported")
    challenges = document.get("code_challenge_methods_supported")
    return Metadata(
        issuer=issuer,
        keys=_address(document, "jwks_uri"),
        authorization=_optional(document, "authorization_endpoint"),
        token=_optional(document, "token_endpoint"),
        user_info=_optional(document, "userinfo_endpoint"),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        basic=not isinstance(methods, list) or "client_secret_basic" in methods or "client_secret_post" not in methods,
        challenges=tuple(name for name in challenges if isinstance(name, str)) if isinstance(challenges, list) else (),
    )


def authorization_address(client: Client, metadata: Metadata, *, state: str, nonce: str, verifier: str) -> str:
    """Where a browser is sent to log in. Raises UnusableMetadataError if the issuer has no such place."""
    if metadata.authorization is None or metadata.token is None:
        raise UnusableMetadataError("nobody can log in there: it names no authorization and token endpoints")
    url, _ = _oauth(client).create_authorization_url(
        metadata.authorization, state=state, nonce=nonce, code_verifier=verifier
    )
    return str(url)


def token_request(client: Client, metadata: Metadata, *, code: str, verifier: str) -> Request:
    """The request that changes a code into tokens (RFC 6749, 4.1.3; RFC 7636, 4.5)."""
    body = prepare_token_request("authorization_code", redirect_uri=client.back, code=code, code_verifier=verifier)
    method = "none" if client.secret is None else "client_secret_basic" if metadata.basic else "client_secret_post"
    # RFC 6749, 2.3.1: what is in `Authorization` is encoded as in a form first; authlib takes it as it is.
    encoded = _oauth(client, encode=method == "client_secret_basic")
    url, headers, written = encoded.client_auth(method).prepare("POST", metadata.token, dict(_FORM), body)
    return Request(str(url), headers, str(written))


def require_own_login(signed: Signed, *, client_id: str, nonce: str, access_token: str | None) -> None:
    """Raise InvalidJwt if the ID token was not made for the login with this nonce, or not for us alone (OpenID Connect
    Core, 3.1.3.7)."""
    expected = {"nonce": nonce, "client_id": client_id, "access_token": access_token}
    token = CodeIDToken(dict(signed.claims), {"alg": signed.algorithm}, params=expected)
    try:
        # The times were judged before; a fraction of a second is more than authlib expects.
        token.validate(now=int(signed.issued_at), leeway=1)
    except Exception as error:
        # Errors of joserfc, and whatever a claim of an odd type raises.
        raise InvalidJwt(f"not the ID token of this login: {type(error).__name__} {error!s:.100}") from None


def _oauth(client: Client, *, encode: bool = False) -> Any:
    secret = client.secret if client.secret is None or not encode else quote_plus(client.secret)
    return OAuth2Client(
        None,
        client_id=quote_plus(client.id) if encode else client.id,
        client_secret=secret,
        scope=" ".join(client.scopes),
        redirect_uri=client.back,
        code_challenge_method="S256",
    )


def _address(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise UnusableMetadataError(f"it names no {name}")
    try:
        return address(value)
    except ValueError as error:
        raise UnusableMetadataError(f"{name}: {error}") from None


def _optional(document: Mapping[str, Any], name: str) -> str | None:
    return _address(document, name) if name in document else None
