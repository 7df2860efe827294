"""Cancel, interrupt and clear, always for one user's own jobs and always aimed at a single job upstream.

It does not know the requests that ask for it. A bare interrupt or clear is never sent to ComfyUI: there it means
everybody's jobs.
"""

from collections.abc import Collection
from typing import Final
from urllib.parse import quote

import orjson

from gateway.errors import UpstreamFault
from gateway.jobs.desk import Desk
from gateway.jobs.live import Live
from gateway.jobs.look import take_out, whereabouts
from gateway.jobs.settle import Settler
from gateway.log import get_logger

ANSWER_SECONDS: Final = 60.0

log = get_logger(__name__)


class Canceller:
    """Ends jobs because their owner wants it."""

    def __init__(self, desk: Desk, settler: Settler) -> None:
        self._desk, self._settler = desk, settler
        self._has_cancel_route: bool | None = None

    async def delete(self, user_id: int, prompt_ids: Collection[str]) -> None:
        """What POST /queue does: take the user's waiting jobs out; running and foreign ones are left alone, silently,
        as ComfyUI does."""
        for prompt_id in dict.fromkeys(prompt_ids):
            live = self._own(user_id, prompt_id)
            if live and live.state != "running":
                await self._take_back(live)

    async def clear(self, user_id: int) -> None:
        """Take all of the user's waiting jobs out, the last one first, so that none starts because those before it
        went."""
        for live in reversed(self._desk.board.of(user_id)):
            if live.state not in ("running", "submitting"):
                await self._take_back(live)

    async def interrupt(self, user_id: int, prompt_id: str | None) -> None:
        """Stop the user's running job; with an id, only if that is the one that runs."""
        for live in self._desk.board.of(user_id):
            if live.state == "running" and prompt_id in (None, live.prompt_id):
                await self._stop(live)

    async def cancel(self, user_id: int, prompt_id: str) -> bool:
        """Take out or stop one job of the user; False when there was nothing to cancel."""
        live = self._own(user_id, prompt_id)
        if live is None:
            return False
        if live.state != "running" and await self._take_back(live):
            return True
        if self._desk.board.get(prompt_id) is None:
            return False
        if live.state == "running":
            await self._stop(live)
        return True

    async def pursue(self, live: Live) -> None:
        """Do what was asked for while the job was on its way to ComfyUI."""
        if live.cancel_requested and self._desk.board.get(live.prompt_id) is live and not await self._take_back(live):
            await self._stop(live)

    def _own(self, user_id: int, prompt_id: str) -> Live | None:
        live = self._desk.board.get(prompt_id)
        return live if live and live.user_id == user_id else None

    async def _take_back(self, live: Live) -> bool:
        """End a job that has not started; False if it has, or if it is on its way (then it is remembered, and `pursue`
        does it)."""
        live.cancel_requested = True
        if live.state == "waiting":
            return await self._settler.cancelled_unstarted(live)
        await self._desk.ledger.request_cancel(live.prompt_id)
        if live.state != "handed":
            return False
        await take_out(self._desk, live.prompt_id)
        if await whereabouts(self._desk, live.prompt_id) != "absent":
            live.cancel_requested = False
            return False
        return await self._settler.cancelled_unstarted(live)

    async def _stop(self, live: Live) -> None:
        live.cancel_requested = True
        await self._desk.ledger.request_cancel(live.prompt_id)
        if self._has_cancel_route is not False:
            reply = await self._desk.server.send_json(
                "POST", f"/api/jobs/{quote(live.prompt_id, safe='')}/cancel", None, timeout=ANSWER_SECONDS
            )
            self._has_cancel_route = reply.status == 200
        if not self._has_cancel_route:
            body = orjson.dumps({"prompt_id": live.prompt_id})
            await self._desk.server.send_json("POST", "/interrupt", body, timeout=ANSWER_SECONDS)


async def stop_stray(desk: Desk, prompt_id: str) -> None:
    """End a job that runs under our client id though no row of the ledger wants it: the late arrival of a withdrawn
    one."""
    log.warning("stray_job_stopped", prompt_id=prompt_id)
    try:
        await take_out(desk, prompt_id)
        await desk.server.send_json(
            "POST", "/interrupt", orjson.dumps({"prompt_id": prompt_id}), timeout=ANSWER_SECONDS
        )
    except UpstreamFault as fault:
        log.warning("stray_job_not_stopped", prompt_id=prompt_id, reason=fault.reason or fault.message)
