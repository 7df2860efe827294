"""`GET /gateway/api/v1/usage`, through the whole gateway."""

import csv
import io
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.graphs import picture, slow
from tests.e2e.test_limits import limit
from tests.house import House, Said, house
from tests.isolation.things import form

USAGE = "/gateway/api/v1/usage"

pytestmark = pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning")


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as built:
        yield built


async def usage(one: House, by: str, query: str = "") -> dict[str, Any]:
    said = await one.ask("GET", USAGE + query, by=by)
    assert said.status == 200, said.body
    return dict(said.json())


async def upload(one: House, by: str, content: bytes) -> None:
    said = await one.ask("POST", "/upload/image", by=by, data=form(content, "a.png"))
    assert said.status == 200, said.body


def cells(said: Said) -> list[dict[str, str]]:
    assert said.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert said.headers["Content-Disposition"].startswith("attachment; filename=")
    return list(csv.DictReader(io.StringIO(said.body.decode())))


async def test_ones_own_usage(one: House) -> None:
    """Jobs, failures, GPU seconds and bytes by day, token and model, and their sum; of the caller only."""
    await one.history(await one.submit(slow("a", seconds=0.3), by="alice"), by="alice")
    await one.history(await one.submit(picture(), by="bob"), by="bob")
    await upload(one, "alice", b"x" * 1000)
    found = await usage(one, "alice")
    today = datetime.fromtimestamp(time.time(), UTC).date()
    assert (found["from"], found["to"]) == (str(today - timedelta(days=29)), str(today))
    assert found["budgets"] == []
    (row,) = found["rows"]
    assert (row["user"], row["token"], row["model"], row["day"]) == ("alice", "test", None, str(today))
    assert row["token_id"] and row["token_id"] in one.tokens["alice"]
    assert (row["jobs"], row["failed"], row["cancelled"], row["uploaded_bytes"]) == (1, 0, 0, 1000)
    assert 0.3 <= row["gpu_seconds"] < 20
    assert found["total"] == {key: row[key] for key in found["total"]}
    assert (await usage(one, "bob"))["total"]["uploaded_bytes"] == 0


async def test_bytes_of_files_that_went_out(one: House) -> None:
    """What `/view` sent counts for whoever asked, in pieces, too; HEAD, refusals and lists do not."""
    history = await one.history(await one.submit(picture(), by="alice"), by="alice")
    (image,) = next(iter(history["outputs"].values()))["images"]
    address = f"/view?filename={image['filename']}&type={image['type']}&subfolder={image['subfolder']}"
    whole = await one.ask("GET", address, by="alice")
    piece = await one.ask("GET", address, by="alice", headers={"Range": "bytes=0-9"})
    assert (whole.status, piece.status, len(piece.body)) == (200, 206, 10)
    await one.ask("HEAD", address, by="alice")
    assert (await one.ask("GET", address, by="bob")).status == 404
    await one.ask("GET", "/history", by="alice")
    assert one.gateway.parts is not None
    await one.gateway.parts.egress.flush()
    assert (await usage(one, "alice"))["total"]["sent_bytes"] == len(whole.body) + 10
    assert (await usage(one, "bob"))["total"]["sent_bytes"] == 0


async def test_what_comes_of_a_token_counts_for_it(one: House) -> None:
    """A job that was submitted with an access token counts for the API token that this was got with."""
    grant = {"grant_type": "password", "username": "alice", "password": one.tokens["alice"]}
    bought = (await one.ask("POST", "/gateway/api/v1/auth/token", data=grant)).json()["access_token"]
    bearer = {"Authorization": f"Bearer {bought}"}
    said = await one.ask("POST", "/prompt", headers=bearer, json={"prompt": picture()})
    await one.history(said.json()["prompt_id"], by="alice")
    (row,) = (await usage(one, "alice"))["rows"]
    assert (row["jobs"], row["token"]) == (1, "test")


async def test_administrators_see_everybody(one: House) -> None:
    """Administrators see all users, or the one they name; members see nobody else, whether or not there is such a
    user."""
    for name in ("alice", "bob"):
        await one.history(await one.submit(picture(), by=name), by=name)
    everybody = await usage(one, "root")
    assert [row["user"] for row in everybody["rows"]] == ["alice", "bob"]
    assert (everybody["total"]["jobs"], everybody["budgets"]) == (2, None)
    await limit(one, "bob", gpu_seconds_per_week=50)
    bobs = await usage(one, "root", "?user=Bob")
    assert [row["user"] for row in bobs["rows"]] == ["bob"]
    assert [budget["period"] for budget in bobs["budgets"]] == ["week"]
    assert (await one.ask("GET", f"{USAGE}?user=nobody", by="root")).status == 404
    assert (await usage(one, "alice", "?user=ALICE"))["total"]["jobs"] == 1
    answers = [await one.ask("GET", f"{USAGE}?user={name}", by="alice") for name in ("bob", "nobody")]
    assert [said.status for said in answers] == [403, 403]
    assert answers[0].json()["error"] == answers[1].json()["error"]
    assert (await one.ask("GET", USAGE)).status == 401


async def test_the_budgets_stand_beside(one: House) -> None:
    """The usage of one user says of each budget what is used and held back, what remains, and when it begins anew."""
    await limit(one, "alice", gpu_seconds_per_day=100, gpu_seconds_per_month=11)
    await one.submit(slow("a", seconds=5), by="alice")
    day, month = (await usage(one, "alice"))["budgets"]
    assert (day["period"], day["limit"], day["used"], day["expected"]) == ("day", 100, 0.0, 10.0)
    assert (day["remaining"], day["warning"], month["warning"]) == (90.0, False, True)
    assert day["resets_at"] % 86400 == 0 and 0 < day["resets_at"] - time.time() <= 86400


async def test_as_csv(one: House) -> None:
    """The same as CSV, asked for by `format` or by `Accept`, with heads; JSON for whoever takes both."""
    await one.history(await one.submit(picture(), by="alice"), by="alice")
    (row,) = (await usage(one, "alice"))["rows"]
    for options in ({"path": f"{USAGE}?format=csv"}, {"path": USAGE, "headers": {"Accept": "text/csv"}}):
        found = cells(await one.ask("GET", by="alice", **options))
        assert found == [{key: "" if value is None else str(value) for key, value in row.items()} | found[0]]
        assert (found[0]["user"], found[0]["jobs"]) == ("alice", "1")
    both = await one.ask("GET", USAGE, by="alice", headers={"Accept": "application/json, text/csv"})
    assert both.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "query",
    [
        "?from=2026-02-01&to=2026-01-01",
        "?from=2020-01-01&to=2026-01-01",
        "?from=yesterday",
        "?format=xml",
        "?from=2026-01-01&from=2026-01-02",
        "?from=2026-02-30",
    ],
)
async def test_days_that_are_none(one: House, query: str) -> None:
    """Days in the wrong order, too many of them, what is no day, and a parameter given twice are 400."""
    assert (await one.ask("GET", USAGE + query, by="alice")).status == 400


async def test_other_days(one: House) -> None:
    """Only the days that were asked for are in the answer, the first and the last included."""
    await one.history(await one.submit(picture(), by="alice"), by="alice")
    today = datetime.fromtimestamp(time.time(), UTC).date()
    yesterday = today - timedelta(days=1)
    assert (await usage(one, "alice", f"?from={yesterday}&to={yesterday}"))["rows"] == []
    assert (await usage(one, "alice", "?to=1969-01-01"))["rows"] == []
    assert len((await usage(one, "alice", f"?from={yesterday}&to={today}"))["rows"]) == 1
