"""Talking to a simulated server as a client does: graphs to submit, sockets to listen on, waits with a deadline."""

import asyncio
import contextlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from gateway.demo.server import Simulator

DEADLINE = 10.0


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """One node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


def plain(color: int = 1) -> dict[str, Any]:
    """An EmptyImage of 64 x 64."""
    return node("EmptyImage", width=64, height=64, batch_size=1, color=color)


def saving(color: int = 1, prefix: str = "out") -> dict[str, Any]:
    """A prompt that saves a one-coloured picture."""
    return {"1": plain(color), "3": node("SaveImage", images=["1", 0], filename_prefix=prefix)}


def slow(seconds: float = 60.0, steps: int = 600, *, color: int = 1, **more: Any) -> dict[str, Any]:
    """A prompt that runs until it is interrupted, or as long as told."""
    inputs = {"image": ["1", 0], "seconds": seconds, "steps": steps, "previews": False, **more}
    return {"1": plain(color), "2": node("LabSlow", **inputs), "3": node("PreviewImage", images=["2", 0])}


def text_to_image(*, text: str = "a cat", seed: int = 1, size: int = 64, batch_size: int = 1) -> dict[str, Any]:
    """The text-to-image prompt of the guides, in two steps."""
    return {
        "3": node(
            "KSampler",
            seed=seed,
            steps=2,
            cfg=8,
            sampler_name="euler",
            scheduler="normal",
            denoise=1,
            model=["4", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly.safetensors"),
        "5": node("EmptyLatentImage", width=size, height=size, batch_size=batch_size),
        "6": node("CLIPTextEncode", text=text, clip=["4", 1]),
        "7": node("CLIPTextEncode", text="blurry", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="drawn"),
    }


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something holds; fails with `what` after the deadline."""
    try:
        async with asyncio.timeout(DEADLINE):
            for _ in iter(lambda: bool(condition()), True):
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None


@dataclass(slots=True)
class Talk:
    """One client of one server."""

    server: Simulator
    client: ClientSession

    async def submit(self, prompt: Any, *, status: int = 200, **body: Any) -> str:
        """POST /prompt; the prompt's id, or "" for another expected status."""
        async with self.client.post(f"{self.server.url}/prompt", json={"prompt": prompt, **body}) as answer:
            assert answer.status == status, await answer.text()
            return str((await answer.json())["prompt_id"]) if status == 200 else ""

    async def run(self, prompt: Any, **body: Any) -> dict[str, Any]:
        """Submit, wait for the end, and return the history entry."""
        prompt_id = await self.submit(prompt, **body)
        await until(lambda: prompt_id in self.server.history, "the job's history entry")
        return self.server.history[prompt_id]

    async def get(self, path: str, **more: Any) -> tuple[int, bytes]:
        """GET; status and body."""
        async with self.client.get(f"{self.server.url}{path}", **more) as answer:
            return answer.status, await answer.read()

    async def get_json(self, path: str) -> Any:
        """GET something that is answered 200 with JSON."""
        status, body = await self.get(path)
        assert status == 200, body
        return json.loads(body)

    async def post(self, path: str, body: Any = None, **more: Any) -> tuple[int, bytes]:
        """POST JSON; status and body."""
        async with self.client.post(f"{self.server.url}{path}", json=body, **more) as answer:
            return answer.status, await answer.read()

    async def listen(self, client_id: str, *, flags: Any = None) -> "Ear":
        """Open an event socket and read its greeting."""
        socket = await self.client.ws_connect(f"{self.server.url}/ws?clientId={client_id}", max_msg_size=0)
        ear = Ear(socket)
        await ear.hear(lambda frame: frame.get("type") == "status")
        if flags is not None:
            await socket.send_json({"type": "feature_flags", "data": flags})
            await ear.hear(lambda frame: frame.get("type") == "feature_flags")
        ear.frames.clear()
        return ear


@dataclass(slots=True)
class Ear:
    """An event socket and the frames it heard, as {"type", "data"} or {"binary": type, ...}."""

    socket: ClientWebSocketResponse
    frames: list[dict[str, Any]] = field(default_factory=list)

    async def hear(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read until a frame fits; fails after the deadline."""
        async with asyncio.timeout(DEADLINE):
            while True:
                message = await self.socket.receive()
                assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY), message
                self.frames.append(_read(message.data))
                if wanted(self.frames[-1]):
                    return self.frames[-1]

    async def hear_end(self, prompt_id: str) -> None:
        """Read until executing{node: null} of a job."""
        await self.hear(lambda frame: frame == said("executing", node=None, prompt_id=prompt_id))

    async def hear_idle(self) -> None:
        """Read until a status says that nothing remains."""
        await self.hear(lambda frame: frame == said("status", status={"exec_info": {"queue_remaining": 0}}))

    async def hear_until_quiet(self, seconds: float = 0.3) -> None:
        """Read until nothing has come for so long."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.frames.append(_read((await self.socket.receive(seconds)).data))

    async def hear_close(self) -> None:
        """Read until the socket is closed or broken."""
        async with asyncio.timeout(DEADLINE):
            while (await self.socket.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
                pass

    def kinds(self) -> list[Any]:
        """The types of all frames heard; of binary ones the number."""
        return [frame.get("type", frame.get("binary")) for frame in self.frames]


def said(kind: str, **data: Any) -> dict[str, Any]:
    """A text frame."""
    return {"type": kind, "data": data}


def _read(data: str | bytes) -> dict[str, Any]:
    if isinstance(data, str):
        return dict(json.loads(data))
    kind, word = struct.unpack(">II", data[:8])
    return {"binary": kind, "word": word, "rest": data[8:]}
