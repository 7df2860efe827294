"""The pages and the control plane on a real server inside the test's event loop, with a real store and people in it."""

import asyncio
import hashlib
import secrets
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvicorn
from multidict import CIMultiDict

from gateway.api import PUBLIC as API
from gateway.api import control
from gateway.config import Settings
from gateway.edge.access_log import AccessLog
from gateway.edge.authentication import Authenticator
from gateway.edge.boundary import Boundary
from gateway.edge.counters import Counters
from gateway.edge.door import Door
from gateway.edge.issuing import Issuer
from gateway.edge.logins import Logins
from gateway.edge.own_door import OwnDoor
from gateway.edge.protocol import GuardedProtocol
from gateway.edge.slowdown import Pace, Slowdown
from gateway.identity import tokens
from gateway.identity.jwt import Key, Keys
from gateway.identity.passwords import Passwords
from gateway.log import configure
from gateway.store import Store, TokenRow, User
from gateway.web import PUBLIC, router

PATIENCE = 10.0
PASSWORD = "correct horse"
CHEAP = Passwords(memory_kib=64, passes=1)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, with its body read."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def cookies(self) -> SimpleCookie:
        """What the answer sets."""
        jar = SimpleCookie()
        for value in self.headers.getall("Set-Cookie", []):
            jar.load(value)
        return jar


@dataclass(slots=True)
class Front:
    """The running server. `checks` are what it says about its readiness, `log` its lines."""

    url: str
    http: aiohttp.ClientSession
    store: Store
    authenticator: Authenticator
    checks: dict[str, bool]
    log: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> Said:
        async with asyncio.timeout(PATIENCE):
            address = self.url + path
            async with self.http.request(method, address, headers=headers, allow_redirects=False, **options) as answer:
                return Said(answer.status, answer.headers.copy(), await answer.read())

    async def get(self, path: str, **headers: str) -> Said:
        return await self.ask("GET", path, headers=_names(headers))

    async def post(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> Said:
        """A form as our own page sends it; say `origin=""` for one without an Origin."""
        sent = {"origin": self.url, **_names(headers)}
        sent = {name: value for name, value in sent.items() if value}
        return await self.ask("POST", path, headers=sent, data=dict(form or {}))

    async def login(self, name: str = "alice", password: str = PASSWORD, **more: str) -> Said:
        return await self.post("/gateway/login", {"name": name, "password": password, **more})

    async def session(self, name: str = "alice") -> str:
        """The `Cookie` header of somebody who has just logged in."""
        said = await self.login(name)
        assert said.status == 303, said.text
        return f"cgw_session={said.cookies['cgw_session'].value}"

    async def user(self, name: str, *, role: str = "member") -> User:
        stored = CHEAP.hash(PASSWORD)
        return await self.store.users.add(
            name, role=role, now=time.time(), random=secrets.token_bytes, password_hash=stored
        )

    async def token(self, user: User, *, scopes: frozenset[str] | None = None, expires_at: float | None = None) -> str:
        minted = tokens.mint(secrets.token_bytes)
        row = TokenRow(minted.id, user.id, "test", minted.digest, scopes, time.time(), expires_at)
        await self.store.tokens.add(row)
        return minted.secret_text


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    """`sec_fetch_site` as a keyword is `sec-fetch-site` as a header."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


@asynccontextmanager
async def front(directory: Path, **options: Any) -> AsyncIterator[Front]:
    """Everything started, with the member alice and the administrator root."""
    configure(json=True)
    settings = Settings(data_dir=directory, **options)
    keys = Keys([Key("k1", hashlib.sha256(str(directory).encode()).digest())])
    checks, lines = {"database": True, "comfyui": True}, list[str]()

    async def ready() -> Mapping[str, bool]:
        return checks

    async with await Store.open(f"sqlite:///{directory}/gateway.db") as store:
        slowdown = Slowdown(pace=Pace(steps=((1_000_000, 0.01),)))
        authenticator = Authenticator(store, keys, settings, passwords=CHEAP, slowdown=slowdown)
        issuer = Issuer(store, keys=keys, settings=settings, clock=time.time, random=secrets.token_bytes)
        door = Door(
            Counters(),
            limits_of=lambda principal: settings.roles[principal.role],
            by_address=settings.address_rates,
        )
        logins = Logins(authenticator, door)
        pages = router(authenticator=logins, sessions=issuer, settings=settings)
        app = control(authenticator=logins, tokens=issuer, ready=ready, routers=[pages])
        boundary = Boundary(
            OwnDoor(app, door=door, authenticate=authenticator.authenticate, public={**API, **PUBLIC}),
            settings=settings,
            door=door,
            authenticate=authenticator.authenticate,
            access_log=AccessLog(write=lines.append),
        )
        async with _served(boundary) as url, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            running = Front(url, http, store, authenticator, checks, lines)
            await running.user("alice")
            await running.user("root", role="admin")
            yield running
        await authenticator.close()


@asynccontextmanager
async def _served(app: Boundary) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app,
        http=GuardedProtocol,
        ws="websockets-sansio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    # The listener takes connections from here on; the server accepts them as soon as it has started.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
