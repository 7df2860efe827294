"""A ComfyUI and a gateway in their own processes, with users and tokens made beforehand.

It does not know what is measured through them.
"""

import asyncio
import secrets
import sys
import time
from dataclasses import dataclass
from typing import Final

from bench.crew import Crew, free_port
from gateway.identity import tokens
from gateway.store import Store, TokenRow

# Limits that would end a measurement early, and the pack whose slow node is measured.
# The shares, the ledger, the counting and all checks stay as an operator has them.
_SETTINGS: Final = """
[roles.member]
max_queued = 1000000
max_sockets = 10000
rates.submit = "100000/second"
rates.poll = "100000/second"
rates.view = "100000/second"
rates.upload = "100000/second"
rates.socket = "100000/second"
rates.static = "100000/second"
rates.default = "100000/second"
nodes = { trusted_packs = ["lab_slow"] }
"""


@dataclass(frozen=True, slots=True)
class Door:
    """A running gateway, and the tokens of its users, one each."""

    url: str
    tokens: tuple[str, ...]


def start_comfyui(crew: Crew, name: str = "comfyui") -> str:
    """The simulated ComfyUI in its own process; its URL."""
    port = free_port()
    words = [sys.executable, "-m", "gateway.demo", "--port", str(port), "--directory", str(crew.directory / name)]
    crew.start(name, words, ready=f"http://127.0.0.1:{port}/system_stats")
    return f"http://127.0.0.1:{port}"


def start_gateway(crew: Crew, comfyui: str, *, users: int) -> Door:
    """One gateway process in front of `comfyui`, with so many members."""
    port, data = free_port(), crew.directory / "gateway-data"
    file = crew.directory / "gateway.toml"
    file.write_text(_SETTINGS)
    handed_out = asyncio.run(_add_users(f"sqlite+aiosqlite:///{data / 'gateway.db'}", users))
    where = ["--comfyui", comfyui, "--port", str(port), "--data-dir", str(data), "--config", str(file)]
    url = f"http://127.0.0.1:{port}"
    crew.start("gateway", [sys.executable, "-m", "gateway", "serve", *where], ready=f"{url}/gateway/readyz")
    return Door(url, handed_out)


async def _add_users(database: str, count: int) -> tuple[str, ...]:
    """What `comfy-gateway user add` and `token create` do, without a process for each."""
    async with await Store.open(database) as store:
        return tuple([await _add_user(store, f"user-{number}") for number in range(count)])


async def _add_user(store: Store, name: str) -> str:
    now = time.time()
    user = await store.users.add(name, role="member", now=now, random=secrets.token_bytes)
    minted = tokens.mint(secrets.token_bytes)
    row = TokenRow(
        id=minted.id, user_id=user.id, name="bench", digest=minted.digest, scopes=None, created_at=now, expires_at=None
    )
    await store.tokens.add(row)
    return minted.secret_text
