"""The query of GET /api/jobs."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.comfy.jobs import JobsQuery, JobsQueryError, JobView, jobs_page, parse_jobs_query, select_jobs

BASE = JobView(
    prompt_id="",
    number=0,
    prompt={},
    extra_data={},
    outputs_to_execute=(),
    state="completed",
    create_time=0,
)


def _view(name: str, **changes: Any) -> JobView:
    return replace(BASE, prompt_id=name, **changes)


VIEWS = [
    _view("run", state="in_progress", create_time=50, started=1, ended=999),
    _view("wait", state="pending", create_time=60),
    _view("a", create_time=10, started=100, ended=130, extra_data={"extra_pnginfo": {"workflow": {"id": "wf"}}}),
    _view("b", create_time=20, started=100, ended=110, state="failed"),
    _view("c", create_time=20, started=100, ended=120, state="cancelled"),
    _view("d", create_time=5, started=0, ended=0),
]


@pytest.mark.parametrize(
    ("query", "names", "total"),
    [
        ({}, ["wait", "run", "b", "c", "a", "d"], 6),
        ({"status": ""}, ["wait", "run", "b", "c", "a", "d"], 6),
        ({"sort_order": "asc"}, ["d", "a", "b", "c", "run", "wait"], 6),
        ({"sort_by": "execution_duration"}, ["a", "c", "b", "run", "wait", "d"], 6),
        ({"sort_by": "EXECUTION_DURATION", "sort_order": "ASC"}, ["run", "wait", "d", "b", "c", "a"], 6),
        ({"status": "failed, CANCELLED,"}, ["b", "c"], 2),
        ({"status": ","}, [], 0),
        ({"workflow_id": "wf"}, ["a"], 1),
        ({"workflow_id": ""}, ["wait", "run", "b", "c", "a", "d"], 6),
        ({"workflow_id": "other"}, [], 0),
        ({"limit": "2"}, ["wait", "run"], 6),
        ({"limit": "2", "offset": "4"}, ["a", "d"], 6),
        ({"offset": "5"}, ["d"], 6),
        ({"offset": "-3", "limit": " +1 "}, ["wait"], 6),
        ({"offset": "100"}, [], 6),
        ({"unknown": "x"}, ["wait", "run", "b", "c", "a", "d"], 6),
    ],
)
def test_selection(query: dict[str, str], names: list[str], total: int) -> None:
    """Filters, both orders, both sort keys and paging are those of ComfyUI 0.28.1; equal jobs keep their order."""
    views, count = select_jobs(VIEWS, parse_jobs_query(query))
    assert ([view.prompt_id for view in views], count) == (names, total)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            {"status": "nope"},
            "Invalid status value(s): nope. Valid values: pending, in_progress, completed, failed, cancelled",
        ),
        (
            {"status": "a,failed,b"},
            "Invalid status value(s): a, b. Valid values: pending, in_progress, completed, failed, cancelled",
        ),
        ({"sort_by": "name"}, "sort_by must be 'created_at' or 'execution_duration'"),
        ({"sort_by": ""}, "sort_by must be 'created_at' or 'execution_duration'"),
        ({"sort_order": "up"}, "sort_order must be 'asc' or 'desc'"),
        ({"limit": "0"}, "limit must be a positive integer"),
        ({"limit": "-1"}, "limit must be a positive integer"),
        ({"limit": "x"}, "limit must be an integer"),
        ({"limit": ""}, "limit must be an integer"),
        ({"limit": "1.5"}, "limit must be an integer"),
        ({"limit": "9" * 5000}, "limit must be an integer"),
        ({"offset": "x"}, "offset must be an integer"),
        ({"offset": "\uff11"}, "offset must be an integer"),
        ({"offset": "1_0"}, "offset must be an integer"),
    ],
)
def test_errors(query: dict[str, str], text: str) -> None:
    """A wrong query is answered with ComfyUI's own words."""
    with pytest.raises(JobsQueryError) as error:
        parse_jobs_query(query)
    assert error.value.body() == {"error": text}


def test_the_recorded_error(exchanges: dict[str, dict[str, Any]]) -> None:
    """The recorded answer to a wrong status is reproduced."""
    if "jobs.bad_status" in exchanges:
        with pytest.raises(JobsQueryError) as error:
            parse_jobs_query({"status": "nope"})
        assert error.value.body() == exchanges["jobs.bad_status"]["body"]["json"]


@pytest.mark.parametrize(
    ("shown", "offset", "limit", "total", "more"),
    [(3, 0, 3, 10, True), (3, 7, 3, 10, False), (0, 20, 3, 10, False), (6, 0, None, 6, False)],
)
def test_pagination(shown: int, offset: int, limit: int | None, total: int, more: bool) -> None:
    """There is more when the page does not reach the total; without a limit the limit is null."""
    page = jobs_page([BASE] * shown, offset=offset, limit=limit, total=total)
    assert page["pagination"] == {"offset": offset, "limit": limit, "total": total, "has_more": more}
    assert len(page["jobs"]) == shown


def test_default_query() -> None:
    """Without a query one asks for all jobs, newest first."""
    assert parse_jobs_query({}) == JobsQuery()
