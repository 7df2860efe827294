"""Stops jobs that run for longer than their owner's role allows.

It does not know how a job ends: `settle` writes the end down when ComfyUI tells of it. Time is counted from when the
gateway saw the job run, by a clock that nobody sets: ComfyUI's may be wrong, and so may ours.
"""

import asyncio
from typing import Final

from gateway.errors import GatewayError
from gateway.jobs.cancel import stop
from gateway.jobs.desk import Desk
from gateway.jobs.live import Live
from gateway.jobs.settle import Settler
from gateway.log import get_logger

CHECK_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 10.0
"""A node that does not look for the interrupt runs on to its end; the interrupt may be lost, so it is sent again."""

log = get_logger(__name__)


class Overtime:
    """Looks at the running jobs once a second. The reason is written down before the job is stopped: after a crash
    between the two, an interruption that nobody seems to have asked for would queue the job again."""

    def __init__(self, desk: Desk, settler: Settler) -> None:
        self._desk, self._settler = desk, settler
        self._asked_at: dict[str, float] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self._check()
            except GatewayError as fault:
                log.warning("overtime_unchecked", reason=fault.reason or fault.message)
            except Exception:
                log.exception("overtime_failed")

    async def _check(self) -> None:
        running = [live for live in self._desk.board if self._runs(live)]
        self._asked_at = {live.prompt_id: at for live in running if (at := self._asked_at.get(live.prompt_id))}
        for live in running:
            if live.ran_from is None:
                live.ran_from = _now()
            limit = (await self._desk.terms_of(live.user_id)).max_job_seconds
            if self._is_over(live, limit) and limit is not None:
                await self._stop(live, limit)

    def _runs(self, live: Live) -> bool:
        return live.state == "running" and live.placed and not self._settler.is_settling(live)

    def _is_over(self, live: Live, limit: int | None) -> bool:
        if limit is None or live.ran_from is None or live.busy or not self._runs(live):
            return False
        asked_at = self._asked_at.get(live.prompt_id)
        return _now() - live.ran_from >= limit and (asked_at is None or _now() - asked_at >= AGAIN_SECONDS)

    async def _stop(self, live: Live, limit: int) -> None:
        live.busy = True
        try:
            if live.time_limit is None:
                await self._desk.ledger.stop(live.prompt_id, time_limit=limit)
                live.time_limit = limit
            self._asked_at[live.prompt_id] = _now()
            if self._runs(live):
                log.info("job_over_time", prompt_id=live.prompt_id, limit=limit)
                await stop(self._desk, live.prompt_id)
        finally:
            live.busy = False
            self._desk.bell.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
