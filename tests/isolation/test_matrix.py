"""The matrix: for every row of the table bob asks, in every spelling, for what is alice's.

A row without an entry here fails: whoever adds a route says how a stranger would ask for what it serves.
"""

import asyncio
import gc
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
import pytest

from gateway.comfy.table import TABLE, Row
from gateway.config import Rates
from tests.house import House, Said, house
from tests.isolation.things import SECRET, Things, colored, form, is_colored, kept, owned, sent
from tests.proxy.own_files import VERSIONS, picture

# A walk of the whole table is more than a minute's worth of an ordinary user.
OFTEN = dict.fromkeys(Rates.model_fields, "100000/second")

pytestmark = [
    # aiohttp, which the simulated ComfyUI is written with, warns of a function that it uses itself.
    pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning"),
    pytest.mark.timeout(240),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a test left to the garbage collector is not reported to a later one."""
    yield
    gc.collect()


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for something of alice's; `$name` stands for one of her names. `twin` is whether the answer must be
    that for a name which nobody has."""

    target: str
    json: Any = None
    form: Mapping[str, str] | None = None
    twin: bool = True

    def written(self, things: Things) -> str:
        """The address and query."""
        return Template(self.target).substitute({name: quote(text, "") for name, text in things.names().items()})

    def body(self, things: Things) -> dict[str, Any]:
        """What aiohttp sends."""
        names = things.names()
        if self.form is not None:
            fields = {name: Template(text).substitute(names) for name, text in self.form.items()}
            return {"data": form(picture(9), fields.pop("image"), **fields)}
        if self.json is None:
            return {}
        text = Template(json.dumps(self.json)).substitute(names)
        return {"data": text.encode(), "headers": {"Content-Type": "application/json"}}

    def said(self, things: Things) -> str:
        """Everything that the request tells the gateway, so that an answer which says it again gives nothing away."""
        told = [unquote(unquote(self.written(things))), str(self.json or ""), *(self.form or {}).values()]
        return Template(" ".join(told)).safe_substitute(things.names())


def asks(*targets: str) -> tuple[Ask, ...]:
    """Requests that are all in their address."""
    return tuple(Ask(target) for target in targets)


def loading(name: Any) -> dict[str, Any]:
    """A workflow that shows a file."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "b"}},
    }


VIEWS = (
    "filename=$shot",
    "filename=$shot&type=output&subfolder=$root",
    "filename=$root%2F$shot",
    "filename=$shot&subfolder=..%2F$key",
    "filename=$shot&subfolder=..%2F..%2F$root",
    "filename=..%2F$key%2F$shot",
    "filename=$shot%20%5Boutput%5D&type=input&subfolder=$root",
    "filename=$shot&type=..%2Foutput&subfolder=$root",
    "filename=$shot&subfolder=%2F$root",
    "filename=$shot&subfolder=USERS%2F$key",
    "filename=$shot&subfolder=users%5C$key",
    "filename=$temp&type=temp",
    "filename=$temp%20%5Btemp%5D",
    "filename=$temp&type=temp&preview=webp",
    "filename=$upload&type=input",
    "filename=$upload&type=input&subfolder=$root",
    "filename=$upload%20%5Binput%5D&subfolder=$root",
    "filename=$nested&type=input&subfolder=$folder",
    "filename=$nested&type=input&subfolder=$root%2F$folder",
    "filename=$mask&type=input&subfolder=$root&channel=a",
    "filename=$shot&subfolder=$root&preview=jpeg%3B90",
    "filename=$shot&subfolder=$root&channel=rgb",
    "filename=blake3%3A$key",
)
ORIGINALS = (
    '{"filename": "$shot", "subfolder": "", "type": "output"}',
    '{"filename": "$shot", "subfolder": "$root", "type": "output"}',
    '{"filename": "$root/$shot", "type": "output"}',
    '{"filename": "$upload [input]", "subfolder": "$root"}',
    '{"filename": "$temp", "type": "temp"}',
)
PROMPTS = (
    "$root/$upload",
    "$upload",
    "$root/$shot [output]",
    "$temp [temp]",
    "../$key/$upload",
    "/$root/$upload",
    "../output/$root/$shot",
    {"__value__": "$root/$upload"},
)

MATRIX: dict[tuple[str, str], tuple[Ask, ...]] = {
    ("GET", "/prompt"): asks("/prompt"),
    ("POST", "/prompt"): (
        *(Ask("/prompt", {"prompt": loading(name), "client_id": "$client"}, twin=False) for name in PROMPTS),
        Ask("/prompt", {"prompt": loading("x.png"), "prompt_id": "$ended"}, twin=False),
        Ask("/prompt", {"prompt": loading("x.png"), "prompt_id": "$running"}, twin=False),
        Ask("/prompt", {"prompt": {}, "client_id": "$client"}),
    ),
    ("GET", "/queue"): asks("/queue"),
    ("POST", "/queue"): (
        Ask("/queue", {"delete": ["$waiting", "$running"]}),
        Ask("/queue", {"delete": ["$waiting"], "clear": True}),
    ),
    ("GET", "/history"): asks(
        "/history", "/history?max_items=100&offset=0", "/history?offset=-1", "/history?id=$ended"
    ),
    ("GET", "/history/{prompt_id}"): asks(
        "/history/$ended", "/history/$failed", "/history/$running", "/history/$waiting", "/history/$client"
    ),
    ("POST", "/history"): (Ask("/history", {"delete": ["$ended", "$failed"]}), Ask("/history", {"clear": True})),
    ("POST", "/interrupt"): (
        Ask("/interrupt"),
        Ask("/interrupt", {}),
        Ask("/interrupt", {"prompt_id": "$running"}),
        Ask("/interrupt", {"prompt_id": "$waiting"}),
    ),
    ("POST", "/clear"): (Ask("/clear"), Ask("/clear", {"prompt_id": "$waiting"})),
    ("POST", "/free"): (Ask("/free", {"unload_models": True, "free_memory": True}),),
    ("GET", "/jobs"): asks(
        "/jobs",
        "/jobs?limit=100&offset=0",
        "/jobs?status=in_progress,pending,completed,failed",
        "/jobs?workflow_id=$client",
    ),
    ("GET", "/jobs/{job_id}"): asks("/jobs/$ended", "/jobs/$failed", "/jobs/$running", "/jobs/$waiting"),
    ("POST", "/jobs/{job_id}/cancel"): asks("/jobs/$running/cancel", "/jobs/$waiting/cancel", "/jobs/$ended/cancel"),
    ("POST", "/jobs/cancel"): (Ask("/jobs/cancel", {"job_ids": ["$running", "$waiting", "$ended"]}),),
    ("GET", "/ws"): asks("/ws", "/ws?clientId=$client"),
    ("GET", "/view"): asks(*(f"/view?{query}" for query in VIEWS)),
    ("POST", "/upload/image"): (
        Ask("/upload/image", form={"image": "$upload", "overwrite": "true"}),
        Ask("/upload/image", form={"image": "$upload", "subfolder": "$root", "overwrite": "true"}),
        Ask("/upload/image", form={"image": "../$key/$upload", "overwrite": "1"}),
        Ask("/upload/image", form={"image": "$nested", "subfolder": "../$key/$folder", "overwrite": "true"}),
        Ask("/upload/image", form={"image": "$shot", "subfolder": "$root", "type": "output", "overwrite": "true"}),
        Ask("/upload/image", form={"image": "$temp", "type": "temp", "overwrite": "true"}),
    ),
    ("POST", "/upload/mask"): tuple(
        Ask("/upload/mask", form={"image": "$mask", "original_ref": text, "overwrite": "true"}) for text in ORIGINALS
    ),
    ("GET", "/internal/files/{directory_type}"): asks(
        "/internal/files/input", "/internal/files/output", "/internal/files/temp", "/internal/files/$key"
    ),
    ("GET", "/view_metadata/custom_nodes"): asks("/view_metadata/custom_nodes?filename=$root"),
    ("GET", "/view_metadata/{folder_name}"): asks(
        "/view_metadata/checkpoints?filename=$shot", "/view_metadata/output?filename=$root%2F$shot"
    ),
    ("GET", "/embeddings"): asks("/embeddings"),
    ("GET", "/models"): asks("/models"),
    ("GET", "/models/custom_nodes"): asks("/models/custom_nodes"),
    ("GET", "/models/{folder}"): asks("/models/checkpoints", "/models/input", "/models/$key"),
    ("GET", "/experiment/models"): asks("/experiment/models"),
    ("GET", "/experiment/models/custom_nodes"): asks("/experiment/models/custom_nodes"),
    ("GET", "/experiment/models/{folder}"): asks("/experiment/models/checkpoints", "/experiment/models/$key"),
    ("GET", "/experiment/models/preview/custom_nodes/{path:rest}"): asks(
        "/experiment/models/preview/custom_nodes/0/$shot"
    ),
    ("GET", "/experiment/models/preview/{folder}/{path_index}/{filename:rest}"): asks(
        "/experiment/models/preview/checkpoints/0/$shot",
        "/experiment/models/preview/checkpoints/0/..%2F..%2F..%2Foutput%2Fusers%2F$key%2F$shot",
    ),
    ("GET", "/users"): asks("/users", "/users?user=$key"),
    ("POST", "/users"): (Ask("/users", {"username": "$key"}),),
    ("GET", "/settings"): asks("/settings", "/settings?user=$key"),
    ("POST", "/settings"): (Ask("/settings", {"$setting": "bob's"}),),
    ("GET", "/settings/{id}"): asks("/settings/$setting", "/settings/..%2F$key%2F$setting"),
    ("POST", "/settings/{id}"): (Ask("/settings/$setting", "bob's"),),
    ("GET", "/userdata"): asks(
        "/userdata?dir=.&recurse=true&full_info=true",
        "/userdata?dir=workflows&recurse=true&split=true",
        "/userdata?dir=$folder",
        "/userdata?dir=..%2F$key&recurse=true",
        "/userdata?dir=%2F$key",
    ),
    ("GET", "/v2/userdata"): asks("/v2/userdata", "/v2/userdata?path=$folder", "/v2/userdata?path=..%2F$key"),
    ("GET", "/userdata/{file}"): asks(
        "/userdata/$workflow",
        "/userdata/workflows%2F$workflow",
        "/userdata/$folder%2F$workflow",
        "/userdata/..%2F$key%2F$workflow",
        "/userdata/comfy.settings.json",
    ),
    ("POST", "/userdata/{file}"): (
        Ask("/userdata/$workflow", {"by": "bob"}),
        Ask("/userdata/workflows%2F$workflow?overwrite=true", {"by": "bob"}),
        Ask("/userdata/..%2F$key%2F$workflow", {"by": "bob"}),
    ),
    ("DELETE", "/userdata/{file}"): asks(
        "/userdata/$folder%2F$workflow", "/userdata/..%2F$key%2F$workflow", "/userdata/$workflow"
    ),
    ("POST", "/userdata/{file}/move/{dest}"): asks(
        "/userdata/$folder%2F$workflow/move/mine.json?overwrite=true",
        "/userdata/..%2F$key%2F$workflow/move/mine.json",
        "/userdata/workflows%2F$workflow/move/..%2F$key%2F$workflow?overwrite=true",
    ),
    ("GET", "/object_info"): asks("/object_info"),
    ("GET", "/object_info/{node_class}"): asks(
        "/object_info/LoadImage", "/object_info/LoadImageOutput", "/object_info/LoadImageMask", "/object_info/$key"
    ),
    ("GET", "/system_stats"): asks("/system_stats"),
    ("GET", "/features"): asks("/features"),
    ("GET", "/extensions"): asks("/extensions"),
    ("GET", "/workflow_templates"): asks("/workflow_templates"),
    ("GET", "/i18n"): asks("/i18n"),
    ("GET", "/global_subgraphs"): asks("/global_subgraphs"),
    ("GET", "/global_subgraphs/{id}"): asks("/global_subgraphs/$key"),
    ("GET", "/node_replacements"): asks("/node_replacements"),
    ("GET", "/internal/logs"): asks("/internal/logs"),
    ("GET", "/internal/logs/raw"): asks("/internal/logs/raw"),
    ("PATCH", "/internal/logs/subscribe"): (Ask("/internal/logs/subscribe", {"clientId": "$client", "enabled": True}),),
    ("GET", "/internal/folder_paths"): asks("/internal/folder_paths"),
    ("GET", "/assets"): asks("/assets?name_contains=$shot"),
    ("POST", "/assets"): (Ask("/assets", {"hash": "blake3:$key"}), Ask("/assets", form={"image": "$shot"})),
    ("GET", "/tags"): asks("/tags?prefix=$key"),
    ("GET", "/"): asks("/", "/?user=$key"),
    ("GET", "/{path:file}"): asks("/$shot", "/$workflow"),
    ("GET", "/workflow_templates/{pack}/{path:rest}"): asks(
        "/workflow_templates/users/$key/$shot", "/workflow_templates/x/..%2F..%2Foutput%2Fusers%2F$key%2F$shot"
    ),
    **{
        (method, "/assets/{path:rest}"): (
            Ask("/assets/$ended", body),
            Ask("/assets/$ended/content", body),
            Ask("/assets/hash/blake3:$key", body),
            Ask("/assets/$ended/tags", body),
        )
        for method, body in (("POST", {"hash": "$key"}), ("PUT", {}), ("PATCH", {}), ("DELETE", None))
    },
    **{
        (method, f"{version}/{part}/{{path:rest}}"): asks(
            f"{version}/{part}/$key/list", f"{version}/{part}/queue/reset"
        )
        for version in ("", "/v2")
        for part in ("manager", "customnode", "snapshot", "externalmodel", "comfyui_manager")
        for method in ("GET", "POST")
    },
    **{
        ("GET", f"/{folder}/{{path:rest}}"): asks(
            f"/{folder}/$shot",
            f"/{folder}/users/$key/$shot",
            f"/{folder}/..%2F..%2Foutput%2Fusers%2F$key%2F$shot",
            f"/{folder}/../output/users/$key/$shot",
        )
        for folder in ("assets", "scripts", "fonts", "cursor", "extensions", "templates", "docs")
    },
}
"""How a stranger asks, by method and pattern."""


def test_every_row_is_in_the_matrix() -> None:
    """Adding a route to the table without adding it to the matrix fails, and so does taking one away."""
    assert {(row.method, row.pattern) for row in TABLE} == set(MATRIX)
    assert all(MATRIX.values())


@pytest.mark.parametrize("version", VERSIONS)
async def test_bob_walks_the_table(version: str, tmp_path: Path) -> None:
    """No byte of alice's names, ids, prompts or pixels is in anything that bob receives, an answer about what is hers
    is the answer about what does not exist, and nothing of hers changes."""
    async with house(tmp_path, version=version, roles={"member": {"max_queued": 1000, "rates": OFTEN}}) as built:
        things = await owned(built)
        await _warm(built, things)
        before = await kept(built, things)
        walk = Walk(built, things)
        async with _listening(built, things.client) as frames:
            reading = [row for row in TABLE if row.method == "GET"]
            for rows in (reading, [row for row in TABLE if row.method != "GET"], reading):
                for row in rows:
                    await walk.row(row, again=rows is reading and walk.has_written)
                walk.has_written = rows is not reading
        assert await kept(built, things) == before
        assert walk.answers > 1000
    _nothing_heard(frames, things)


async def _warm(built: House, things: Things) -> None:
    """Alice has asked for everything, so what is kept ready was made for her."""
    for row in TABLE:
        if row.method == "GET" and row.pattern != "/ws":
            for ask in MATRIX[row.method, row.pattern]:
                await sent(built, "GET", row.prefixes[0] + ask.written(things), by="alice")


@asynccontextmanager
async def _listening(built: House, client: str) -> AsyncIterator[list[aiohttp.WSMessage]]:
    """Two sockets of bob's, one with alice's client id."""
    frames: list[aiohttp.WSMessage] = []

    async def listen(socket: aiohttp.ClientWebSocketResponse) -> None:
        frames.extend([message async for message in socket])

    async with built.socket(by="bob", client_id=client) as first, built.socket(by="bob") as second:
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        await first.send_json(flags)
        tasks = [asyncio.create_task(listen(socket)) for socket in (first, second)]
        yield frames
        await first.close()
        await second.close()
        await asyncio.gather(*tasks)


def _nothing_heard(frames: list[aiohttp.WSMessage], things: Things) -> None:
    assert frames, "the queue's length, at least"
    told = [frame.data if isinstance(frame.data, bytes) else str(frame.data).encode() for frame in frames]
    for secret in (SECRET, things.key, things.running, things.waiting, things.ended, things.failed):
        assert [text for text in told if secret.encode() in text] == []
    assert [frame for frame in frames if frame.type == aiohttp.WSMsgType.BINARY] == [], "no job of bob's ran"


class Walk:
    """Bob's requests, each answer judged."""

    def __init__(self, built: House, things: Things) -> None:
        self._built, self._things, self._twin = built, things, things.twin()
        self.answers = 0
        self.has_written = False

    async def row(self, row: Row, *, again: bool) -> None:
        """Everything there is to ask at one row. `again` is after bob made things of the same names."""
        for ask in MATRIX[row.method, row.pattern]:
            hers, absent = ask.written(self._things), ask.written(self._twin)
            for prefix in row.prefixes:
                spelled = zip(
                    _spellings(row.method, prefix + hers), _spellings(row.method, prefix + absent), strict=True
                )
                for (method, target), (_, other) in spelled:
                    said = await self._sent(method, target, ask, self._things)
                    self._judge(f"{method} {target}", said, "" if again else ask.said(self._things), again=again)
                    # The twin is asked in the same order, so that what bob makes under either name is the same.
                    nothing = await self._sent(method, other, ask, self._twin)
                    if ask.twin and not again:
                        assert _comparable(said) == _comparable(self._as_hers(nothing)), (method, target)

    async def _sent(self, method: str, target: str, ask: Ask, things: Things) -> Said:
        self.answers += 1
        return await sent(self._built, method, target, by="bob", **ask.body(things))

    def _judge(self, asked: str, said: Said, told: str, *, again: bool) -> None:
        disabled = said.status == 503 and b"SERVICE_DISABLED" in said.body
        assert said.status < 500 or disabled or (asked.startswith("HEAD") and said.status == 503), (asked, said)
        received = said.body + repr(list(said.headers.items())).encode()
        names = set() if again else {name for name in self._things.names().values() if name not in told}
        hers = {SECRET, *names}
        assert [text for text in hers if text.encode() in received] == [], (asked, said)
        assert not is_colored(said.body), (asked, said)
        assert not any(colored(size) in said.body for size in (12, 16, 24, 32)), asked

    def _as_hers(self, said: Said) -> Said:
        body = said.body
        for name, text in self._twin.names().items():
            body = body.replace(text.encode(), self._things.names()[name].encode())
        return Said(said.status, said.headers, body)


def _spellings(method: str, target: str) -> Iterator[tuple[str, str]]:
    """The same request in other words."""
    path, mark, query = target.partition("?")
    encoded = re.sub(r"([a-zA-Z])(?=[^/]*$)", lambda found: f"%{ord(found[1]):02X}", path, count=1)
    first = query.split("&", 1)[0] or "x=1"
    twice = f"{path}?{query or 'x=2'}&{first}"
    methods = (method, "HEAD") if method == "GET" else (method,)
    for each in methods:
        for written in (target, f"{encoded}{mark}{query}", twice):
            yield each, written


def _comparable(said: Said) -> tuple[int, bytes, list[tuple[str, str]]]:
    """An answer without what differs between any two: its request id, its times, what is left of a rate."""
    headers = {name.lower(): value for name, value in said.headers.items()}
    request_id = headers.pop("x-request-id", "-")
    for name in ("date", "content-length", "ratelimit-remaining", "ratelimit-reset"):
        headers.pop(name, None)
    body = said.body.replace(request_id.encode(), b"")
    return said.status, re.sub(rb'"(modified|created)": ?[0-9.e+]+', b"", body), sorted(headers.items())
