"""A provider of OpenID Connect as a program of its own: `python -m tests.oidc.provider PORT`.

It does what the specification says (discovery, authorization code with PKCE, user info, a set of keys), and, when told
at /control, what it must not do.
"""

import base64
import hashlib
import html
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus, urlencode

from aiohttp import web

from tests.identity.forging import RsaKey, ec_key, rsa_key

CLIENTS = {"comfy": "s3cr%t/ of+comfy", "other": "another secret"}


@dataclass(slots=True)
class State:
    """What it is told. `claims` are of whoever logs in; `token` and `header` are changed in ID tokens, None takes away;
    `answer` is changed in what a browser is sent back with."""

    issuer: str
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "u-1"})
    user_info: dict[str, Any] | None = None
    token: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    discovery: dict[str, Any] = field(default_factory=dict)
    signing: str = "a"
    listed: list[str] = field(default_factory=lambda: ["a"])
    asks: bool = False
    down: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    last: dict[str, Any] = field(default_factory=dict)


STATE = web.AppKey("state", State)
TOLD = ("claims", "user_info", "token", "header", "answer", "discovery", "signing", "listed", "asks", "down")


def key_named(name: str) -> Any:
    """`a`, `b`: RSA; `e`: elliptic."""
    return ec_key(name) if name.startswith("e") else rsa_key(name)


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


async def control(request: web.Request) -> web.Response:
    """Be told; everything that is not said goes back to what is right."""
    state = request.app[STATE]
    fresh = State(state.issuer)
    told = await request.json()
    for name in TOLD:
        setattr(state, name, told.get(name, getattr(fresh, name)))
    return web.json_response({})


async def seen(request: web.Request) -> web.Response:
    state = request.app[STATE]
    return web.json_response({"asked": dict(state.asked), "last": state.last})


async def mint(request: web.Request) -> web.Response:
    """A token of this issuer with anything in it."""
    told = await request.json()
    key = key_named(told.get("key", request.app[STATE].signing))
    return web.json_response({"token": key.sign(told["header"], told["claims"])})


@web.middleware
async def counted(request: web.Request, handler: Any) -> web.StreamResponse:
    state = request.app[STATE]
    name = request.path.strip("/").partition("/")[0]
    state.asked[name] += 1
    if name in state.down:
        return web.Response(status=503, text="down")
    answer: web.StreamResponse = await handler(request)
    return answer


async def discovery(request: web.Request) -> web.Response:
    state = request.app[STATE]
    document = {
        "issuer": state.issuer,
        "authorization_endpoint": f"{state.issuer}/authorize",
        "token_endpoint": f"{state.issuer}/token",
        "userinfo_endpoint": f"{state.issuer}/userinfo",
        "jwks_uri": f"{state.issuer}/jwks",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }
    return web.json_response(changed(document, state.discovery))


async def jwks(request: web.Request) -> web.Response:
    return web.json_response({"keys": [key_named(name).jwk() for name in request.app[STATE].listed]})


async def authorize(request: web.Request) -> web.Response:
    """At once back with a code, or a page with a button first."""
    state, query = request.app[STATE], dict(request.query)
    state.last = {**state.last, "authorize": query}
    if query.get("client_id") not in CLIENTS or query.get("response_type") != "code":
        return web.Response(status=400, text="no such client")
    if state.asks and request.path != "/authorize/yes":
        back = html.escape("/authorize/yes?" + urlencode(query))
        link = f'<a href="{back}">Continue as {state.claims["sub"]}</a>'
        page = f"<!DOCTYPE html><title>Provider</title><h1>Provider</h1>{link}"
        return web.Response(text=page, content_type="text/html")
    code = secrets.token_urlsafe(24)
    state.codes[code] = query
    answer = changed({"code": code, "state": query["state"], "iss": state.issuer}, state.answer)
    return web.Response(status=302, headers={"Location": f"{query['redirect_uri']}?{urlencode(answer)}"})


def client_of(request: web.Request, form: dict[str, str]) -> str | None:
    """Who proved to be which client, by Basic (RFC 6749, 2.3.1) or in the form."""
    header = request.headers.get("Authorization", "")
    if header.startswith("Basic "):
        pair = base64.b64decode(header[6:]).decode().partition(":")
        name, secret = unquote_plus(pair[0]), unquote_plus(pair[2])
    else:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
    return name if CLIENTS.get(name) == secret else None


async def token(request: web.Request) -> web.Response:
    state = request.app[STATE]
    form = {name: str(value) for name, value in (await request.post()).items()}
    state.last = {**state.last, "token": form}
    client, asked = client_of(request, form), state.codes.pop(form.get("code", ""), None)
    if client is None:
        return web.json_response({"error": "invalid_client"}, status=401)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
    if (
        asked is None
        or asked["client_id"] != client
        or asked["redirect_uri"] != form.get("redirect_uri")
        or asked.get("code_challenge_method") != "S256"
        or asked.get("code_challenge") != challenge.rstrip(b"=").decode()
    ):
        return web.json_response({"error": "invalid_grant"}, status=400)
    access_token = secrets.token_urlsafe(24)
    state.access[access_token] = state.user_info or {"sub": state.claims["sub"]}
    return web.json_response(
        {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": id_token(state, client=client, nonce=asked.get("nonce"), access_token=access_token),
        }
    )


def id_token(state: State, *, client: str, nonce: str | None, access_token: str) -> str:
    now = int(time.time())
    half = hashlib.sha256(access_token.encode()).digest()[:16]
    claims = {
        "iss": state.issuer,
        "aud": client,
        "iat": now,
        "exp": now + 300,
        "nonce": nonce,
        "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
        **state.claims,
    }
    key = key_named(state.signing)
    algorithm = "RS256" if isinstance(key, RsaKey) else "ES256"
    header = changed({"alg": algorithm, "kid": state.signing, "typ": "JWT"}, state.header)
    return str(key.sign(header, changed(claims, state.token)))


async def user_info(request: web.Request) -> web.Response:
    said = request.app[STATE].access.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
    return web.json_response(said) if said is not None else web.json_response({"error": "invalid_token"}, status=401)


def application(issuer: str) -> web.Application:
    app = web.Application(middlewares=[counted])
    app[STATE] = State(issuer)
    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/jwks", jwks)
    app.router.add_get("/authorize", authorize)
    app.router.add_get("/authorize/yes", authorize)
    app.router.add_post("/token", token)
    app.router.add_get("/userinfo", user_info)
    app.router.add_post("/control", control)
    app.router.add_get("/control", seen)
    app.router.add_post("/mint", mint)
    return app


if __name__ == "__main__":
    port = int(sys.argv[1])
    web.run_app(application(f"http://127.0.0.1:{port}"), host="127.0.0.1", port=port, print=None)
