"""A whole gateway, as an operator runs it: the command in its own process, in front of a ComfyUI in another.

The ComfyUI is the simulated one, in both versions; where COMFYUI_URL names a real one, it is that one as well.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Playwright, expect, sync_playwright

from tests.needs import needs

PATIENCE = 30.0
VERSIONS = ("0.28.1", "0.3.64")
REAL = os.environ.get("COMFYUI_URL")

expect.set_options(timeout=PATIENCE * 1000)

SETTINGS = """
[roles.member]
nodes = { trusted_packs = ["lab_slow"] }
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"it ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        try:
            if requests.get(url, timeout=2).status_code == 200:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    pytest.fail(f"{url} did not answer within {PATIENCE} s:\n{log.read_text()[-3000:]}")


@dataclass(slots=True)
class Comfy:
    """A ComfyUI in its own process."""

    url: str
    process: subprocess.Popen[bytes] | None = None


@dataclass(slots=True)
class Door:
    """A running gateway, its ComfyUI, and what an administrator can do from the command line."""

    url: str
    comfy: Comfy
    data_dir: Path
    process: subprocess.Popen[bytes]
    log: Path

    def command(self, *words: str, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *words, "--data-dir", str(self.data_dir)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def user(self, name: str, *, password: str = "") -> str:
        """A new member, and a token of theirs."""
        options = ("--password-stdin",) if password else ()
        self.command("user", "add", name, *options, stdin=password)
        return self.command("token", "create", name)


def start_comfy(version: str, directory: Path, *options: str) -> Comfy:
    port = free_port()
    log = directory / "comfyui.log"
    words = [sys.executable, "-m", "gateway.demo", "--port", str(port), "--version", version, "--control", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    wait_for(f"http://127.0.0.1:{port}/system_stats", process, log)
    return Comfy(f"http://127.0.0.1:{port}", process)


def start_gateway(comfy: Comfy, data_dir: Path, *words: str, port: int | None = None) -> Door:
    port = port or free_port()
    log = data_dir / "gateway.log"
    data_dir.mkdir(exist_ok=True)
    settings = data_dir / "gateway.toml"
    settings.write_text(SETTINGS)
    command = [sys.executable, "-m", "gateway", "serve", "--comfyui", comfy.url, "--port", str(port)]
    command += ["--config", str(settings)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir), *words], stdout=output, stderr=subprocess.STDOUT
        )
    door = Door(f"http://127.0.0.1:{port}", comfy, data_dir, process, log)
    wait_for(f"{door.url}/gateway/readyz", process, log)
    return door


def stop(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail("it did not end within the deadline after SIGTERM")


@pytest.fixture(scope="session", params=[*VERSIONS, *([REAL] if REAL else [])])
def comfy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    """A ComfyUI of each version, with today's frontend."""
    if request.param == REAL:
        yield Comfy(request.param)
        return
    front_end = ("--front-end-root", str(files("comfyui_frontend_package") / "static"))
    started = start_comfy(request.param, tmp_path_factory.mktemp("comfyui"), *front_end)
    yield started
    stop(started.process)


@pytest.fixture(scope="session")
def door(comfy: Comfy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A gateway in front of it."""
    started = start_gateway(comfy, tmp_path_factory.mktemp("gateway"))
    yield started
    stop(started.process)


@pytest.fixture(scope="session")
def alice(door: Door) -> str:
    """Alice's token."""
    return door.user("alice", password="alice's own password")


@pytest.fixture(scope="session")
def bob(door: Door) -> str:
    """Bob's token."""
    return door.user("bob")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """What drives Chromium. Not for longer than a module: its loop would be in the way of asynchronous tests."""
    needs("chromium")
    with sync_playwright() as started:
        yield started
