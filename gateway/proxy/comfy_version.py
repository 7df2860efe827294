"""Which version of ComfyUI a client would see, for answers of ours whose shape changed between versions.

It does not know what changed.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.errors import UpstreamFault
from gateway.log import get_logger
from gateway.upstream.server import Server

NEWEST: Final = "newest"
"""Compares as newer than every number; what counts while ComfyUI never said."""

KEPT_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 2.0

_LOG: Final = get_logger(__name__)


class ComfyVersion:
    """`comfyui_version` of `/system_stats`, asked when it is needed and kept while the event socket stays the same.

    `connection` gives an object that is another one after the socket was connected anew, because a server's version
    changes only with its process; `clock` gives seconds that only grow. A server that does not answer has the version
    that it had.
    """

    def __init__(self, server: Server, *, connection: Callable[[], object], clock: Callable[[], float]) -> None:
        self._server, self._connection, self._clock = server, connection, clock
        self._one_question = asyncio.Lock()
        self._known = NEWEST
        self._known_of: object = None
        self._until = float("-inf")

    async def get(self) -> str:
        """The version in ComfyUI's own words, or NEWEST. At most 2 s late, and rarely late at all."""
        if not self._is_fresh():
            async with self._one_question:
                if not self._is_fresh():
                    await self._ask()
        return self._known

    def _is_fresh(self) -> bool:
        return self._clock() < self._until and self._known_of is self._connection()

    async def _ask(self) -> None:
        connection = self._connection()
        try:
            stats = await self._server.get_json("/system_stats", timeout=ANSWER_SECONDS)
            self._known, kept = str(stats["system"]["comfyui_version"]), KEPT_SECONDS
        except UpstreamFault as fault:
            _LOG.info("comfyui_version_unknown", reason=fault.reason or fault.message)
            kept = RETRY_SECONDS if self._known == NEWEST else KEPT_SECONDS
        except (KeyError, TypeError):
            kept = KEPT_SECONDS
        self._known_of, self._until = connection, self._clock() + kept
