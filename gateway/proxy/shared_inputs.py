"""The files at the top of ComfyUI's input folder that everybody may read, when an administrator shares them.

It does not know who reads them, nor who put them there: what users upload lies in folders of their own.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gateway.comfy.files import FileRef
from gateway.errors import FileNotAllowed, UpstreamFault
from gateway.log import get_logger
from gateway.store import Servers
from gateway.upstream.server import Server

KEPT_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 1.0
"""Until ComfyUI said it once: a job that waits for ComfyUI to start may need a shared file."""
ANSWER_SECONDS: Final = 5.0
SUFFIX: Final = " [input]"
"""ComfyUI 0.28.1 names the folder behind each file, 0.3.64 does not."""
SHIPPED: Final = frozenset(("example.png",))
"""What lies at the top of the input folder of a ComfyUI that nobody used yet; folders, as `3d`, are not listed."""

_LOG: Final = get_logger(__name__)


class SharedInputs:
    """GET /internal/files/input of one server. Nothing is shared, nor asked for, when `setting` is False.

    When it is None, the first answer decides, once for this server and for all its time: files that are there when we
    meet it may be somebody's uploads, so they are shared only if there are none; then what comes later is there because
    an administrator put it there. Nobody can put a file there through the gateway.
    """

    def __init__(self, server: Server, *, setting: bool | None, servers: Servers) -> None:
        self._server, self._servers = server, servers
        self._shared = setting
        self._names: frozenset[str] | None = None
        self._one_question = asyncio.Lock()

    def names(self) -> frozenset[str]:
        """The names as ComfyUI said them last; none before it said any, and before it is decided."""
        return self._names if self._shared and self._names else frozenset()

    async def refresh(self) -> None:
        """Ask now. Never raises: a server that does not answer, or answers oddly, has the files that it had."""
        try:
            async with self._one_question:
                if self._shared is None:
                    self._shared = await self._servers.shares_inputs(self._server.url)
                if self._shared is not False:
                    await self._ask()
        except UpstreamFault as fault:
            _LOG.info("shared_inputs_unknown", reason=fault.reason or fault.message)

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        while self._shared is not False:
            await self.refresh()
            await asyncio.sleep(RETRY_SECONDS if self._names is None else KEPT_SECONDS)

    async def _ask(self) -> None:
        said = await self._server.get_json("/internal/files/input", timeout=ANSWER_SECONDS)
        if not isinstance(said, list):
            return
        if self._shared is None:
            self._shared = await self._decide(said)
        self._names = frozenset(name for item in said for name in _usable(item))

    async def _decide(self, said: Iterable[Any]) -> bool:
        url, found = self._server.url, {str(item).removesuffix(SUFFIX) for item in said} - SHIPPED
        shared = await self._servers.decide_inputs(url, shared=not found)
        _LOG.warning(
            "shared_inputs_decided",
            server=url,
            share_inputs=shared,
            files_found=len(found),
            change_it="set share_inputs to true or false",
        )
        return shared


def _usable(item: Any) -> Iterator[str]:
    """A name that a client can write; what ComfyUI would read in another way is no one's."""
    if isinstance(item, str):
        try:
            yield FileRef.read("input", "", item.removesuffix(SUFFIX)).filename
        except FileNotAllowed:
            return
