"""The routes that the gateway answers itself: queue, history, jobs, submit, cancel and clear, in ComfyUI's shapes, for
the caller only.

It does not know who the caller is beyond the principal's user id and role, nor ComfyUI: `jobs` is all it asks.
"""

import asyncio
import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from gateway.comfy import jobs as shapes
from gateway.comfy import prompt
from gateway.comfy.jobs import ENDED
from gateway.comfy.listing import JobsQueryError, parse_jobs_query
from gateway.comfy.prompt import Limits, Submission
from gateway.config import Role, Settings
from gateway.errors import Disabled, InvalidRequest
from gateway.identity.principal import Principal
from gateway.jobs.post import Refused
from gateway.jobs.works import Works
from gateway.policy.budgets import budget_fields
from gateway.proxy.answer import Answered, Answers, Asked, json_answer

SMALL_BODY: Final = 1024 * 1024
MOST_JOBS_NAMED: Final = 1000
LARGEST: Final = 2**63 - 1
"""The largest number that the database can be asked about; no user has so many jobs."""
CACHED_HISTORIES: Final = 64
LARGEST_CACHED: Final = 1024 * 1024
"""Bytes of a history that is kept; one may have 64 MiB (`store.ledger.MOST_BYTES`), and 64 of those would be 4 GiB."""
EMPTY: Final = Answered(200, b"", ())
"""ComfyUI's answer to what it only takes note of."""


