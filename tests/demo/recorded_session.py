"""The recorded session, carried out again against a simulated server of the same version.

It does not judge the answers; it only knows how the recordings were made: one client, one request after the other, an
event socket beside every prompt that has one.
"""

import asyncio
import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, FormData, WSMsgType
from yarl import URL

from gateway.demo.server import Simulator

RECORDINGS = Path(__file__).parent.parent / "recordings"
VERSIONS = ("0.3.64", "0.28.1")
DEADLINE = 20.0
# Jobs that are waited for run this much faster than when they were recorded.
FASTER = 5
_FASTER_JOBS = ("slow_", "interrupted", "no_client_id")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `recorded` is the whole entry of http.jsonl."""

    recorded: dict[str, Any]
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(slots=True)
class Session:
    """What came of a replay: answers by recorded name, frames by scenario (str or bytes, in order)."""

    answers: dict[str, Answer] = field(default_factory=dict)
    frames: dict[str, list[str | bytes]] = field(default_factory=dict)


def recorded_requests(version: str) -> list[dict[str, Any]]:
    """The entries of http.jsonl, in the order recorded."""
    lines = (RECORDINGS / version / "http.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def scenarios(version: str) -> list[str]:
    """The names of the recorded event scenarios."""
    return sorted(path.name.split(".")[1] for path in (RECORDINGS / version).glob("ws.*.jsonl"))


def recorded_frames(version: str, scenario: str) -> tuple[dict[str, Any], list[str | bytes]]:
    """How a scenario was set up, and the frames that came."""
    lines = (RECORDINGS / version / f"ws.{scenario}.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    frames = [one["text"] if "text" in one else base64.b64decode(one["base64"]) for one in entries[1:]]
    return entries[0], frames


def replay(version: str, directory: Path) -> Session:
    """Carry out the whole session against a fresh simulator whose files lie in `directory`."""
    return asyncio.run(_replay(version, directory))


async def _replay(version: str, directory: Path) -> Session:
    simulator = Simulator(version=version, directory=directory, checkpoints=())
    await simulator.start()
    try:
        async with ClientSession() as client:
            return await _Replay(simulator, client, version).run()
    finally:
        await simulator.stop()


class _Replay:
    def __init__(self, simulator: Simulator, client: ClientSession, version: str) -> None:
        self.simulator = simulator
        self.client = client
        self.version = version
        self.session = Session()
        self.ids: dict[str, str] = {}
        self.listening: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> Session:
        known = scenarios(self.version)
        for entry in recorded_requests(self.version):
            kind, _, scenario = entry["name"].partition(".")
            if kind == "prompt" and scenario in known:
                await self._listen(scenario)
            if kind == "history" and scenario in self.listening:
                await asyncio.wait_for(self.listening[scenario], DEADLINE)
            if entry["name"].startswith("queue.while_running"):
                await self._until_progress(entry["name"].rpartition(".")[2])
            if kind == "prompt" and scenario.startswith("queued"):
                await asyncio.sleep(0.003)  # So that create_time, by which jobs are sorted, differs as it did there.
            await self._ask(entry)
        return self.session

    async def _listen(self, scenario: str) -> None:
        """Open the scenario's socket, and go on once it has heard what came before the prompt."""
        setup, recorded = recorded_frames(self.version, scenario)
        frames = self.session.frames[scenario] = []
        greeting = 2 if setup["feature_flags"] is not None else 1
        socket = await self.client.ws_connect(f"{self.simulator.url}/ws?clientId={setup['client_id']}")
        if setup["feature_flags"] is not None:
            await socket.send_json({"type": "feature_flags", "data": setup["feature_flags"]})
        for _ in range(greeting):
            frames.append((await socket.receive(DEADLINE)).data)

        async def listen() -> None:
            while not _is_last(frames[-1], recorded[-1]) or len(frames) <= greeting:
                message = await socket.receive(DEADLINE)
                assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY), message
                frames.append(message.data)
            await socket.close()

        self.listening[scenario] = asyncio.create_task(listen())

    async def _until_progress(self, scenario: str) -> None:
        """Wait until the running job has told of a step; a job that never does is cut off by the deadline."""
        frames = self.session.frames[scenario]
        async with asyncio.timeout(DEADLINE):
            for _ in iter(lambda: any('"progress"' in frame for frame in frames if isinstance(frame, str)), True):
                await asyncio.sleep(0.01)

    async def _ask(self, entry: dict[str, Any]) -> None:
        asked = entry["request"]
        url = URL(self.simulator.url + self._mapped(asked["path"]), encoded=True)
        headers = {}
        if (part := dict(entry["headers"]).get("Content-Range")) is not None:
            headers["Range"] = re.sub(r"bytes (\d+)-(\d+)/.*", r"bytes=\1-\2", part)
        async with self.client.request(asked["method"], url, headers=headers, **self._body(entry)) as answer:
            body = await answer.read()
        received = [(name, value) for name, value in answer.headers.items()]
        self.session.answers[entry["name"]] = Answer(entry, answer.status, received, body)
        self._learn_id(entry, body)

    def _body(self, entry: dict[str, Any]) -> dict[str, Any]:
        asked = entry["request"]
        if asked.get("data") == "(multipart form)":
            return {"data": self._form(entry)}
        if "data" in asked:
            return {"data": asked["data"].encode(), "skip_auto_headers": ["Content-Type"]}
        if "json" in asked:
            return {"json": self._faster(entry["name"], json.loads(self._mapped(json.dumps(asked["json"]))))}
        return {}

    def _form(self, entry: dict[str, Any]) -> FormData:
        """The uploaded picture is the one that GET /view later shows."""
        viewed = next(one for one in recorded_requests(self.version) if one["name"] == "view.input")
        answered = entry["body"]["json"]
        form = FormData()
        picture = base64.b64decode(viewed["body"]["base64"])
        form.add_field("image", picture, filename=answered["name"], content_type="image/png")
        if answered["subfolder"]:
            form.add_field("subfolder", answered["subfolder"])
        return form

    def _faster(self, name: str, body: Any) -> Any:
        if name.partition(".")[2].startswith(_FASTER_JOBS) and "prompt" in body:
            for node in body["prompt"].values():
                if "seconds" in node["inputs"]:
                    node["inputs"]["seconds"] /= FASTER
        return body

    def _learn_id(self, entry: dict[str, Any], body: bytes) -> None:
        recorded = entry["body"].get("json")
        if entry["name"].startswith("prompt.") and isinstance(recorded, dict) and "prompt_id" in recorded:
            assert b"prompt_id" in body, f"{entry['name']}: {body.decode()}"
            self.ids[recorded["prompt_id"]] = json.loads(body)["prompt_id"]

    def _mapped(self, text: str) -> str:
        for theirs, ours in self.ids.items():
            text = text.replace(theirs, ours)
        return text


def _is_last(frame: str | bytes, recorded: str | bytes) -> bool:
    """Whether a frame is the scenario's last: executing{node: null}, or a status without anything left."""
    if isinstance(frame, bytes):
        return False
    said, last = json.loads(frame), json.loads(recorded)
    if said["type"] != last["type"]:
        return False
    return said["data"].get("node") is None and said["data"].get("status") == last["data"].get("status")
