"""A validated job goes to its place: it stays at the server, or it is taken out again and waits in the ledger.

It does not know whether the job was submitted just now or found after a crash.
"""

from typing import Any, Final

from gateway.comfy import jobs as shapes
from gateway.errors import UpstreamFault
from gateway.jobs.catalogue import Catalogue
from gateway.jobs.desk import Desk
from gateway.jobs.live import Live
from gateway.jobs.look import take_out, whereabouts
from gateway.store.ledger import Job

COMING: Final = ("submitting", "unknown")


async def describe(desk: Desk, catalogue: Catalogue, job: Job, node_errors: dict[str, Any]) -> None:
    """Note which outputs ComfyUI will execute; a server that does not say which classes are outputs must not fail the
    job."""
    try:
        known = await catalogue.output_classes({node["class_type"] for node in job.prompt.values()})
    except UpstreamFault:
        known = frozenset()
    targets = None if job.targets is None else tuple(job.targets)
    outputs = shapes.outputs_to_execute(job.prompt, known, targets=targets, node_errors=node_errors)
    await desk.ledger.describe(job.prompt_id, outputs_to_execute=outputs, node_errors=node_errors)


async def handed(desk: Desk, live: Live) -> None:
    """ComfyUI has it, unless its events were faster than its answer and it runs or has ended already."""
    live.placed = live.accepted = True
    columns = {"server": desk.server.url, "handed_at": desk.milliseconds()}
    if (
        await desk.ledger.move(live.prompt_id, "handed", expect=(*COMING, "handing"), **columns)
        and live.state != "running"
    ):
        live.state = "handed"


async def started(desk: Desk, live: Live, started_ms: int) -> None:
    """ComfyUI executes the job. One that only wanted to be validated may start too, if the queue was empty for a
    moment."""
    columns = {"started_at": started_ms, "server": desk.server.url}
    if await desk.ledger.move(live.prompt_id, "running", expect=(*COMING, "waiting", "handing", "handed"), **columns):
        live.state, live.placed, live.accepted, live.started_ms = "running", True, True, started_ms
        desk.changed(live)


async def park(desk: Desk, live: Live) -> None:
    """Take a validated job out of ComfyUI again, and see that it is gone: if it started meanwhile, it runs (design
    §2.4)."""
    live.accepted = True
    try:
        await take_out(desk, live.prompt_id)
        place = await whereabouts(desk, live.prompt_id)
    except UpstreamFault:
        await to_unknown(desk, live)
        return
    if place != "absent":
        await handed(desk, live)
    elif (
        live.state in COMING
        and await desk.ledger.move(live.prompt_id, "waiting", expect=COMING)
        and live.state in COMING
    ):
        live.state, live.placed = "waiting", False


async def to_unknown(desk: Desk, live: Live) -> None:
    """ComfyUI may have it: it holds its place until `recover` knows."""
    live.placed = True
    if await desk.ledger.move(live.prompt_id, "unknown", expect=("submitting",)) and live.state == "submitting":
        live.state = "unknown"
