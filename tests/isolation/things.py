"""What alice owns in the tests of isolation: every kind of thing that ComfyUI keeps, marked so that no byte of it can
pass unnoticed; and a twin of the names, of which nobody has anything."""

import asyncio
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from PIL import Image
from yarl import URL

from tests.house import House, Said, until
from tests.proxy.own_files import root_of

COLOR = (0xC0, 0x5E, 0x2D)
SECRET = "dune7b1f0c"
"""In everything that alice writes and that bob never sends."""
MARK, TWIN = "heron41aa9", "stork93bb2"
"""In the names of alice's things, which bob has learned; and in names of the same length that nobody has."""
MEMBERS_LIMIT = {"max_queued": 1000}
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
_HEX = str.maketrans("0123456789abcdef", "1234567890bcdefa")
_LETTERS = str.maketrans("abcdefghijklmnopqrstuvwxyz", "bcdefghijklmnopqrstuvwxyza")


@dataclass(frozen=True, slots=True)
class Things:
    """Names of alice's things, as bob writes them into requests."""

    key: str
    root: str
    running: str
    waiting: str
    ended: str
    failed: str
    shot: str
    temp: str
    upload: str
    nested: str
    folder: str
    mask: str
    workflow: str
    setting: str
    client: str

    def names(self) -> dict[str, str]:
        """By field."""
        return {name: getattr(self, name) for name in self.__slots__}

    def twin(self) -> "Things":
        """Names of the same shape and length, which nobody has."""
        changed = {name: text.replace(MARK, TWIN) for name, text in self.names().items()}
        for name in ("running", "waiting", "ended", "failed"):
            changed[name] = changed[name][:-12] + changed[name][-12:].translate(_HEX)
        changed["key"] = self.key.translate(_HEX)
        changed["root"] = f"users/{changed['key']}"
        before, suffix, after = (
            self.temp.rsplit("_", 3)[0],
            *self.temp.rsplit("_", 3)[1:2],
            self.temp.rsplit("_", 2)[1:],
        )
        changed["temp"] = "_".join((before, suffix.translate(_LETTERS), *after))
        return replace(self, **changed)


def colored(size: int = 16) -> bytes:
    """A PNG in alice's color, with a word of hers."""
    out = io.BytesIO()
    Image.new("RGB", (size, size), COLOR).save(out, "PNG")
    return out.getvalue()


def is_colored(body: bytes) -> bool:
    """Whether these bytes are a picture with alice's color in it, however it was encoded."""
    if not body.startswith(MAGIC):
        return False
    with Image.open(io.BytesIO(body)) as opened:
        pixels = opened.convert("RGB").tobytes()
    wanted = zip(*(iter(pixels),) * 3, strict=True)
    return any(all(abs(got - want) <= 8 for got, want in zip(pixel, COLOR, strict=True)) for pixel in wanted)


async def sent(
    built: House, method: str, target: str, *, by: str, headers: dict[str, str] | None = None, **options: Any
) -> Said:
    """One request with its target exactly as it is written."""
    url = URL(built.url + target, encoded=True)
    given = {"X-API-Key": built.tokens[by], **(headers or {})}
    async with built.http.request(method, url, headers=given, allow_redirects=False, **options) as answer:
        return Said(answer.status, answer.headers.copy(), await answer.read())


def form(content: bytes, name: str, **fields: str) -> aiohttp.FormData:
    """An upload."""
    made = aiohttp.FormData(quote_fields=False)
    made.add_field("image", content, filename=name)
    for field, value in fields.items():
        made.add_field(field, value)
    return made


def shot(prefix: str) -> dict[str, Any]:
    """A picture in alice's color, saved below the root and previewed in temp."""
    color = (COLOR[0] << 16) | (COLOR[1] << 8) | COLOR[2]
    blank = {"width": 32, "height": 32, "batch_size": 1, "color": color}
    return {
        f"{SECRET}a": {"class_type": "EmptyImage", "inputs": blank},
        f"{SECRET}b": {"class_type": "SaveImage", "inputs": {"images": [f"{SECRET}a", 0], "filename_prefix": prefix}},
        f"{SECRET}c": {"class_type": "PreviewImage", "inputs": {"images": [f"{SECRET}a", 0]}},
        f"{SECRET}d": {"class_type": "PreviewAny", "inputs": {"source": f"{SECRET} said"}},
    }


def endless(nonce: str) -> dict[str, Any]:
    """A job that goes on until it is stopped, telling its progress in every way."""
    graph = shot(MARK)
    wait = {"seconds": 600, "steps": 1000, "previews": True, "text": True, "nonce": nonce}
    graph[f"{SECRET}e"] = {"class_type": "LabSlow", "inputs": {"image": [f"{SECRET}a", 0], **wait}}
    graph[f"{SECRET}b"]["inputs"]["images"] = [f"{SECRET}e", 0]
    return graph


