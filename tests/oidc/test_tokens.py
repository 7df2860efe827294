"""Tokens of a configured issuer over HTTP and on sockets. The ids are rows of the list of attacks."""

import base64
import json
import time
from typing import Any

import pytest
import requests
import websocket
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.identity.forging import rsa_key, with_hmac
from tests.oidc.conftest import AUDIENCE, Town

PATIENCE = 20


def name_of(said: dict[str, Any] | int) -> str | int:
    return said if isinstance(said, int) else str(said["name"])


def public_key(town: Town) -> dict[str, Any]:
    keys: list[dict[str, Any]] = requests.get(f"{town.provider.url}/jwks", timeout=PATIENCE).json()["keys"]
    return keys[0]


def handshake(town: Town, token: str) -> int:
    """The status of a websocket's handshake."""
    try:
        socket = websocket.create_connection(
            town.url.replace("http", "ws") + "/ws", header=[f"Authorization: Bearer {token}"], timeout=PATIENCE
        )
    except websocket.WebSocketBadStatusException as error:
        return int(error.status_code)
    socket.close()
    return 101


def test_a_token_of_the_issuer(town: Town) -> None:
    """Whoever comes with one is a user of that subject, with the role that its groups give, until it ends."""
    ends = int(time.time()) + 120
    token = town.provider.mint(sub="j-1", preferred_username="jane", groups=["comfy-admins"], exp=ends)
    me = town.bearer(token)
    assert isinstance(me, dict)
    assert (me["name"], me["role"], me["via"], me["expires_at"]) == ("jane", "admin", "jwt", ends)
    assert handshake(town, token) == 101
    assert name_of(town.bearer(town.provider.mint(sub="j-1"))) == "jane"


def test_a_token_and_a_login_are_one_person(town: Town, browser: requests.Session) -> None:
    """Issuer and subject are the same, so the user is."""
    claims = {"sub": "j-2", "preferred_username": "joe", "email": "joe@example.org", "email_verified": True}
    town.provider.told(claims=claims)
    town.login(browser)
    assert name_of(town.me(browser)) == name_of(town.bearer(town.provider.mint(sub="j-2"))) == "joe"


def test_an_older_token_gives_no_role_back(town: Town) -> None:
    """A token outlives what it says: after a newer one without the group it is a member's."""
    now = int(time.time())
    older = town.provider.mint(sub="j-3", preferred_username="jill", groups=["comfy-admins"], iat=now - 20)
    assert isinstance(me := town.bearer(older), dict) and me["role"] == "admin"
    assert isinstance(me := town.bearer(town.provider.mint(sub="j-3", iat=now)), dict) and me["role"] == "member"
    assert isinstance(me := town.bearer(older), dict) and me["role"] == "member"


def test_only_as_a_bearer(town: Town) -> None:
    """It is no cookie, no API key, no password, and nothing in an address."""
    token = town.provider.mint(sub="j-4")
    assert name_of(town.bearer(token)) != 401
    for headers in ({"Cookie": f"cgw_session={token}"}, {"X-API-Key": token}):
        assert town.me(requests.Session(), **headers) == 401
    assert requests.get(f"{town.url}/queue", params={"token": token}, timeout=PATIENCE).status_code == 401
    assert requests.get(f"{town.url}/queue", auth=("x", token), timeout=PATIENCE).status_code == 401
    assert requests.get(f"{town.url}/gateway/t/{token}/queue", timeout=PATIENCE).status_code == 401


def test_T01_T03_T08_T09_other_headers(town: Town) -> None:
    """Other algorithms, odd ones, odd key ids, and headers that lead to keys elsewhere, are 401."""
    headers: list[dict[str, Any]] = [{"alg": alg} for alg in ("none", "None", "HS256", "RS512", "", [], {}, 5, None)]
    headers += [
        {"kid": kid} for kid in ("../../dev/null", "' OR 1=1 --", "http://evil.invalid/", "", 5, None, "k" * 700)
    ]
    own = rsa_key("own").jwk()
    headers += [{name: "http://evil.invalid/"} for name in ("jku", "x5u")]
    headers += [{"jwk": own}, {"crit": ["exp"]}, {"b64": False}, {"typ": "logout+jwt"}]
    for header in headers:
        if header == {"kid": None}:
            continue  # a token may name no key, where there is only one
        token = town.provider.mint(header=header)
        assert town.bearer(token) == 401, header
        assert handshake(town, token) == 401, header


def test_T02_the_public_key_as_a_secret(town: Town) -> None:
    """Tokens signed by HMAC with the issuer's public key, as PEM, DER, OpenSSH or JWK, are 401."""
    jwk = public_key(town)
    n, e = (int.from_bytes(base64.urlsafe_b64decode(jwk[name] + "=="), "big") for name in ("n", "e"))
    public = rsa.RSAPublicNumbers(e, n).public_key()
    secrets = [public.public_bytes(kind, PublicFormat.SubjectPublicKeyInfo) for kind in (Encoding.PEM, Encoding.DER)]
    secrets += [
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        json.dumps(jwk).encode(),
        jwk["n"].encode(),
    ]
    now = int(time.time())
    claims = {"iss": town.provider.url, "aud": AUDIENCE, "sub": "x", "iat": now, "exp": now + 60}
    for secret in secrets:
        for algorithm in ("HS256", "RS256"):
            assert town.bearer(with_hmac({"alg": algorithm, "kid": "a"}, claims, secret)) == 401


