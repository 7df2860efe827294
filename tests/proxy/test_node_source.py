"""How often ComfyUI is asked for its nodes, and what happens when it does not answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.errors import UpstreamFault
from gateway.proxy import node_source
from gateway.proxy.node_source import KEPT_SECONDS, NodeSource
from gateway.upstream.server import Server
from tests.house import until
from tests.raw_server import Connection, Fake


@dataclass
class World:
    """A source in front of a fake Fake, whose time and connection the test moves."""

    comfyui: Fake
    source: NodeSource
    time: float = 1000.0
    connection: object = None

    def says(self, answer: object, *, raw: bytes | None = None) -> None:
        body = json.dumps(answer).encode() if raw is None else raw

        async def script(connection: Connection) -> None:
            await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        self.comfyui.script = script

    def hangs(self, gate: asyncio.Event, answer: object) -> None:
        body = json.dumps(answer).encode()

        async def script(connection: Connection) -> None:
            await gate.wait()
            await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        self.comfyui.script = script

    def fails(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

        self.comfyui.script = script

    async def names(self) -> list[str]:
        return list((await self.source.get()).nodes.entries)

    @property
    def questions(self) -> int:
        return len(self.comfyui.heads)


def info(*names: str) -> dict[str, Any]:
    return {name: {"name": name, "input": {}, "python_module": "nodes", "output": []} for name in names}


@pytest.fixture
async def world(comfyui: Fake) -> AsyncIterator[World]:
    server = Server(comfyui.url)
    await server.start()
    built = World(comfyui, NodeSource(server, connection=lambda: built.connection, clock=lambda: built.time))
    yield built
    await server.close()


async def test_it_is_asked_once(world: World) -> None:
    """Many who want it at once ask one question, and none for ten seconds after."""
    world.says(info("A"))
    found = await asyncio.gather(*(world.source.get() for _ in range(20)))
    assert len({id(nodes.nodes) for nodes in found}) == 1
    world.time += KEPT_SECONDS - 1
    assert (await world.names(), world.questions) == (["A"], 1)


@pytest.mark.parametrize("change", ["time", "connection"])
async def test_it_is_asked_again(world: World, change: str) -> None:
    """After ten seconds, and at once when the event socket was connected anew, new nodes are seen."""
    world.says(info("A"))
    await world.names()
    world.says(info("B"))
    if change == "time":
        world.time += KEPT_SECONDS + 1
    else:
        world.connection = object()
    assert (await world.names(), world.questions) == (["B"], 2)


async def test_equal_answers_are_one_version(world: World) -> None:
    """What was understood of an answer is kept while ComfyUI says the same."""
    world.says(info("A"))
    first = await world.source.get()
    world.time += KEPT_SECONDS + 1
    second = await world.source.get()
    assert (second.version, world.questions) == (first.version, 2) and second.nodes is first.nodes


async def test_a_server_that_is_busy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While ComfyUI is too busy to answer the older list is given, and the newer when it came."""
    monkeypatch.setattr(node_source, "PATIENCE_SECONDS", 0.05)
    world.says(info("A"))
    await world.names()
    gate = asyncio.Event()
    world.hangs(gate, info("B"))
    world.time += KEPT_SECONDS + 1
    assert await world.names() == ["A"]
    gate.set()

    async def is_new() -> bool:
        return await world.names() == ["B"]

    await until(is_new)


async def test_a_server_that_fails(world: World) -> None:
    """An older list of the same process serves while ComfyUI fails; without one the failure is told."""
    world.fails()
    with pytest.raises(UpstreamFault):
        await world.names()
    world.says(info("A"))
    await world.names()
    world.fails()
    world.time += KEPT_SECONDS + 1
    assert await world.names() == ["A"]
    world.connection = object()
    with pytest.raises(UpstreamFault):
        await world.names()


async def test_a_caller_that_leaves(world: World) -> None:
    """One of several who wait is cancelled; the others get the answer, to one question."""
    gate = asyncio.Event()
    world.hangs(gate, info("A"))
    first, second = (asyncio.create_task(world.names()) for _ in range(2))
    await until(lambda: world.questions)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    gate.set()
    assert (await second, world.questions) == (["A"], 1)


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (b'{"A": {"input": {"required": {"x": ["FLOAT", {"max": Infinity}]}}}}', ["A"]),
        (b'{"A": {"input": {"required": {"x": [["\\udc80.png"]]}}}}', ["A"]),
    ],
)
async def test_json_that_is_none(world: World, raw: bytes, names: list[str]) -> None:
    """Bounds without bound and a file name that is not UTF-8 do not take the list away from everybody."""
    world.says(None, raw=raw)
    assert await world.names() == names


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"null", b"<html>"])
async def test_what_is_no_list(world: World, raw: bytes) -> None:
    """Anything else is ComfyUI's fault, and is told as one."""
    world.says(None, raw=raw)
    with pytest.raises(UpstreamFault):
        await world.names()
