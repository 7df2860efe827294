"""A user with a token, as a script of theirs would act: submit, wait, look at what came of it."""

import io
import json
import re
import time
import uuid
from dataclasses import dataclass
from typing import Any

import requests
from PIL import Image

from tests.e2e.conftest import PATIENCE, Door
from tests.e2e.graphs import Graph

File = dict[str, str]
"""As /history names one: filename, subfolder, type."""
_KEY = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class Someone:
    """One user; `name` is in the workflow that the editor would send along with each graph."""

    door: Door
    name: str
    token: str

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request, with the user's token."""
        headers = {"X-API-Key": self.token}
        return requests.request(method, f"{self.door.url}{path}", headers=headers, timeout=PATIENCE, **options)

    def finished(self, graph: Graph) -> dict[str, Any]:
        """The history entry of a job that ran to its end; it may have failed."""
        body = {"prompt": graph, "extra_data": {"extra_pnginfo": {"workflow": {"drawn by": self.name}}}}
        answer = self.ask("POST", "/prompt", json=body)
        assert answer.status_code == 200, answer.text
        prompt_id = answer.json()["prompt_id"]
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.ask("GET", f"/history/{prompt_id}").json()
            if prompt_id in found:
                return dict(found[prompt_id])
            time.sleep(0.05)
        raise AssertionError("the job did not end in time")

    def view(self, file: File) -> requests.Response:
        """A file by the name that somebody's history gives it."""
        return self.ask("GET", "/view", params=file)

    def upload(self, name: str, content: bytes, *, folder: str = "") -> str:
        """A file of one's own, by the name that a workflow gives it."""
        files = {"image": (name, content, "application/octet-stream")}
        answer = self.ask("POST", "/upload/image", files=files, data={"subfolder": folder})
        assert answer.status_code == 200, answer.text
        stored = answer.json()
        return "/".join(filter(None, (stored["subfolder"], stored["name"])))


def strangers(door: Door) -> tuple[Someone, Someone]:
    """Two members who have done nothing yet."""
    names = [f"u{uuid.uuid4().hex[:8]}" for _ in range(2)]
    one, other = (Someone(door, name, door.user(name)) for name in names)
    return one, other


def files_of(entry: dict[str, Any]) -> list[File]:
    """What a job produced, in the order of its nodes."""
    assert entry["status"]["status_str"] == "success", entry["status"]
    names = ("filename", "subfolder", "type")
    images = [image for _, node in sorted(entry["outputs"].items()) for image in node.get("images", ())]
    return [{name: image[name] for name in names} for image in images]


def png(color: tuple[int, int, int]) -> bytes:
    """A small picture in one color."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16), color).save(out, "PNG")
    return out.getvalue()


def embedded(picture: bytes) -> tuple[str, set[str]]:
    """Who drew a PNG, by the workflow in it, and the keys of all roots that its texts name."""
    with Image.open(io.BytesIO(picture)) as opened:
        texts = {name: text for name, text in opened.info.items() if isinstance(text, str)}
    assert {"prompt", "workflow"} <= set(texts)
    return str(json.loads(texts["workflow"])["drawn by"]), set(_KEY.findall(" ".join(texts.values())))
