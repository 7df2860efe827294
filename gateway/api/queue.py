"""`GET /gateway/api/v1/queue`: where one's own jobs stand; for administrators, everybody's.

It does not know how the order is made.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from gateway.api.shapes import Error
from gateway.identity.authenticator import Authenticator
from gateway.identity.principal import Principal
from gateway.jobs.outlook import Picture, Place
from gateway.policy.access import require

Look = Callable[[], Awaitable[Picture]]
Names = Callable[[], Awaitable[Mapping[int, str]]]
"""Everybody's name, by user id."""

_REFUSED: Final[dict[int | str, dict[str, Any]]] = {status: {"model": Error} for status in (401, 403, 429, 503)}


class QueuedJob(BaseModel):
    """One unfinished job."""

    prompt_id: str
    state: Literal["running", "handed", "waiting"] = Field(
        description="`handed`: ComfyUI has it already, and the order can no longer change."
    )
    position: int | None = Field(
        description="1 is the next to start, counting everybody's jobs; 0 runs; null is too far ahead to say."
    )
    start: float | None = Field(
        description="When it started or is expected to, in seconds since 1970; null while ComfyUI cannot be reached. "
        "An estimate: others may come, and jobs may take longer than yours did before."
    )
    estimate_seconds: float = Field(description="GPU time that it is expected to take.")


class OwnedJob(QueuedJob):
    """One unfinished job, and whose it is."""

    owner: str


class Share(BaseModel):
    """Where one user with unfinished jobs stands in the fair queue."""

    name: str
    weight: float
    priority: int
    max_running: int | None
    virtual_seconds: float = Field(description="GPU seconds used or charged, by weight; the least goes next.")
    running: int
    handed: int
    waiting: int
    estimate_seconds: float = Field(description="GPU time that all these jobs are expected to take.")


class Everybody(BaseModel):
    """Who holds what."""

    shares: list[Share]
    jobs: list[OwnedJob]


class Queue(BaseModel):
    """The queue, as far as the caller may see it."""

    connected: bool = Field(description="Whether ComfyUI can be reached; while it cannot, nothing starts.")
    jobs: list[QueuedJob] = Field(description="The caller's own, in the order in which they will run.")
    everybody: Everybody | None = Field(default=None, description="For administrators only.")


def queue_router(*, authenticator: Authenticator, look: Look, names: Names) -> APIRouter:
    """The route, to be included where `/gateway` is served."""
    routes = APIRouter()

    async def caller(request: Request) -> Principal:
        return await authenticator.authenticate(request.scope)

    async def queue(principal: Annotated[Principal, Depends(caller)], response: Response) -> Queue:
        """Position and expected start of the caller's own jobs; for administrators also who holds what."""
        require(principal, "read")
        response.headers["Cache-Control"] = "no-store"
        picture = await look()
        own = [QueuedJob(**_job(place)) for place in picture.places if place.user_id == principal.user_id]
        everybody = _everybody(picture, await names()) if "admin" in principal.permissions else None
        return Queue(connected=picture.connected, jobs=own, everybody=everybody)

    routes.add_api_route("/gateway/api/v1/queue", queue, methods=["GET"], responses=_REFUSED, tags=["queue"])
    return routes


def _job(place: Place) -> dict[str, Any]:
    return {
        "prompt_id": place.prompt_id,
        "state": place.state,
        "position": place.position,
        "start": None if place.start_ms is None else round(place.start_ms / 1000, 1),
        "estimate_seconds": round(place.estimate_ms / 1000, 1),
    }


def _everybody(picture: Picture, names: Mapping[int, str]) -> Everybody:
    return Everybody(
        shares=[_share(user_id, picture, names) for user_id in sorted(picture.standings)],
        jobs=[OwnedJob(**_job(place), owner=_name(place.user_id, names)) for place in picture.places],
    )


def _share(user_id: int, picture: Picture, names: Mapping[int, str]) -> Share:
    standing = picture.standings[user_id]
    theirs = [place for place in picture.places if place.user_id == user_id]
    states = Counter(place.state for place in theirs)
    return Share(
        name=_name(user_id, names),
        weight=standing.weight,
        priority=standing.priority,
        max_running=standing.max_running,
        virtual_seconds=round(standing.virtual_ms / 1000, 1),
        running=states["running"],
        handed=states["handed"],
        waiting=states["waiting"],
        estimate_seconds=round(sum(place.estimate_ms for place in theirs) / 1000, 1),
    )


def _name(user_id: int, names: Mapping[int, str]) -> str:
    """Somebody who was removed while the jobs were looked up has no name any more."""
    return names.get(user_id, "")