class OwnAnswers:
    """One method for each answer that the table names. `require_room` raises StorageFull for who may make no more
    files."""

    def __init__(
        self,
        works: Works,
        settings: Settings,
        *,
        role_of: Callable[[Principal], Role],
        boot: str,
        require_room: Callable[[Principal], Awaitable[None]],
    ) -> None:
        self._works, self._settings, self._role_of, self._boot = works, settings, role_of, boot
        self._require_room = require_room
        self._limits = Limits(max_bytes=settings.max_prompt_mb * 1024 * 1024)
        self._histories: OrderedDict[str, bytes] = OrderedDict()

    def handlers(self) -> Answers:
        """By the name in the table's `answer` column."""
        return {
            "submit": self.submit,
            "get_prompt": self.get_prompt,
            "get_queue": self.get_queue,
            "post_queue": self.post_queue,
            "get_history": self.get_history,
            "get_history_item": self.get_history_item,
            "post_history": self.post_history,
            "interrupt": self.interrupt,
            "clear": self.clear,
            "list_jobs": self.list_jobs,
            "get_job": self.get_job,
            "cancel_job": self.cancel_job,
            "cancel_jobs": self.cancel_jobs,
            "get_users": self.get_users,
            "off": self.off,
            "no_folder_paths": self.no_folder_paths,
        }

    async def submit(self, asked: Asked) -> Answered:
        """POST /prompt: ComfyUI's 200 or ComfyUI's 400."""
        submission = await self._parsed(await asked.body(self._limits.max_bytes))
        await self._require_room(asked.principal)
        cap = self._role_of(asked.principal).max_queued
        caller = asked.principal
        outcome = await self._works.submitter.submit(caller.user_id, submission, cap=cap, token_id=caller.token_id)
        if isinstance(outcome, Refused):
            return json_answer(outcome.body, status=400)
        number = shapes.plain_number(outcome.number)
        body = {"prompt_id": outcome.prompt_id, "number": number, "node_errors": outcome.node_errors}
        return json_answer(body, headers=budget_fields(outcome.left, now=self._works.desk.now()))

    async def _parsed(self, body: bytes) -> Submission:
        """Checking a large body takes 10 ms and more for each MiB: in a thread, where it keeps nobody waiting."""
        if len(body) <= SMALL_BODY:
            return prompt.parse(body, limits=self._limits)
        return await asyncio.to_thread(prompt.parse, body, limits=self._limits)

    async def get_prompt(self, asked: Asked) -> Answered:
        """GET /prompt: how many jobs the caller has waiting or running."""
        return json_answer({"exec_info": {"queue_remaining": self._works.views.count(asked.principal.user_id)}})

    async def get_queue(self, asked: Asked) -> Answered:
        """GET /queue."""
        return json_answer(shapes.queue(await self._works.views.queue(asked.principal.user_id)))

    async def post_queue(self, asked: Asked) -> Answered:
        """POST /queue `{"clear": true}` and/or `{"delete": [ids]}`: jobs that wait; unknown and foreign ids are passed
        over."""
        wish = await _object(asked)
        if wish.get("clear"):
            await self._works.canceller.clear(asked.principal.user_id)
        await self._works.canceller.delete(asked.principal.user_id, _ids(wish.get("delete")))
        return EMPTY

    async def clear(self, asked: Asked) -> Answered:
        """POST /clear, which ComfyUI lacks and its guides teach: the caller's waiting jobs go."""
        await self._works.canceller.clear(asked.principal.user_id)
        return EMPTY

    async def interrupt(self, asked: Asked) -> Answered:
        """POST /interrupt: the caller's running job, or the named one if it runs. What ComfyUI cannot read it takes for
        a bare interrupt."""
        try:
            wish = orjson.loads(await asked.body(SMALL_BODY) or b"{}")
        except orjson.JSONDecodeError:
            wish = {}
        named = wish.get("prompt_id") if isinstance(wish, dict) else None
        if isinstance(named, list | dict):
            raise InvalidRequest("`prompt_id` must be a text.")
        await self._works.canceller.interrupt(asked.principal.user_id, str(named) if named else None)
        return EMPTY

    async def get_history(self, asked: Asked) -> Answered:
        """GET /history?max_items=&offset=, with an ETag: scripts poll all of it ten times a second."""
        values = asked.query()
        limit = _whole_number(values, "max_items", self._settings.history_newest)
        limit = min(limit, self._settings.history_newest) if limit >= 0 else self._settings.history_newest
        offset = _whole_number(values, "offset", None)
        user_id = asked.principal.user_id
        stamp = f"{self._boot}-{user_id}-{self._works.views.revision(user_id)}-{limit}-{offset}"
        etag = f'"{hashlib.sha256(stamp.encode()).hexdigest()[:32]}"'
        headers = ((b"etag", etag.encode()), (b"cache-control", b"private, no-cache"))
        if etag.encode() in (asked.header(b"if-none-match") or b""):
            return Answered(304, b"", headers)
        body = self._histories.get(stamp)
        if body is None:
            chosen = await self._works.views.history(
                user_id, limit=limit, offset=offset if offset is None or offset >= 0 else None
            )
            body = json_answer(shapes.history(chosen)).body
            if len(body) <= LARGEST_CACHED:
                self._remember(stamp, body)
        return Answered(200, body, ((b"content-type", b"application/json; charset=utf-8"), *headers))

    def _remember(self, stamp: str, body: bytes) -> None:
        self._histories[stamp] = body
        while len(self._histories) > CACHED_HISTORIES:
            self._histories.popitem(last=False)

    async def get_history_item(self, asked: Asked) -> Answered:
        """GET /history/{prompt_id}: `{}` for what has not ended, is unknown, or is somebody else's."""
        view = await self._works.views.one(asked.principal.user_id, asked.call.params["prompt_id"])
        return json_answer(shapes.history([view]) if view and view.state in ENDED else {})

    async def post_history(self, asked: Asked) -> Answered:
        """POST /history `{"clear": true}` and/or `{"delete": [ids]}`: out of the caller's sight; the ledger keeps what
        was used."""
        wish = await _object(asked)
        user_id = asked.principal.user_id
        if wish.get("clear"):
            await self._works.views.hide(user_id, None)
        if ids := _ids(wish.get("delete")):
            await self._works.views.hide(user_id, ids)
        return EMPTY

    async def list_jobs(self, asked: Asked) -> Answered:
        """GET /api/jobs, with ComfyUI's filters, sorting, paging and error texts."""
        try:
            query = parse_jobs_query(asked.query())
        except JobsQueryError as error:
            return json_answer(error.body(), status=400)
        views, total = await self._works.views.page(asked.principal.user_id, query)
        return json_answer(shapes.jobs_page(views, offset=query.offset, limit=query.limit, total=total))

    async def get_job(self, asked: Asked) -> Answered:
        """GET /api/jobs/{id}."""
        view = await self._works.views.one(asked.principal.user_id, asked.call.params["job_id"])
        return json_answer(shapes.job_detail(view)) if view else json_answer({"error": "Job not found"}, status=404)

    async def cancel_job(self, asked: Asked) -> Answered:
        """POST /api/jobs/{id}/cancel."""
        job_id = asked.call.params["job_id"]
        if not _is_job_id(job_id):
            return json_answer({"error": "job_id must be a valid UUID"}, status=400)
        return json_answer({"cancelled": await self._works.canceller.cancel(asked.principal.user_id, job_id)})

    async def cancel_jobs(self, asked: Asked) -> Answered:
        """POST /api/jobs/cancel `{"job_ids": [uuid]}`: true when at least one was cancelled; one bad id and nothing is
        done."""
        ids = (await _object(asked)).get("job_ids")
        if not isinstance(ids, list) or len(ids) > MOST_JOBS_NAMED:
            return json_answer({"error": "job_ids must be a list"}, status=400)
        bad = [job_id if isinstance(job_id, str) else _shown(job_id) for job_id in ids if not _is_job_id(job_id)]
        if bad:
            return json_answer({"error": "job_ids contains invalid id(s)", "invalid_ids": bad}, status=400)
        done = [await self._works.canceller.cancel(asked.principal.user_id, job_id) for job_id in dict.fromkeys(ids)]
        return json_answer({"cancelled": any(done)})

    async def get_users(self, asked: Asked) -> Answered:
        """GET /users: the single-user form, so that the editor never offers a list of people to be."""
        return json_answer({"storage": "server", "migrated": True})

    async def off(self, asked: Asked) -> Answered:
        """The asset library has no owners in any ComfyUI, so it is off here."""
        raise Disabled("This part of ComfyUI is switched off here.", sent=False)

    async def no_folder_paths(self, asked: Asked) -> Answered:
        """GET /internal/folder_paths would tell where things lie on the host; the editor is content with nothing."""
        return json_answer({})


def _is_job_id(value: Any) -> bool:
    """A canonical UUID in lower case, the only form that ComfyUI takes."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _shown(value: Any) -> str:
    """As ComfyUI shows what is no id; but not a thousand lists in lists, which Python cannot write."""
    return type(value).__name__ if isinstance(value, list | dict) else repr(value)


async def _object(asked: Asked) -> dict[str, Any]:
    try:
        value = orjson.loads(await asked.body(SMALL_BODY))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("The body is not JSON.", details=str(error)) from error
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


def _ids(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MOST_JOBS_NAMED:
        raise InvalidRequest(f"`delete` must be a list of at most {MOST_JOBS_NAMED} ids.")
    if not all(isinstance(item, str | int | float | None) for item in value):
        raise InvalidRequest("`delete` must be a list of ids.")
    return [str(item) for item in value]


def _whole_number(values: Mapping[str, str], name: str, default: Any) -> Any:
    if name not in values:
        return default
    try:
        return max(-LARGEST, min(LARGEST, int(values[name][:20])))
    except ValueError as error:
        raise InvalidRequest(f"`{name}` must be a whole number.") from error
