"""`GET /gateway/api/v1/usage`: what one used, by day, token and model; for administrators, what everybody used.

It does not know how it is counted. Days are those of UTC.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.shapes import Error
from gateway.api.spreadsheet import csv_text
from gateway.comfy.query import query_values
from gateway.errors import Forbidden, InvalidRequest, NotFound
from gateway.identity.authenticator import Authenticator
from gateway.identity.credentials import without_token
from gateway.identity.principal import Principal
from gateway.policy.access import require
from gateway.policy.budgets import Budget, Left, Period
from gateway.store.books import Books, Used
from gateway.store.users import Users

PATH: Final = "/gateway/api/v1/usage"
DAYS: Final = 30
"""So many are shown where the caller does not say which."""
MOST_DAYS: Final = 366
MOST_ROWS: Final = 50_000

_EPOCH: Final = date(1970, 1, 1)
_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Error} for status in (400, 401, 403, 404, 429, 503)
}


class Counted(BaseModel):
    """What was used."""

    jobs: int = Field(description="Jobs that ended, in whatever way.")
    failed: int = Field(description="Those of them that failed.")
    cancelled: int = Field(description="Those of them that were cancelled, before or while they ran.")
    gpu_seconds: float = Field(description="From start to end, by ComfyUI's clock.")
    uploaded_bytes: int = Field(description="Pictures and masks that came in.")
    sent_bytes: int = Field(description="Pictures, previews and other files that went out; not the editor.")


class UsageRow(Counted):
    """What one user used on one day, with one token and one model."""

    user: str
    day: date = Field(description="When the jobs ended, in UTC.")
    token_id: str | None = Field(description="Null for what came with a password or from the login page.")
    token: str | None = Field(description="The name that the token had then.")
    model: str | None = Field(
        description="`folder/name` of the first checkpoint in the workflow, or else of the first diffusion model, or "
        "else of the first other one; null for jobs without a model, and for files."
    )


class BudgetLeft(BaseModel):
    """How a budget stands."""

    period: Period
    limit: int = Field(description="GPU seconds.")
    used: float = Field(description="GPU seconds of jobs that have ended.")
    expected: float = Field(description="GPU seconds that unfinished jobs are expected to take; they are held back.")
    remaining: float = Field(description="GPU seconds; at 0 a submit is refused.")
    warning: bool = Field(description="Whether 80 % or more are used or held back.")
    resets_at: int = Field(description="When it begins anew, in seconds since 1970.")


class UsageAnswer(BaseModel):
    """What was used in some days, the first and the last included."""

    model_config = ConfigDict(title="Usage")

    from_: date = Field(serialization_alias="from")
    to: date
    rows: list[UsageRow]
    total: Counted
    budgets: list[BudgetLeft] | None = Field(description="Of the one user asked about; null for everybody's usage.")


BudgetsOf = Callable[[int], Awaitable[tuple[Budget, ...]]]


def usage_router(
    *, authenticator: Authenticator, books: Books, users: Users, budgets_of: BudgetsOf, now: Callable[[], float]
) -> APIRouter:
    """The route. `budgets_of` finds a user's budgets as they are now; `now` is in seconds since 1970."""
    routes = APIRouter()

    async def caller(request: Request) -> Principal:
        # Two parameters of one name would be read in two ways.
        query_values(without_token(request.scope["query_string"]))
        return await authenticator.authenticate(request.scope)

    async def usage(
        request: Request,
        principal: Annotated[Principal, Depends(caller)],
        response: Response,
        from_: Annotated[
            date | None, Query(alias="from", description=f"The first day; {DAYS} days if not given.")
        ] = None,
        to: Annotated[date | None, Query(description="The last day; today if not given.")] = None,
        user: Annotated[str | None, Query(description="Of this user only; members may name themselves.")] = None,
        format: Annotated[
            Literal["json", "csv"] | None, Query(description="Without it, CSV for whoever accepts `text/csv`.")
        ] = None,
    ) -> Any:
        """What the caller used, by day, token and model; for administrators what everybody used, or one `user`."""
        require(principal, "read")
        wanted = await _whose(principal, user, users)
        first, last = period(from_, to, today=datetime.fromtimestamp(now(), UTC).date())
        found = await books.used(first=number(first), last=number(last), user_id=wanted, most=MOST_ROWS + 1)
        if len(found) > MOST_ROWS:
            raise InvalidRequest(f"These are more than {MOST_ROWS} rows; ask for fewer days.")
        if _is_csv(request, format):
            name = f"usage-{first}-{last}.csv"
            return _csv(found, name)
        response.headers["Cache-Control"] = "no-store"
        left = None if wanted is None else await books.left(wanted, await budgets_of(wanted), now=now())
        return UsageAnswer(
            from_=first,
            to=last,
            rows=[_row(used) for used in found],
            total=total(found),
            budgets=None if left is None else [_budget(one) for one in left],
        )

    described = {**_REFUSED, 200: {"content": {"text/csv": {}}}}
    routes.add_api_route(
        PATH, usage, methods=["GET"], response_model=UsageAnswer, responses=described, tags=["account"]
    )
    return routes


