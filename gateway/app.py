"""Assembly: the only room that knows everyone. It makes the parts, hands each what it needs, and starts and stops them
in order.

It decides nothing; whoever looks for a decision finds the room that takes it by the imports below.
"""

import asyncio
import gc
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import api, web
from gateway.comfy.table import Call
from gateway.config import Settings
from gateway.edge.access_log import AccessLog
from gateway.edge.authentication import Authenticator
from gateway.edge.boundary import Boundary
from gateway.edge.counters import Counters
from gateway.edge.door import Door
from gateway.edge.issuing import Issuer
from gateway.edge.logins import Logins
from gateway.edge.own_door import OwnDoor
from gateway.edge.role_of import NOTHING, RoleOf
from gateway.errors import NotFound, StoreUnavailable
from gateway.identity.jwt import Keys
from gateway.identity.passwords import Passwords
from gateway.identity.principal import Principal
from gateway.jobs.desk import cancelled
from gateway.jobs.files import Owner
from gateway.jobs.follow import Rules
from gateway.jobs.works import Works
from gateway.policy.access import decide
from gateway.policy.allowance import MEBIBYTE, Allowance, allowance
from gateway.policy.caps import caps
from gateway.policy.nodes import node_policy
from gateway.policy.origin import require_json, require_same_origin
from gateway.policy.terms import terms
from gateway.proxy.answers import OwnAnswers
from gateway.proxy.comfy_version import ComfyVersion
from gateway.proxy.files import OwnFiles
from gateway.proxy.forward import Proxy
from gateway.proxy.node_info import NodeInfo
from gateway.proxy.node_source import NodeSource
from gateway.proxy.relay import Relay
from gateway.proxy.shared_inputs import SharedInputs
from gateway.proxy.uploads import Uploads
from gateway.proxy.user_data import UserData
from gateway.store import Store
from gateway.store.data_directory import DataDirectory
from gateway.store.first_start import FirstAdmin, ensure_admin
from gateway.store.keys import ensure_keys
from gateway.store.retention import Retention
from gateway.store.storage import Storage
from gateway.store.transactions import url_of
from gateway.upstream.server import Server

OURS: Final = "/gateway"


async def first_start(settings: Settings) -> FirstAdmin | None:
    """Make what a first start makes, the database, the keys and an administrator; the administrator, if it is one.

    Raises ConfigError or StoreUnavailable when the data directory is of no use.
    """
    ensure_keys(settings.data_dir, secret_key=settings.secret_key, random=secrets.token_bytes)
    async with await Store.open(url_of(settings)) as store:
        return await ensure_admin(store, Passwords(), random=secrets.token_bytes, now=time.time())


