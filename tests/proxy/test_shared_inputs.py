"""The setting `share_inputs` over real HTTP: who reads what lies at the top of ComfyUI's input folder."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image
from structlog.testing import capture_logs

from gateway.comfy.files import FileRef
from gateway.demo.server import Simulator
from gateway.proxy.shared_inputs import SharedInputs
from gateway.store import Store
from gateway.upstream.server import Server
from tests.house import House, house, until
from tests.proxy.own_files import VERSIONS, own, picture, put, view

LOGO, MINE = picture(1), picture(2)
NAME = "logo.png"


@asynccontextmanager
async def sharing(directory: Path, version: str, **flags: Any) -> AsyncIterator[House]:
    """A gateway whose ComfyUI had a file at the top of its input folder before it started."""
    top = directory / "comfyui" / "input"
    top.mkdir(parents=True)
    (top / NAME).write_bytes(LOGO)
    async with house(directory, version=version, **flags) as built:
        yield built


def picture_graph(prefix: str) -> dict[str, Any]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 5}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def loading(name: str) -> dict[str, Any]:
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "copy"}},
    }


async def picker(built: House, by: str) -> list[str]:
    """What the editor offers in LoadImage."""
    said = await built.ask("GET", "/object_info/LoadImage", by=by)
    names: list[str] = said.json()["LoadImage"]["input"]["required"]["image"][0]
    return names


async def loaded(built: House, by: str) -> Any:
    """The colour of the picture that LoadImage brings."""
    await built.history(await built.submit(loading(NAME), by=by), by=by)
    said = await view(built, by, "filename=copy_00001_.png")
    return Image.open(io.BytesIO(said.body)).convert("RGB").getpixel((0, 0))


async def listed(built: House, by: str) -> list[str]:
    names = (await built.ask("GET", "/internal/files/input", by=by)).json()
    return [name.removesuffix(" [input]") for name in names]


@pytest.mark.parametrize("version", VERSIONS)
async def test_shared_inputs_are_everybody_s(tmp_path: Path, version: str) -> None:
    """With share_inputs = true members read the file through LoadImage, /view, the list of files and the picker."""
    async with sharing(tmp_path, version, share_inputs=True) as built:
        for by in ("alice", "bob", "root"):
            said = await view(built, by, f"filename={NAME}&type=input")
            assert (said.status, said.body) == (200, LOGO)
            assert NAME in await picker(built, by) and NAME in await listed(built, by)
            entry = await built.history(await built.submit(loading(NAME), by=by), by=by)
            assert entry["status"]["status_str"] == "success"
        assert (await view(built, "alice", f"filename={NAME}&type=output")).status == 404


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("flags", [{}, {"share_inputs": False}])
async def test_without_it_nobody_sees_them(tmp_path: Path, version: str, flags: dict[str, Any]) -> None:
    """By default, and with share_inputs = false, the file is absent: 404, in no list, and refused to a workflow."""
    async with sharing(tmp_path, version, **flags) as built:
        assert (await view(built, "alice", f"filename={NAME}&type=input")).status == 404
        assert NAME not in await picker(built, "alice") and await listed(built, "alice") == []
        said = await built.ask("POST", "/prompt", by="alice", json={"prompt": loading(NAME)})
        assert said.status == 400 and list(said.json()["node_errors"]) == ["1"]


async def test_one_s_own_upload_wins(tmp_path: Path) -> None:
    """Whoever uploaded a file of that name reads that one; the others go on reading the shared one."""
    async with sharing(tmp_path, "0.28.1", share_inputs=True) as built:
        form = aiohttp.FormData()
        form.add_field("image", MINE, filename=NAME)
        said = await built.ask("POST", "/upload/image", by="alice", data=form)
        assert said.json()["name"] == NAME
        assert (await view(built, "alice", f"filename={NAME}&type=input")).body == MINE
        assert (await view(built, "bob", f"filename={NAME}&type=input")).body == LOGO
        assert await loaded(built, "alice") == (2, 2, 2) and await loaded(built, "bob") == (1, 1, 1)
        assert (await picker(built, "alice")).count(NAME) == (await listed(built, "alice")).count(NAME) == 1


async def test_what_lies_deeper_is_not_shared(tmp_path: Path) -> None:
    """Only the files at the top are shared: neither a folder's nor, above all, those of the users."""
    async with sharing(tmp_path, "0.28.1", share_inputs=True) as built:
        await own(built, "alice", "input", "secret.png", MINE)
        put(built, FileRef("input", "folder", "deep.png"), MINE)
        for query in ("filename=secret.png&type=input", "filename=deep.png&type=input&subfolder=folder"):
            assert (await view(built, "bob", query)).status == 404
        assert await picker(built, "bob") == [NAME]


