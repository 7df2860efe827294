"""`comfy-gateway usage`: what users used, by day, token and model. It does not know how it is counted."""

import asyncio
import re
import time
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

import typer

from gateway.api.usage import number, total, usage_csv
from gateway.cli.limits import role_of
from gateway.cli.moments import seconds
from gateway.cli.place import ConfigFile, DataDir, note, opened, settings_of, table, user_named
from gateway.config import Settings
from gateway.errors import InvalidRequest
from gateway.policy.budgets import Left, budgets, moment
from gateway.store import Store, User
from gateway.store.books import Used

MOST_ROWS: Final = 1_000_000
_COUNTED: Final = ("JOBS", "FAILED", "CANCELLED", "GPU SECONDS", "UPLOADED BYTES", "SENT BYTES")
_HEADS: Final = ("DAY", "USER", "TOKEN", "MODEL", *_COUNTED)


def usage(
    user: Annotated[str | None, typer.Argument(metavar="[USER]")] = None,
    since: Annotated[
        str, typer.Option(metavar="30d", help="How far back, or a first day such as 2026-01-31; days are those of UTC.")
    ] = "30d",
    csv: Annotated[bool, typer.Option("--csv", help="For spreadsheets and scripts.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """What users, or one user, used: by day, token and model."""
    today = datetime.fromtimestamp(time.time(), UTC).date()
    rows, left = asyncio.run(_found(settings_of(config, data_dir), user, first=_first(since, today), last=today))
    if csv:
        typer.echo(usage_csv(rows), nl=False)
        return
    table(_HEADS, *(_cells(row) for row in rows), _total(rows))
    for one in left:
        note(_budget(one))


async def _found(
    settings: Settings, name: str | None, *, first: date, last: date
) -> tuple[list[Used], tuple[Left, ...]]:
    async with opened(settings) as store:
        user = None if name is None else await user_named(store, name)
        user_id = None if user is None else user.id
        rows = await store.books.used(first=number(first), last=number(last), user_id=user_id, most=MOST_ROWS)
        return rows, () if user is None else await _left(settings, store, user)


async def _left(settings: Settings, store: Store, user: User) -> tuple[Left, ...]:
    return await store.books.left(user.id, budgets(role_of(settings, user)), now=time.time())


def _first(text: str, today: date) -> date:
    """The first day, from a date or a duration. Raises InvalidRequest."""
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise InvalidRequest(f"There is no day {text}.") from None
    return today - timedelta(days=max(0, (seconds(text) - 1) // 86400))


def _budget(left: Left) -> str:
    limit, per, anew = left.budget.seconds, left.budget.period, moment(left.resets_at)
    used, expected = left.used_ms / 1000, left.expected_ms / 1000
    return f"Budget: {limit} GPU seconds a {per}: {used:.1f} used, {expected:.1f} expected; anew at {anew}."


def _cells(row: Used) -> tuple[str, ...]:
    day = date(1970, 1, 1) + timedelta(days=row.day)
    token = row.token or row.token_id or "-"
    return (str(day), row.user, token, row.model or "-", *_counts([row]))


def _total(rows: list[Used]) -> tuple[str, ...]:
    return ("TOTAL", "", "", "", *_counts(rows))


def _counts(rows: list[Used]) -> tuple[str, ...]:
    sums = total(rows)
    counted = (sums.jobs, sums.failed, sums.cancelled)
    return (*map(str, counted), f"{sums.gpu_seconds:.1f}", str(sums.uploaded_bytes), str(sums.sent_bytes))
