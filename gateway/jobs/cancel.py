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
NO_SUCH_ROUTE: Final = (404, 405)

log = get_logger(__name__)


class Canceller:
    """Ends jobs because their owner wants it. A wish that cannot be carried out now is kept, also over a restart, and
    carried out by whoever holds the job or by the next look at the server."""

    def __init__(self, desk: Desk, settler: Settler) -> None:
        self._desk, self._settler = desk, settler

    async def delete(self, user_id: int, prompt_ids: Collection[str]) -> None:
        """What POST /queue does: take the user's waiting jobs out; running and foreign ones are left alone, silently,
        as ComfyUI does."""
        await self._end_all([live for one in dict.fromkeys(prompt_ids) if (live := self._own(user_id, one))])

    async def clear(self, user_id: int) -> None:
        """Take all of the user's waiting jobs out, the last one first, so that none starts because those before it
        went."""
        mine = reversed(self._desk.board.of(user_id))
        await self._end_all([live for live in mine if live.state != "submitting"])

    async def interrupt(self, user_id: int, prompt_id: str | None) -> None:
        """Stop the user's running job; with an id, only if that is the one that runs."""
        for live in self._desk.board.of(user_id):
            if live.state == "running" and prompt_id in (None, live.prompt_id):
                await self._end(live, stop=True)

    async def cancel(self, user_id: int, prompt_id: str) -> bool:
        """Take out or stop one job of the user; False when there was nothing to cancel."""
        live = self._own(user_id, prompt_id)
        return live is not None and await self._end(live, stop=True)

    async def evict(self, user_id: int) -> None:
        """End everything of a user who was disabled, the last one first, as if the user wished it."""
        for live in reversed(self._desk.board.of(user_id)):
            if live.stop_requested:
                continue
            try:
                await self._end(live, stop=True)
            except UpstreamFault as fault:
                log.warning("wish_left_open", prompt_id=live.prompt_id, reason=fault.reason or fault.message)

    async def disown(self, live: Live) -> bool:
        """Its owner was removed, and its row with the owner: it is nobody's from now on, and is ended at ComfyUI.

        False when ComfyUI did not answer. A job that is on its way there is ended when it starts (`follow`).
        """
        if not self._is_there(live):
            return True
        self._desk.board.disown(live)
        self._desk.changed(live)
        return live.state == "waiting" or await stop_stray(self._desk, live.prompt_id)

    async def resume(self, live: Live) -> None:
        """Carry out a wish that was left open, if nobody else holds the job."""
        if not live.busy:
            live.busy = True
            try:
                await self.pursue(live)
            finally:
                live.busy = False

    async def pursue(self, live: Live) -> None:
        """Carry out what was wished while the caller held the job; what fails now is left to the next look."""
        try:
            await self._carry_out(live)
        except UpstreamFault as fault:
            log.warning("wish_left_open", prompt_id=live.prompt_id, reason=fault.reason or fault.message)

    def _own(self, user_id: int, prompt_id: str) -> Live | None:
        live = self._desk.board.get(prompt_id)
        return live if live and live.user_id == user_id else None

    async def _end_all(self, jobs: Collection[Live]) -> None:
        """One that cannot be ended must not save the others; its fault is told at the end."""
        faults: list[UpstreamFault] = []
        for live in jobs:
            if live.state != "running":
                try:
                    await self._end(live, stop=False)
                except UpstreamFault as fault:
                    faults.append(fault)
        if faults:
            raise faults[0]

    async def _end(self, live: Live, *, stop: bool) -> bool:
        """Note the wish, and carry it out unless somebody holds the job, who then does it. `stop` also if it runs."""
        if not self._is_there(live):
            return False
        live.cancel_requested = True
        live.stop_requested |= stop
        if live.busy:
            await self._desk.ledger.request_cancel(live.prompt_id)
            return True
        live.busy = True
        try:
            return await self._carry_out(live)
        finally:
            live.busy = False
            self._desk.bell.set()

    async def _carry_out(self, live: Live) -> bool:
        """End a job whose owner wants it to, as far as that is possible now; whether there was anything to end."""
        if not live.cancel_requested or not self._is_there(live):
            return False
        if live.state == "waiting" and await self._settler.cancelled_unstarted(live, expect=("waiting",)):
            return True
        await self._desk.ledger.request_cancel(live.prompt_id)
        if live.state == "running":
            return await self._started(live)
        return await self._take_back(live) if live.state == "handed" else self._is_there(live)

    async def _take_back(self, live: Live) -> bool:
        await take_out(self._desk, live.prompt_id)
        place = await whereabouts(self._desk, live.prompt_id)
        if place == "absent":
            return await self._settler.cancelled_unstarted(live)
        return await self._started(live) if place == "running" else place == "pending"

    async def _started(self, live: Live) -> bool:
        """It runs: it is stopped, or left alone as ComfyUI leaves it when only its waiting was to be ended."""
        if live.stop_requested:
            await stop(self._desk, live.prompt_id)
            return True
        live.cancel_requested = False
        await self._desk.ledger.request_cancel(live.prompt_id, wanted=False)
        return False

    def _is_there(self, live: Live) -> bool:
        return self._desk.board.get(live.prompt_id) is live


async def stop(desk: Desk, prompt_id: str) -> None:
    """Stop a job that runs, and only that one. Newer servers do it in one step; in older ones the interrupt is checked
    first and done later, and may hit the next job (`settle` queues that one again). Raises UpstreamFault."""
    path = f"/api/jobs/{quote(prompt_id, safe='')}/cancel"
    reply = await desk.server.send_json("POST", path, None, timeout=ANSWER_SECONDS)
    if reply.status in NO_SUCH_ROUTE:
        body = orjson.dumps({"prompt_id": prompt_id})
        reply = await desk.server.send_json("POST", "/interrupt", body, timeout=ANSWER_SECONDS)
    if reply.status != 200:
        raise UpstreamFault("ComfyUI refused to stop a job.", reason=f"status {reply.status}")


async def stop_stray(desk: Desk, prompt_id: str) -> bool:
    """End a job that ComfyUI has under our client id though no row of the ledger wants it: the late arrival of a
    withdrawn one, or one of a removed user. False when ComfyUI did not answer."""
    log.warning("stray_job_stopped", prompt_id=prompt_id)
    try:
        await take_out(desk, prompt_id)
        await stop(desk, prompt_id)
    except UpstreamFault as fault:
        log.warning("stray_job_not_stopped", prompt_id=prompt_id, reason=fault.reason or fault.message)
        return False
    return True
