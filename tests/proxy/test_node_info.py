"""Node classes, models and the host over real HTTP: for the caller only, in front of both versions."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.comfy.files import FileRef
from gateway.comfy.node_class import describe
from gateway.store import Store
from gateway.store.transactions import url_of
from tests.house import House, house, until

LOADERS = ("LoadImage", "LoadImageMask", "LoadAudio", "LoadVideo", "LoadLatent")
PATHS = ("/object_info", "/api/object_info")
PRIVATE = "sd_xl_base_1.0.safetensors"
OPEN = "v1-5-pruned-emaonly.safetensors"
CATALOGUE = "CheckpointLoaderSimple"


@pytest.fixture(params=["0.28.1", "0.3.64"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def both(version: str, tmp_path: Path) -> AsyncIterator[House]:
    """A gateway in front of each version, whose input folder holds files of somebody."""
    roles = {
        "member": {"models": {"deny": [f"checkpoints/{PRIVATE}"]}, "nodes": {}},
        "trusted": {"permissions": ["read", "submit"], "nodes": {"trusted_packs": ["lab_*"], "deny": ["KSampler"]}},
    }
    async with house(tmp_path, version=version, roles=roles) as built:
        for ending in ("png", "wav", "mp4", "latent"):
            (built.simulator.directory / "input" / f"zz-eve.{ending}").write_bytes(b"x")
        await built.user("tina", role="trusted")
        yield built


async def uploaded(built: House, name: str, *paths: str) -> None:
    """Note inputs as the upload routes do."""
    async with await Store.open(url_of(built.settings)) as store:
        user = await store.users.by_name(name)
        assert user is not None
        for number, path in enumerate(paths):
            folder, _, filename = path.rpartition("/")
            ref = FileRef.read("input", folder, filename)
            await store.files.note_upload(user.id, ref, size=1, now=number)


async def listed(built: House, by: str, path: str = "/object_info", **options: Any) -> dict[str, Any]:
    said = await built.ask("GET", path, by=by, **options)
    assert said.status == 200, said.body
    return dict(said.json())


def choices(entry: dict[str, Any]) -> list[str]:
    (name,) = describe(entry).reads
    spec = entry["input"]["required"][name]
    found: list[str] = spec[0] if isinstance(spec[0], list) else spec[1]["options"]
    return found


def questions(built: House, path: str) -> int:
    return len([entry for entry in built.simulator.log if entry.kind == "request" and entry.detail[1] == path])


async def test_i23_pickers_show_ones_own_files(both: House) -> None:
    """I23: nobody, not even an administrator, sees another's file in a picker; a new upload is there at once."""
    await uploaded(both, "alice", "a.png", "a.wav", "deep/b.png")
    for by, images in (("alice", ["a.png"]), ("bob", []), ("root", [])):
        for path in PATHS:
            body = (await both.ask("GET", path, by=by)).body
            assert b"zz-eve" not in body and (by == "alice" or b"a.png" not in body)
            assert choices(orjson.loads(body)["LoadImage"]) == images
    await uploaded(both, "alice", "c.png")
    told = await listed(both, "alice")
    assert [choices(told[name]) for name in LOADERS] == [["a.png", "c.png"], ["a.png", "c.png"], ["a.wav"], [], []]


async def test_one_class_is_as_in_the_whole(both: House) -> None:
    """GET /object_info/{class} is that entry of the whole list, `{}` for a class that is unknown or hidden."""
    whole = await listed(both, "alice")
    for name in ("LoadImage", CATALOGUE, "SaveImage"):
        assert await listed(both, "alice", f"/api/object_info/{name}") == {name: whole[name]}
    for name in ("Nope", "LabFail"):
        assert await listed(both, "alice", f"/object_info/{name}") == {}


async def test_blocked_nodes_are_hidden(both: House) -> None:
    """A member sees no class of a pack; a role that trusts it does, and not what it is denied; an administrator sees
    all, in the server's order."""
    seen = {by: set(await listed(both, by)) for by in ("alice", "tina", "root")}
    assert "LabFail" not in seen["alice"] and "LabFail" in seen["tina"] and "KSampler" not in seen["tina"]
    assert list(await listed(both, "root")) == list(both.simulator.object_info())
    assert not any("DataSet" in name or "TrainingDataset" in name for name in seen["alice"])


async def test_what_a_member_may_not_load_is_nowhere(both: House) -> None:
    """A denied model is in no list of models, in no picker and in no metadata; who may load it sees it."""
    for path in ("/object_info", f"/object_info/{CATALOGUE}", "/models/checkpoints", "/experiment/models/checkpoints"):
        for by, there in (("alice", False), ("tina", True), ("root", True)):
            body = (await both.ask("GET", f"/api{path}", by=by)).body
            assert (PRIVATE.encode() in body) is there and OPEN.encode() in body, (path, by)
    hidden = f"/view_metadata/checkpoints?filename={PRIVATE}", f"/experiment/models/preview/checkpoints/0/{PRIVATE}"
    before = len(both.simulator.log)
    for path in (*hidden, "/experiment/models/preview/checkpoints/0/..%2Fa.png"):
        said = await both.ask("GET", path, by="alice")
        assert said.status in (400, 404) and PRIVATE.encode() not in said.body
    assert not [entry for entry in both.simulator.log[before:] if entry.kind == "request"]


