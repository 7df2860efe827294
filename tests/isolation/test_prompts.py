"""Prompts of two users on one ComfyUI: what bob's name of alice's is refused or becomes his own, what alice reads back
is what she wrote, and equal graphs share loaded models but no file."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from PIL import Image

from gateway.comfy.owner_tag import TAG
from gateway.demo.example import text_to_image
from tests.house import House, house, until
from tests.isolation.things import SECRET, colored, form, is_colored, sent, shot
from tests.proxy.own_files import VERSIONS, picture, root_of

Graph = dict[str, Any]
ALICE = "swan5c"
"""A name of a file, which only alice has in some tests and both in others."""


@pytest.fixture(params=VERSIONS)
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A gateway in front of each version, where alice has an input, an output and a preview in her color."""
    async with house(tmp_path, version=request.param) as built:
        await uploaded(built, "alice", colored())
        await finished(built, shot(ALICE), by="alice")
        yield built


async def uploaded(built: House, by: str, content: bytes) -> None:
    said = await built.ask("POST", "/upload/image", by=by, data=form(content, f"{ALICE}.png"))
    assert said.status == 200, said.body


async def finished(built: House, graph: Graph, *, by: str, **fields: Any) -> dict[str, Any]:
    """The history entry of a job that has run."""
    return await built.history(await built.submit(graph, by=by, **fields), by=by)


def images(entry: dict[str, Any]) -> list[dict[str, str]]:
    """The files that a job shows."""
    return [image for node in entry["outputs"].values() for image in node.get("images", ())]


async def shown(built: House, image: dict[str, str], *, by: str) -> tuple[int, bytes]:
    """A file as /view gives it."""
    said = await built.ask("GET", "/view", by=by, params=image)
    return said.status, said.body


def loading(name: Any, **more: Any) -> Graph:
    """A file loaded, saved and previewed."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "loaded"}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        **more,
    }


def saving(prefix: Any, **more: Any) -> Graph:
    """A gray picture, saved."""
    blank = {"width": 16, "height": 16, "batch_size": 1, "color": 0x777777}
    return {
        "1": {"class_type": "EmptyImage", "inputs": blank},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
        **more,
    }


def text(value: str) -> Graph:
    return {"9": {"class_type": "PrimitiveString", "inputs": {"value": value}}}


async def hers(built: House) -> list[str]:
    """Every way to say alice's files: `{key}` is hers, `{temp}` the name of her preview."""
    root, key = await root_of(built, "alice"), (await root_of(built, "alice")).removeprefix("users/")
    (preview,) = (built.simulator.directory / "temp").glob("*.png")
    directory = built.simulator.directory
    return [
        f"{root}/{ALICE}.png",
        f"{root}/{ALICE}.png [input]",
        f"{root}/{ALICE}_00001_.png [output]",
        f"{ALICE}.png",
        f"{preview.name} [temp]",
        f"../temp/{preview.name}",
        f"../{key}/{ALICE}.png",
        f"../../{root}/{ALICE}.png",
        f"../output/{root}/{ALICE}_00001_.png",
        f"x/../../{key}/{ALICE}.png",
        f"./{root}/{ALICE}.png",
        f"//{root}/{ALICE}.png",
        f"USERS/{key}/{ALICE}.png",
        f"users\\{key}\\{ALICE}.png",
        f"..\\{key}\\{ALICE}.png",
        f"{directory}/input/{root}/{ALICE}.png",
        f"{directory}/output/{root}/{ALICE}_00001_.png [output]",
        f"{root}/{ALICE}.png\0",
        f" {root}/{ALICE}.png",
    ]


def below(directory: Path) -> dict[str, bytes]:
    """Every file of the three folders."""
    found = [path for kind in ("input", "output", "temp") for path in (directory / kind).rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def of_bob(built: House, bob: str, before: dict[str, bytes]) -> dict[str, bytes]:
    """What is new in the folders; what was there is as it was."""
    after = below(built.simulator.directory)
    assert {name: content for name, content in after.items() if name in before} == before
    new = {name: content for name, content in after.items() if name not in before}
    assert [
        name for name in new if not name.startswith((f"output/{bob}/", f"input/{bob}/", "temp/ComfyUI_temp_"))
    ] == []
    return new


@pytest.mark.parametrize("has_one", [False, True], ids=["bob has none", "bob has one"])
async def test_I15_files_of_another_are_refused_or_one_s_own(both: House, has_one: bool) -> None:
    """I15: LoadImage of "users/alice/x.png", with [output], ../, absolute, `{"__value__": …}`: 400 or 403, or bob's own
    file of that name; ComfyUI never gets alice's name from him."""
    if has_one:
        await uploaded(both, "bob", picture(9))
    key, bob = (await root_of(both, "alice")).removeprefix("users/"), await root_of(both, "bob")
    before, seen = below(both.simulator.directory), set(both.simulator.history)
    plain = await hers(both)
    for name in [*plain, *({"__value__": name} for name in plain), {"__value__": {"__value__": plain[0]}}]:
        for kind in ("LoadImage", "LoadImageMask", "LoadImageOutput"):
            graph = loading(name)
            graph["1"]["class_type"] = kind
            if kind == "LoadImageMask":
                graph["1"]["inputs"]["channel"] = "red"
                graph["4"] = {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}}
                graph["2"]["inputs"]["images"] = graph["3"]["inputs"]["images"] = ["4", 0]
            said = await both.ask("POST", "/prompt", by="bob", json={"prompt": graph})
            if said.status == 200:
                await both.history(said.json()["prompt_id"], by="bob")
            else:
                assert said.status in (400, 403), (name, said)
                asked = json.dumps(name)
                assert key in asked or key.encode() not in said.body, (name, said)
    sent_on = [entry for prompt_id, entry in both.simulator.history.items() if prompt_id not in seen]
    assert key not in json.dumps([entry["prompt"] for entry in sent_on])
    new = of_bob(both, bob, before)
    assert not any(is_colored(content) for content in new.values())
    assert bool(new) == bool(sent_on)
    assert has_one or not new


