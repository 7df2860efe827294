"""Which version of ComfyUI the gateway takes itself to be in front of."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gateway.proxy.comfy_version import KEPT_SECONDS, NEWEST, RETRY_SECONDS, ComfyVersion
from gateway.upstream.server import Server
from tests.raw_server import Connection, Fake


@dataclass
class World:
    """A version that is asked of a fake Fake, whose time and connection the test moves."""

    comfyui: Fake
    version: ComfyVersion
    time: float = 1000.0
    connection: object = None

    def says(self, answer: object) -> None:
        """From now on /system_stats is this."""
        body = json.dumps(answer).encode()

        async def script(connection: Connection) -> None:
            await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        self.comfyui.script = script

    def fails(self) -> None:
        """From now on it hangs up."""

        async def script(connection: Connection) -> None:
            connection.writer.close()

        self.comfyui.script = script

    @property
    def questions(self) -> int:
        return len(self.comfyui.heads)


def stats(version: str) -> dict[str, dict[str, str]]:
    return {"system": {"comfyui_version": version}}


@pytest.fixture
async def world(comfyui: Fake) -> AsyncIterator[World]:
    server = Server(comfyui.url)
    await server.start()
    version = ComfyVersion(server, connection=lambda: built.connection, clock=lambda: built.time)
    built = World(comfyui, version)
    yield built
    await server.close()


async def test_it_is_asked_once(world: World) -> None:
    """Many who want to know at once ask one question, and none for a while after."""
    world.says(stats("0.3.64"))
    assert set(await asyncio.gather(*(world.version.get() for _ in range(20)))) == {"0.3.64"}
    world.time += KEPT_SECONDS - 1
    assert (await world.version.get(), world.questions) == ("0.3.64", 1)


@pytest.mark.parametrize("change", ["time", "connection"])
async def test_it_is_asked_again(world: World, change: str) -> None:
    """After a minute, and when the event socket was connected anew, another version is noticed."""
    world.says(stats("0.3.64"))
    await world.version.get()
    world.says(stats("0.28.1"))
    if change == "time":
        world.time += KEPT_SECONDS + 1
    else:
        world.connection = object()
    assert (await world.version.get(), world.questions) == ("0.28.1", 2)


async def test_an_unknown_one_is_the_newest(world: World) -> None:
    """A ComfyUI that never answered counts as the newest, and is asked again soon."""
    world.fails()
    assert await world.version.get() == NEWEST
    asked = world.questions
    assert (await world.version.get(), world.questions) == (NEWEST, asked)
    world.says(stats("0.3.64"))
    world.time += RETRY_SECONDS + 1
    assert await world.version.get() == "0.3.64"


async def test_a_silent_one_has_the_version_that_it_had(world: World) -> None:
    """Times do not change their unit because ComfyUI is down."""
    world.says(stats("0.3.64"))
    await world.version.get()
    world.fails()
    world.connection = object()
    assert await world.version.get() == "0.3.64"


@pytest.mark.parametrize("answer", [{}, [], None, {"system": {}}, {"system": None}])
async def test_an_answer_without_a_version_is_no_version(world: World, answer: object) -> None:
    """Something else at ComfyUI's address is taken for the newest."""
    world.says(answer)
    assert await world.version.get() == NEWEST
