"""The simulated server shows a browser something: its own small page, or ComfyUI's frontend where that is installed."""

import re
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession

from gateway.demo.server import Simulator
from tests.demo.talking import Talk

FRONTEND = Path(sys.modules[Simulator.__module__].__file__ or "").parent / "frontend"


@pytest.fixture
def no_frontend_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if ComfyUI's frontend were not installed."""
    monkeypatch.setitem(sys.modules, "comfyui_frontend_package", None)


async def test_page(no_frontend_package: None, client: ClientSession) -> None:
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


async def test_comfyui_frontend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client: ClientSession) -> None:
    """Where ComfyUI's frontend package can be imported, its static files are served instead."""
    static = tmp_path / "comfyui_frontend_package" / "static"
    (static / "assets").mkdir(parents=True)
    (static.parent / "__init__.py").touch()
    (static / "index.html").write_text("theirs", encoding="utf-8")
    (static / "assets" / "x.js").write_text("//", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    server = Simulator()
    await server.start()
    talk = Talk(server, client)
    assert await talk.get("/") == (200, b"theirs")
    async with client.get(f"{server.url}/assets/x.js") as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    await server.stop()
