"""A provider and a gateway that knows it, each a process of its own, in front of the simulated ComfyUI."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from gateway.store import Store, User
from tests.e2e.conftest import Door, free_port, start_comfy, start_gateway, stop, wait_for
from tests.oidc.provider import CLIENTS

PATIENCE = 20.0
AUDIENCE = "https://comfy.example/api"


@dataclass(frozen=True, slots=True)
class Provider:
    """The running provider."""

    url: str
    process: subprocess.Popen[bytes]

    def told(self, **told: Any) -> None:
        """Be as usual but for this."""
        requests.post(f"{self.url}/control", json=told, timeout=PATIENCE).raise_for_status()

    def seen(self) -> dict[str, Any]:
        said: dict[str, Any] = requests.get(f"{self.url}/control", timeout=PATIENCE).json()
        return said

    def mint(self, *, header: dict[str, Any] | None = None, key: str = "a", **claims: Any) -> str:
        """A token for the gateway, with these claims changed; None takes one away."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "u-1", "iat": now, "exp": now + 300}
        payload = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        told = {"header": {"alg": "RS256", "kid": key, **(header or {})}, "claims": payload, "key": key}
        return str(requests.post(f"{self.url}/mint", json=told, timeout=PATIENCE).json()["token"])


@dataclass(frozen=True, slots=True)
class Town:
    """Both, and what a person does between them."""

    door: Door
    provider: Provider

    @property
    def url(self) -> str:
        """As browsers know it: another host than the provider's, so that they are different sites."""
        return self.door.url.replace("127.0.0.1", "localhost")

    def begin(self, browser: requests.Session, *, name: str = "company", next_address: str = "") -> str:
        """Press the button; where the provider sends the browser back to."""
        query = f"?next={next_address}" if next_address else ""
        out = browser.get(f"{self.url}/gateway/sso/{name}{query}", allow_redirects=False, timeout=PATIENCE)
        assert out.status_code == 303, out.text
        there = browser.get(out.headers["Location"], allow_redirects=False, timeout=PATIENCE)
        assert there.status_code == 302, there.text
        return there.headers["Location"]

    def back(self, browser: requests.Session, address: str) -> requests.Response:
        """Come back from the provider, as a browser does."""
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        return browser.get(address, headers=headers, allow_redirects=False, timeout=PATIENCE)

    def login(self, browser: requests.Session, *, name: str = "company", next_address: str = "") -> requests.Response:
        return self.back(browser, self.begin(browser, name=name, next_address=next_address))

    def me(self, browser: requests.Session, **headers: str) -> dict[str, Any] | int:
        """Who the gateway takes the browser for; the status, if for nobody."""
        said = browser.get(f"{self.url}/gateway/api/v1/me", headers=headers, timeout=PATIENCE)
        return dict(said.json()) if said.status_code == 200 else said.status_code

    def bearer(self, token: str) -> dict[str, Any] | int:
        return self.me(requests.Session(), Authorization=f"Bearer {token}")

    def user(self, name: str) -> User | None:
        """What the store knows."""

        async def looked_up() -> User | None:
            async with await Store.open(f"sqlite:///{self.door.data_dir}/gateway.db") as store:
                return await store.users.by_name(name)

        return asyncio.run(looked_up())


def settings(provider: str, port: int) -> str:
    """Two ways to one provider, and one to a provider that is not there."""
    return f"""
public_url = "http://localhost:{port}"
address_rates = {{ anonymous = "100000/minute", login = "100000/minute" }}

[[issuers]]
issuer = "{provider}"
audience = "{AUDIENCE}"
algorithms = ["RS256", "ES256"]
allowed_domains = ["*"]
create_users = true
roles = {{ "comfy-admins" = "admin" }}

[[issuers]]
issuer = "http://127.0.0.1:9"
audience = "{AUDIENCE}"

[sso.company]
issuer = "{provider}"
client_id = "comfy"
client_secret = "{CLIENTS["comfy"]}"
title = "Log in with the company"
allowed_domains = ["example.org"]
roles = {{ "comfy-admins" = "admin" }}

[sso.guests]
issuer = "{provider}"
client_id = "other"
client_secret = "{CLIENTS["other"]}"
allowed_groups = ["guests"]
session_hours = 1

[sso.strangers]
issuer = "{provider}"
client_id = "other"
client_secret = "{CLIENTS["other"]}"
create_users = false

[sso.nowhere]
issuer = "http://127.0.0.1:9"
client_id = "comfy"
allowed_domains = ["*"]

[identity_header]
user = "X-Forwarded-User"
groups = "X-Forwarded-Groups"
from = ["127.0.0.2"]
roles = {{ "comfy-admins" = "admin" }}

[networks]
"127.0.0.3" = "kiosk"
"127.0.0.4" = "nobody-yet"
"""


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    port, log = free_port(), tmp_path_factory.mktemp("provider") / "provider.log"
    with log.open("wb") as output:
        words = [sys.executable, "-m", "tests.oidc.provider", str(port)]
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    wait_for(f"{url}/jwks", process, log)
    yield Provider(url, process)
    stop(process)


@pytest.fixture(scope="session")
def built(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    comfy = start_comfy("0.28.1", tmp_path_factory.mktemp("comfyui"))
    data_dir: Path = tmp_path_factory.mktemp("gateway")
    port = free_port()
    file = data_dir / "sso.toml"
    file.write_text(settings(provider.url, port))
    door = start_gateway(comfy, data_dir, "--config", str(file), port=port)
    assert urlsplit(door.url).port == port
    yield Town(door, provider)
    stop(door.process)
    stop(comfy.process)


@pytest.fixture
def town(built: Town) -> Town:
    """With the provider as it should be."""
    built.provider.told(claims={"sub": "u-1", "email": "ann@example.org", "email_verified": True})
    return built


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session
