"""D1: prompts that would end, poison or bend a ComfyUI, and JSON that two readers read in two ways.

Each comes at the top of a submit and, where it could hide there, inside `extra_data`. The last test asks whether
ComfyUI still works.
"""

import json
import math
import uuid
from typing import Any

import pytest

from tests.e2e.graphs import picture
from tests.rows.front import Front, Reply, until

GRAPH = json.dumps(picture(1, prefix="rows"))
MEBIBYTE = 1024 * 1024


def body(fields: str = "", *, prompt: str = GRAPH) -> bytes:
    """A submit, written by hand: what it must hold no writer of JSON would write."""
    return f'{{"prompt": {prompt}{", " if fields else ""}{fields}}}'.encode()


def submit(front: Front, raw: bytes, *lines: bytes) -> Reply:
    return front.post("/prompt", raw, b"Content-Type: application/json", *lines)


def posted(front: Front) -> int:
    """How many submits ComfyUI was asked to take."""
    return len([1 for method, target, _ in front.requests() if (method, target) == ("POST", "/prompt")])


def require_refused(front: Front, raws: dict[str, bytes], *statuses: int) -> None:
    """Each is refused in ComfyUI's error shape, and ComfyUI is not asked."""
    before = posted(front)
    for name, raw in raws.items():
        reply = submit(front, raw)
        assert reply.status in statuses, (name, reply)
        assert reply.json()["node_errors"] == {}, name
    assert posted(front) == before


def nested(value: str) -> str:
    """The field `extra_data`, holding this field."""
    return f'"extra_data": {{{value}}}'


def accepted(front: Front, raw: bytes) -> dict[str, Any]:
    """It is accepted and ends well; what ComfyUI itself holds of it afterwards."""
    reply = submit(front, raw)
    assert reply.status == 200, reply
    prompt_id = reply.json()["prompt_id"]
    until(lambda: front.get(f"/history/{prompt_id}").json())
    entry: dict[str, Any] = strict(front.get(f"/history/{prompt_id}"))[prompt_id]
    assert entry["status"]["status_str"] == "success"
    return entry


def strict(reply: Reply) -> Any:
    """The body as a browser's JSON.parse reads it: without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(reply.body, parse_constant=refuse)


def test_D01_client_ids(front: Front) -> None:
    """A client_id that is an object, a list, 100 KB or half a character is 400; a number becomes a text.

    In `extra_data` ComfyUI would die of the same; there it is left out.
    """
    odd = {"object": "{}", "list": "[]", "long": f'"{"x" * 100_000}"', "surrogate": '"\\ud800"', "float": "1.5"}
    require_refused(front, {name: body(f'"client_id": {value}') for name, value in odd.items()}, 400)
    accepted(front, body('"client_id": 5'))
    for value in ("{}", "[]", "5", '["x"]'):
        accepted(front, body(nested(f'"client_id": {value}')))
    require_refused(front, {"surrogate inside": body(nested('"client_id": "\\ud800"'))}, 400)


def test_D02_extra_data_of_another_type(front: Front) -> None:
    """extra_data that is no object is 400."""
    values = ("5", "null", "[]", '"client_id"', "true", "NaN")
    require_refused(front, {value: body(f'"extra_data": {value}') for value in values}, 400)


def test_D03_numbers(front: Front) -> None:
    """NaN, Infinity, null and text are 400, wherever they are; -1e9 overtakes nobody, ComfyUI gets a number of ours."""
    for value in ("NaN", "Infinity", "-Infinity", "1e999"):
        number = f'"number": {value}'
        require_refused(front, {value: body(number), f"{value} inside": body(nested(number))}, 400)
    require_refused(front, {value: body(f'"number": {value}') for value in ("null", '"x"', "[]", "true")}, 400)
    for fields in ('"number": -1e9', nested('"number": null'), nested('"number": -1e9')):
        assert math.isfinite(accepted(front, body(fields))["prompt"][0])


def test_D04_the_same_id_twice(front: Front) -> None:
    """The same number and prompt_id a second time is 409: ComfyUI never holds two jobs of one id."""
    same = body(f'"number": 7, "prompt_id": "{uuid.uuid4()}"')
    accepted(front, same)
    require_refused(front, {"again": same}, 409)
    again = body(f'"number": 7, "prompt_id": "{uuid.uuid4()}"')
    statuses = [reply.status for reply in front.converse([raw_submit(front, again)] * 2)]
    assert statuses == [200, 409]


def raw_submit(front: Front, raw: bytes) -> bytes:
    return front.request("/prompt", b"Content-Length: %d" % len(raw), method=b"POST") + raw


@pytest.mark.parametrize(
    "node",
    [
        '{"class_type": "EmptyImage"}',
        '{"class_type": "EmptyImage", "inputs": null}',
        '{"class_type": "EmptyImage", "inputs": []}',
        '{"class_type": ["EmptyImage"], "inputs": {}}',
        '{"class_type": 5, "inputs": {}}',
        '{"inputs": {}}',
        "null",
        "[]",
    ],
)
def test_D05_nodes_of_another_shape(front: Front, node: str) -> None:
    """A node without inputs, or of another shape, is 400, also beside a good graph that does not lead to it."""
    beside = f'{GRAPH[:-1]}, "9": {node}}}'
    require_refused(front, {"alone": body(prompt=f'{{"9": {node}}}'), "beside": body(prompt=beside)}, 400)


@pytest.mark.parametrize("info", ["null", "[]", '"x"', '{"workflow": null}', '{"workflow": []}', '{"workflow": 5}'])
def test_D06_extra_pnginfo(front: Front, info: str) -> None:
    """An extra_pnginfo that would make ComfyUI's list of jobs a 500 for everybody is left out."""
    accepted(front, body(nested(f'"extra_pnginfo": {info}')))
    assert strict(front.get("/api/jobs"))["jobs"]


