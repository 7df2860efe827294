"""What a relying party says, and what it makes of answers."""

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from gateway.identity.issuer_jwt import Signed
from gateway.identity.relying_party import (
    Client,
    Metadata,
    UnusableMetadataError,
    authorization_address,
    read_metadata,
    require_own_login,
    token_request,
)
from gateway.identity.segments import InvalidJwt

ISSUER = "https://login.example/realm"
DOCUMENT: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://login.example/auth?tenant=1",
    "token_endpoint": "https://login.example/token",
    "jwks_uri": "https://login.example/keys",
}
CLIENT = Client("comfy", "s e:cr%t", ("openid", "email"), "https://gw.example/gateway/sso/x/callback")
NONCE, VERIFIER = "n" * 43, "v" * 43


def read(**changed: Any) -> Metadata:
    document = {name: value for name, value in {**DOCUMENT, **changed}.items() if value is not ...}
    return read_metadata(document, issuer=ISSUER)


def test_a_browser_is_sent_with_a_challenge() -> None:
    """The address has the code flow, our state and nonce, and the SHA-256 of the verifier, never the verifier."""
    url = authorization_address(CLIENT, read(), state="s", nonce=NONCE, verifier=VERIFIER)
    query = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    assert query == {
        "tenant": "1",
        "response_type": "code",
        "client_id": "comfy",
        "redirect_uri": CLIENT.back,
        "scope": "openid email",
        "state": "s",
        "nonce": NONCE,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    assert VERIFIER not in url


def test_a_code_is_changed_with_the_verifier_and_the_secret() -> None:
    """The client proves itself with Basic, written as RFC 6749 says, or in the form where only that is taken."""
    request = token_request(CLIENT, read(), code="c+/=", verifier=VERIFIER)
    form = {name: values[0] for name, values in parse_qs(request.body).items()}
    wanted = {
        "grant_type": "authorization_code",
        "code": "c+/=",
        "code_verifier": VERIFIER,
        "redirect_uri": CLIENT.back,
    }
    assert form == wanted
    assert base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")) == b"comfy:s+e%3Acr%25t"
    posted = token_request(
        CLIENT, read(token_endpoint_auth_methods_supported=["client_secret_post"]), code="c", verifier=VERIFIER
    )
    assert "Authorization" not in posted.headers
    assert parse_qs(posted.body)["client_secret"] == ["s e:cr%t"]
    public = token_request(Client("comfy", None, ("openid",), CLIENT.back), read(), code="c", verifier=VERIFIER)
    assert "Authorization" not in public.headers and "client_secret" not in public.body
    assert parse_qs(public.body)["client_id"] == ["comfy"]
    assert "s e:cr%t" not in repr(CLIENT) + repr(request) + repr(posted)


@pytest.mark.parametrize("issuer", [..., None, ISSUER + "/", ISSUER.upper(), "https://evil.example", [ISSUER]])
def test_a_document_is_its_issuers_own(issuer: Any) -> None:
    """A discovery document of another issuer, to the letter, is not believed."""
    with pytest.raises(UnusableMetadataError):
        read(issuer=issuer)


@pytest.mark.parametrize(
    "url", [None, 5, "", "login.example/keys", "http://login.example/keys", "ftp://x/", "https://"]
)
def test_a_document_leads_only_to_https(url: Any) -> None:
    """What could be changed on its way is not asked: only https, and http on this machine."""
    for name in ("jwks_uri", "token_endpoint", "authorization_endpoint", "userinfo_endpoint"):
        with pytest.raises(UnusableMetadataError):
            read(**{name: url})
    here = {**DOCUMENT, "issuer": "http://127.0.0.1:1", "jwks_uri": "http://127.0.0.1:1/keys"}
    assert read_metadata(here, issuer="http://127.0.0.1:1").keys == "http://127.0.0.1:1/keys"
    with pytest.raises(UnusableMetadataError):
        read(jwks_uri="http://127.0.0.1:1/keys")


def test_an_issuer_of_tokens_only_has_no_login() -> None:
    """Without authorization and token endpoints keys can be had, but nobody can log in."""
    for name in ("authorization_endpoint", "token_endpoint"):
        with pytest.raises(UnusableMetadataError):
            authorization_address(CLIENT, read(**{name: ...}), state="s", nonce=NONCE, verifier=VERIFIER)
    for document in (None, [], "x"):
        with pytest.raises(UnusableMetadataError):
            read_metadata(document, issuer=ISSUER)


def signed(**claims: Any) -> Signed:
    usual = {"iss": ISSUER, "aud": "comfy", "sub": "u", "iat": 100, "exp": 400, "nonce": NONCE}
    kept = {name: value for name, value in {**usual, **claims}.items() if value is not ...}
    return Signed(ISSUER, "RS256", 100.0, 400.0, kept)


def judged(token: Signed, access_token: str | None = None) -> None:
    require_own_login(token, client_id="comfy", nonce=NONCE, access_token=access_token)


def test_the_id_token_of_this_login() -> None:
    """One with this login's nonce, for us; a fingerprint of the access token, where there is one, is right."""
    half = base64.urlsafe_b64encode(hashlib.sha256(b"access").digest()[:16]).rstrip(b"=").decode()
    judged(signed())
    judged(signed(at_hash=half, azp="comfy"), "access")
    judged(signed(aud=["comfy", "x"], azp="comfy"))
    with pytest.raises(InvalidJwt):
        judged(signed(at_hash=half), "another")


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": ...},
        {"nonce": None},
        {"nonce": ""},
        {"nonce": "m" * 43},
        {"nonce": [NONCE]},
        {"azp": "other"},
        {"aud": ["comfy", "other"]},
        {"aud": ["comfy", "other"], "azp": "other"},
        {"at_hash": "AAAA"},
        {"auth_time": "yesterday"},
    ],
)
def test_T06_the_id_token_of_another_login(claims: dict[str, Any]) -> None:
    """Another nonce or none, or one that was made for somebody else as well, is refused."""
    with pytest.raises(InvalidJwt):
        judged(signed(**claims), "access")
