"""What `check` says of other people's logins, in front of real sockets."""

import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.cli.findings import Finding
from gateway.cli.issuer_findings import issuers
from gateway.config import IdentityHeader, Settings, SignOn, TokenIssuer
from gateway.store import Store
from tests.identity.forging import rsa_key


class Far:
    """An issuer that says what the test wants, at the time that its clock has."""

    def __init__(self) -> None:
        self.url, self.ahead, self.keys = "", 0.0, [rsa_key("a").jwk()]
        self.document: dict[str, Any] = {}

    async def answer(self, request: web.Request) -> web.Response:
        right = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        document = {name: value for name, value in {**right, **self.document}.items() if value is not None}
        body = {"keys": self.keys} if request.path == "/keys" else document
        return web.json_response(body, headers={"Date": formatdate(time.time() + self.ahead, usegmt=True)})


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    there, app = Far(), web.Application()
    app.router.add_get("/{path:.*}", there.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield there
    await runner.cleanup()


async def looked(tmp_path: Path, **settings: Any) -> list[Finding]:
    found = await issuers(Settings(data_dir=tmp_path, public_url="http://localhost:1", **settings), now=time.time)
    assert all(bool(finding.remedy) == (finding.level != "ok") for finding in found)
    return found


def provider(far: Far, **more: Any) -> dict[str, SignOn]:
    return {"company": SignOn(issuer=far.url, client_id="comfy", allowed_domains=("*",), **more)}


async def test_nothing_to_say(tmp_path: Path) -> None:
    """Where nobody else is believed there is nothing to look at."""
    assert await looked(tmp_path) == []


async def test_a_provider_that_is_well(tmp_path: Path, far: Far) -> None:
    """One that answers, with keys, is said so; and so is an issuer of tokens, with or without discovery."""
    (finding,) = await looked(tmp_path, sso=provider(far))
    assert (finding.level, finding.subject) == ("ok", "sso.company") and "1 keys for RS256" in finding.words
    for more in ({}, {"jwks_url": f"{far.url}/keys"}):
        (finding,) = await looked(tmp_path, issuers=(TokenIssuer(issuer=far.url, audience=("x",), **more),))
        assert (finding.level, finding.subject) == ("ok", "issuer")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"issuer": "https://other.example"}, "another issuer"),
        ({"jwks_uri": None}, "names no jwks_uri"),
        ({"authorization_endpoint": None}, "nobody can log in there"),
        ({"token_endpoint": "http://evil.example/"}, "must begin with https"),
    ],
)
async def test_a_document_that_is_of_no_use(tmp_path: Path, far: Far, document: dict[str, Any], words: str) -> None:
    """What the issuer says wrongly of itself is a failure, in words."""
    far.document = document
    found = await looked(tmp_path, sso=provider(far))
    assert found[0].level == "fail" and words in found[0].words


async def test_nobody_there(tmp_path: Path) -> None:
    """An issuer that cannot be reached is a failure."""
    rules = TokenIssuer(issuer="http://127.0.0.1:9", audience=("x",))
    assert [finding.level for finding in await looked(tmp_path, issuers=(rules,))] == ["fail"]


async def test_keys_that_verify_nothing(tmp_path: Path, far: Far) -> None:
    """Keys for other algorithms than the settings have are a failure that says where to look."""
    found = await looked(tmp_path, sso=provider(far, algorithms=("ES256",)))
    assert found[-1].level == "fail" and "algorithms" in found[-1].remedy


@pytest.mark.parametrize(("ahead", "words"), [(120.0, "ahead of ours"), (-120.0, "behind ours")])
async def test_its_clock(tmp_path: Path, far: Far, ahead: float, words: str) -> None:
    """A clock that differs from ours is a warning that says which way."""
    far.ahead = ahead
    found = await looked(tmp_path, sso=provider(far))
    assert [(finding.level, words in finding.words) for finding in found] == [("warn", True), ("ok", False)]


async def test_without_our_challenge(tmp_path: Path, far: Far) -> None:
    """A provider that says it knows no S256 is a warning."""
    far.document = {"code_challenge_methods_supported": ["plain"]}
    found = await looked(tmp_path, sso=provider(far))
    assert found[0].level == "warn" and "S256" in found[0].words


async def test_a_header_and_its_proxies(tmp_path: Path) -> None:
    """Who is believed is said; a wide network of proxies is a warning."""
    narrow = await looked(tmp_path, identity_header=IdentityHeader(proxies=("127.0.0.1",)))
    assert [finding.level for finding in narrow] == ["ok"] and "X-Forwarded-User" in narrow[0].words
    wide = await looked(tmp_path, identity_header=IdentityHeader(proxies=("10.0.0.0/8",)))
    assert [finding.level for finding in wide] == ["warn", "ok"]


async def test_networks_and_their_users(tmp_path: Path) -> None:
    """A network whose user is not there is a failure that says what to run."""
    async with await Store.open(f"sqlite:///{tmp_path}/gateway.db") as store:
        await store.users.add("kiosk", role="member", now=1.0, random=lambda size: bytes(size))
    found = await looked(tmp_path, networks={"10.0.5.0/24": "kiosk", "10.0.6.0/24": "lab"})
    assert [finding.level for finding in found] == ["ok", "fail"]
    assert found[1].remedy.endswith("user add lab")
