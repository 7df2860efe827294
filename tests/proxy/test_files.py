"""`/view` and `/internal/files` over real HTTP: one's own files, and of others' not even that they are there."""

import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.comfy.files import FileRef
from gateway.comfy.table import read
from gateway.identity.principal import Principal
from gateway.proxy.answer import Asked
from gateway.proxy.files import OwnFiles
from gateway.store import Store
from gateway.store.storage import Storage
from gateway.upstream.server import Server
from tests.e2e.graphs import picture as saving
from tests.house import House, house
from tests.proxy.own_files import NOBODY, own, picture, put, record, root_of, shown, view

PIXELS = picture(7)
TEMP = FileRef("temp", "", "ComfyUI_temp_abcde_00001_.png")


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway in front of the newer version."""
    async with house(tmp_path) as built:
        yield built


@pytest.mark.parametrize("type_", ["output", "input"])
async def test_own_files_are_seen_by_their_visible_names(both: House, type_: str) -> None:
    """What lies below the user's root is seen without it, and with it, which a client may have from a picture."""
    root = await root_of(both, "alice")
    await own(both, "alice", type_, "a b;ü.png", PIXELS)
    name = quote("a b;ü.png")
    for query in (
        f"filename={name}&type={type_}",
        f"filename={name}&type={type_}&subfolder=",
        f"filename={name}%20[{type_}]&type=temp",
        f"filename={name}&type={type_}&subfolder={root}",
        f"filename={name}&type={type_}&subfolder={root}/{root}&rand=0.5&t=1",
        f"filename=x/{name}&type={type_}&subfolder=./",
    ):
        for path in ("/view", "/api/view", "/%76iew"):
            said = await view(both, "alice", query, path=path)
            assert (said.status, said.body) == (200, PIXELS), query


