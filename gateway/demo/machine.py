"""One life of a simulated server: everything that is lost when its process dies.

It does not know HTTP; the handlers find it in their application under MACHINE.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from gateway.demo.events import Events
from gateway.demo.execution import Executor, Pace, Surroundings
from gateway.demo.faults import Faults
from gateway.demo.nodes import Catalogue
from gateway.demo.places import Places
from gateway.demo.profile import Profile
from gateway.demo.queue import PromptQueue
from gateway.demo.record import Record


@dataclass(slots=True, kw_only=True)
class Machine:
    """The parts of one running server. `number` is the counter behind a prompt's default number."""

    profile: Profile
    places: Places
    catalogue: Catalogue
    faults: Faults
    record: Record
    events: Events
    queue: PromptQueue
    executor: Executor
    number: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def run(self, on_death: Callable[[], None]) -> None:
        """Start the worker and the sending of events. Only the latter takes the whole process with it when it dies."""
        worker = asyncio.create_task(self.executor.work())
        worker.add_done_callback(self._worker_ended)
        publisher = asyncio.create_task(self.events.publish())
        publisher.add_done_callback(lambda task: None if task.cancelled() or not task.exception() else on_death())
        self.tasks = [worker, publisher]

    async def end(self) -> None:
        """Stop both tasks."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (raised := task.exception()):
            self.record.note("worker_died", detail=repr(raised))


MACHINE = web.AppKey("MACHINE", Machine)


def assemble(
    *, profile: Profile, places: Places, catalogue: Catalogue, faults: Faults, record: Record, pace: Pace
) -> Machine:
    """Put together a server that has not executed anything yet."""

    def status() -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": queue.remaining}}

    events = Events(faults=faults, record=record, features=profile.features, status=status)
    queue = PromptQueue(events.send_status, record)
    around = Surroundings(
        profile=profile,
        places=places,
        catalogue=catalogue,
        events=events,
        queue=queue,
        faults=faults,
        record=record,
        pace=pace,
    )
    return Machine(
        profile=profile,
        places=places,
        catalogue=catalogue,
        faults=faults,
        record=record,
        events=events,
        queue=queue,
        executor=Executor(around),
    )
