"""The routes that the gateway answers itself, over real HTTP, in the shapes of the recordings, for the caller only."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.proxy import answers
from gateway.proxy.answers import OwnAnswers
from tests.e2e.graphs import picture, slow
from tests.house import House, house, until

RECORDINGS = Path(__file__).parent.parent / "recordings"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(params=["0.28.1", "0.3.64"])
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A gateway in front of each version."""
    async with house(tmp_path, version=request.param) as built:
        yield built


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway in front of the newer version."""
    async with house(tmp_path) as built:
        yield built


def recorded(name: str) -> Any:
    for line in (RECORDINGS / "0.28.1" / "http.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["name"] == name:
            return entry["body"]["json"]
    raise AssertionError(f"no recording {name}")


def shape(value: Any) -> Any:
    """The keys and kinds of a JSON value, without its texts and numbers."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        plain = all(isinstance(item, str) for item in value)
        return "list of texts" if plain else [shape(item) for item in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


async def test_queue_and_history_have_comfyuis_shapes(both: House) -> None:
    """/queue, /history and /history/{id} are what ComfyUI would answer, also in front of the old version."""
    running = await both.submit(slow("a", seconds=0.5, previews=False), by="alice", client_id="me")
    waiting = await both.submit(slow("b", seconds=0.1, previews=False), by="alice")
    await until(lambda: both.simulator.queue_running == [running])
    queue = (await both.ask("GET", "/queue", by="alice")).json()
    assert [item[1] for item in queue["queue_running"]] == [running]
    assert [item[1] for item in queue["queue_pending"]] == [waiting]
    item = queue["queue_running"][0]
    assert item[0] == 0
    assert item[3] == {"client_id": "me", "create_time": item[3]["create_time"]}
    assert item[4] == ["3"]
    entry = await both.history(running, by="alice")
    told = recorded("history.slow_plain_previews")
    expected = shape(next(iter(told.values())))
    expected["prompt"] = shape(entry["prompt"])
    assert shape(entry) == expected
    await both.history(waiting, by="alice")
    everything = (await both.ask("GET", "/history", by="alice")).json()
    assert list(everything) == [running, waiting], "the oldest end first"
    assert list((await both.ask("GET", "/history?max_items=1", by="alice")).json()) == [waiting]
    assert list((await both.ask("GET", "/history?max_items=1&offset=0", by="alice")).json()) == [running]


async def test_jobs_have_the_new_comfyuis_shapes_in_front_of_both(both: House) -> None:
    """/api/jobs works in front of an old ComfyUI too, so today's editor does."""
    prompt_id = await both.submit(picture(1), by="alice", extra_data={"extra_pnginfo": {"workflow": {"id": "wf-1"}}})
    await both.history(prompt_id, by="alice")
    page = (await both.ask("GET", "/api/jobs?status=completed&limit=3&offset=0", by="alice")).json()
    assert page["pagination"] == {"offset": 0, "limit": 3, "total": 1, "has_more": False}
    job = page["jobs"][0]
    assert shape({**job, "workflow_id": "x"}) == shape({**recorded("jobs")["jobs"][0], "workflow_id": "x"})
    assert job["workflow_id"] == "wf-1"
    detail = (await both.ask("GET", f"/api/jobs/{prompt_id}", by="alice")).json()
    assert set(detail) >= {"id", "status", "outputs", "execution_status", "workflow", "preview_output"}
    assert (await both.ask("GET", f"/api/api/jobs/{prompt_id}", by="alice")).json() == detail
    bad = await both.ask("GET", "/api/jobs?status=nope", by="alice")
    assert (bad.status, bad.json()) == (400, recorded("jobs.bad_status"))


async def test_what_is_somebody_elses_looks_like_what_does_not_exist(one: House) -> None:
    """I03 I04 I09: another's job is answered exactly as an unknown one, on every route that takes an id."""
    theirs = await one.submit(picture(2), by="bob")
    await one.history(theirs, by="bob")
    for path in ("/history/{}", "/api/history/{}", "/api/jobs/{}"):
        asked, unknown = [await one.ask("GET", path.format(name), by="alice") for name in (theirs, UNKNOWN)]
        assert (asked.status, asked.body) == (unknown.status, unknown.body)
    asked, unknown = [await one.ask("POST", f"/api/jobs/{name}/cancel", by="alice") for name in (theirs, UNKNOWN)]
    assert (asked.status, asked.body) == (unknown.status, unknown.body) == (200, b'{"cancelled":false}')
    assert (await one.ask("GET", "/history", by="alice")).json() == {}
    assert (await one.ask("GET", "/api/jobs", by="alice")).json()["jobs"] == []


async def test_nobody_ends_anothers_job(one: House) -> None:
    """I05 I06 I07 Q15 Q16: deletes, clears, cancels and interrupts, bare or by id, reach one's own jobs only."""
    running = await one.submit(slow("x", seconds=0.8, previews=False), by="bob")
    waiting = [await one.submit(slow(f"y{n}", seconds=0.05, previews=False), by="bob") for n in range(3)]
    await until(lambda: one.simulator.queue_running == [running])
    theirs = [running, *waiting]
    for path, body in (
        ("/interrupt", None),
        ("/interrupt", {"prompt_id": running}),
        ("/queue", {"clear": True}),
        ("/queue", {"delete": theirs}),
        ("/history", {"clear": True}),
        ("/history", {"delete": theirs}),
        ("/clear", None),
        ("/api/jobs/cancel", {"job_ids": theirs}),
        (f"/api/jobs/{running}/cancel", None),
    ):
        assert (await one.ask("POST", path, by="alice", json=body)).status == 200
    for prompt_id in theirs:
        assert (await one.history(prompt_id, by="bob"))["status"]["status_str"] == "success"
    assert len((await one.ask("GET", "/history", by="bob")).json()) == 4


async def test_counts_are_ones_own(one: House) -> None:
    """I01 I02: /prompt and /queue count the caller's jobs only."""
    for n in range(3):
        await one.submit(slow(f"c{n}", seconds=0.2, previews=False), by="bob")
    assert (await one.ask("GET", "/prompt", by="alice")).json() == {"exec_info": {"queue_remaining": 0}}
    assert (await one.ask("GET", "/prompt", by="bob")).json()["exec_info"]["queue_remaining"] > 0
    assert (await one.ask("GET", "/queue", by="alice")).json() == {"queue_running": [], "queue_pending": []}


async def test_deleting_waiting_jobs_leaves_no_history(one: House) -> None:
    """POST /queue delete and clear take waiting jobs out; as in ComfyUI, no history of them is left."""
    running = await one.submit(slow("r", seconds=0.6, previews=False), by="alice")
    first, second, third = [await one.submit(slow(f"w{n}", previews=False), by="alice") for n in range(3)]
    await one.ask("POST", "/queue", by="alice", json={"delete": [first, UNKNOWN]})
    queue = (await one.ask("GET", "/queue", by="alice")).json()
    assert [item[1] for item in queue["queue_pending"]] == [second, third]
    await one.ask("POST", "/api/queue", by="alice", json={"clear": True})
    await one.history(running, by="alice")
    assert list((await one.ask("GET", "/history", by="alice")).json()) == [running]
    assert one.simulator.queue_pending == []


async def test_the_history_can_be_cleared(one: House) -> None:
    """POST /history delete and clear take entries out of the caller's sight."""
    ids = [await one.submit(picture(n), by="alice") for n in range(3)]
    for prompt_id in ids:
        await one.history(prompt_id, by="alice")
    await one.ask("POST", "/history", by="alice", json={"delete": [ids[1]]})
    assert list((await one.ask("GET", "/history", by="alice")).json()) == [ids[0], ids[2]]
    assert (await one.ask("GET", f"/api/jobs/{ids[1]}", by="alice")).status == 404
    await one.ask("POST", "/history", by="alice", json={"clear": True})
    assert (await one.ask("GET", "/history", by="alice")).json() == {}


async def test_the_whole_history_can_be_polled(one: House) -> None:
    """An unchanged /history is a 304 to whoever has its ETag, and a new one when anything changed."""
    await one.history(await one.submit(picture(7), by="alice"), by="alice")
    first = await one.ask("GET", "/history", by="alice")
    again = await one.ask("GET", "/history", by="alice", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert "private" in first.headers["Cache-Control"]
    await one.history(await one.submit(picture(8), by="alice"), by="alice")
    changed = await one.ask("GET", "/history", by="alice", headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status, len(changed.json())) == (200, 2)


@pytest.mark.parametrize("query", ["max_items=abc", "offset=x", "max_items=1&max_items=2"])
async def test_E15_a_history_query_that_makes_no_sense_is_400(one: House, query: str) -> None:
    """Numbers that are none, and duplicates, are refused; absurd ones are bounded."""
    assert (await one.ask("GET", f"/history?{query}", by="alice")).status == 400
    assert (await one.ask("GET", "/history?max_items=-1", by="alice")).json() == {}
    assert (await one.ask("GET", "/history?offset=1000000000&max_items=99999999999", by="alice")).json() == {}


@pytest.mark.parametrize("query", ["offset=9223372036854775808", "offset=99999999999999999999"])
async def test_E15_a_history_query_beyond_all_jobs_is_an_empty_page(one: House, query: str) -> None:
    """`offset=1e9` and more is bounded: no number makes the database fail."""
    answer = await one.ask("GET", f"/history?{query}", by="alice")
    assert (answer.status, answer.json()) == (200, {})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/queue", '{"delete": [%s]}'),
        ("/history", '{"delete": [%s]}'),
        ("/interrupt", '{"prompt_id": %s}'),
        ("/api/jobs/cancel", '{"job_ids": [%s]}'),
    ],
)
async def test_an_id_that_is_a_thousand_lists_is_400(one: House, path: str, body: str) -> None:
    """Wrong types are a 400: Python cannot even write down so deep a list."""
    answer = await one.ask("POST", path, by="alice", data=body % ("[" * 1000 + "]" * 1000))
    assert answer.status == 400, answer.body


