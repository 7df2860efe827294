"""What there is to work with, as each caller sees it: node classes, models, the host.

It does not know the rules: a `Policy` comes in for each caller. ComfyUI's lists are shared; what a role may not use is
taken out of them, and everybody's file pickers show their own files.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from posixpath import normpath
from typing import Any, Final
from urllib.parse import quote

from gateway.comfy import information
from gateway.comfy.graph_policy import Policy
from gateway.comfy.node_class import NodeClass
from gateway.comfy.node_info import NodeList, for_user
from gateway.comfy.pickers import OwnNames
from gateway.errors import NotFound, UpstreamFault
from gateway.identity.principal import Principal
from gateway.proxy.answer import Answered, Answers, Asked, json_answer
from gateway.proxy.body import RequestBody
from gateway.proxy.files import Shared
from gateway.proxy.node_source import NodeSource
from gateway.proxy.packed import Packed, pack, packed_answer
from gateway.proxy.rewrite import Rewrites, Rewritten, as_it_came
from gateway.proxy.shared_work import SharedWork
from gateway.store import Store
from gateway.upstream.reply import parsed
from gateway.upstream.server import Server

CACHED_ANSWERS: Final = 32
"""Of a quarter of a megabyte each, for 2 MB of JSON."""
ANSWER_SECONDS: Final = 60.0
SAFE: Final = "-._~"


@dataclass(frozen=True, slots=True)
class _Key:
    """What an answer depends on; users who see the same share it."""

    version: str
    policy: Policy
    names: bytes


class NodeInfo:
    """One method for each answer that the table names.

    `policy_of` is the caller's policy, `shared` gives the names at the top of ComfyUI's input folder that everybody may
    read.
    """

    def __init__(
        self,
        server: Server,
        source: NodeSource,
        *,
        store: Store,
        shared: Shared,
        policy_of: Callable[[Principal], Policy],
    ) -> None:
        self._server, self._source, self._store, self._shared = server, source, store, shared
        self._policy_of = policy_of
        self._packing: SharedWork[_Key, Packed] = SharedWork()
        self._packed: OrderedDict[_Key, Packed] = OrderedDict()

    def handlers(self) -> Answers:
        """By the name in the table's `answer` column."""
        return {
            "object_info": self.object_info,
            "object_info_class": self.object_info_class,
            "system_stats": self.system_stats,
            "list_embeddings": self.list_embeddings,
            "list_model_folders": self.list_model_folders,
            "list_models": self.list_models,
        }

    def rewrites(self) -> Rewrites:
        """Those that ComfyUI answers, when the caller may have the answer."""
        return {"model_metadata": self.model_metadata, "model_preview": self.model_preview}

    async def object_info(self, asked: Asked) -> Answered:
        """GET /object_info: compressed, with an ETag, packed once for all who see the same."""
        own = await self._own(asked)
        source, policy = await self._source.get(), self._policy_of(asked.principal)
        key = _Key(source.version, policy, _digest(own.inputs))
        packed = self._packed.get(key)
        if packed is None:
            packed = await self._packing.do(key, partial(self._pack, key, source.nodes, own))
        else:
            self._packed.move_to_end(key)
        return await packed_answer(packed, asked)

    async def object_info_class(self, asked: Asked) -> Answered:
        """GET /object_info/{node_class}: `{}` for a class that the server lacks, or the caller."""
        own = await self._own(asked)
        source = await self._source.get()
        nodes = source.nodes.only(asked.call.params["node_class"])
        return await packed_answer(pack(_seen(nodes, own, self._policy_of(asked.principal))), asked)

    async def system_stats(self, asked: Asked) -> Answered:
        """GET /system_stats: versions and memory; the command line for administrators only."""
        stats = await self._ask("/system_stats")
        return json_answer(stats if self._sees_all(asked) else information.reduced_stats(stats))

    async def list_embeddings(self, asked: Asked) -> Answered:
        """GET /embeddings: names without an ending."""
        return self._permitted(asked, "embeddings", await self._ask("/embeddings"))

    async def list_model_folders(self, asked: Asked) -> Answered:
        """GET /experiment/models: kinds of models; where they lie for administrators only."""
        folders = await self._ask("/experiment/models")
        return json_answer(folders if self._sees_all(asked) else information.without_folders(folders))

    async def list_models(self, asked: Asked) -> Answered:
        """GET /models/{folder} and /experiment/models/{folder}; 404 for a kind that there is not."""
        folder = asked.call.params["folder"]
        below = asked.call.row.pattern.rpartition("/")[0]
        return self._permitted(asked, folder, await self._ask(f"{below}/{quote(folder, safe=SAFE)}"))

    async def model_metadata(self, asked: Asked, body: RequestBody | None) -> Rewritten:
        """GET /view_metadata/{folder_name}?filename=: what a model file says of itself."""
        values = asked.query()
        folder, name = asked.call.params["folder_name"], values.get("filename", "")
        self._require_model(asked, folder, name)
        target = f"/view_metadata/{quote(folder, safe=SAFE)}"
        return Rewritten(f"{target}?filename={quote(name, safe='')}".encode() if name else target.encode())

    async def model_preview(self, asked: Asked, body: RequestBody | None) -> Rewritten:
        """GET /experiment/models/preview/…: the picture beside a model file."""
        self._require_model(asked, asked.call.params["folder"], asked.call.params["filename"])
        return as_it_came(asked.call, body)

    async def _own(self, asked: Asked) -> OwnNames:
        """No version has output files in these lists: LoadImageOutput asks /internal/files for them."""
        uploads = await self._store.files.uploads(asked.principal.user_id, "input")
        return OwnNames(inputs=tuple(dict.fromkeys((*(ref.path for ref in uploads), *sorted(self._shared())))))

    async def _pack(self, key: _Key, nodes: NodeList, own: OwnNames) -> Packed:
        packed = await asyncio.to_thread(lambda: pack(_seen(nodes, own, key.policy)))
        self._packed[key] = packed
        while len(self._packed) > CACHED_ANSWERS:
            self._packed.popitem(last=False)
        return packed

    async def _ask(self, path: str) -> Any:
        reply = await self._server.send_json("GET", path, None, timeout=ANSWER_SECONDS)
        if reply.status == 404:
            raise NotFound("There is no such list.")
        if reply.status != 200:
            raise UpstreamFault("ComfyUI refused a question.", reason=f"GET {path}: status {reply.status}")
        return parsed(reply.body, asked=f"GET {path}")

    def _sees_all(self, asked: Asked) -> bool:
        return self._policy_of(asked.principal).everything

    def _permitted(self, asked: Asked, folder: str, models: Any) -> Answered:
        policy = self._policy_of(asked.principal)
        return json_answer(information.permitted_models(models, partial(policy.permits_model, folder)))

    def _require_model(self, asked: Asked, folder: str, name: str) -> None:
        """ComfyUI 0.3.64 shows any picture of the host whose name is that of a model, for a name with dots in it."""
        steps_out = normpath(f"/{name}") != f"/{name}" or "\\" in name
        if name and (steps_out or not self._policy_of(asked.principal).permits_model(folder, name)):
            raise NotFound("There is no such model.", reason=f"{folder}/{name} is not for {asked.principal.role}")


def _seen(nodes: NodeList, own: OwnNames, policy: Policy) -> dict[str, Any]:
    def allowed(class_: NodeClass) -> bool:
        return not policy.refusal(class_)

    return for_user(nodes, own, allowed=allowed, model_allowed=policy.permits_model)


def _digest(names: Sequence[str]) -> bytes:
    return blake2b("\0".join(names).encode("utf-8", "surrogatepass"), digest_size=16).digest()
