"""Files in jobs: names go below the owner's root on the way to ComfyUI and lose it on the way back; a file that no
folder proves to be somebody's is recorded for whose job made it.

It does not know what a node class reads or writes (`comfy.graph_files` does), nor who may use which (a policy says).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.comfy import clean_errors, graph_files, made_files
from gateway.comfy.clean_errors import Reader
from gateway.comfy.files import FileRef, Root, is_confined, visible_json
from gateway.comfy.graph_files import Source
from gateway.comfy.graph_policy import Policy, check
from gateway.jobs.catalogue import Catalogue
from gateway.jobs.live import Live
from gateway.policy.caps import Caps, check_caps
from gateway.policy.ownership import source_of
from gateway.policy.terms import Terms
from gateway.store.files import Files, Known

Prompt = Mapping[str, Any]

MARK_SECONDS: Final = 1.0

_NOTHING: Final = Known(frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose job it is, as far as files, nodes and models are concerned."""

    user_id: int
    root: Root
    policy: Policy
    terms: Terms = field(default_factory=Terms)
    caps: Caps = field(default_factory=Caps)


class JobFiles:
    """Translates for one server. `owner_of` finds a user's root and policy as they are now; `shared` are the names at
    the top of the input folder that everybody may read; `wrote` is told whose job may have written files."""

    def __init__(
        self,
        files: Files,
        catalogue: Catalogue,
        *,
        server: str,
        owner_of: Callable[[int], Awaitable[Owner]],
        shared: Callable[[], frozenset[str]],
        ask_shared: Callable[[], Awaitable[None]],
        wrote: Callable[[int], None] = lambda user_id: None,
    ) -> None:
        self._files, self._catalogue, self._server, self._wrote = files, catalogue, server, wrote
        self._owner_of, self._shared, self._ask_shared = owner_of, shared, ask_shared
        self._boot: str | None = None
        self._marked_at: float | None = None

    async def accepted(self, user_id: int, prompt: Prompt) -> dict[str, Any]:
        """A prompt as its owner wrote it, in the form that is kept and shown.

        Raises MissingNode, NodeNotAllowed, ModelNotAllowed, OverCap or FileNotAllowed, each with the nodes concerned.
        """
        owner = await self._owner_of(user_id)
        classes = await self._catalogue.classes(_classes(prompt))
        check(prompt, classes, owner.policy)
        check_caps(prompt, owner.caps)
        visible = dict(graph_files.visible(prompt, classes, owner.root))
        await self.rooted(user_id, visible)
        return visible

    async def rooted(self, user_id: int, prompt: Prompt) -> dict[str, Any]:
        """The same prompt as ComfyUI gets it: every name below the owner's root. Raises FileNotAllowed, and
        UpstreamFault when the server does not describe its nodes."""
        owner = await self._owner_of(user_id)
        classes = await self._catalogue.classes(_classes(prompt))
        refs = graph_files.read_files(prompt, classes, owner.root)
        known = await self._files.known(user_id, self._server, refs) if refs else _NOTHING
        shared = self._shared()

        def exists(ref: FileRef) -> Source:
            return source_of(ref, recorded=known.recorded, uploaded=known.uploaded, shared=shared)

        strict = not owner.policy.everything
        return dict(graph_files.rooted(prompt, classes, owner.root, exists=exists, strict=strict))

    async def claim(self, live: Live, outputs: Any) -> bool:
        """Record the files that no folder proves to be this user's; False when one is recorded for another already.

        A job makes no inputs: an output that names one would give away what an administrator put there.
        """
        root = (await self._owner_of(live.user_id)).root
        listed = [ref for ref in made_files.listed(outputs) if ref.type != "input" and not is_confined(ref, root)]
        minted = list(made_files.minted(outputs))
        return await self._record(live, listed) and await self._record(live, minted, for_ever=True)

    async def _record(self, live: Live, refs: Collection[FileRef], *, for_ever: bool = False) -> bool:
        if not refs:
            return True
        boot = await self._boot_now()
        new = [ref for ref in refs if (boot, ref, for_ever) not in live.claimed]
        if not new:
            return True
        mine = await self._files.record(
            self._server, boot, *new, user_id=live.user_id, prompt_id=live.prompt_id, for_ever=for_ever
        )
        if mine:
            live.claimed.update((boot, ref, for_ever) for ref in new)
        return mine

    async def _boot_now(self) -> str:
        """Asked of the database once: only `server_arrived` begins another."""
        if self._boot is None:
            self._boot = await self._files.boot(self._server, _mint)
        return self._boot

    async def shown(self, live: Live, outputs: Any) -> Any:
        """Outputs as their owner sees them."""
        return visible_json(outputs, (await self._owner_of(live.user_id)).root)

    async def told(self, live: Live, value: Any) -> Any:
        """What ComfyUI says of the job, errors above all, as its owner may read it."""
        return clean_errors.told(value, await self._reader(live))

    async def refusal(self, live: Live, prompt: Prompt, body: Any) -> Any:
        """ComfyUI's answer to POST /prompt, as the owner may read it."""
        policy = (await self._owner_of(live.user_id)).policy
        classes = await self._catalogue.classes(_classes(prompt))
        return clean_errors.refusal(body, await self._reader(live), classes=classes, model_allowed=policy.permits_model)

    async def server_arrived(self, has_ended: Callable[[str], Awaitable[bool]]) -> None:
        """The link is new. A process that has forgotten the last job that it ended is another one, and makes temp names
        again that were made before. Which inputs are shared must be known before the first job is handed over."""
        await self._ask_shared()
        last = await self._files.last_prompt(self._server)
        if last is None or not await has_ended(last):
            self._boot = self._marked_at = None
            self._boot = await self._files.new_boot(self._server, _mint)

    async def ended(self, live: Live) -> None:
        """The server has this job in its history, by which its process will be known again. So it will by one that
        ended a moment before."""
        self._wrote(live.user_id)
        now = asyncio.get_running_loop().time()
        if self._marked_at is None or now - self._marked_at >= MARK_SECONDS:
            await self._files.note_prompt(self._server, live.prompt_id)
            self._marked_at = now

    async def _reader(self, live: Live) -> Reader:
        owner = await self._owner_of(live.user_id)
        return Reader(owner.root, owner.policy.everything, tuple(live.secrets.values()))


def _mint() -> str:
    return secrets.token_hex(8)


def _classes(prompt: Prompt) -> Collection[str]:
    return {str(node["class_type"]) for node in prompt.values()}
