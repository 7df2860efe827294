"""The rows of the list of attacks, end to end: straight to the gateway's process, and through a real nginx.

Behind the gateway is the simulated ComfyUI, with something in between that can answer oddly in its place.
"""

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.config import Rates
from gateway.identity.passwords import Passwords
from gateway.identity.tokens import mint
from gateway.store import Store, TokenRow
from tests.e2e.conftest import Comfy, start_comfy, start_gateway, stop
from tests.needs import needs
from tests.rows.front import Building, Front
from tests.rows.nginx import PROXY_ADDRESS, start_nginx
from tests.rows.odd import Odd

PEOPLE = {"alice": "member", "bob": "member", "root": "admin"}
# Thousands of odd requests in a minute are no more than an ordinary user's here; the rates have tests of their own.
RATES = ", ".join(f'{name} = "100000/second"' for name in Rates.model_fields)
SETTINGS = f"""
trusted_proxies = ["{PROXY_ADDRESS}"]
address_rates = {{ anonymous = "100000/minute", login = "100000/minute" }}
[roles.member]
rates = {{ {RATES} }}
nodes = {{ trusted_packs = ["lab_slow"] }}
"""


async def settle(
    data_dir: Path, people: dict[str, str], *, scopes: frozenset[str] | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """Users by name and role, as another process makes them: their tokens and their passwords."""
    tokens, passwords = {}, {}
    async with await Store.open(f"sqlite:///{data_dir}/gateway.db") as store:
        for name, role in people.items():
            passwords[name] = f"{name}'s own password"
            now, minted, hashed = time.time(), mint(secrets.token_bytes), Passwords().hash(passwords[name])
            user = await store.users.add(name, role=role, now=now, random=secrets.token_bytes, password_hash=hashed)
            row = TokenRow(minted.id, user.id, "rows", minted.digest, scopes, now, None)
            await store.tokens.add(row)
            tokens[name] = minted.secret_text
    return tokens, passwords


@pytest.fixture(scope="session")
def building(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Building]:
    """The gateway, its ComfyUI, and three users."""
    with ExitStack() as started:
        yield build(tmp_path_factory, started)


def build(tmp_path_factory: pytest.TempPathFactory, started: ExitStack) -> Building:
    """Everything started, and its end put on the stack, part by part."""
    comfy = start_comfy("0.28.1", tmp_path_factory.mktemp("comfyui"))
    started.callback(stop, comfy.process)
    odd = Odd(upstream=urlsplit(comfy.url).port or 0)
    started.callback(odd.stop)
    odd.start()
    data_dir = tmp_path_factory.mktemp("gateway")
    settings = data_dir / "rows.toml"
    settings.write_text(SETTINGS)
    door = start_gateway(Comfy(odd.url), data_dir, "--config", str(settings))
    started.callback(stop, door.process)
    tokens, passwords = asyncio.run(settle(data_dir, PEOPLE))
    port = urlsplit(door.url).port or 0
    return Building(port, data_dir, door.log, comfy.url, odd, tokens, passwords)


@pytest.fixture(scope="session", params=["direct", "nginx"])
def front(
    request: pytest.FixtureRequest, building: Building, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """Both ways to the gateway."""
    if request.param == "direct":
        yield Front("direct", building.gateway_port, building)
        return
    process, port = start_nginx(needs("nginx"), tmp_path_factory.mktemp("nginx"), upstream=building.gateway_port)
    yield Front("nginx", port, building)
    stop(process)
