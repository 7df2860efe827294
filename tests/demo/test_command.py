"""A simulated server in a process of its own is started, controlled and ended from outside."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from tests.demo.talking import DEADLINE, saving

Start = Callable[..., Coroutine[Any, Any, tuple[Process, str]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts `python -m gateway.demo` with further arguments; (process, URL). All are ended afterwards."""
    started: list[Process] = []

    async def run(*arguments: str) -> tuple[Process, str]:
        command = (sys.executable, "-m", "gateway.demo", "--port", "0", *arguments)
        started.append(await asyncio.create_subprocess_exec(*command, stdout=PIPE))
        assert started[-1].stdout
        line = await asyncio.wait_for(started[-1].stdout.readline(), DEADLINE)
        return started[-1], line.decode().strip()

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_sigterm(start: Start, client: ClientSession) -> None:
    """The command prints one line with its URL, serves there, and ends with 0 on SIGTERM."""
    process, url = await start("--version", "0.3.64")
    async with client.get(f"{url}/system_stats") as answer:
        assert (await answer.json())["system"]["comfyui_version"] == "0.3.64"
    async with client.post(f"{url}/_sim/faults", json={}) as answer:
        assert answer.status == 405  # As any unknown path: only the static root is there.
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), DEADLINE) == 0


async def test_control(start: Start, client: ClientSession) -> None:
    """With --control faults are switched over HTTP, the log is read, and a crash ends the process with 1."""
    process, url = await start("--control")
    async with client.post(f"{url}/_sim/faults", json={"refuse_status": 503}) as answer:
        assert answer.status == 200
    async with client.get(f"{url}/queue") as answer:
        assert answer.status == 503
    async with client.post(f"{url}/_sim/faults", json={"nonsense": 1}) as answer:
        assert answer.status == 400
    async with client.get(f"{url}/_sim/log") as answer:
        assert [one["kind"] for one in await answer.json()] == ["request"]
    with pytest.raises(ClientError):
        await client.post(f"{url}/_sim/crash")
    assert await asyncio.wait_for(process.wait(), DEADLINE) == 1


async def test_crash_and_return(start: Start, client: ClientSession) -> None:
    """A crash can be told to come back by itself, on the same port, with everything lost."""
    _, url = await start("--control")
    async with client.post(f"{url}/prompt", json={"prompt": saving()}) as answer:
        assert answer.status == 200
    with pytest.raises(ClientError):
        await client.post(f"{url}/_sim/crash", json={"restart_after": 0.2})
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                async with client.get(f"{url}/history") as answer:
                    assert await answer.json() == {}
                    break
            except ClientError:
                await asyncio.sleep(0.05)
