"""The simulated server shows a browser something: its own small page, or the frontend that it is given."""

import json
import re
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession

from gateway.demo.server import Simulator
from tests.demo.recorded_session import VERSIONS
from tests.demo.talking import Talk

FRONTEND = Path(sys.modules[Simulator.__module__].__file__ or "").parent / "frontend"


async def test_page(client: ClientSession) -> None:
    """Without ComfyUI's frontend a page of its own is served, at / and at /api/, and whatever it refers to is there."""
    server = Simulator()
    await server.start()
    talk = Talk(server, client)
    status, page = await talk.get("/")
    assert (status, await talk.get("/api/")) == (200, (200, page))
    referred = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
    assert referred
    for path in referred:
        assert (await talk.get(f"/{path}"))[0] == 200
    await server.stop()


@pytest.mark.parametrize("name", ["index.html", "assets/page.js"])
def test_addresses_are_relative(name: str) -> None:
    """The page asks only relative addresses, so that it works below a path too."""
    text = (FRONTEND / name).read_text(encoding="utf-8")
    assert not re.findall(r"""["'`(](?:/[a-z]|https?:|wss?:)""", text)


@pytest.mark.parametrize("version", VERSIONS)
async def test_given_frontend(version: str, tmp_path: Path, client: ClientSession) -> None:
    """The files of a frontend's folder are served instead of the page, with the templates that a frontend asks for."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("theirs", encoding="utf-8")
    (tmp_path / "assets" / "x.js").write_text("//", encoding="utf-8")
    server = Simulator(version=version, front_end_root=tmp_path)
    await server.start()
    talk = Talk(server, client)
    assert await talk.get("/") == (200, b"theirs")
    assert (await talk.get("/assets/x.js"))[0] == 200
    assert (await talk.get("/templates/index.json"))[0] == 200
    async with client.get(f"{server.url}/assets/x.js") as answer:
        assert answer.headers["Cache-Control"] == ("no-store" if version == "0.28.1" else "no-cache")
    await server.stop()


def test_a_folder_that_is_no_frontend(tmp_path: Path) -> None:
    """A folder without a page in it is refused at once."""
    with pytest.raises(FileNotFoundError):
        Simulator(front_end_root=tmp_path)


async def test_blueprint(client: ClientSession) -> None:
    """The one subgraph blueprint holds what a frontend looks for: a node whose type is the id of a subgraph."""
    server = Simulator()
    await server.start()
    talk = Talk(server, client)
    (name,) = json.loads((await talk.get("/global_subgraphs"))[1])
    blueprint = json.loads(json.loads((await talk.get(f"/global_subgraphs/{name}"))[1])["data"])
    assert [node["type"] for node in blueprint["nodes"]] == [one["id"] for one in blueprint["definitions"]["subgraphs"]]
    await server.stop()
