"""What the two recorded ComfyUI versions sent, for the tests of this room."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RECORDINGS = Path(__file__).parents[1] / "recordings"
VERSIONS = ("0.3.64", "0.28.1")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def exchanges(version: str) -> dict[str, dict[str, Any]]:
    """Every recorded request and answer by its name."""
    return {line["name"]: line for line in _lines(RECORDINGS / version / "http.jsonl")}


@pytest.fixture
def routes(version: str) -> list[tuple[str, str, str]]:
    """Method, path and kind ("static" or "") of every registered route."""
    lines = (RECORDINGS / version / "routes.tsv").read_text(encoding="utf-8").splitlines()
    return [(method, path, kind) for method, path, kind in (line.split("\t") for line in lines)]


@pytest.fixture
def frames(version: str) -> list[str | bytes]:
    """Every frame of every recorded socket, in order."""
    found: list[str | bytes] = []
    for path in sorted((RECORDINGS / version).glob("ws.*.jsonl")):
        for line in list(_lines(path))[1:]:
            found.append(line["text"] if "text" in line else base64.b64decode(line["base64"]))
    return found


@pytest.fixture
def object_info(version: str) -> dict[str, Any]:
    return dict(json.loads((RECORDINGS / version / "object_info.json").read_text(encoding="utf-8")))