async def test_I15_refusals_come_before_comfyui(both: House) -> None:
    """I15: a name that leads out of one's folder, and a name on a wire, are `file_not_allowed` with the node, and
    ComfyUI is not asked."""
    root = await root_of(both, "alice")
    key = root.removeprefix("users/")
    (preview,) = (both.simulator.directory / "temp").glob("*.png")
    before = _posted(both)
    wired = text(f"{root}/{ALICE}.png")
    for graph in (
        loading(f"../{key}/{ALICE}.png"),
        loading(f"../output/{root}/{ALICE}_00001_.png"),
        loading(f"{both.simulator.directory}/input/{root}/{ALICE}.png"),
        loading({"__value__": f"../{key}/{ALICE}.png"}),
        loading(f"{preview.name} [temp]"),
        loading(["9", 0], **wired),
        saving(["9", 0], **wired),
    ):
        said = await both.ask("POST", "/prompt", by="bob", json={"prompt": graph})
        assert (said.status, said.json()["error"]["type"]) == (403, "file_not_allowed"), (graph, said.body)
        assert list(said.json()["node_errors"]) in (["1"], ["2"])
    assert _posted(both) == before


def _posted(built: House) -> int:
    """How often ComfyUI was asked to run something."""
    asked = [entry.detail for entry in built.simulator.log if entry.kind == "request"]
    return sum(method == "POST" and path.rstrip("/").endswith("/prompt") for method, path, _ in asked)


async def test_I17_outputs_stay_below_one_s_own_root(both: House) -> None:
    """I17: SaveImage's prefix with ../alice, users/alice, %year%/../.., backslash, NUL, `__value__`: refused, or below
    bob's root; nothing of alice's is written over."""
    alice, bob = await root_of(both, "alice"), await root_of(both, "bob")
    key = alice.removeprefix("users/")
    before = below(both.simulator.directory)
    prefixes = [
        f"{alice}/{ALICE}",
        f"../{key}/{ALICE}",
        f"../../output/{alice}/{ALICE}",
        f"%year%/../../{key}/{ALICE}",
        f"%width%/../../{key}/{ALICE}",
        f"users\\{key}\\{ALICE}",
        f"..\\{key}\\{ALICE}",
        f"/{alice}/{ALICE}",
        f"{both.simulator.directory}/output/{alice}/{ALICE}",
        f"{alice}/{ALICE}\0",
        f"./{alice}/./{ALICE}",
        f"{bob}/../{key}/{ALICE}",
        f"{bob}/{bob}/../../{alice}/{ALICE}",
        ALICE,
        "",
    ]
    statuses = set()
    for prefix in [*prefixes, *({"__value__": prefix} for prefix in prefixes)]:
        said = await both.ask("POST", "/prompt", by="bob", json={"prompt": saving(prefix)})
        statuses.add(said.status)
        assert said.status in (200, 400, 403), (prefix, said)
        if said.status == 200:
            entry = await both.history(said.json()["prompt_id"], by="bob")
            assert all(not image["subfolder"].startswith(bob) for image in images(entry))
    assert 200 in statuses
    new = of_bob(both, bob, before)
    assert new
    assert all(name.startswith(f"output/{bob}/") for name in new)


async def test_I19_the_same_graph_gives_everyone_a_file_of_their_own(both: House) -> None:
    """I19, I35: the graph that alice just ran gives bob his own saved and previewed picture, with only his own workflow
    in it, and her file is not his to see."""
    mine = {"extra_data": {"extra_pnginfo": {"workflow": {"by": f"{SECRET} alice"}}}}
    his = {"extra_data": {"extra_pnginfo": {"workflow": {"by": "bob"}}}}
    first = await finished(both, saving("same", **_preview()), by="alice", **mine)
    second = await finished(both, saving("same", **_preview()), by="bob", **his)
    third = await finished(both, saving("same", **_preview()), by="alice", **mine)
    assert [image["type"] for image in images(second)] == [image["type"] for image in images(first)]
    assert len(images(second)) == 2
    key = (await root_of(both, "alice")).removeprefix("users/").encode()
    for image in images(second):
        status, body = await shown(both, image, by="bob")
        assert status == 200
        assert SECRET.encode() not in body
        assert key not in body
        assert json.loads(str(Image.open(io.BytesIO(body)).info["workflow"])) == {"by": "bob"}
    for one, other, asker in ((first, second, "alice"), (second, first, "bob"), (third, second, "alice")):
        temps, others = (_temps(entry) for entry in (one, other))
        assert not {image["filename"] for image in temps} & {image["filename"] for image in others}
        assert [(await shown(both, image, by=asker))[0] for image in temps] == [200]
        assert [(await shown(both, image, by=asker))[0] for image in others] == [404]