class Gateway:
    """The ASGI application. Its parts are made at start-up, inside the event loop that they live in."""

    def __init__(
        self, settings: Settings, *, access_log: AccessLog | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings, self._access_log, self._clock = settings, access_log, clock
        self._app: Boundary | None = None
        self._store: Store | None = None
        self._server: Server | None = None
        self._role_of: RoleOf | None = None
        self._authenticator: Authenticator | None = None
        self._storage: Storage | None = None
        self._background: list[asyncio.Task[None]] = []
        self.works: Works | None = None

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
        """Open what has to be open before the first request."""
        settings = self._settings
        keys = ensure_keys(settings.data_dir, secret_key=settings.secret_key, random=secrets.token_bytes)
        self._store = await Store.open(url_of(settings))
        role_of = self._role_of = RoleOf(settings.roles, self._store.roles)
        self._server = Server(settings.comfyui[0])
        await self._server.start()
        directory = DataDirectory.of(settings.comfyui_files)
        storage = self._storage = Storage(self._store, directory, now=self._clock)
        shared = SharedInputs(self._server, setting=settings.share_inputs, servers=self._store.servers)
        self.works = Works(
            ledger=self._store.ledger,
            files=self._store.files,
            users=self._store.users,
            changes=self._store.changes,
            server=self._server,
            client_id=await self._store.servers.client_id(self._server.url, lambda: secrets.token_hex(16)),
            rules=_rules(settings),
            owner_of=self._owner,
            shared=shared.names,
            ask_shared=shared.refresh,
            history_days=settings.history_days,
            now=self._clock,
            wrote=storage.job_wrote,
        )
        self._app = self._assembled(
            self._store, self._server, self.works, role_of, keys=keys, shared=shared, storage=storage
        )
        retention = Retention(
            self._store,
            storage,
            days_of=lambda user: role_of.named(user.role, user.limits).retention_days,
            now=self._clock,
        )
        self._background = [asyncio.create_task(shared.run()), asyncio.create_task(retention.run())]
        await self.works.start()
        # A full collection over what is loaded once for all takes 60 ms and more, in which no frame moves.
        gc.collect()
        gc.freeze()

    async def stop(self) -> None:
        """Stop what asks first, then the jobs, then what they stand on."""
        if self.works and self._server and self._store and self._storage and self._authenticator:
            await self._authenticator.close()
            await cancelled(*self._background)
            await self.works.stop()
            await self._storage.close()
            await self._server.close()
            await self._store.close()

    def _assembled(
        self,
        store: Store,
        server: Server,
        works: Works,
        role_of: RoleOf,
        *,
        keys: Keys,
        shared: SharedInputs,
        storage: Storage,
    ) -> Boundary:
        settings = self._settings
        authenticator = self._authenticator = Authenticator(store, keys=keys, settings=settings, clock=self._clock)
        issuer = Issuer(store, keys=keys, settings=settings, clock=self._clock, random=secrets.token_bytes)

        def allowance_of(principal: Principal) -> Allowance:
            return allowance(role_of(principal))

        async def require_room(principal: Principal) -> None:
            await storage.require_room(principal.user_id, allowance_of(principal))

        own = OwnAnswers(works, settings, role_of=role_of, boot=secrets.token_hex(8), require_room=require_room)
        version = ComfyVersion(server, connection=lambda: works.follower.server_flags, clock=time.monotonic)
        user_data = UserData(store.user_files, role_of=role_of, version=version, now=self._clock)
        files = OwnFiles(
            store, server, storage=storage, shared=shared.names, version=version, newest=settings.history_newest
        )
        nodes = NodeInfo(
            server,
            NodeSource(server, connection=lambda: works.follower.server_flags, clock=time.monotonic),
            store=store,
            shared=shared.names,
            policy_of=lambda principal: node_policy(role_of(principal), principal.permissions),
        )
        uploads = Uploads(
            store,
            files,
            storage=storage,
            allowance_of=allowance_of,
            random_text=lambda: secrets.token_hex(16),
            now=self._clock,
        )
        door = Door(Counters(), limits_of=role_of, by_address=settings.address_rates)
        proxy = Proxy(
            authenticate=authenticator.authenticate,
            spend=door.user,
            guard=guard,
            server=server,
            answers={**own.handlers(), **user_data.handlers(), **nodes.handlers(), "list_files": files.list_files},
            rewrites={
                "view": files.view,
                "upload_image": uploads.image,
                "upload_mask": uploads.mask,
                **nodes.rewrites(),
            },
            socket=Relay(
                works,
                settings,
                role_of=role_of.user,
                until_invalid=authenticator.ended,
                spend=door.user,
                require_room=require_room,
            ),
            extra_routes=lambda role: settings.roles.get(role, NOTHING).routes,
            upload_limit=lambda principal: role_of(principal).max_upload_mb * MEBIBYTE,
        )
        logins = Logins(authenticator, door)
        pages = web.router(authenticator=logins, sessions=issuer, settings=settings)
        listed = api.files_router(
            authenticator=authenticator, storage=storage, allowance_of=allowance_of, newest=settings.history_newest
        )
        queue = api.queue_router(authenticator=authenticator, look=works.outlook.look, names=store.users.names)
        ours = OwnDoor(
            api.control(authenticator=logins, tokens=issuer, ready=self._ready, routers=[pages, listed, queue]),
            door=door,
            authenticate=authenticator.authenticate,
            public={**api.PUBLIC, **web.PUBLIC},
        )
        return Boundary(
            Doors(proxy, ours),
            settings=settings,
            authenticate=authenticator.authenticate,
            door=door,
            access_log=self._access_log,
        )

    async def _owner(self, user_id: int) -> Owner:
        """What a job's owner may do with files, nodes and models, as the settings are now. Raises UserGone."""
        assert self._store is not None and self._role_of is not None, "jobs are started with the store open"
        role = await self._role_of.user(user_id)
        root = await self._store.roots.of(user_id)
        return Owner(user_id, root, node_policy(role, role.permissions), terms(role), caps(role))

    async def _ready(self) -> dict[str, bool]:
        """Whether requests find what they need: a database that answers, a ComfyUI that takes jobs."""
        assert self._store is not None, "nobody asks before start-up is complete"
        try:
            store = await self._store.is_current()
        except StoreUnavailable:
            store = False
        return {"database": store, "comfyui": self.works is not None and self.works.connected}


class Doors:
    """Two applications behind one: everything below `/gateway` is ours, everything else is ComfyUI's."""

    def __init__(self, proxy: Proxy, control: ASGIApp) -> None:
        self._proxy, self._control = proxy, control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        ours = path == OURS or path.startswith(f"{OURS}/")
        if ours and scope["type"] == "websocket":
            # FastAPI would close it without a word of why.
            raise NotFound("There is no websocket at this address.", details="ComfyUI's is at /ws.")
        await (self._control if ours else self._proxy)(scope, receive, send)


def guard(principal: Principal, call: Call, scope: Scope) -> None:
    """What a known caller may ask. The same-origin proof of a cookie session was part of knowing the caller, but for
    those routes of ComfyUI-Manager that change something on a GET."""
    decide(principal, call)
    if principal.is_cookie and call.row.mutates and scope["type"] == "http":
        require_same_origin(
            method=call.method,
            headers=scope["headers"],
            own_origins=scope["gateway"]["own_origins"],
            websocket=False,
            mutates=True,
        )
    if principal.is_cookie and call.row.json and has_body(scope["headers"]):
        require_json(scope["headers"])


def has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request announces a body: the editor sends some of its POSTs without any, and without a type."""
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)


def _rules(settings: Settings) -> Rules:
    """Roles name the events, but frames go to users: what any role lists under `broadcast`, every user gets; what any
    role lists under `owner-of-running`, the running job's owner gets."""
    events = [role.events for role in settings.roles.values()]
    return Rules(
        broadcast=frozenset(name for rule in events for name in rule.broadcast),
        owner_of_running=frozenset(name for rule in events for name in rule.owner_of_running),
    )
