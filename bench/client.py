"""One client of a ComfyUI, with one connection, written on the standard library so that it costs little itself.

It does not know whether a gateway is in between.
"""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from bench.crew import BenchError

_LOOK_AGAIN_SECONDS: Final = 0.002
_DRAIN_SECONDS: Final = 60.0

Graph = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ComfyUI is, and what to say at its door."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Client:
    """`with Client(place) as client`. Raises BenchError for every answer that is not 200."""

    def __init__(self, place: Place) -> None:
        self._headers = dict(place.headers)
        self._connection = http.client.HTTPConnection(place.url.removeprefix("http://"), timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, path: str) -> Any:
        """What the JSON says."""
        return json.loads(self._ask("GET", path, None))

    def post(self, path: str, value: object) -> bytes:
        """The answer's body."""
        return self._ask("POST", path, json.dumps(value).encode())

    def submit(self, graph: Graph, **more: object) -> float:
        """Submit a graph; how many seconds the answer took."""
        body = json.dumps({"prompt": graph, **more}).encode()
        begun = time.perf_counter()
        self._ask("POST", "/prompt", body)
        return time.perf_counter() - begun

    def remaining(self) -> int:
        """How many jobs are unfinished."""
        return int(self.get("/prompt")["exec_info"]["queue_remaining"])

    def wait_until_idle(self) -> None:
        """Return when no job is left."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self.remaining():
            if time.monotonic() > deadline:
                raise BenchError(f"the queue was not empty within {_DRAIN_SECONDS:.0f} s")
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        kind = {"Content-Type": "application/json"} if body is not None else {}
        self._connection.request(method, path, body, {**self._headers, **kind})
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise BenchError(
                f"{method} {path} was answered with {answer.status}: {said[:500].decode(errors='replace')}"
            )
        return said


def picture() -> Graph:
    """A small graph that ComfyUI has in its cache from the second time on."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 1}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


def steps(count: int, *, seconds: float, nonce: str) -> Graph:
    """A graph that takes so many seconds and says so many times how far it is."""
    pace = {"seconds": seconds, "steps": count, "previews": False, "text": False, "nonce": nonce}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 1}},
        "2": {"class_type": "LabSlow", "inputs": {"image": ["1", 0], **pace}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
