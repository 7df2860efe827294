"""A whole gateway inside the test's own event loop, on real sockets, in front of a simulated ComfyUI that the test can
look into."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvicorn
from multidict import CIMultiDict

from gateway.app import Gateway, first_start
from gateway.cli.serve import server as http_server
from gateway.config import Settings, load
from gateway.demo.server import Simulator
from gateway.identity.tokens import mint
from gateway.store import Store, TokenRow
from gateway.store.transactions import url_of

PATIENCE = 20.0


@dataclass(slots=True)
class House:
    """The running parts. `get` and `post` are requests of a user, by token; answers come with their body read."""

    simulator: Simulator
    settings: Settings
    gateway: Gateway
    url: str
    http: aiohttp.ClientSession
    tokens: dict[str, str] = field(default_factory=dict)

    async def user(self, name: str, *, role: str = "member", scopes: frozenset[str] | None = None) -> str:
        """A new user, and a token of theirs."""
        minted, now = mint(secrets.token_bytes), time.time()
        async with await Store.open(url_of(self.settings)) as store:
            user = await store.users.by_name(name) or await store.users.add(
                name, role=role, now=now, random=secrets.token_bytes
            )
            row = TokenRow(
                minted.id,
                user_id=user.id,
                name="test",
                digest=minted.digest,
                scopes=scopes,
                created_at=now,
                expires_at=None,
            )
            await store.tokens.add(row)
        self.tokens[name] = minted.secret_text
        return minted.secret_text

    async def ask(self, method: str, path: str, *, by: str | None = None, **options: Any) -> "Said":
        """One request; `by` is a user's name, None for a stranger."""
        headers = dict(options.pop("headers", {}))
        if by is not None:
            headers["X-API-Key"] = self.tokens[by]
        async with self.http.request(
            method, self.url + path, headers=headers, allow_redirects=False, **options
        ) as answer:
            return Said(answer.status, answer.headers.copy(), await answer.read())

    async def submit(self, graph: dict[str, Any], *, by: str, **fields: Any) -> str:
        """POST /prompt that must be accepted; the prompt id."""
        said = await self.ask("POST", "/prompt", by=by, json={"prompt": graph, **fields})
        assert said.status == 200, said.body
        return str(said.json()["prompt_id"])

    async def history(self, prompt_id: str, *, by: str) -> dict[str, Any]:
        """The entry of an ended job, waited for."""
        found: dict[str, Any] = {}

        async def there() -> bool:
            found.update((await self.ask("GET", f"/history/{prompt_id}", by=by)).json())
            return prompt_id in found

        await until(there)
        return dict(found[prompt_id])

    @asynccontextmanager
    async def socket(self, *, by: str, client_id: str | None = None) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """An open /ws of a user."""
        query = "" if client_id is None else f"?clientId={client_id}"
        address = f"{self.url}/ws{query}"
        async with self.http.ws_connect(address, headers={"X-API-Key": self.tokens[by]}, max_msg_size=0) as socket:
            yield socket


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, with its body read."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)


async def until(condition: Callable[[], Any], *, patience: float = PATIENCE) -> None:
    """Wait until it holds; a condition that never does fails the test."""
    async with asyncio.timeout(patience):
        while True:
            held = condition()
            if asyncio.iscoroutine(held):
                held = await held
            if held:
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def house(
    directory: Path,
    *,
    version: str = "0.28.1",
    clock: Callable[[], float] = time.time,
    mounted: bool = False,
    **flags: Any,
) -> AsyncIterator[House]:
    """Everything started, with the users alice and bob (members) and root (admin). `clock` is the gateway's; `mounted`:
    the gateway has the simulator's data directory."""
    simulator = Simulator(version=version, directory=directory / "comfyui", seconds_per_step=0.01)
    await simulator.start()
    roles = flags.pop("roles", {})
    member = {"nodes": {"trusted_packs": ["lab_slow"]}, **roles.get("member", {})}
    options = {"comfyui": [simulator.url], "port": 0, "data_dir": directory / "gateway", **flags}
    options["roles"] = {**roles, "member": member}
    if mounted:
        options["comfyui_files"] = simulator.directory
    settings = load(config=None, flags=options, environ={})
    await first_start(settings)
    gateway = Gateway(settings, clock=clock)
    server = _quiet(http_server(settings, gateway))
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started or running.done())
    port = server.servers[0].sockets[0].getsockname()[1]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        built = House(simulator, settings, gateway, f"http://127.0.0.1:{port}", http)
        for name, role in (("alice", "member"), ("bob", "member"), ("root", "admin")):
            await built.user(name, role=role)
        await until(lambda: gateway.works is not None and gateway.works.connected)
        try:
            yield built
        finally:
            await http.close()
            server.should_exit = True
            await running
            await simulator.stop()


def _quiet(server: uvicorn.Server) -> uvicorn.Server:
    """The test's own loop keeps its signal handlers, and nothing waits for sockets that a test left open."""
    server.config.timeout_graceful_shutdown = 1
    return server
