"""The command line, run in this process as a shell would run it."""

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from gateway.cli import main
from gateway.store import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """Runs a command with these words, in a data directory of the test's own."""

    def __call__(self, *words: str, stdin: str = "", data_dir: Path | None = None) -> Ran: ...


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_DATA_HOME", "GATEWAY_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)

    def command(*words: str, stdin: str = "", data_dir: Path | None = None) -> Ran:
        monkeypatch.setattr(sys, "argv", ["comfy-gateway", *words, "--data-dir", str(data_dir or tmp_path / "data")])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as exit:
            main()
        written = capsys.readouterr()
        return Ran(int(exit.value.code or 0), written.out, written.err)

    return command


class Look(Protocol):
    """Asks the store that the commands wrote to."""

    def __call__(self, question: Callable[[Store], Awaitable[T]]) -> T: ...


@pytest.fixture
def look(tmp_path: Path) -> Look:
    async def asked(question: Callable[[Store], Awaitable[Any]]) -> Any:
        async with await Store.open(f"sqlite:///{tmp_path / 'data' / 'gateway.db'}", create=False) as store:
            return await question(store)

    return lambda question: asyncio.run(asked(question))
