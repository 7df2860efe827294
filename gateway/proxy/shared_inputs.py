"""The files at the top of ComfyUI's input folder that everybody may read, when an administrator shares them.

It does not know who reads them, nor who put them there: what users upload lies in folders of their own.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from gateway.comfy.files import FileRef
from gateway.errors import FileNotAllowed, UpstreamFault
from gateway.log import get_logger
from gateway.upstream.server import Server

KEPT_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 1.0
"""Until ComfyUI said it once: a job that waits for ComfyUI to start may need a shared file."""
ANSWER_SECONDS: Final = 5.0
SUFFIX: Final = " [input]"
"""ComfyUI 0.28.1 names the folder behind each file, 0.3.64 does not."""

_LOG: Final = get_logger(__name__)


class SharedInputs:
    """GET /internal/files/input of one server; always nothing when not `enabled`, and then nothing is asked."""

    def __init__(self, server: Server, enabled: bool) -> None:
        self._server, self._enabled = server, enabled
        self._names: frozenset[str] | None = None

    def names(self) -> frozenset[str]:
        """The names as ComfyUI said them last; none before it said any."""
        return self._names or frozenset()

    async def refresh(self) -> None:
        """Ask now. Never raises: a server that does not answer, or answers oddly, has the files that it had."""
        if not self._enabled:
            return
        try:
            said = await self._server.get_json("/internal/files/input", timeout=ANSWER_SECONDS)
        except UpstreamFault as fault:
            _LOG.info("shared_inputs_unknown", reason=fault.reason or fault.message)
            return
        if isinstance(said, list):
            self._names = frozenset(name for item in said for name in _usable(item))

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        while self._enabled:
            await self.refresh()
            await asyncio.sleep(RETRY_SECONDS if self._names is None else KEPT_SECONDS)


def _usable(item: Any) -> Iterator[str]:
    """A name that a client can write; what ComfyUI would read in another way is no one's."""
    if isinstance(item, str):
        try:
            yield FileRef.read("input", "", item.removesuffix(SUFFIX)).filename
        except FileNotAllowed:
            return