async def test_models_that_may_be_seen_are_asked_about(both: House) -> None:
    """Metadata and previews of other models are ComfyUI's own answers, whatever they are."""
    for path in (f"/api/view_metadata/checkpoints?filename=a%20{OPEN}&x=1", "/view_metadata/loras"):
        assert (await both.ask("GET", path, by="alice")).status == 404
    path = f"/experiment/models/preview/checkpoints/0/{OPEN}"
    assert (await both.ask("GET", path, by="alice")).status == 404
    assert questions(both, f"/view_metadata/checkpoints?filename=a%20{OPEN}") == 1 and questions(both, path) == 1


async def test_lists_of_models_are_comfyui_s(both: House) -> None:
    """The lists have ComfyUI's shapes; a kind of model that there is not is not found."""
    assert await both_shapes(both) == ([OPEN], [OPEN], [])
    assert (await both.ask("GET", "/models/nope", by="alice")).status == 404
    assert (await both.ask("GET", "/experiment/models/nope", by="alice")).status == 404
    assert (await both.ask("GET", "/models/custom_nodes", by="root")).status == 403


async def both_shapes(built: House) -> tuple[Any, list[str], Any]:
    names = (await built.ask("GET", "/models/checkpoints", by="alice")).json()
    files = (await built.ask("GET", "/api/experiment/models/checkpoints", by="alice")).json()
    assert all(set(file) == {"name", "pathIndex", "modified", "created", "size"} for file in files)
    return names, [file["name"] for file in files], (await built.ask("GET", "/embeddings", by="alice")).json()


async def test_i24_nothing_of_the_host(both: House) -> None:
    """I24: members see neither the command line nor where models lie; administrators see both."""
    place = str(both.simulator.directory).encode()
    for path in ("/system_stats", "/api/experiment/models"):
        assert place not in (await both.ask("GET", path, by="alice")).body
        assert place in (await both.ask("GET", path, by="root")).body
    stats = await listed(both, "alice", "/system_stats")
    assert stats["system"]["argv"] == ["main.py", "--disable-api-nodes"] and stats["devices"]
    kinds = (await both.ask("GET", "/experiment/models", by="alice")).json()
    assert {"checkpoints", "loras"} <= {kind["name"] for kind in kinds}
    assert all(kind["folders"] == [] for kind in kinds)


async def test_a_token_with_fewer_scopes_is_no_administrator(both: House) -> None:
    """What an administrator's token may see depends on its scopes too."""
    await both.user("root", scopes=frozenset({"read"}))
    assert "LabFail" not in await listed(both, "root")
    assert (await listed(both, "root", "/system_stats"))["system"]["argv"][0] == "main.py"


async def test_compressed_and_not_sent_twice(both: House) -> None:
    """The list comes compressed to who asks for that, plain to others, and not at all to who has it; HEAD has the
    head of it."""
    plain = await both.ask("GET", "/object_info", by="alice", headers={"Accept-Encoding": "identity"})
    async with both.http.get(
        f"{both.url}/object_info", headers={"X-API-Key": both.tokens["alice"], "Accept-Encoding": "gzip"}
    ) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        assert await packed.json() == plain.json()
        assert int(packed.headers["Content-Length"]) < len(plain.body) / 4
    assert "Content-Encoding" not in plain.headers and int(plain.headers["Content-Length"]) == len(plain.body)
    assert "Accept-Encoding" in plain.headers["Vary"] and plain.headers["ETag"] == packed.headers["ETag"]
    again = {"If-None-Match": plain.headers["ETag"]}
    unchanged = await both.ask("GET", "/object_info", by="alice", headers=again)
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert (await both.ask("GET", "/object_info", by="tina", headers=again)).status == 200
    head = await both.ask("HEAD", "/object_info", by="alice", headers={"Accept-Encoding": "identity"})
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", plain.headers["ETag"])
    await uploaded(both, "alice", "new.png")
    assert (await both.ask("GET", "/object_info", by="alice", headers=again)).status == 200


async def test_many_ask_and_comfyui_is_asked_once(both: House) -> None:
    """Thirty requests of three users at once, and more after, are one question to ComfyUI."""
    said = await asyncio.gather(*(both.ask("GET", "/object_info", by=by) for by in ("alice", "bob", "root") * 10))
    assert {answer.status for answer in said} == {200}
    await listed(both, "alice", "/object_info/LoadImage")
    assert questions(both, "/object_info") == 1


async def test_a_restarted_server_is_asked_again(both: House) -> None:
    """When the event socket was connected anew the list is that of the new process."""
    await listed(both, "alice")
    await both.simulator.crash()
    await both.simulator.start()

    async def asked_again() -> bool:
        await both.ask("GET", "/object_info", by="alice")
        return questions(both, "/object_info") == 2

    await until(asked_again)


async def test_without_comfyui(both: House) -> None:
    """A server that is away is told as that, on every one of these routes."""
    await both.simulator.stop()
    for path in ("/object_info", "/object_info/LoadImage", "/system_stats", "/models/loras", "/experiment/models"):
        said = await both.ask("GET", path, by="alice")
        assert (said.status, said.json()["error"]["type"]) == (503, "no_server_available"), path


async def test_strangers_learn_nothing(both: House) -> None:
    """Without a credential each of these routes is 401, and ComfyUI is not asked."""
    for path in ("/object_info", "/object_info/LoadImage", "/system_stats", "/models/loras", "/embeddings"):
        assert (await both.ask("GET", path)).status == 401
    assert not questions(both, "/object_info")
