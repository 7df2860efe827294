"""The control plane."""

import base64
import json
import time
from typing import Any

import pytest

from gateway.api.documentation import operations
from gateway.api.refusals import as_gateway_error
from tests.web.front import PASSWORD, Front, Said

TOKEN = "/gateway/api/v1/auth/token"
ME = "/gateway/api/v1/me"


def form(name: str = "alice", password: str = PASSWORD, **more: str) -> dict[str, str]:
    return {"grant_type": "password", "username": name, "password": password, **more}


async def token(api: Front, fields: dict[str, str]) -> Said:
    """As a program asks: without an Origin."""
    return await api.post(TOKEN, fields, origin="")


async def test_health(api: Front) -> None:
    """Liveness needs no credential and says nothing else."""
    said = await api.get("/gateway/healthz")
    assert (said.status, said.json) == (200, {"status": "ok"})
    assert (await api.ask("HEAD", "/gateway/healthz")).status == 200


async def test_readiness(api: Front) -> None:
    """Readiness is 200 while every part is there and 503 when one is missing."""
    said = await api.get("/gateway/readyz")
    assert (said.status, said.json["status"]) == (200, "ready")
    api.checks["comfyui"] = False
    said = await api.get("/gateway/readyz")
    assert (said.status, said.json) == (503, {"status": "unavailable", "checks": {"database": True, "comfyui": False}})


async def test_an_access_token(api: Front) -> None:
    """A name and a password give a token for `Authorization: Bearer`, for a quarter of an hour."""
    said = await token(api, form())
    assert said.status == 200
    assert said.json.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (said.json["token_type"], said.json["expires_in"], said.json["scope"]) == ("bearer", 900, "read submit")
    assert said.headers["Cache-Control"] == "no-store"
    me = await api.get(ME, authorization=f"Bearer {said.json['access_token']}")
    assert me.status == 200
    assert me.json == {
        "name": "alice",
        "role": "member",
        "permissions": ["read", "submit"],
        "via": "jwt",
        "expires_at": pytest.approx(time.time() + 900, abs=60),
    }


async def test_an_access_token_for_an_api_token(api: Front) -> None:
    """An API token works as the password; what comes of it has the same scopes."""
    text = await api.token(await api.user("bob"), scopes=frozenset({"read"}))
    said = await token(api, form("whoever", text))
    assert (said.status, said.json["scope"]) == (200, "read")
    me = await api.get(ME, authorization=f"Bearer {said.json['access_token']}")
    assert (me.json["name"], me.json["permissions"]) == ("bob", ["read"])


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", "wrong"), ("nobody", PASSWORD), ("no name", PASSWORD), ("älice", PASSWORD)],
)
async def test_T21_wrong_logins(api: Front, name: str, password: str) -> None:
    """A wrong name, a name that nobody can have and a wrong password are the same 401, to the byte."""
    said, other = await token(api, form(name, password)), await token(api, form("alice", "cgw_wrong"))
    assert (said.status, said.json["error"]["type"]) == (401, "unauthenticated")
    assert {**said.json, "request_id": ""} == {**other.json, "request_id": ""}
    assert said.headers["WWW-Authenticate"].startswith("Bearer")


async def test_T22_too_many(api: Front) -> None:
    """Too many wrong passwords are 429 `locked_out` with Retry-After, the right one still works."""
    said = [await token(api, form(password=f"guess {number}")) for number in range(6)]
    assert [answer.status for answer in said] == [401] * 4 + [429] * 2
    assert said[-1].json["error"]["type"] == "locked_out" and said[-1].headers["Retry-After"]
    assert (await token(api, form())).status == 200


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"username": "alice"},
        form(grant_type="client_credentials"),
        form("x" * 65),
        form("ali\x00ce"),
        form("alice\n"),
        form("ali\u2028ce"),
        form(password="x" * 1025),
        form(password=""),
    ],
)
async def test_malformed_requests(api: Front, fields: dict[str, str]) -> None:
    """What is missing or too long is 400 `invalid_request` in the contract's shape, and is not repeated."""
    said = await token(api, fields)
    assert (said.status, said.json["error"]["type"]) == (400, "invalid_request")
    assert said.json["request_id"] == said.headers["X-Request-ID"]
    assert "xxxxx" not in said.text and PASSWORD not in said.text


