"""Every recorded request, asked again in the recorded order, is answered as the real server answered it."""

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageChops

from gateway.demo.server import Simulator
from tests.demo.recorded_session import RECORDINGS, VERSIONS, Answer, Session, recorded_requests
from tests.demo.same_shape import differences

CASES = [(version, entry["name"]) for version in VERSIONS for entry in recorded_requests(version)]

HEADERS = (
    "Content-Type", "Content-Disposition", "Content-Range", "Accept-Ranges", "X-Content-Type-Options",
    "Content-Security-Policy", "Transfer-Encoding", "Connection",
)  # fmt: skip

# Answers whose values are big static data of an installation. Keys and types of their parts are compared instead.
STATIC = {
    "extensions": "the scripts of whichever frontend is installed",
    "global_subgraphs": "blueprints of the templates package: one is enough to show the shape",
    "node_replacements": "dozens of renamed classes: one is enough to show the shape",
}


def _headers(pairs: list[Any]) -> dict[str, str]:
    given = {name.title(): value for name, value in pairs}
    return {name: given[name.title()] for name in HEADERS if name.title() in given}


@pytest.mark.parametrize(("version", "name"), CASES)
def test_status_and_headers(sessions: Callable[[str], Session], version: str, name: str) -> None:
    """The simulated server answers with the recorded status and the recorded headers that say what the body is."""
    answer = sessions(version).answers[name]
    assert answer.status == answer.recorded["status"]
    assert _headers(answer.headers) == _headers(answer.recorded["headers"])


@pytest.mark.parametrize(("version", "name"), CASES)
def test_body(sessions: Callable[[str], Session], version: str, name: str) -> None:
    """The simulated server's body has the recorded keys, types, order and texts."""
    answer = sessions(version).answers[name]
    body = answer.recorded["body"]
    if name in STATIC:
        _assert_same_parts(body["json"], json.loads(answer.body))
    elif "json" in body:
        assert differences(body["json"], json.loads(answer.body)) == []
    elif "base64" in body:
        _assert_same_bytes(answer, base64.b64decode(body["base64"]))
    else:
        assert answer.body.decode() == body["text"]


def _assert_same_parts(recorded: Any, ours: Any) -> None:
    """Each part of ours has the shape of a recorded part."""
    assert type(recorded) is type(ours)
    assert ours
    parts = [recorded[key] for key in ours] if isinstance(recorded, dict) and set(ours) <= set(recorded) else None
    theirs = parts or (list(recorded.values()) if isinstance(recorded, dict) else recorded)
    for one in ours.values() if isinstance(ours, dict) else ours:
        assert _shape(one) in [_shape(part) for part in theirs]


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [type(one) for one in value[:1]]
    return type(value)


def _assert_same_bytes(answer: Answer, recorded: bytes) -> None:
    """Pictures that were drawn here hold the same pixels and texts; everything else is the same bytes."""
    if answer.body == recorded:
        return
    theirs, ours = (Image.open(io.BytesIO(data)) for data in (recorded, answer.body))
    assert (theirs.format, theirs.size, theirs.mode) == (ours.format, ours.size, ours.mode)
    assert getattr(theirs, "text", None) == getattr(ours, "text", None)
    if theirs.format == "PNG":
        # The real server computes in fractions and rounds down, so a channel may differ by one.
        assert max(high for _, high in ImageChops.difference(theirs, ours).getextrema()) <= 1


@pytest.mark.parametrize("version", VERSIONS)
def test_every_answer_was_recorded_once(sessions: Callable[[str], Session], version: str) -> None:
    """No recorded request is left out of the replay."""
    assert list(sessions(version).answers) == [entry["name"] for entry in recorded_requests(version)]


async def test_routes(simulator: Simulator, version: str) -> None:
    """The simulated server has exactly the recorded routes."""
    recorded = (RECORDINGS / version / "routes.tsv").read_text(encoding="utf-8").splitlines()
    wanted = {tuple(line.split("\t")[:2]) for line in recorded}
    # aiohttp names the static root "", which the recording left out.
    assert set(simulator.routes()) - {("GET", ""), ("HEAD", "")} == wanted


async def test_node_definitions(simulator: Simulator, version: str) -> None:
    """Every class the simulated server lists is defined as recorded, apart from the combos of files and models."""
    recorded = json.loads((RECORDINGS / version / "object_info.json").read_text(encoding="utf-8"))
    for name, ours in simulator.object_info().items():
        for theirs in (recorded[name], ours):
            _empty_combos(theirs)
        assert ours == recorded[name]


def _empty_combos(definition: dict[str, Any]) -> None:
    for name in ("image", "ckpt_name", "audio", "file", "latent"):
        spec = definition["input"].get("required", {}).get(name)
        if spec and isinstance(spec[0], list):
            spec[0] = []
        elif spec and len(spec) > 1:
            spec[1].pop("options", None)