async def test_files_keep_what_http_knows_of_them(both: House) -> None:
    """Range, HEAD, conditions, previews and channels work as at ComfyUI, and nothing is active or shared."""
    await own(both, "alice", "output", "a.png", PIXELS)
    whole = await view(both, "alice", "filename=a.png")
    assert whole.headers["Content-Type"] == "image/png"
    assert whole.headers["Cache-Control"].startswith("private")
    assert "Cookie" in whole.headers["Vary"]
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert whole.headers["Content-Security-Policy"].startswith("sandbox")
    part = await view(both, "alice", "filename=a.png", headers={"Range": "bytes=1-3"})
    assert (part.status, part.body) == (206, PIXELS[1:4])
    beyond = await view(both, "alice", "filename=a.png", headers={"Range": "bytes=99999-"})
    assert beyond.status == 416
    head = await view(both, "alice", "filename=a.png", method="HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(PIXELS)))
    same = await view(both, "alice", "filename=a.png", headers={"If-None-Match": whole.headers["ETag"]})
    assert (same.status, same.body) == (304, b"")
    preview = await view(both, "alice", "filename=a.png&preview=webp;50")
    assert preview.headers["Content-Type"] == "image/webp"
    channel = await view(both, "alice", "filename=a.png&channel=rgb")
    assert channel.body.startswith(b"\x89PNG")


async def test_I10_another_s_file_is_like_none(both: House) -> None:
    """I10, I37: what is another's answers, to the byte, as what does not exist, whatever way it is asked for."""
    root = await root_of(both, "alice")
    for type_ in ("output", "input", "temp"):
        await own(both, "alice", type_, "secret.png", PIXELS)
    await record(both, "alice", TEMP, PIXELS)
    put(both, FileRef("output", "", "old.png"), PIXELS)
    put(both, FileRef("input", "", "old.png"), PIXELS)
    await both.submit(saving(prefix="guessable"), by="alice")
    for method in ("GET", "HEAD"):
        absent = shown(await view(both, "bob", "filename=absent.png", method=method))
        assert absent[0] == 404
        for query in (
            *(f"filename=secret.png&type={type_}&subfolder={root}" for type_ in ("output", "input", "temp")),
            f"filename=secret.png&subfolder={NOBODY}",
            f"filename=secret.png&type=temp&subfolder={root.upper()}",
            *(f"filename=old.png&type={type_}" for type_ in ("output", "input", "temp")),
            f"filename={TEMP.filename}&type=temp",
            f"filename={TEMP.filename}%20[temp]",
            "filename=guessable_00001_.png",
            f"filename=secret.png&subfolder={root}&preview=webp;90",
            f"filename=secret.png&subfolder={root}&channel=a",
        ):
            assert shown(await view(both, "bob", query, method=method)) == absent, query
            conditional = {"Range": "bytes=0-1", "If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}
            assert shown(await view(both, "bob", query, method=method, headers=conditional)) == absent, query


async def test_I11_what_can_be_read_in_two_ways_is_refused(both: House) -> None:
    """I11: what could leave the folder, or name something else, is refused and asked of nobody."""
    await own(both, "alice", "output", "a.png", PIXELS)
    outside = str(both.simulator.directory / "output")
    for query, status in {
        "filename=a.png&filename=b.png": 400,
        "filename=a.png&type=output&type=input": 400,
        "filename=a.png&t%79pe=output&type=input": 400,
        "": 400,
        "filename=": 400,
        "filename=a.png%zz": 400,
        "filename=a.png%00": 400,
        "filename=../a.png": 403,
        "filename=/a.png": 403,
        "filename=a.png&subfolder=..": 403,
        "filename=a.png&subfolder=a/../b": 403,
        "filename=a.png&subfolder=%2e%2e": 403,
        f"filename=a.png&subfolder={quote(outside, safe='')}": 403,
        "filename=a.png&subfolder=..%5Cx": 403,
        "filename=a.png&type=../input": 403,
        "filename=a.png&type=models": 403,
        "filename=a.png&type=": 403,
        "filename=blake3:" + "0" * 64: 403,
        "filename=a.png%20[output]%20[input]": 403,
    }.items():
        said = await view(both, "alice", query)
        assert said.status == status, query
        assert said.json()["error"]["type"] in ("invalid_request", "file_not_allowed"), query


async def test_a_recorded_file_is_its_owner_s(both: House) -> None:
    """Temp files, and outputs outside the roots, are seen by the user for whom this boot recorded them."""
    loose = FileRef("output", "", "preview3d_1.glb")
    await record(both, "alice", TEMP, PIXELS)
    await record(both, "alice", loose, b"model")
    assert (await view(both, "alice", f"filename={TEMP.filename}&type=temp")).body == PIXELS
    assert (await view(both, "alice", f"filename={loose.filename}")).body == b"model"
    for query in (f"filename={TEMP.filename}&type=temp", f"filename={loose.filename}"):
        assert (await view(both, "bob", query)).status == 404
    assert (await both.ask("GET", "/internal/files/temp", by="bob")).json() == []


async def test_what_nobody_recorded_is_not_asked_for(one: House) -> None:
    """An unknown temp file is not asked of ComfyUI, which may be down."""
    await one.simulator.stop()
    assert (await view(one, "alice", "filename=x.png&type=temp")).status == 404
    assert (await view(one, "alice", "filename=x.png")).status == 503


async def test_previews_of_what_is_no_picture(both: House) -> None:
    """ComfyUI's 500 for a preview of a text is the client's 400."""
    await own(both, "alice", "output", "a.txt", b"text")
    said = await view(both, "alice", "filename=a.txt&preview=webp")
    assert said.status == 400
    assert said.json()["error"]["type"] == "invalid_request"


@pytest.mark.parametrize("name", ["x.svg", "x.html", "x.xhtml", "x.js", "x.mht", "x.css", "x.pdf", "x.xml"])
async def test_X01_X02_active_files_are_downloads(one: House, name: str) -> None:
    """X01, X02: what could run in the browser is offered as a download, in a sandbox, and is not sniffed."""
    await own(one, "alice", "output", name, b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")
    said = await view(one, "alice", f"filename={name}")
    assert said.status == 200
    assert said.headers["Content-Disposition"].startswith("attachment")
    assert said.headers["Content-Security-Policy"].startswith("sandbox")
    assert said.headers["X-Content-Type-Options"] == "nosniff"
    assert "script" not in said.headers["Content-Type"]


async def test_lists_are_one_s_own(both: House, version: str) -> None:
    """/internal/files names the caller's files alone, newest first, in each version's form."""
    await own(both, "alice", "input", "not-uploaded.png", PIXELS)
    await record(both, "alice", TEMP, PIXELS)
    first = await both.submit(saving(1, "first"), by="alice")
    second = await both.submit(saving(2, "sub/second"), by="alice")
    third = await both.submit(saving(3, "third"), by="alice")
    for prompt_id in (first, second, third):
        await both.history(prompt_id, by="alice")
    await both.submit(saving(4, "theirs"), by="bob")
    suffix = " [{}]" if version == "0.28.1" else ""
    for kind, names in {
        "output": ["third_00001_.png", "first_00001_.png"],
        "temp": [TEMP.filename],
        "input": [],
    }.items():
        said = await both.ask("GET", f"/internal/files/{kind}", by="alice")
        assert said.json() == [name + suffix.format(kind) for name in names]
    said = await both.ask("GET", "/internal/files/models", by="alice")
    assert (said.status, said.json()) == (400, {"error": "Invalid directory type"})


class Newest:
    """A server whose version lists types."""

    async def get(self) -> str:
        return "0.28.1"


async def test_shared_inputs_are_read_by_everybody(tmp_path: Path) -> None:
    """A shared name is the file at the top of input, for whoever has no upload of that name; it is in every list."""
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}") as store:
        user = await store.users.add("alice", role="member", now=1.0, random=secrets.token_bytes)
        server = Server("http://127.0.0.1:1")
        files = OwnFiles(
            store,
            server,
            storage=Storage(store, None),
            shared=lambda: {"s.png", "a.png"},
            version=Newest(),
            newest=1,
        )
        shared, mine = FileRef("input", "", "s.png"), FileRef("input", "", "a.png")
        await store.files.note_upload(user.id, mine, size=1, now=1)
        root = await store.roots.of(user.id)
        assert await files.find(user.id, shared) == shared
        assert await files.find(user.id, mine) == root.under(mine)
        assert await files.find(user.id, root.under(shared)) == shared
        for other in (FileRef("output", "", "s.png"), FileRef("input", "x", "s.png")):
            assert await files.find(user.id, other) == root.under(other)
        call = read("GET", b"/internal/files/input", b"")
        principal = Principal(user.id, "alice", "member", frozenset(), "token", None, None)
        listed = await files.list_files(Asked(call, principal, (), None))
        assert json.loads(listed.body) == ["a.png [input]", "s.png [input]"]
