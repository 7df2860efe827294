"""The caller's own files, listed and deleted, by a whole gateway that has the simulated ComfyUI's directory."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from gateway.comfy.files import FileRef
from gateway.identity.passwords import Passwords
from gateway.store import Store
from gateway.store.transactions import url_of
from tests.e2e.graphs import picture as picture_job
from tests.house import House, Said, house
from tests.isolation.things import form
from tests.proxy.own_files import own, picture, put, record, root_of, shown, view

FILES = "/gateway/api/v1/files"
MEBIBYTE = 1024 * 1024

pytestmark = pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning")


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway with the directory."""
    async with house(tmp_path, mounted=True) as built:
        yield built


@pytest.fixture
async def apart(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway without it."""
    async with house(tmp_path) as built:
        yield built


async def listed(built: House, by: str, **query: object) -> dict[str, object]:
    said = await built.ask("GET", f"{FILES}?{urlencode(query)}", by=by)
    assert said.status == 200, said.body
    return dict(said.json())


async def names(built: House, by: str, **query: object) -> list[str]:
    found = (await listed(built, by, **query))["files"]
    assert isinstance(found, list)
    return ["/".join(filter(None, (file["type"], file["subfolder"], file["filename"]))) for file in found]


async def delete(built: House, by: str | None, type_: str, filename: str, subfolder: str = "", **more: object) -> Said:
    query = urlencode({"type": type_, "filename": filename, "subfolder": subfolder})
    return await built.ask("DELETE", f"{FILES}?{query}", by=by, **more)


async def test_own_files_newest_first(one: House) -> None:
    """Files of every type with size and time, newest first, filtered by type and folder; and how much may be kept."""
    root = await root_of(one, "alice")
    for age, (type_, folder, name) in enumerate(
        (("output", "", "a.png"), ("input", "x", "b.png"), ("temp", "", "c.png"))
    ):
        path = put(one, FileRef(type_, f"{root}/{folder}".rstrip("/"), name), b"four")
        os.utime(path, (1000 - age, 1000 - age))
    await own(one, "bob", "output", "bobs.png", b"x")
    put(one, FileRef("output", "", "nobodys.png"), b"x")
    found = await listed(one, "alice")
    assert found == {
        "files": [
            {"type": "output", "subfolder": "", "filename": "a.png", "size": 4, "modified": 1000.0},
            {"type": "input", "subfolder": "x", "filename": "b.png", "size": 4, "modified": 999.0},
            {"type": "temp", "subfolder": "", "filename": "c.png", "size": 4, "modified": 998.0},
        ],
        "total": 3,
        "next": None,
        "storage": {"used": 12, "limit": 2048 * MEBIBYTE},
    }
    assert await names(one, "alice", type="input") == ["input/x/b.png"]
    assert await names(one, "alice", subfolder="") == ["output/a.png", "temp/c.png"]
    assert await names(one, "alice", subfolder="x", type="output") == []
    assert await names(one, "bob") == ["output/bobs.png"]


async def test_pages(one: House) -> None:
    """A page ends with the cursor of the next one, and what is deleted or made meanwhile moves nothing."""
    for number in range(5):
        await own(one, "alice", "output", f"{number}.png", b"x")
        path = one.simulator.directory / "output" / await root_of(one, "alice") / f"{number}.png"
        os.utime(path, (100 - number // 2, 100 - number // 2))
    first = await listed(one, "alice", limit=2)
    assert (first["total"], await names(one, "alice", limit=2)) == (5, ["output/0.png", "output/1.png"])
    await delete(one, "alice", "output", "1.png")
    await own(one, "alice", "output", "new.png", b"x")
    second = await listed(one, "alice", limit=2, cursor=first["next"])
    assert await names(one, "alice", limit=2, cursor=first["next"]) == ["output/2.png", "output/3.png"]
    assert await names(one, "alice", limit=2, cursor=second["next"]) == ["output/4.png"]
    assert (await listed(one, "alice", cursor=second["next"]))["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "type=models",
        "cursor=x",
        "cursor=%00",
        "cursor=" + base64.urlsafe_b64encode(b"[1]").decode(),
        "cursor=" + base64.urlsafe_b64encode(b'["a","b","c"]').decode(),
        "type=input&type=output",
    ],
)
async def test_queries_that_cannot_be_read(apart: House, query: str) -> None:
    """What is out of its bounds, no cursor, or there twice is 400 in the contract's shape."""
    said = await apart.ask("GET", f"{FILES}?{query}", by="alice")
    assert (said.status, said.json()["error"]["type"]) == (400, "invalid_request")


async def test_a_deleted_file_is_nowhere(one: House) -> None:
    """After a delete /view is 404, and neither pickers nor lists name the file."""
    for name in ("a.png", "b.png"):
        said = await one.ask("POST", "/upload/image", by="alice", data=form(picture(3), name))
        assert said.status == 200
    job = await one.submit(picture_job(7), by="alice")
    outputs = (await one.history(job, by="alice"))["outputs"]
    made = next(item for node in outputs.values() for item in node["images"] if item["type"] == "output")
    inside = made["subfolder"]
    assert (await delete(one, "alice", "input", "a.png")).status == 204
    assert (await delete(one, "alice", "output", made["filename"], inside)).status == 204
    assert (await view(one, "alice", "filename=a.png&type=input")).status == 404
    assert (await view(one, "alice", f"filename={made['filename']}&subfolder={quote(inside)}")).status == 404
    assert (await one.ask("GET", "/internal/files/input", by="alice")).json() == ["b.png [input]"]
    assert (await one.ask("GET", "/internal/files/output", by="alice")).json() == []
    info = (await one.ask("GET", "/object_info/LoadImage", by="alice")).json()
    assert info["LoadImage"]["input"]["required"]["image"][0] == ["b.png"]
    assert await names(one, "alice") == ["input/b.png"]
    assert (await one.history(job, by="alice"))["outputs"] == outputs, "the history says what was"


async def test_outputs_that_lie_elsewhere_stay_listed(one: House) -> None:
    """An output that is one's own by its record, outside one's folder, is in the list that the editor asks for, and
    cannot be deleted, because others write there too."""
    job = await one.submit(picture_job(7), by="alice")
    outputs = (await one.history(job, by="alice"))["outputs"]
    await record(one, "alice", FileRef("output", "", "r.glb"), b"x")
    assert (await delete(one, "alice", "output", "r.glb")).status == 404
    assert (one.simulator.directory / "output" / "r.glb").exists()
    made = [item["filename"] for node in outputs.values() for item in node["images"] if item["type"] == "output"]
    told = (await one.ask("GET", "/internal/files/output", by="alice")).json()
    assert told == [f"{name} [output]" for name in reversed(made)]


async def test_another_s_file_is_like_none(one: House) -> None:
    """Deleting another's file, in any words, answers as deleting what does not exist, and the file stays."""
    root = await root_of(one, "bob")
    await own(one, "bob", "output", "b.png", b"bob's")
    await own(one, "bob", "input", "b.png", b"bob's")
    await record(one, "bob", FileRef("temp", "", "t.png"), b"bob's")
    put(one, FileRef("output", "", "n.png"), b"nobody's")
    absent = shown(await delete(one, "alice", "output", "absent.png"))
    assert absent[0] == 404
    for type_, name, folder in (
        ("output", "b.png", ""),
        ("output", "b.png", root),
        ("input", "b.png", root),
        ("output", "n.png", ""),
        ("temp", "t.png", ""),
        ("output", root.removeprefix("users/"), "users"),
    ):
        assert shown(await delete(one, "alice", type_, name, folder)) == absent, (type_, name, folder)
    many = {
        "files": [{"type": "output", "subfolder": root, "filename": "b.png"}, {"type": "input", "filename": "b.png"}]
    }
    said = await one.ask("POST", f"{FILES}/delete", by="alice", json=many)
    assert said.json()["deleted"] == [] and len(said.json()["missing"]) == 2
    assert sorted(await names(one, "bob")) == ["input/b.png", "output/b.png"]
    assert (one.simulator.directory / "output" / "n.png").exists()
    assert (one.simulator.directory / "temp" / "t.png").exists()


@pytest.mark.parametrize(
    ("type_", "name", "folder"),
    [
        ("output", "../b.png", ""),
        ("output", "b.png", ".."),
        ("output", "b.png", "/etc"),
        ("output", "b.png", "a//b"),
        ("output", "..", ""),
        ("output", "a\\b.png", ""),
        ("output", "b.png [input]", ""),
        ("output", "x" * 256, ""),
    ],
)
async def test_names_that_lead_out_are_refused(one: House, type_: str, name: str, folder: str) -> None:
    """A name that is not canonical is `file_not_allowed`, alone and in a list, of which then nothing goes."""
    await own(one, "alice", "output", "good.png", b"x")
    said = await delete(one, "alice", type_, name, folder)
    assert (said.status, said.json()["error"]["type"]) == (403, "file_not_allowed")
    files = [
        {"type": "output", "filename": "good.png"},
        {"type": type_, "filename": name, "subfolder": folder},
    ]
    said = await one.ask("POST", f"{FILES}/delete", by="alice", json={"files": files})
    assert (said.status, said.json()["error"]["type"]) == (403, "file_not_allowed")
    assert await names(one, "alice") == ["output/good.png"]


async def test_several_at_once(one: House) -> None:
    """A list is deleted in one request; what was not there is told apart."""
    for name in ("a.png", "b.png"):
        await own(one, "alice", "output", name, b"x")
    files = [{"type": "output", "filename": name} for name in ("a.png", "b.png", "a.png", "c.png")]
    said = await one.ask("POST", f"{FILES}/delete", by="alice", json={"files": files})
    assert said.status == 200
    told = {kind: [file["filename"] for file in said.json()[kind]] for kind in ("deleted", "missing")}
    assert told == {"deleted": ["a.png", "b.png"], "missing": ["c.png"]}
    for body in ({"files": []}, {"files": files * 200}, {"files": [{"filename": "a.png"}]}, [], {}):
        said = await one.ask("POST", f"{FILES}/delete", by="alice", json=body)
        assert said.status == 400, body


async def test_deleting_at_the_same_time(one: House) -> None:
    """Of many deletes of one file exactly one finds it, and none fails."""
    await own(one, "alice", "output", "a.png", b"x")
    said = await asyncio.gather(*(delete(one, "alice", "output", "a.png") for _ in range(20)))
    assert sorted(answer.status for answer in said) == [204] + [404] * 19


async def test_T28_permissions(one: House) -> None:
    """T28: strangers get 401; a token that may read lists and deletes nothing; one that may submit deletes."""
    await own(one, "alice", "output", "a.png", b"x")
    assert (await one.ask("GET", FILES)).status == 401
    assert (await delete(one, None, "output", "a.png")).status == 401
    await one.user("alice", scopes=frozenset({"read"}))
    assert await names(one, "alice") == ["output/a.png"]
    one_file = {"files": [{"type": "output", "filename": "a.png"}]}
    for said in (
        await delete(one, "alice", "output", "a.png"),
        await one.ask("POST", f"{FILES}/delete", by="alice", json=one_file),
    ):
        assert (said.status, said.json()["error"]["type"]) == (403, "forbidden")
        assert said.json()["error"]["extra_info"] == {"permission": "submit"}
    await one.user("alice", scopes=frozenset({"submit"}))
    assert (await one.ask("GET", FILES, by="alice")).status == 403
    assert (await delete(one, "alice", "output", "a.png")).status == 204


async def test_a_cookie_needs_our_own_page(one: House) -> None:
    """With a session cookie deleting needs our own origin, and a list of files JSON."""
    async with await Store.open(url_of(one.settings)) as store:
        alice = await store.users.by_name("alice")
        assert alice is not None
        await store.users.set(alice.id, password_hash=Passwords().hash("her own"))
    fields = {"name": "alice", "password": "her own"}
    said = await one.ask("POST", "/gateway/login", data=fields, headers={"Origin": one.url})
    cookie = {"Cookie": said.headers["Set-Cookie"].split(";")[0]}
    await own(one, "alice", "output", "a.png", b"x")
    evil = {**cookie, "Origin": "http://evil.example"}
    body = b'{"files": [{"type": "output", "filename": "a.png"}]}'
    for headers in (cookie, evil, {**cookie, "Sec-Fetch-Site": "cross-site"}):
        for answer in (
            await delete(one, None, "output", "a.png", headers=headers),
            await one.ask("POST", f"{FILES}/delete", data=body, headers=headers),
        ):
            assert (answer.status, answer.json()["error"]["type"]) == (403, "csrf")
    assert (await one.ask("GET", FILES, headers=evil)).status == 403
    ours = {**cookie, "Origin": one.url}
    text = await one.ask("POST", f"{FILES}/delete", data=body, headers={**ours, "Content-Type": "text/plain"})
    assert text.status == 415
    typed = {**ours, "Content-Type": "application/json"}
    assert (await one.ask("POST", f"{FILES}/delete", data=body, headers=typed)).status == 200


async def test_without_the_directory(apart: House) -> None:
    """Without it the uploads and outputs that the database knows are listed, and deleting is refused in words."""
    await apart.ask("POST", "/upload/image", by="alice", data=form(picture(3), "a.png"))
    job = await apart.submit(picture_job(7), by="alice")
    outputs = (await apart.history(job, by="alice"))["outputs"]
    made = [item["filename"] for node in outputs.values() for item in node["images"] if item["type"] == "output"]
    found = await listed(apart, "alice")
    assert found["storage"] is None and found["total"] == 1 + len(made)
    assert await names(apart, "alice", type="input") == ["input/a.png"]
    assert await names(apart, "bob") == []
    for name in ("a.png", "absent.png"):
        said = await delete(apart, "alice", "input", name)
        assert (said.status, said.json()["error"]["type"]) == (503, "SERVICE_DISABLED")
        assert "data directory" in said.json()["error"]["message"]


async def test_the_document_says_it_all(apart: House) -> None:
    """The routes are in the OpenAPI document with their parameters and refusals."""
    paths = (await apart.ask("GET", "/gateway/openapi.json", by="alice")).json()["paths"]
    assert {"get", "delete"} == set(paths[FILES]) and set(paths[f"{FILES}/delete"]) == {"post"}
    assert {one["name"] for one in paths[FILES]["get"]["parameters"]} == {"type", "subfolder", "limit", "cursor"}
    assert {"204", "401", "403", "404", "503"} <= set(paths[FILES]["delete"]["responses"])
