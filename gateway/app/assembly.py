"""Who is handed whom: the applications of the proxy and of the control plane, made of their parts.

It decides nothing; whoever looks for a decision finds the room that takes it by the imports below.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from gateway import api, web
from gateway.app.doors import Doors, guard
from gateway.config import Settings
from gateway.edge.access_log import AccessLog
from gateway.edge.authentication import Authenticator
from gateway.edge.boundary import Boundary
from gateway.edge.counters import Counters
from gateway.edge.door import Door
from gateway.edge.egress import Egress
from gateway.edge.issuing import Issuer
from gateway.edge.logins import Logins
from gateway.edge.own_door import OwnDoor
from gateway.edge.role_of import NOTHING, RoleOf
from gateway.edge.sign_on import SignOns
from gateway.edge.sources import Sources
from gateway.identity.jwt import Keys
from gateway.identity.principal import Principal
from gateway.jobs.works import Works
from gateway.policy.allowance import MEBIBYTE, Allowance, allowance
from gateway.policy.budgets import Budget, budgets
from gateway.policy.nodes import node_policy
from gateway.proxy.answer import Answers
from gateway.proxy.answers import OwnAnswers
from gateway.proxy.comfy_version import ComfyVersion
from gateway.proxy.files import OwnFiles
from gateway.proxy.forward import Proxy
from gateway.proxy.node_info import NodeInfo
from gateway.proxy.node_source import NodeSource
from gateway.proxy.relay import Relay
from gateway.proxy.rewrite import Rewrites
from gateway.proxy.shared_inputs import SharedInputs
from gateway.proxy.uploads import Uploads
from gateway.proxy.user_data import UserData
from gateway.store import Store
from gateway.store.storage import Storage
from gateway.upstream.issuer_calls import IssuerCalls
from gateway.upstream.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is open and running. `clock` gives seconds since 1970; `ready` says which parts can do their work now."""

    settings: Settings
    keys: Keys
    store: Store
    server: Server
    works: Works
    role_of: RoleOf
    shared: SharedInputs
    storage: Storage
    sources: Sources
    issuer_calls: IssuerCalls
    clock: Callable[[], float]
    access_log: AccessLog | None
    egress: Egress
    ready: Callable[[], Awaitable[Mapping[str, bool]]]

    def allowance_of(self, principal: Principal) -> Allowance:
        """How much the caller may keep and bring."""
        return allowance(self.role_of(principal))

    async def budgets_of(self, user_id: int) -> tuple[Budget, ...]:
        """A user's budgets, as the settings are now. Raises UserGone."""
        return budgets(await self.role_of.user(user_id))

    async def require_room(self, principal: Principal) -> None:
        """Raises StorageFull for who may make no more files."""
        await self.storage.require_room(principal.user_id, self.allowance_of(principal))


def assembled(parts: Parts, authenticator: Authenticator) -> Boundary:
    """The whole application."""
    door = Door(Counters(), limits_of=parts.role_of, by_address=parts.settings.address_rates)
    return Boundary(
        Doors(_proxy(parts, authenticator, door), _control(parts, authenticator, door)),
        settings=parts.settings,
        authenticate=authenticator.authenticate,
        door=door,
        access_log=parts.access_log,
        egress=parts.egress,
    )


def _proxy(parts: Parts, authenticator: Authenticator, door: Door) -> Proxy:
    settings, role_of = parts.settings, parts.role_of
    answers, rewrites = _handlers(parts)
    return Proxy(
        authenticate=authenticator.authenticate,
        spend=door.user,
        guard=guard,
        server=parts.server,
        answers=answers,
        rewrites=rewrites,
        socket=Relay(
            parts.works,
            settings,
            role_of=role_of.user,
            until_invalid=authenticator.ended,
            spend=door.user,
            require_room=parts.require_room,
        ),
        extra_routes=lambda role: settings.roles.get(role, NOTHING).routes,
        upload_limit=lambda principal: role_of(principal).max_upload_mb * MEBIBYTE,
    )


def _handlers(parts: Parts) -> tuple[Answers, Rewrites]:
    """By the names that the table of routes has for them."""
    settings, store, server, role_of = parts.settings, parts.store, parts.server, parts.role_of
    own = OwnAnswers(parts.works, settings, role_of=role_of, boot=secrets.token_hex(8), require_room=parts.require_room)
    version = ComfyVersion(server, connection=_connection(parts.works), clock=time.monotonic)
    user_data = UserData(store.user_files, role_of=role_of, version=version, now=parts.clock)
    files = OwnFiles(
        store,
        server,
        storage=parts.storage,
        shared=parts.shared.names,
        version=version,
        newest=settings.history_newest,
    )
    nodes, uploads = _nodes(parts), _uploads(parts, files)
    answers = {**own.handlers(), **user_data.handlers(), **nodes.handlers(), "list_files": files.list_files}
    rewrites = {
        "view": files.view,
        "upload_image": uploads.image,
        "upload_mask": uploads.mask,
        **nodes.rewrites(),
    }
    return answers, rewrites


def _nodes(parts: Parts) -> NodeInfo:
    return NodeInfo(
        parts.server,
        NodeSource(parts.server, connection=_connection(parts.works), clock=time.monotonic),
        store=parts.store,
        shared=parts.shared.names,
        policy_of=lambda principal: node_policy(parts.role_of(principal), principal.permissions),
    )


def _uploads(parts: Parts, files: OwnFiles) -> Uploads:
    return Uploads(
        parts.store,
        files,
        storage=parts.storage,
        allowance_of=parts.allowance_of,
        random_text=lambda: secrets.token_hex(16),
        now=parts.clock,
    )


def _control(parts: Parts, authenticator: Authenticator, door: Door) -> OwnDoor:
    settings, store = parts.settings, parts.store
    logins = Logins(authenticator, door)
    issuer = Issuer(store, keys=parts.keys, settings=settings, clock=parts.clock, random=secrets.token_bytes)
    sign_ons = SignOns(
        settings,
        keys=parts.keys,
        sources=parts.sources.providers,
        calls=parts.issuer_calls,
        vouch=authenticator.vouched,
        door=door,
        clock=parts.clock,
        random=secrets.token_bytes,
    )
    pages = web.router(authenticator=logins, sessions=issuer, settings=settings, sign_ons=sign_ons)
    sign_on = web.sign_on_router(sign_ons=sign_ons, authenticator=authenticator, sessions=issuer, settings=settings)
    files = api.files_router(
        authenticator=authenticator,
        storage=parts.storage,
        allowance_of=parts.allowance_of,
        newest=settings.history_newest,
    )
    queue = api.queue_router(authenticator=authenticator, look=parts.works.outlook.look, names=store.users.names)
    usage = api.usage_router(
        authenticator=authenticator,
        books=store.books,
        users=store.users,
        budgets_of=parts.budgets_of,
        now=parts.clock,
    )
    return OwnDoor(
        api.control(
            authenticator=logins, tokens=issuer, ready=parts.ready, routers=[pages, sign_on, files, queue, usage]
        ),
        door=door,
        authenticate=authenticator.authenticate,
        public={**api.PUBLIC, **web.PUBLIC, **web.public(settings)},
    )


def _connection(works: Works) -> Callable[[], Mapping[str, object]]:
    """What ComfyUI said of itself at the present connection; another object after each new one."""
    return lambda: works.follower.server_flags