async def _whose(principal: Principal, name: str | None, users: Users) -> int | None:
    """The id of the user that is asked about, None for everybody. Raises Forbidden for others, whether or not there are
    such."""
    if "admin" not in principal.permissions:
        if name is None or name.lower() == principal.name.lower():
            return principal.user_id
        raise Forbidden("Only administrators may see what others used.", extra_info={"permission": "admin"})
    found = None if name is None else await users.by_name(name)
    if found is None and name is not None:
        raise NotFound("There is no such user.")
    return None if found is None else found.id


def period(first: date | None, last: date | None, *, today: date) -> tuple[date, date]:
    """The days that are shown. Raises InvalidRequest for none, and for very many."""
    last = max(last or today, _EPOCH)
    first = first or last - timedelta(days=DAYS - 1)
    if not 0 <= (last - first).days < MOST_DAYS:
        raise InvalidRequest(f"Ask for 1 to {MOST_DAYS} days, the first one first.")
    return first, last


def number(day: date) -> int:
    """A day as the books have it, in days since 1970."""
    return (day - _EPOCH).days


def total(rows: Iterable[Used]) -> Counted:
    """The sum of some rows."""
    rows = tuple(rows)
    return Counted(
        jobs=sum(row.jobs for row in rows),
        failed=sum(row.failed for row in rows),
        cancelled=sum(row.cancelled for row in rows),
        gpu_seconds=sum(row.gpu_ms for row in rows) / 1000,
        uploaded_bytes=sum(row.uploaded_bytes for row in rows),
        sent_bytes=sum(row.sent_bytes for row in rows),
    )


def _row(used: Used) -> UsageRow:
    return UsageRow(
        user=used.user,
        day=_EPOCH + timedelta(days=used.day),
        token_id=used.token_id or None,
        token=used.token or None,
        model=used.model or None,
        **total([used]).model_dump(),
    )


def usage_csv(rows: Sequence[Used]) -> str:
    """The rows as CSV, with the names of the JSON as heads."""
    heads = ("user", "day", "token_id", "token", "model", *Counted.model_fields)
    shown = [_row(used) for used in rows]
    return csv_text(heads, ([getattr(row, head) for head in heads] for row in shown))


def _csv(rows: Sequence[Used], name: str) -> Response:
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(usage_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)


def _is_csv(request: Request, format: str | None) -> bool:
    if format is not None:
        return format == "csv"
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    return "text/csv" in accepted and "application/json" not in accepted


def _budget(left: Left) -> BudgetLeft:
    return BudgetLeft(
        period=left.budget.period,
        limit=left.budget.seconds,
        used=left.used_ms / 1000,
        expected=left.expected_ms / 1000,
        remaining=left.remaining_ms / 1000,
        warning=left.is_low,
        resets_at=left.resets_at,
    )
