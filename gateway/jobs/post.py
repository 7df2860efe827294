"""One POST /prompt to ComfyUI, and what its answer means. It does not know why the job is posted, nor what becomes of
it."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from gateway.comfy import prompt
from gateway.comfy.prompt import Submission
from gateway.errors import NoServer, UpstreamFault
from gateway.jobs.desk import Desk
from gateway.jobs.live import Live
from gateway.store.ledger import Job

ANSWER_SECONDS: Final = 300.0
"""A model load holds ComfyUI's interpreter lock for 40 s and more; a POST queued behind it is answered late, not never
(measured)."""
TRIES: Final = 3
PAUSE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Posted:
    """ComfyUI took the job. `node_errors` are the outputs that it will leave out."""

    node_errors: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """ComfyUI's own 400."""

    body: dict[str, Any]


def submission_of(job: Job, secrets: dict[str, str]) -> Submission:
    """A ledger row as it was submitted, with the secrets that only memory keeps."""
    return Submission(
        prompt=job.prompt,
        client_id=job.client_id,
        prompt_id=job.prompt_id,
        front=False,
        number=None,
        extra_data=job.extra_data,
        secrets=secrets,
        targets=None if job.targets is None else tuple(job.targets),
    )


async def post(desk: Desk, live: Live, submission: Submission, *, number: float, created_ms: int) -> Posted | Refused:
    """Post a job under its own id and the gateway's client id. Raises UpstreamFault; `sent` tells whether ComfyUI may
    have it all the same; FileNotAllowed when a file that the job reads is not there for its owner any more.

    What was never sent is tried again; what was sent is not, because the answer alone may have been lost.
    """
    clock = asyncio.get_running_loop().time
    live.posted_at, live.answered_at, live.absent_since = clock(), None, None
    outcome = await _tried(desk, live, submission, number=number, created_ms=created_ms)
    live.answered_at = clock()
    return await _as_told(desk, live, submission, outcome)


async def _as_told(desk: Desk, live: Live, submission: Submission, outcome: Posted | Refused) -> Posted | Refused:
    """The answer as the job's owner may read it: without host paths, and without what others have."""
    if isinstance(outcome, Refused):
        return Refused(await desk.files.refusal(live, submission.prompt, outcome.body))
    if not outcome.node_errors:
        return outcome
    told = await desk.files.refusal(live, submission.prompt, {"node_errors": outcome.node_errors})
    return Posted(told["node_errors"])


async def _tried(desk: Desk, live: Live, submission: Submission, *, number: float, created_ms: int) -> Posted | Refused:
    for _ in range(TRIES - 1):
        try:
            return await _once(desk, live, submission, number=number, created_ms=created_ms)
        except NoServer:
            await asyncio.sleep(PAUSE_SECONDS)
    return await _once(desk, live, submission, number=number, created_ms=created_ms)


async def _once(desk: Desk, live: Live, submission: Submission, *, number: float, created_ms: int) -> Posted | Refused:
    body = prompt.outgoing(
        await _rooted(desk, live, submission),
        prompt_id=live.prompt_id,
        client_id=desk.link.client_id,
        number=number,
        create=created_ms,
    )
    reply = await desk.server.send_json("POST", "/prompt", body, timeout=ANSWER_SECONDS)
    return _read(reply.status, reply.body)


async def _rooted(desk: Desk, live: Live, submission: Submission) -> Submission:
    """With every file below the owner's root. A server that does not describe its nodes was not sent the job either."""
    try:
        return replace(submission, prompt=await desk.files.rooted(live.user_id, submission.prompt))
    except NoServer:
        raise
    except UpstreamFault as fault:
        raise NoServer("ComfyUI does not describe its nodes.", sent=False, reason=fault.reason) from fault


def _read(status: int, body: bytes) -> Posted | Refused:
    """500 is ComfyUI's word for a body that broke it: it did not take the job, whose id no other has. What a proxy in
    between says with 502 or 504 tells nothing."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if status == 200 and isinstance(answer, dict):
        return Posted(_node_errors(answer.get("node_errors")))
    if status == 400 and isinstance(answer, dict):
        return Refused(answer)
    raise UpstreamFault(
        "ComfyUI could not read this prompt.",
        details="It answered with an error of its own; an administrator finds it in ComfyUI's log.",
        reason=f"POST /prompt answered {status}",
        sent=not 400 <= status <= 500,
    )


def _node_errors(said: Any) -> dict[str, Any]:
    """What has ComfyUI's shape: the job was taken, and must not be lost over a strange word about it."""
    named = said.items() if isinstance(said, dict) else ()
    return {
        node_id: error
        for node_id, error in named
        if isinstance(error, dict) and isinstance(error.get("dependent_outputs", []), list)
    }