def test_D07_sizes(front: Front) -> None:
    """Depth, a million keys and an endless number are 400; 8 MiB and one byte are 413; none reaches ComfyUI."""
    keys = ",".join(f'"{number}":0' for number in range(400_000))
    deep = "[" * 200_000
    raws = {
        "deep": deep.encode(),
        "deep inside": body(f'"extra_data": {{"a": {deep}{"]" * 200_000}}}'),
        "keys": body(nested(keys)),
        "number": body(f'"number": {"1" * 4_000_000}'),
        "number inside": body(nested(f'"a": {"1" * 4_000_000}')),
    }
    require_refused(front, raws, 400)
    padding = 8 * MEBIBYTE + 1 - len(body('"a": ""'))
    require_refused(front, {"8 MiB and 1": body(f'"a": "{"x" * padding}"')}, 413)
    hundred = front.request("/prompt", b"Content-Length: 104857600", method=b"POST") + b'{"number": ' + b"1" * 65536
    assert front.ask(hundred).status == 413


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate"])
def test_D09_compressed_prompts(front: Front, coding: bytes) -> None:
    """A compressed body is 415, whatever is in it."""
    before = posted(front)
    assert submit(front, b"\x1f\x8b" + b"\x00" * 1000, b"Content-Encoding: " + coding).status == 415
    assert posted(front) == before


def test_D10_partial_execution_targets(front: Front) -> None:
    """Targets that are no list of some node ids are 400; in `extra_data` they mean nothing."""
    million = "[" + ",".join(['"3"'] * 200_000) + "]"
    values = ("5", '"3"', "[3]", "[null]", '{"3": 1}', "[]", million)
    require_refused(front, {value[:20]: body(f'"partial_execution_targets": {value}') for value in values}, 400)
    accepted(front, body(nested('"partial_execution_targets": 5')))


def test_D11_unknown_fields(front: Front) -> None:
    """Fields that nobody knows do not come back from ComfyUI, at the top nor inside `extra_data`."""
    entry = accepted(front, body('"sneaky": {"client_id": []}, "extra_data": {"sneaky": 1, "preview_method": "auto"}'))
    assert "sneaky" not in json.dumps(entry)
    assert entry["prompt"][3]["preview_method"] == "auto"


def test_D11_keys_that_come_twice(front: Front) -> None:
    """A key that comes twice is 400: two readers would take two values."""
    require_refused(
        front,
        {"top": body(f'"prompt": {GRAPH}'), "inside": body(nested('"preview_method": "a", "preview_method": "b"'))},
        400,
    )


def test_D12_comfyui_still_works(front: Front) -> None:
    """After all of these /queue and /history are JSON for a browser, of everybody, and a job of another user runs."""
    entry = accepted(front, body(prompt=json.dumps(picture(int(front.is_direct), prefix=front.mark("canary")))))
    assert entry["outputs"]["3"]["images"]
    for by in ("alice", "bob"):
        for target in ("/queue", "/history", "/api/jobs", "/prompt"):
            strict(front.get(target, by=by))
    kinds = {happening["kind"] for happening in front.house.happenings()}
    assert not kinds & {"crashed", "worker_died"}
