"""The gateway's life: what is opened, in which order, before the first request, and closed after the last.

It does not know what is asked; `assembly` hands the parts to each other.
"""

import asyncio
import gc
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from starlette.types import Receive, Scope, Send

from gateway.app.assembly import Parts, assembled
from gateway.config import Settings
from gateway.edge.access_log import AccessLog
from gateway.edge.authentication import Authenticator
from gateway.edge.boundary import Boundary
from gateway.edge.egress import Egress
from gateway.edge.role_of import RoleOf
from gateway.edge.sources import Sources
from gateway.errors import StoreUnavailable
from gateway.identity.passwords import Passwords
from gateway.jobs.desk import cancelled
from gateway.jobs.files import Owner
from gateway.jobs.follow import Rules
from gateway.jobs.works import Works
from gateway.policy.caps import caps
from gateway.policy.nodes import node_policy
from gateway.policy.terms import terms
from gateway.proxy.shared_inputs import SharedInputs
from gateway.store import Store
from gateway.store.data_directory import DataDirectory
from gateway.store.first_start import FirstAdmin, ensure_admin
from gateway.store.keys import ensure_keys
from gateway.store.retention import Retention
from gateway.store.storage import Storage
from gateway.store.transactions import url_of
from gateway.upstream.issuer_calls import IssuerCalls
from gateway.upstream.server import Server


async def first_start(settings: Settings) -> FirstAdmin | None:
    """Make what a first start makes, the database, the keys and an administrator; the administrator, if it is one.

    Raises ConfigError or StoreUnavailable when the data directory is of no use.
    """
    ensure_keys(settings.data_dir, secret_key=settings.secret_key, random=secrets.token_bytes)
    async with await Store.open(url_of(settings)) as store:
        return await ensure_admin(store, Passwords(), random=secrets.token_bytes, now=time.time())


class Gateway:
    """The ASGI application. Its `parts` are made at start-up, inside the event loop that they live in."""

    def __init__(
        self, settings: Settings, *, access_log: AccessLog | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings, self._access_log, self._clock = settings, access_log, clock
        self._app: Boundary | None = None
        self._open = AsyncExitStack()
        self.parts: Parts | None = None

    @property
    def works(self) -> Works | None:
        """What carries the jobs, from start-up on."""
        return None if self.parts is None else self.parts.works

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        assert self._app is not None, "the server sends no request before start-up is complete"
        await self._app(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def start(self) -> None:
        """Open what has to be open before the first request; nothing stays open if any of it cannot be."""
        async with AsyncExitStack() as opening:
            parts = await self._parts(opening)
            authenticator = Authenticator(
                parts.store, keys=parts.keys, settings=parts.settings, clock=self._clock, sources=parts.sources
            )
            self._app = assembled(parts, authenticator)
            await parts.works.start()
            opening.push_async_callback(parts.works.stop)
            opening.push_async_callback(cancelled, *self._background(parts))
            opening.push_async_callback(authenticator.close)
            self.parts, self._open = parts, opening.pop_all()
        # A full collection over what is loaded once for all takes 60 ms and more, in which no frame moves.
        gc.collect()
        gc.freeze()

    async def stop(self) -> None:
        """Stop what asks first, then the jobs, then what they stand on."""
        await self._open.aclose()

    async def _parts(self, opening: AsyncExitStack) -> Parts:
        settings = self._settings
        keys = ensure_keys(settings.data_dir, secret_key=settings.secret_key, random=secrets.token_bytes)
        store = await opening.enter_async_context(await Store.open(url_of(settings)))
        role_of = RoleOf(settings.roles, store.roles)
        server = Server(settings.comfyui[0])
        await server.start()
        opening.push_async_callback(server.close)
        storage = Storage(store, DataDirectory.of(settings.comfyui_files), now=self._clock)
        opening.push_async_callback(storage.close)
        egress = Egress(store.books.sent, clock=self._clock)
        opening.push_async_callback(egress.flush)
        shared = SharedInputs(server, setting=settings.share_inputs, servers=store.servers)
        works = await _works(settings, store, server, role_of, shared=shared, storage=storage, clock=self._clock)
        calls = IssuerCalls()
        return Parts(
            settings=settings,
            keys=keys,
            store=store,
            server=server,
            works=works,
            role_of=role_of,
            shared=shared,
            storage=storage,
            sources=Sources(settings, get_json=calls.get_json, ticks=time.monotonic),
            issuer_calls=calls,
            clock=self._clock,
            access_log=self._access_log,
            egress=egress,
            ready=partial(_ready, store, works),
        )

    def _background(self, parts: Parts) -> tuple[asyncio.Task[None], ...]:
        role_of = parts.role_of
        retention = Retention(
            parts.store,
            parts.storage,
            days_of=lambda user: role_of.named(user.role, user.limits).retention_days,
            now=self._clock,
        )
        forever = (parts.shared.run, retention.run, parts.egress.run)
        return tuple(asyncio.create_task(run()) for run in forever)


async def _works(
    settings: Settings,
    store: Store,
    server: Server,
    role_of: RoleOf,
    *,
    shared: SharedInputs,
    storage: Storage,
    clock: Callable[[], float],
) -> Works:
    return Works(
        ledger=store.ledger,
        files=store.files,
        users=store.users,
        changes=store.changes,
        server=server,
        client_id=await store.servers.client_id(server.url, lambda: secrets.token_hex(16)),
        rules=_rules(settings),
        owner_of=partial(_owner, store, role_of),
        shared=shared.names,
        ask_shared=shared.refresh,
        history_days=settings.history_days,
        now=clock,
        wrote=storage.job_wrote,
    )


async def _owner(store: Store, role_of: RoleOf, user_id: int) -> Owner:
    """What a job's owner may do with files, nodes and models, as the settings are now. Raises UserGone."""
    role = await role_of.user(user_id)
    root = await store.roots.of(user_id)
    return Owner(user_id, root, node_policy(role, role.permissions), terms(role), caps(role))


async def _ready(store: Store, works: Works) -> dict[str, bool]:
    """Whether requests find what they need: a database that answers, a ComfyUI that takes jobs."""
    try:
        is_current = await store.is_current()
    except StoreUnavailable:
        is_current = False
    return {"database": is_current, "comfyui": works.connected}


def _rules(settings: Settings) -> Rules:
    """Roles name the events, but frames go to users: what any role lists under `broadcast`, every user gets; what any
    role lists under `owner-of-running`, the running job's owner gets."""
    events = [role.events for role in settings.roles.values()]
    return Rules(
        broadcast=frozenset(name for rule in events for name in rule.broadcast),
        owner_of_running=frozenset(name for rule in events for name in rule.owner_of_running),
    )
