"""A validated job goes to its place: it stays at the server, or it is taken out again and waits in the ledger.

It does not know whether the job was submitted just now or found after a crash.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from gateway.comfy import jobs as shapes
from gateway.errors import UpstreamFault
from gateway.jobs.catalogue import Catalogue
from gateway.jobs.desk import Desk
from gateway.jobs.live import Live
from gateway.jobs.look import Place, take_out, whereabouts
from gateway.policy import fairness
from gateway.store.ledger import Job

COMING: Final = ("submitting", "unknown")
UNSTARTED: Final = (*COMING, "handing", "handed")
"""The states of a job that ComfyUI may have and that is not known to run."""


async def outputs_of(catalogue: Catalogue, job: Job, node_errors: dict[str, Any]) -> tuple[str, ...]:
    """Which outputs ComfyUI will execute; a server that does not say which classes are outputs must not fail the
    job."""
    try:
        known = await catalogue.output_classes({node["class_type"] for node in job.prompt.values()})
    except UpstreamFault:
        known = frozenset()
    targets = None if job.targets is None else tuple(job.targets)
    return shapes.outputs_to_execute(job.prompt, known, targets=targets, node_errors=node_errors)


async def handed(desk: Desk, live: Live) -> None:
    """ComfyUI has it, unless its events were faster than its answer and it runs or has ended already."""
    columns = {"server": desk.server.url, "handed_at": desk.milliseconds()}
    if await desk.ledger.move(live.prompt_id, "handed", expect=(*COMING, "handing"), **columns):
        live.placed, live.attempts = True, max(live.attempts, 1)
        live.state = "running" if live.state == "running" else "handed"


async def started(desk: Desk, live: Live, started_ms: int) -> None:
    """ComfyUI executes the job. One that only wanted to be validated may start too, if the queue was empty for a
    moment; and a waiting one, when a POST that was given up arrives after all."""
    if await desk.ledger.start(
        live.prompt_id, expect=(*UNSTARTED, "waiting"), started_at=started_ms, server=desk.server.url
    ):
        live.state, live.placed, live.absent_since = "running", True, None
        live.started_ms, live.seen_start_ms = started_ms, desk.milliseconds()
        live.attempts = max(live.attempts, 1)
        desk.changed(live)


async def park(desk: Desk, live: Live) -> None:
    """Let a validated job that was found at the server wait in the ledger, unless it starts meanwhile."""
    place = await leave(desk, live)
    if place == "absent":
        await queued(desk, live, expect=UNSTARTED)
    elif place == "pending":
        await to_handing(desk, live)
    else:
        await handed(desk, live)


async def leave(desk: Desk, live: Live) -> Place:
    """Take a job out of ComfyUI's queue, and see that it is gone: if it started meanwhile, it runs.
    `pending` is also the answer when there is none: it may be there."""
    try:
        await take_out(desk, live.prompt_id)
        return await whereabouts(desk, live.prompt_id)
    except UpstreamFault:
        return "pending"


async def accepted(
    desk: Desk, live: Live, place: Place, *, node_errors: dict[str, Any], outputs: Sequence[str]
) -> None:
    """Write down where a job went that ComfyUI validated: gone again, it waits; seen there, it is handed over; and what
    may be there is like a hand-over without an answer, which must never be forgotten as an unanswered submit may be."""
    to = {"absent": "waiting", "pending": "handing"}.get(place, "handed")
    moved = await desk.ledger.accept(
        live,
        to,
        outputs_to_execute=outputs,
        node_errors=node_errors,
        estimate=fairness.estimate,
        weight=live.weight,
        server=None if to == "waiting" else desk.server.url,
        handed_at=None if to == "waiting" else desk.milliseconds(),
    )
    if not moved:
        return
    if to == "waiting":
        live.wait()
    else:
        live.placed, live.attempts = True, max(live.attempts, int(to == "handed"))
        live.state = "running" if live.state == "running" else to


async def queued(desk: Desk, live: Live, *, expect: Collection[str], never_sent: bool = False) -> bool:
    """ComfyUI does not have it (any more): it waits in the ledger, and its charge is given back. False if it was in
    none of the states in `expect`; `never_sent` takes the hand-over back, too."""
    done = await desk.ledger.give_back(live.prompt_id, expect=expect, weight=live.weight, never_sent=never_sent)
    if done:
        live.wait()
        live.attempts -= never_sent
    return done


async def to_unknown(desk: Desk, live: Live) -> None:
    """A submit without an answer: ComfyUI may have it, so it holds its place until `recover` knows."""
    live.placed = True
    if await desk.ledger.move(live.prompt_id, "unknown", expect=("submitting",)) and live.state == "submitting":
        live.state = "unknown"


async def to_handing(desk: Desk, live: Live) -> None:
    """Not seen gone from the server: like a hand-over without an answer."""
    live.placed = True
    if await desk.ledger.move(live.prompt_id, "handing", expect=(*COMING, "handed")) and live.state != "running":
        live.state = "handing"