def test_T04_T05_T06_T07_other_claims(town: Town) -> None:
    """Tokens out of their time, for or by others, or of nobody, are 401; one that is merely over says so."""
    now = int(time.time())
    claims: list[dict[str, Any]] = [
        {"exp": now - 31, "iat": now - 900},
        {"exp": now, "iat": now - 900},
        {"exp": "9999999999"},
        {"exp": None},
        {"iat": now + 3600, "exp": now + 7200},
        {"nbf": now + 3600},
        {"iat": None},
        {"aud": None},
        {"aud": "other"},
        {"aud": ["other"]},
        {"iss": None},
        {"iss": town.provider.url + "/"},
        {"iss": "comfy-gateway"},
        *({"sub": sub} for sub in (None, 5, "", "x" * 2000, "a/b", "..", "a\x00", "\u0430nn")),
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
        {"typ": "Refresh"},
    ]
    for changes in claims:
        assert town.bearer(town.provider.mint(**changes)) == 401, changes
    over = town.provider.mint(iat=now - 900, exp=now - 1)
    said = requests.get(f"{town.url}/queue", headers={"Authorization": f"Bearer {over}"}, timeout=PATIENCE)
    assert said.json()["error"]["type"] == "token_expired"


def test_T10_an_id_token_for_the_login(town: Town) -> None:
    """What the provider signs for the login's client is for another audience than tokens are."""
    assert town.bearer(town.provider.mint(aud="comfy")) == 401


def test_T15_T17_other_forms(town: Town) -> None:
    """Deep, double, cut and odd forms are 401, never 500."""
    good = town.provider.mint()
    header, payload, signature = good.split(".")
    key = rsa_key("x")
    texts = [f"{header}.{payload}", f"{good}.x.y", f"{good}=", f"{header}.{payload}.", f".{payload}.{signature}"]
    texts += [
        key.sign(b"[" * 700, {}),
        key.sign(b'{"alg":' * 100, {}),
        key.sign(b"\xff", b"\xff"),
        key.sign(b"null", b"5"),
    ]
    texts += [key.sign({"alg": "RS256", "kid": "a"}, b"[" * 5000), "a" * 8000, "a.b.c"]
    for text in texts:
        assert town.bearer(text) == 401, text[:100]


def test_T18_rotation(town: Town) -> None:
    """Two keys at once both hold; a token of a new key makes the keys be fetched, seldom however many ask; one whose
    key is gone from the newer set is over."""
    assert name_of(town.bearer(town.provider.mint(sub="k-1"))) != 401
    town.provider.told(listed=["a", "b"])
    deadline = time.monotonic() + 30
    while town.bearer(town.provider.mint(sub="k-1", key="b")) == 401:
        assert time.monotonic() < deadline, "the new key was never fetched"
        time.sleep(0.5)
    assert name_of(town.bearer(town.provider.mint(sub="k-1", key="a"))) != 401
    fetched = town.provider.seen()["asked"]["jwks"]
    for _ in range(20):
        assert town.bearer(town.provider.mint(header={"kid": "unknown"})) == 401
    assert town.provider.seen()["asked"]["jwks"] <= fetched + 1
    town.provider.told(listed=["b"])
    while town.bearer(town.provider.mint(sub="k-1", header={"kid": "unknown"})) == 401:
        # A token that names a key which is nowhere makes them be fetched, after the pause.
        if town.bearer(town.provider.mint(sub="k-1", key="a")) == 401:
            break
        assert time.monotonic() < deadline + 30, "the old key was good for ever"
        time.sleep(0.5)
    assert name_of(town.bearer(town.provider.mint(sub="k-1", key="b"))) != 401
    town.provider.told()
    while town.bearer(town.provider.mint(sub="k-1", key="a")) == 401:
        assert time.monotonic() < deadline + 60, "the keys were never fetched again"
        time.sleep(0.5)


@pytest.mark.parametrize("order", [True, False])
def test_a_good_one_is_not_hidden(town: Town, order: bool) -> None:
    """A bad token of an issuer beside a good API token is as if it were not there."""
    token = town.door.user(f"hidden{order}")
    fields = [("Authorization", f"Bearer {town.provider.mint(aud='x')}"), ("X-API-Key", token)]
    said = town.me(requests.Session(), **dict(fields if order else fields[::-1]))
    assert name_of(said) == f"hidden{order}"


def test_an_issuer_that_never_answered(town: Town) -> None:
    """While the keys could never be had nobody knows who asks: 503, but for who sends another good credential."""
    now = int(time.time())
    claims = {"iss": "http://127.0.0.1:9", "aud": AUDIENCE, "sub": "x", "iat": now, "exp": now + 60}
    header = {"Authorization": f"Bearer {rsa_key('x').sign({'alg': 'RS256', 'kid': 'x'}, claims)}"}
    said = requests.get(f"{town.url}/queue", headers=header, timeout=PATIENCE)
    assert (said.status_code, said.json()["error"]["type"]) == (503, "issuer_unavailable")
    assert said.headers["Retry-After"] == "10" and "127.0.0.1:9" not in said.text
    assert name_of(town.me(requests.Session(), **header, **{"X-API-Key": town.door.user("patient")})) == "patient"