def _temps(entry: dict[str, Any]) -> list[dict[str, str]]:
    return [image for image in images(entry) if image["type"] == "temp"]


def _preview() -> Graph:
    return {"3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}


async def test_models_stay_loaded_when_the_users_alternate(both: House) -> None:
    """Model loaders never run again because the user changed."""
    for turn in range(3):
        for name in ("alice", "bob"):
            graph = text_to_image(seed=turn, size=16)
            graph["10"] = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
            entry = await finished(both, graph, by=name)
            assert len(images(entry)) == 2
    loaded = [entry.detail for entry in both.simulator.log if entry.kind == "loaded_model"]
    assert loaded == ["v1-5-pruned-emaonly.safetensors"]


async def test_a_graph_from_history_or_from_a_picture_runs_again(both: House) -> None:
    """A graph taken from history or from a PNG runs again, and gives the same picture below the same root."""
    root = await root_of(both, "alice")
    entry = await finished(both, loading(f"{ALICE}.png"), by="alice")
    assert entry["prompt"][2] == loading(f"{ALICE}.png")
    for turn in (2, 3):
        _, body = await shown(both, images(entry)[0], by="alice")
        assert is_colored(body)
        embedded = orjson.loads(str(Image.open(io.BytesIO(body)).info["prompt"]))
        graph = entry["prompt"][2] if turn == 2 else embedded
        graph["5"] = text(str(turn))["9"]  # another graph, or the cache would answer with the file that is there
        graph["2"]["inputs"]["filename_prefix"] = f"again{turn}"
        entry = await finished(both, graph, by="alice")
        assert entry["prompt"][2]["1"] == {"class_type": "LoadImage", "inputs": {"image": f"{ALICE}.png"}}
        assert (both.simulator.directory / "output" / root / f"again{turn}_00001_.png").is_file()
        for image in images(entry):
            status, body = await shown(both, image, by="alice")
            assert (status, is_colored(body)) == (200, True)


async def test_what_is_read_back_is_what_was_written(both: House) -> None:
    """What alice reads back from queue, history, jobs and frames is the visible form: no root, no key, no tag."""
    root = await root_of(both, "alice")
    graph = loading(f"{ALICE}.png", **{"5": _waiting(["1", 0]), "6": _failing(["5", 0])})
    graph["2"]["inputs"]["images"] = ["6", 0]
    heard: list[bytes] = []
    async with both.socket(by="alice", client_id="c") as socket:
        both.simulator.faults.stop_executing = True
        ids = [
            await both.submit(graph, by="alice", client_id="c"),
            await both.submit({**graph, "7": text("another")["9"]}, by="alice", client_id="c"),
        ]
        said = [
            await sent(both, "GET", target, by="alice") for target in ("/queue", "/api/jobs", f"/api/jobs/{ids[1]}")
        ]
        queue = said[0].json()
        assert queue["queue_running"][0][2] == graph
        both.simulator.faults.stop_executing = False
        entries = [await both.history(prompt_id, by="alice") for prompt_id in ids]
        targets = ("/history", f"/history/{ids[0]}", "/api/jobs", f"/api/jobs/{ids[0]}", "/internal/files/output")
        said += [await sent(both, "GET", target, by="alice") for target in targets]

        async def heard_all() -> bool:
            message = await socket.receive()
            heard.append(message.data if message.type is aiohttp.WSMsgType.BINARY else str(message.data).encode())
            return sum(b'"execution_error"' in frame for frame in heard) == len(ids)

        await until(heard_all)
    assert entries[0]["prompt"][2] == graph
    assert entries[0]["status"]["status_str"] == "error"
    assert any(b'"executed"' in frame for frame in heard)
    for secret in (root.encode(), root.removeprefix("users/").encode(), b"users/", TAG.encode()):
        assert [frame for frame in heard if secret in frame] == []
        assert [answer.body for answer in said if secret in answer.body] == []


def _waiting(image: list[Any]) -> dict[str, Any]:
    wait = {"seconds": 0.05, "steps": 2, "previews": True, "text": True, "nonce": "n"}
    return {"class_type": "LabSlow", "inputs": {"image": image, **wait}}


def _failing(image: list[Any]) -> dict[str, Any]:
    return {"class_type": "LabFail", "inputs": {"image": image, "message": "it went wrong"}}