def failing() -> dict[str, Any]:
    """A job whose error names what only alice knows."""
    graph = shot(MARK)
    graph[f"{SECRET}f"] = {
        "class_type": "LabFail",
        "inputs": {"image": [f"{SECRET}a", 0], "message": f"{SECRET} went wrong"},
    }
    graph[f"{SECRET}b"]["inputs"]["images"] = [f"{SECRET}f", 0]
    return graph


async def owned(built: House) -> Things:
    """Everything of alice's, made through the gateway."""
    root = await root_of(built, "alice")
    client = f"{MARK}-client"
    extra = {"client_id": client, "extra_data": {"extra_pnginfo": {"workflow": {"id": MARK, "name": SECRET}}}}
    ended = await built.submit(shot(f"{MARK}-shot"), by="alice", **extra)
    outputs = (await built.history(ended, by="alice"))["outputs"]
    failed = await built.submit(failing(), by="alice", **extra)
    await built.history(failed, by="alice")
    await _uploaded(built, f"{MARK}-shot_00001_.png")
    await _wrote(built)
    running = await built.submit(endless(f"{SECRET}1"), by="alice", **extra)
    await until(lambda: running in built.simulator.queue_running)
    waiting = await built.submit(endless(f"{SECRET}2"), by="alice", **extra)
    return Things(
        key=root.removeprefix("users/"),
        root=root,
        running=running,
        waiting=waiting,
        ended=ended,
        failed=failed,
        shot=outputs[f"{SECRET}b"]["images"][0]["filename"],
        temp=outputs[f"{SECRET}c"]["images"][0]["filename"],
        upload=f"{MARK}-up.png",
        nested=f"{MARK}-in.png",
        folder=f"{MARK}-dir",
        mask=f"{MARK}-mask.png",
        workflow=f"{MARK}-flow.json",
        setting=f"{MARK}.Setting",
        client=client,
    )


async def _uploaded(built: House, saved: str) -> None:
    original = json.dumps({"filename": saved, "subfolder": "", "type": "output"})
    for path, data in (
        ("/upload/image", form(colored(), f"{MARK}-up.png")),
        ("/upload/image", form(colored(24), f"{MARK}-in.png", subfolder=f"{MARK}-dir")),
        ("/upload/image", form(colored(12), f"{MARK}-temp.png", type="temp")),
        ("/upload/mask", form(colored(32), f"{MARK}-mask.png", original_ref=original)),
    ):
        said = await built.ask("POST", path, by="alice", data=data)
        assert said.status == 200, said.body


async def _wrote(built: House) -> None:
    for name in (f"workflows%2F{MARK}-flow.json", f"{MARK}-flow.json", f"{MARK}-dir%2F{MARK}-flow.json"):
        said = await sent(built, "POST", f"/userdata/{name}", by="alice", data=orjson.dumps({"secret": SECRET}))
        assert said.status == 200, said.body
    said = await built.ask("POST", "/settings", by="alice", json={f"{MARK}.Setting": SECRET})
    assert said.status == 200, said.body


READ_BACK = (
    "/queue",
    "/history",
    "/api/jobs",
    "/prompt",
    "/settings",
    "/userdata?dir=.&recurse=true&full_info=true",
    "/v2/userdata",
    "/userdata/$workflow",
    "/userdata/workflows%2F$workflow",
    "/userdata/$folder%2F$workflow",
    "/internal/files/input",
    "/internal/files/output",
    "/internal/files/temp",
    "/view?filename=$shot",
    "/view?filename=$temp&type=temp",
    "/view?filename=$upload&type=input",
    "/view?filename=$nested&subfolder=$folder&type=input",
    "/view?filename=$mask&type=input",
    "/object_info/LoadImage",
)


async def kept(built: House, things: Things) -> dict[str, Any]:
    """All of alice's, as she and the server see it."""
    found: dict[str, Any] = {}
    for target in READ_BACK:
        for name, text in sorted(things.names().items(), reverse=True):
            target = target.replace(f"${name}", quote(text, safe=""))
        said = await sent(built, "GET", target, by="alice")
        found[target] = (said.status, said.body)
    found["running"] = built.simulator.queue_running
    found["files"] = await asyncio.to_thread(_on_disk, built.simulator.directory, things)
    return found


def _on_disk(directory: Path, things: Things) -> dict[str, bytes]:
    below = [path for kind in ("input", "output", "temp") for path in (directory / kind / things.root).rglob("*")]
    paths = [path for path in below if path.is_file()] + [directory / "temp" / things.temp]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}
