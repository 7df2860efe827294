"""A house for each test: a fresh database with two users, a simulated ComfyUI, and a gateway between them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.demo.server import Simulator
from gateway.jobs import comparison, follow, overtime, post, recover, settle, submission
from tests.jobs.house import House, Person, template

BOTH = ("0.28.1", "0.3.64")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same clockwork, with shorter hands. The proportions are those of the real numbers."""
    monkeypatch.setattr(follow, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(follow, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(follow, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(overtime, "CHECK_SECONDS", 0.03)
    monkeypatch.setattr(overtime, "AGAIN_SECONDS", 0.3)
    monkeypatch.setattr(post, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(recover, "TICK_SECONDS", 0.03)
    monkeypatch.setattr(recover, "LOOK_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(recover, "DEAF_SECONDS", 0.8)
    monkeypatch.setattr(comparison, "ABSENT_SECONDS", 0.3)
    monkeypatch.setattr(recover, "REFUSED_SECONDS", 0.2)
    monkeypatch.setattr(comparison, "FRAMES_SECONDS", 0.05)
    monkeypatch.setattr(submission, "LINK_SECONDS", 0.3)
    monkeypatch.setattr(settle, "HISTORY_SECONDS", 1.0)
    monkeypatch.setattr(settle, "PAUSE_SECONDS", 0.05)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Person, Person]:
    path = tmp_path_factory.mktemp("template") / "gateway.db"
    alice, bob = asyncio.run(template(path))
    return path, alice, bob


@pytest.fixture
def alice(database: tuple[Path, Person, Person]) -> Person:
    return database[1]


@pytest.fixture
def bob(database: tuple[Path, Person, Person]) -> Person:
    return database[2]


@pytest.fixture(params=["0.28.1"])
def version(request: pytest.FixtureRequest) -> str:
    """The version of ComfyUI; tests where it matters ask for both with `parametrize(..., indirect=True)`."""
    return str(request.param)


@pytest.fixture
async def sim(version: str, tmp_path: Path) -> AsyncIterator[Simulator]:
    made = Simulator(version=version, directory=tmp_path / "comfyui")
    await made.start()
    yield made
    made.faults.hold_answers = 0
    await made.stop()


@pytest.fixture
async def house(sim: Simulator, database: tuple[Path, Person, Person], tmp_path: Path) -> AsyncIterator[House]:
    made = House(sim, database[0], tmp_path)
    await made.start()
    yield made
    await made.kill()
