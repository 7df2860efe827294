"""`/view` and `/internal/files`: a user's own files by their visible names, out of the folders that all share.

It does not know how files get there. Names are judged and then written anew; whose a file is, the records say and
`policy.ownership` decides. What is another's gets the answer of what does not exist.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, cast
from urllib.parse import quote

from gateway.comfy.files import FILE_TYPES, FileRef, FileType, Root, from_view, visible_json
from gateway.comfy.user_data import in_milliseconds
from gateway.errors import FileNotAllowed, InvalidRequest, NotFound, UpstreamFault
from gateway.policy.ownership import placed, source_of
from gateway.proxy.answer import Answered, Asked, json_answer
from gateway.proxy.body import RequestBody
from gateway.proxy.comfy_version import ComfyVersion
from gateway.proxy.rewrite import Rewritten
from gateway.store import Store
from gateway.store.storage import Storage
from gateway.upstream.server import Incoming, Outgoing, Server

Shared = Callable[[], Collection[str]]

PICTURE: Final = ("preview", "channel")
"""What ComfyUI makes of a picture instead of sending the file."""
HEAD_SECONDS: Final = 30.0
PASSED_ON: Final = frozenset((200, 206, 304, 416))


class OwnFiles:
    """One method for each answer that the table names, and `find` for whoever is told a name in another way.

    `shared` gives the names at the top of ComfyUI's input folder that everybody may read. Outputs are listed from
    `storage` where it can see them, else from the `newest` jobs.
    """

    def __init__(
        self,
        store: Store,
        server: Server,
        *,
        storage: Storage,
        shared: Shared,
        version: ComfyVersion,
        newest: int,
    ) -> None:
        self._store, self._server, self._shared, self._version = store, server, shared, version
        self._storage, self._newest = storage, newest

    async def find(self, user_id: int, ref: FileRef) -> FileRef:
        """The file as the server names it, by its visible name; whether an own one is there, only the server knows.

        Raises NotFound for what cannot be this user's.
        """
        root = await self._store.roots.of(user_id)
        ref = root.stripped(ref)
        known = await self._store.files.known(user_id, self._server.url, [ref])
        shared = self._shared()
        return placed(ref, source_of(ref, recorded=known.recorded, uploaded=known.uploaded, shared=shared), root)

    async def exists(self, ref: FileRef) -> bool:
        """Whether the server has the file, by the name that it gives it. Raises UpstreamFault and its kin."""
        target = b"/view?" + view_query(ref)
        answer = await self._server.exchange(Outgoing("HEAD", target, idle_timeout=HEAD_SECONDS))
        await answer.release()
        return answer.status == 200

    async def view(self, asked: Asked, _: RequestBody | None) -> Rewritten:
        """GET /view?filename=&type=&subfolder=&preview=&channel=. Other parameters only keep browsers from caching."""
        values = asked.query()
        ref = await self.find(asked.principal.user_id, from_view(values))
        query = view_query(ref, {name: values[name] for name in PICTURE if name in values})
        return Rewritten(asked.call.raw_path + b"?" + query, replaced=partial(_passed_on, values))

    async def list_files(self, asked: Asked) -> Answered:
        """GET /internal/files/{input, output or temp}: names at the top of the user's root, newest first."""
        kind = asked.call.params["directory_type"]
        if kind not in FILE_TYPES:
            return json_answer({"error": "Invalid directory type"}, status=400)
        names = dict.fromkeys(await self._names(asked.principal.user_id, cast(FileType, kind)))
        suffix = f" [{kind}]" if lists_types(await self._version.get()) else ""
        return json_answer([f"{name}{suffix}" for name in names])

    async def _names(self, user_id: int, type_: FileType) -> list[str]:
        files = self._store.files
        if type_ == "output":
            return await self._outputs(user_id)
        own = [ref.filename for ref in await files.uploads(user_id, type_) if not ref.subfolder]
        if type_ == "input":
            return [*own, *sorted(self._shared())]
        recorded = await files.recorded(user_id, self._server.url, type_)
        return [*own, *(ref.filename for ref in recorded if not ref.subfolder)]

    async def _outputs(self, user_id: int) -> list[str]:
        root = await self._store.roots.of(user_id)
        jobs = await self._store.ledger.history(user_id, limit=self._newest)
        made = [name for job in reversed(jobs) for name in reversed(list(_top_outputs(job.outputs, root)))]
        there = await self._storage.files_on_top(user_id, "output")
        if there is None:
            return made
        # Outside the user's folder, where nobody can delete anything, the records say what there is.
        known = await self._store.files.known(user_id, self._server.url, [FileRef("output", "", name) for name in made])
        return [ref.filename for ref in there] + [
            name for name in made if FileRef("output", "", name) in known.recorded
        ]


def lists_types(version: str) -> bool:
    """Whether this ComfyUI names the folder behind each file of `/internal/files`: 0.28.1 does, 0.3.64 does not, which
    also tells times otherwise."""
    return in_milliseconds(version)


def view_query(ref: FileRef, more: Mapping[str, str] | None = None) -> bytes:
    """The query of /view that can only mean this file."""
    values = {"filename": ref.filename, "type": ref.type, "subfolder": ref.subfolder, **(more or {})}
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items()).encode()


async def _passed_on(values: Mapping[str, str], answer: Incoming) -> None:
    """Nothing of ComfyUI's refusals reaches the client: its words and its statuses know other people's files."""
    if answer.status in PASSED_ON:
        return
    if answer.status < 500:
        raise NotFound("There is no such file.", reason=f"ComfyUI answered {answer.status}")
    if any(name in values for name in PICTURE):
        raise InvalidRequest("ComfyUI cannot make a picture of this file.", reason=f"status {answer.status}")
    raise UpstreamFault("ComfyUI could not send the file.", reason=f"status {answer.status}")


def _top_outputs(outputs: Mapping[str, Any], root: Root) -> Iterator[str]:
    """The names of a job's output files, in its order, that are not in a folder as their owner sees them."""
    nodes: Iterable[Any] = visible_json(dict(outputs), root).values()
    for node in nodes:
        for items in node.values() if isinstance(node, dict) else ():
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict) and item.get("type") == "output" and item.get("subfolder") == "":
                    yield from _usable(item.get("filename"))


def _usable(name: Any) -> Iterator[str]:
    if isinstance(name, str):
        try:
            yield FileRef.read("output", "", name).filename
        except FileNotAllowed:
            return
