"""The grants of the token endpoint (RFC 6749)."""

import base64
import secrets
import time
from urllib.parse import quote_plus

import pytest

from gateway.identity.tokens import mint
from gateway.store import TokenRow
from tests.web.front import PASSWORD, Front, Said

TOKEN = "/gateway/api/v1/auth/token"
ME = "/gateway/api/v1/me"


async def api_token(api: Front, *, scopes: frozenset[str] | None = None) -> tuple[str, str]:
    """Alice's: its id and its text."""
    minted, user = mint(secrets.token_bytes), await api.store.users.by_name("alice")
    assert user is not None
    await api.store.tokens.add(TokenRow(minted.id, user.id, "test", minted.digest, scopes, time.time(), None))
    return minted.id, minted.secret_text


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{quote_plus(name)}:{quote_plus(secret)}".encode()).decode()


async def asked(api: Front, *, authorization: str | None = None, **fields: str) -> Said:
    more = {} if authorization is None else {"authorization": authorization}
    return await api.post(TOKEN, {"grant_type": "client_credentials", **fields}, origin="", **more)


async def test_a_token_is_a_clients_secret(api: Front) -> None:
    """An API token as client_secret, in the form or as Basic, gives a token of its user with its scopes (4.4)."""
    token_id, text = await api_token(api, scopes=frozenset({"read"}))
    for said in (
        await asked(api, client_id="anything", client_secret=text),
        await asked(api, client_secret=text, scope="submit admin"),
        await asked(api, authorization=basic("any:thing", text)),
        await asked(api, authorization=basic("", text).replace("Basic", "basic")),
    ):
        assert said.status == 200, said.text
        assert (said.json["token_type"], said.json["scope"]) == ("bearer", "read")
        assert (said.headers["Cache-Control"], said.headers["Pragma"]) == ("no-store", "no-cache")
        me = await api.get(ME, authorization=f"Bearer {said.json['access_token']}")
        assert (me.json["name"], me.json["permissions"]) == ("alice", ["read"])
    await api.store.tokens.revoke(token_id, now=time.time())
    assert (await api.get(ME, authorization=f"Bearer {said.json['access_token']}")).status == 401
    assert (await asked(api, client_secret=text)).status == 401


async def test_a_password_is_no_clients_secret(api: Front) -> None:
    """Names and passwords cannot be tried as a client's."""
    for said in (
        await asked(api, client_id="alice", client_secret=PASSWORD),
        await asked(api, authorization=basic("alice", PASSWORD)),
    ):
        assert (said.status, said.json["error"]["extra_info"]) == (401, {"oauth_error": "invalid_client"})
        assert said.headers["WWW-Authenticate"].startswith("Bearer")


async def test_one_proof_alone(api: Front) -> None:
    """Two proofs, or none, or one of another kind, are 400 (2.3)."""
    _, text = await api_token(api)
    for said in (
        await asked(api),
        await asked(api, client_id="x"),
        await asked(api, client_secret=text, authorization=basic("x", text)),
        await asked(api, authorization=f"Bearer {text}"),
        await asked(api, authorization="Basic %%%"),
        await asked(api, authorization="Basic"),
        await asked(api, authorization="Basic " + base64.b64encode(b"\xff\xfe").decode()),
    ):
        assert (said.status, said.json["error"]["extra_info"]) == (400, {"oauth_error": "invalid_request"})


@pytest.mark.parametrize(
    "grant", ["authorization_code", "refresh_token", "PASSWORD", "urn:ietf:params:oauth:x", "implicit"]
)
async def test_other_grants(api: Front, grant: str) -> None:
    """A grant that there is not is 400, in OAuth's own word for it."""
    said = await api.post(TOKEN, {"grant_type": grant, "username": "alice", "password": PASSWORD}, origin="")
    assert (said.status, said.json["error"]["extra_info"]) == (400, {"oauth_error": "unsupported_grant_type"})