@asynccontextmanager
async def asking(directory: Path, version: str) -> AsyncIterator[tuple[Simulator, Server, Store]]:
    """A ComfyUI, our side towards it, and a store that has met it."""
    simulator = Simulator(version=version, directory=directory)
    await simulator.start()
    server = Server(simulator.url)
    await server.start()
    async with await Store.open(f"sqlite:///{directory}/gateway.db") as store:
        await store.servers.client_id(server.url, lambda: "x")
        yield simulator, server, store
    await server.close()
    await simulator.stop()


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_newest_answer_counts(tmp_path: Path, version: str) -> None:
    """Names come and go with ComfyUI's list; while ComfyUI does not answer, they are those that it said last."""
    async with asking(tmp_path, version) as (simulator, server, store):
        shared, off = (SharedInputs(server, setting=setting, servers=store.servers) for setting in (True, False))
        top = tmp_path / "input"
        assert shared.names() == frozenset()
        (top / NAME).write_bytes(LOGO)
        (top / "a b;ü.png").write_bytes(LOGO)
        await shared.refresh()
        assert shared.names() == {NAME, "a b;ü.png"}
        (top / NAME).unlink()
        await shared.refresh()
        assert shared.names() == {"a b;ü.png"}
        await simulator.stop()
        await shared.refresh()
        assert shared.names() == {"a b;ü.png"}
        await off.refresh()
        assert off.names() == frozenset()
        assert await store.servers.shares_inputs(server.url) is None, "what is set is not decided"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("found", "decided"), [((), True), (("example.png",), True), ((NAME,), False), (("example.png", "a[1].png"), False)]
)
async def test_the_first_contact_decides(tmp_path: Path, version: str, found: tuple[str, ...], decided: bool) -> None:
    """Where it is not set, inputs are shared if none but ComfyUI's own are there when the gateway first meets the
    server; that is remembered, whatever is there later, and said once in the log."""
    async with asking(tmp_path, version) as (_, server, store):
        for name in found:
            (tmp_path / "input" / name).write_bytes(LOGO)
        (tmp_path / "input" / "3d").mkdir()
        with capture_logs() as said:
            shared = SharedInputs(server, setting=None, servers=store.servers)
            assert shared.names() == frozenset()
            await asyncio.gather(shared.refresh(), shared.refresh())
            assert shared.names() == (frozenset(found) if decided else frozenset())
            (tmp_path / "input" / "later.png").write_bytes(LOGO)
            for name in found:
                (tmp_path / "input" / name).unlink()
            again = SharedInputs(server, setting=None, servers=store.servers)
            await again.refresh()
            assert again.names() == (frozenset(("later.png",)) if decided else frozenset())
        assert await store.servers.shares_inputs(server.url) is decided
        lines = [line for line in said if line["event"] == "shared_inputs_decided"]
        assert [(line["share_inputs"], line["server"]) for line in lines] == [(decided, server.url)]


async def test_nobody_decides_while_comfyui_is_away(tmp_path: Path) -> None:
    """A server that does not answer, or a database that does not, leaves it undecided: nothing is shared, and the next
    answer decides."""
    async with asking(tmp_path, "0.28.1") as (simulator, server, store):
        (tmp_path / "input" / NAME).write_bytes(LOGO)
        await simulator.crash()
        shared = SharedInputs(server, setting=None, servers=store.servers)
        await shared.refresh()
        assert shared.names() == frozenset() and await store.servers.shares_inputs(server.url) is None
        await simulator.start()
        (tmp_path / "input" / NAME).unlink()
        await shared.refresh()
        assert await store.servers.shares_inputs(server.url) is True


async def test_what_an_administrator_brings_later_is_shared(tmp_path: Path) -> None:
    """In front of a fresh ComfyUI, without any setting, a file that comes later is everybody's."""
    async with house(tmp_path) as built:
        put(built, FileRef("input", "", NAME), LOGO)

        async def there() -> bool:
            return (await view(built, "bob", f"filename={NAME}&type=input")).body == LOGO

        await until(there)


async def test_no_user_puts_a_file_there(tmp_path: Path) -> None:
    """Neither an upload nor a workflow of anybody, an administrator's included, makes a file at the top of input/."""
    async with house(tmp_path) as built:
        for by in ("alice", "root"):
            for subfolder in ("", ".", "/", "..", "../../input", "users/.."):
                for name in ("up.png", "../up.png", "/up.png", "a/../../up.png"):
                    for path in ("/upload/image", "/upload/mask"):
                        form = aiohttp.FormData()
                        form.add_field("image", MINE, filename=name)
                        form.add_field("subfolder", subfolder)
                        form.add_field("overwrite", "true")
                        form.add_field("original_ref", '{"filename": "up.png", "type": "input"}')
                        await built.ask("POST", path, by=by, data=form)
            for prefix in ("../input/up", "up", "../../../input/up", "%year%/../../input/up"):
                graph = picture_graph(prefix)
                said = await built.ask("POST", "/prompt", by=by, json={"prompt": graph})
                if said.status == 200:
                    await built.history(said.json()["prompt_id"], by=by)
        top = built.simulator.directory / "input"
        assert [path.name for path in top.iterdir()] == ["users"]