async def test_E15_a_large_history_is_not_kept_in_memory(one: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded: each way to ask for a history of many megabytes would else be kept, up to 64 times."""
    monkeypatch.setattr(answers, "LARGEST_CACHED", 100)
    kept: list[str] = []
    monkeypatch.setattr(OwnAnswers, "_remember", lambda _self, stamp, _body: kept.append(stamp))
    assert (await one.ask("GET", "/history", by="alice")).json() == {}
    assert len(kept) == 1
    done = await one.submit(picture(), by="alice")
    await until(lambda: done in one.simulator.history)
    async with asyncio.timeout(10):
        while not (await one.ask("GET", "/history", by="alice")).json():
            kept.clear()
    assert kept == []


async def test_a_clients_own_prompt_id_is_kept_and_never_taken_twice(one: House) -> None:
    """Some clients choose the id and compare it; a used one is 409, another form 400."""
    mine = "6f1e9a52-5c3a-4b0e-9a34-0c7e2f6f9d11"
    assert await one.submit(picture(9), by="alice", prompt_id=mine) == mine
    taken = await one.ask("POST", "/prompt", by="bob", json={"prompt": picture(9), "prompt_id": mine})
    assert (taken.status, taken.json()["error"]["type"]) == (409, "prompt_id_taken")
    odd = await one.ask("POST", "/prompt", by="bob", json={"prompt": picture(9), "prompt_id": "../../x"})
    assert odd.status == 400


async def test_numbers_count_ones_own_jobs(one: House) -> None:
    """Clients see their own counter as `number`; `front` is the front of one's own jobs."""
    numbers = []
    for fields in ({}, {}, {"front": True}):
        said = await one.ask("POST", "/prompt", by="alice", json={"prompt": picture(1), **fields})
        numbers.append(said.json()["number"])
    assert numbers == [0, 1, -2]
    said = await one.ask("POST", "/prompt", by="bob", json={"prompt": picture(1)})
    assert said.json()["number"] == 0


async def test_I34_secrets_are_neither_shown_nor_stored(one: House) -> None:
    """Keys sent with a job reach ComfyUI and appear in no answer and not in the database."""
    secret = "sk-very-secret-key"
    extra = {"api_key_comfy_org": secret, "auth_token_comfy_org": secret}
    await one.submit(slow("s", seconds=0.3, previews=False), by="alice")
    prompt_id = await one.submit(slow("t", seconds=0.05, previews=False), by="alice", extra_data=extra)
    for path in ("/queue", "/api/jobs", f"/api/jobs/{prompt_id}"):
        assert secret not in (await one.ask("GET", path, by="alice")).body.decode()
    await one.history(prompt_id, by="alice")
    assert secret not in (await one.ask("GET", "/history", by="alice")).body.decode()
    for file in (one.settings.data_dir).iterdir():
        assert secret.encode() not in await asyncio.to_thread(file.read_bytes)


async def test_comfyui_down_is_503_with_retry_after(one: House) -> None:
    """Submits and whatever needs ComfyUI are refused with `no_server_available`; what the ledger knows is still
    answered."""
    prompt_id = await one.submit(picture(3), by="alice")
    await one.history(prompt_id, by="alice")
    await one.simulator.crash()
    await until(lambda: not (one.gateway.works and one.gateway.works.connected))
    for method, path, body in (("POST", "/prompt", {"prompt": picture(4)}), ("GET", "/object_info", None)):
        said = await one.ask(method, path, by="alice", json=body)
        assert (said.status, said.json()["error"]["type"]) == (503, "no_server_available")
        assert int(said.headers["Retry-After"]) > 0
    assert prompt_id in (await one.ask("GET", "/history", by="alice")).json()
    await one.simulator.start()
    await until(lambda: bool(one.gateway.works and one.gateway.works.connected))
    await one.history(await one.submit(picture(5), by="alice"), by="alice")


async def test_what_is_off_says_so(one: House) -> None:
    """Assets and tags are answered as switched off, folder paths as none, users in the single-user form."""
    said = await one.ask("GET", "/api/assets", by="alice")
    assert (said.status, said.json()["error"]["type"]) == (503, "SERVICE_DISABLED")
    assert (await one.ask("GET", "/internal/folder_paths", by="alice")).json() == {}
    users = (await one.ask("GET", "/api/users", by="alice")).json()
    assert shape(users) == shape(recorded("root.users"))
