"""Simulators for the tests of the simulation: one of each version per test, and one replay of each recorded session."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession

from gateway.demo.server import Simulator
from tests.demo.recorded_session import VERSIONS, Session, replay
from tests.demo.talking import Talk


@pytest.fixture(scope="session")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Session]:
    """The replayed session of a version; carried out when first asked for."""
    done: dict[str, Session] = {}

    def of(version: str) -> Session:
        if version not in done:
            done[version] = replay(version, tmp_path_factory.mktemp("comfyui"))
        return done[version]

    return of


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Each version in turn."""
    return str(request.param)


@pytest.fixture
async def simulator(version: str, tmp_path: Path) -> AsyncIterator[Simulator]:
    """A running server of that version, with a step of 10 ms."""
    made = Simulator(version=version, directory=tmp_path, seconds_per_step=0.01)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    """An HTTP client."""
    async with ClientSession() as made:
        yield made


@pytest.fixture
def talk(simulator: Simulator, client: ClientSession) -> Talk:
    """A client of the running server."""
    return Talk(simulator, client)
