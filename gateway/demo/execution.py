"""The worker: takes prompts from the queue and executes them one at a time.

It does not know HTTP. What ComfyUI lets kill its worker thread kills this task: any exception outside a node's own
work. The server then answers as before and never executes again.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from gateway.demo.cache import Cache, Entry, is_link
from gateway.demo.classes import CLASSES, Call, Done
from gateway.demo.events import Events
from gateway.demo.faults import Faults
from gateway.demo.job import Job
from gateway.demo.nodes import Catalogue
from gateway.demo.places import Places
from gateway.demo.profile import Profile
from gateway.demo.progress import Preview, Progress
from gateway.demo.queue import Item, PromptQueue
from gateway.demo.record import Record
from gateway.demo.scenes import SCENES
from gateway.demo.schedule import Schedule

_RUN = {**CLASSES, **SCENES}


class InterruptedJobError(Exception):
    """The running job was interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds a sampler takes per step, and seconds the loading of a checkpoint takes."""

    seconds_per_step: float
    models_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an executor works with."""

    profile: Profile
    places: Places
    catalogue: Catalogue
    events: Events
    queue: PromptQueue
    faults: Faults
    record: Record
    pace: Pace


class Executor:
    """Executes prompts against one cache."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._events = around.events
        self._faults = around.faults
        self._cache = Cache(catalogue=around.catalogue, places=around.places)
        self._memories: dict[tuple[str, str], dict[str, Any]] = {}
        self._interrupted = False

    def interrupt(self) -> None:
        """Stop whatever runs at its next step. Heard while idle, it does not hit the next job."""
        self._interrupted = True

    async def work(self) -> None:
        """Execute prompts for ever."""
        queue = self._around.queue
        while True:
            await self._faults.may_execute()
            item = await queue.get()
            if item is not None:
                await self._execute(item)
            if queue.take_free_memory():
                self._cache.clear()
                self._memories = {}

    async def _execute(self, item: Item) -> None:
        """One prompt, from execution_start to executing{node: null}, in the recorded order."""
        record = self._around.record
        record.note("started", item.prompt_id)
        self._interrupted = False
        self._events.client_id = item.extra_data.get("client_id")
        progress = Progress(events=self._events, prompt_id=item.prompt_id)
        job = Job(item=item, events=self._events, record=record, progress=progress)
        job.begin()
        self._cache.take(item.prompt)
        self._keep_memories(item.prompt)
        job.cached([node_id for node_id in item.prompt if self._cache.get(node_id)])
        success = await self._run(job)
        self._events.last_node_id = None
        await asyncio.sleep(self._faults.history_lag)
        self._around.queue.done(item.prompt_id, job.result(success=success))
        job.ended()

    def _keep_memories(self, prompt: dict[str, Any]) -> None:
        """A node object lives on while the next prompt has a node of its id and class."""
        kept = {(node_id, node["class_type"]) for node_id, node in prompt.items()}
        self._memories = {key: memory for key, memory in self._memories.items() if key in kept}

    async def _run(self, job: Job) -> bool:
        """Whether all outputs were made."""
        plan = Schedule(
            job.item.prompt,
            is_cached=lambda node_id: self._cache.get(node_id) is not None,
            is_output=lambda node_id: self._around.catalogue.is_output(job.class_of(node_id)),
        )
        for node_id in job.item.outputs:
            plan.add(node_id)
        while plan:
            node_id = plan.pick()
            if not await self._node(job, node_id):
                return False
            plan.done(node_id)
        job.succeeded()
        return True

    async def _node(self, job: Job, node_id: str) -> bool:
        """Run one node, or show again what it showed when it is cached; False when the job ends here."""
        known = self._cache.get(node_id)
        if known is not None:
            job.show_again(node_id, known)
            return True
        job.progress.start(node_id)
        inputs: dict[str, Any] = {}
        try:
            inputs.update(self._inputs(job, node_id))
            job.enter(node_id)
            await self._faults.may_execute()
            self._check_interrupted()
            done = await self._call(job, node_id, inputs)
        except InterruptedJobError:
            job.interrupted(node_id)
            return False
        except Exception as raised:
            job.failed(node_id, inputs=inputs, raised=raised, profile=self._around.profile)
            return False
        job.leave(node_id, done.ui)
        self._cache.put(node_id, Entry(outputs=done.outputs, ui=job.shown.get(node_id)))
        return True

    def _inputs(self, job: Job, node_id: str) -> dict[str, Any]:
        """What the node is given: declared values, ALL links resolved, and what it hides behind no input."""
        kinds = self._around.catalogue.definition(job.class_of(node_id))["input"]
        declared = {**kinds.get("required", {}), **kinds.get("optional", {})}
        given: dict[str, Any] = job.item.prompt[node_id]["inputs"]
        inputs = {name: self._value(value) for name, value in given.items() if name in declared or is_link(value)}
        offered = {
            "PROMPT": job.item.prompt,
            "EXTRA_PNGINFO": job.item.extra_data.get("extra_pnginfo"),
            "UNIQUE_ID": node_id,
        }
        # Classes of the newer kind, whose hidden inputs are listed as ["PROMPT"], are not given them as inputs.
        hidden = {name: kind for name, kind in kinds.get("hidden", {}).items() if isinstance(kind, str)}
        return {**inputs, **{name: offered.get(kind) for name, kind in hidden.items()}}

    def _value(self, value: Any) -> Any:
        if not is_link(value):
            return value
        entry = self._cache.get(value[0])
        return entry.outputs[value[1]] if entry else None

    async def _call(self, job: Job, node_id: str, inputs: dict[str, Any]) -> Done:
        class_type = job.class_of(node_id)
        if class_type not in _RUN:
            raise NotImplementedError(f"{class_type} is listed by this simulation, but cannot be executed")
        if unexpected := [name for name in inputs if not self._around.catalogue.declares(class_type, name)]:
            raise TypeError(f"{class_type}.run() got an unexpected keyword argument '{unexpected[0]}'")

        def step(value: int, total: int, preview: Preview | None) -> None:
            self._check_interrupted()
            job.progress.step(node_id, value=value, total=total, preview=preview)

        call = Call(
            node_id=node_id,
            inputs=inputs,
            prompt=job.item.prompt,
            extra_data=job.item.extra_data,
            profile=self._around.profile,
            places=self._around.places,
            events=self._events,
            pause=self._pause,
            step=step,
            check=self._check_interrupted,
            loaded_model=lambda name: job.record.note("loaded_model", job.item.prompt_id, name),
            seconds_per_step=self._around.pace.seconds_per_step,
            models_seconds=self._around.pace.models_seconds,
            memory=self._memories.setdefault((node_id, class_type), {}),
        )
        return await _RUN[class_type](call)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._faults.may_execute()

    def _check_interrupted(self) -> None:
        if self._interrupted:
            self._interrupted = False
            raise InterruptedJobError