@pytest.mark.parametrize("chunked", [True, False])
async def test_E10_big_bodies(api: Front, chunked: bool) -> None:
    """A body over 64 KiB is 413, whether or not it announces its length."""

    async def pieces() -> Any:
        for _ in range(100):
            yield b"username=" + b"x" * 1000 + b"&"

    body = pieces() if chunked else b"x" * 100_000
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    said = await api.ask("POST", TOKEN, headers=headers, data=body)
    assert (said.status, said.json["error"]["type"]) == (413, "too_large")


async def test_who_am_i(api: Front) -> None:
    """Every kind of credential is told apart, and none is 401."""
    text = await api.token(await api.user("bob"), expires_at=2_000_000_000.0)
    said = (await api.get(ME, x_api_key=text)).json
    assert (said["name"], said["via"], said["expires_at"]) == ("bob", "token", 2_000_000_000.0)
    basic = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    assert (await api.get(ME, authorization=f"Basic {basic}")).json["via"] == "password"
    assert (await api.get(ME, cookie=await api.session())).json["via"] == "session"
    for headers in ({}, {"x-api-key": "wrong"}):
        refused = await api.get(ME, **headers)
        assert (refused.status, refused.json["error"]["type"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "path", ["/gateway/nothing", "/gateway/api/v1/nothing", "/gateway/api", "/gateway/healthz/", "/gateway/api/v1/me/"]
)
async def test_unknown_addresses(api: Front, path: str) -> None:
    """What is not there is 404 in the contract's shape, without a redirect that would drop a credential."""
    said = await api.get(path)
    assert (said.status, said.json["error"]["type"]) == (404, "not_found")
    assert said.json["node_errors"] == {} and said.json["request_id"]


async def test_other_methods(api: Front) -> None:
    """A known address with another method is 405, with the methods that it has."""
    said = await api.ask("DELETE", ME)
    assert (said.status, said.json["error"]["type"]) == (405, "method_not_allowed")
    assert "GET" in said.headers["Allow"]


async def test_N04_documentation_is_for_those_who_are_logged_in(api: Front) -> None:
    """The documentation and the OpenAPI document are 401 for strangers; nothing else serves them."""
    for path in ("/gateway/docs", "/gateway/openapi.json"):
        assert (await api.get(path)).status == 401
    for path in ("/docs", "/redoc", "/openapi.json", "/gateway/redoc", "/docs/oauth2-redirect"):
        assert (await api.get(path)).status == 404


async def test_documentation(api: Front) -> None:
    """The page shows each operation of the OpenAPI document, and loads nothing from anywhere else."""
    cookie = await api.session()
    document = (await api.get("/gateway/openapi.json", cookie=cookie)).json
    assert {ME, TOKEN, "/gateway/healthz", "/gateway/readyz"} == set(document["paths"])
    page = await api.get("/gateway/docs", cookie=cookie)
    assert page.status == 200 and page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "<script" not in page.text and "//" not in page.text.replace("<!DOCTYPE html>", "")
    for operation in operations(document):
        assert f"{operation.method} {operation.path}" in page.text
    taken = next(operation for operation in operations(document) if operation.path == TOKEN)
    assert {"username", "password", "grant_type"} <= {name for name, _ in taken.fields}


async def test_T30_the_store_is_away(api: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails inside is a 500 in the contract's shape, without a word about the inside."""

    async def broken(_name: str) -> None:
        raise RuntimeError("/home/secret")

    monkeypatch.setattr(api.store.users, "by_name", broken)
    said = await token(api, form())
    assert (said.status, said.json["error"]["type"]) == (500, "internal_error")
    assert "secret" not in said.text and said.json["request_id"] == said.headers["X-Request-ID"]


def test_unknown_exceptions_are_internal_errors() -> None:
    """An exception that nobody planned for is `internal_error`."""
    assert as_gateway_error(KeyError("secret")).message == "The gateway failed."


async def test_N06_nothing_secret_is_logged(api: Front) -> None:
    """Passwords, tokens and cookies of all these requests stand in no line of the log."""
    text = await api.token(await api.user("bob"))
    cookie = await api.session()
    issued = (await token(api, form())).json["access_token"]
    for headers in ({"x_api_key": text}, {"cookie": cookie}, {"authorization": f"Bearer {issued}"}):
        await api.get(ME, **headers)
    await api.get(f"{ME}?token={text}")
    await api.get(f"/gateway/t/{text}/gateway/")
    lines = "".join(api.log)
    for secret in (PASSWORD, text, text[14:30], cookie.partition("=")[2], issued):
        assert secret not in lines
    await token(api, form(password="guess"))
    assert json.loads(api.log[-1])["reason"] == "wrong name or password"
    assert '"user":"bob"' in lines and '"user":"alice"' in lines
