"""Files in jobs: below the owner's root on the way in, without it on the way back, recorded where no folder says."""

from typing import Any

import pytest

from gateway.comfy.files import FileRef
from gateway.demo.server import Simulator
from gateway.errors import FileNotAllowed, InvalidPrompt, NodeNotAllowed
from gateway.jobs.files import JobFiles
from tests.jobs.house import House, Person, graph


def preview(nonce: str) -> dict[str, Any]:
    return graph(nonce, save="PreviewImage")


async def files_of(house: House, prompt_id: str) -> list[dict[str, str]]:
    job = await house.ended(prompt_id)
    return [image for output in job.outputs.values() for image in output["images"]]


async def test_results_lie_below_the_owners_root_and_are_shown_without_it(
    house: House, sim: Simulator, alice: Person
) -> None:
    """ComfyUI writes into `users/<key>`; queue, history and frames show the name that the owner chose."""
    ear = house.listen(alice)
    prompt_id = await house.submit(alice, graph("one"), client_id="browser")
    assert await files_of(house, prompt_id) == [{"filename": "house_00001_.png", "subfolder": "", "type": "output"}]
    root = await house.store.roots.of(alice.id)
    assert (sim.directory / "output" / root.path / "house_00001_.png").exists()
    assert root.key not in str(ear.of("executed"))
    job = await house.row(prompt_id)
    assert job is not None
    assert job.prompt["3"]["inputs"]["filename_prefix"] == "house"


async def test_previews_are_recorded_for_whose_job_made_them(house: House, alice: Person, bob: Person) -> None:
    """Temp files keep their names; the records say whose they are, and equal graphs of two users make two files."""
    mine, theirs = [await house.submit(person, preview("same")) for person in (alice, bob)]
    (ours,), (others,) = await files_of(house, mine), await files_of(house, theirs)
    assert ours != others
    boot = await house.store.files.boot(house.server.url, lambda: "none yet")
    for image, person in ((ours, alice), (others, bob)):
        ref = FileRef.read(image["type"], image["subfolder"], image["filename"])
        assert await house.store.files.owner(house.server.url, boot, ref) == person.id


async def test_a_file_that_is_anothers_is_not_given_out(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that this boot recorded for another owner is not delivered nor recorded; the job fails and says so."""

    async def taken(*_: Any) -> bool:
        return False

    monkeypatch.setattr(JobFiles, "claim", taken)
    ear = house.listen(alice)
    prompt_id = await house.submit(alice, preview("x"), client_id="browser")
    job = await house.ended(prompt_id)
    assert job.error is not None
    assert (job.state, job.error["exception_type"], job.outputs) == ("failed", "file_taken", {})
    assert ear.of("executed") == []


async def test_a_claim_of_anothers_file_fails(house: House, alice: Person, bob: Person) -> None:
    """Whoever made a file first in this boot of the server keeps it."""
    (image,) = await files_of(house, await house.submit(alice, preview("y")))
    held = await house.submit(bob, graph("long", seconds=0.5))
    live = house.live(held)
    assert live is not None
    assert not await house.works.desk.files.claim(live, {"3": {"images": [image]}})


async def test_what_only_looks_like_a_file_is_no_claim(house: House, alice: Person) -> None:
    """A node that shows what the workflow brought, such as a 3D camera, makes nobody the owner of the file it names."""
    held = await house.submit(alice, graph("long", seconds=0.5))
    live = house.live(held)
    assert live is not None
    other = {"filename": "old.png", "subfolder": "", "type": "output"}
    shown = [
        {"result": ["", other]},
        {"images": [{"more": [other]}]},
        {"input_bboxes": [other]},
        {"text": [str(other)]},
    ]
    for output in shown:
        assert await house.works.desk.files.claim(live, {"3": output})
    known = await house.store.files.known(alice.id, house.server.url, [FileRef("output", "", "old.png")])
    assert known.recorded == frozenset()


async def test_3d_previews_are_recorded_by_the_names_that_were_drawn_for_them(
    house: House, sim: Simulator, alice: Person, bob: Person
) -> None:
    """ComfyUI names 3D previews by bare texts; they are their maker's, and a graph of another that shows the same text
    does not make them the other's, nor after a restart of the server."""
    lives = [house.live(await house.submit(person, graph(person.name, seconds=2.0))) for person in (alice, bob)]
    files, random = house.works.desk.files, "0123456789abcdef" * 2
    shown = {"3": {"result": [f"preview3d_{random}.glb", {"fov": 35}, f"temp/bg_{random}.png"]}}
    assert lives[0] is not None
    assert lives[1] is not None
    assert await files.claim(lives[0], shown)
    assert not await files.claim(lives[1], shown)
    await house.store.files.new_boot(house.server.url, lambda: "another")
    assert not await files.claim(lives[1], {"3": {"result": [f"preview3d_{random}.glb"]}})
    ref = FileRef("output", "", f"preview3d_{random}.glb")
    for person, owned in ((alice, {ref}), (bob, set())):
        assert (await house.store.files.known(person.id, house.server.url, [ref])).recorded == owned


async def test_temp_names_come_again_after_a_restart(house: House, sim: Simulator, alice: Person) -> None:
    """A ComfyUI that forgot the last job that it ended is another process: what it makes is of a new boot."""
    await house.ended(await house.submit(alice, preview("z")))
    boot = await house.store.files.boot(house.server.url, lambda: "none yet")
    await house.kill()
    await house.start()
    assert await house.store.files.boot(house.server.url, lambda: "none yet") == boot
    await sim.crash()
    await sim.start()
    await house.connected()
    await house.ended(await house.submit(alice, preview("z")))
    assert await house.store.files.boot(house.server.url, lambda: "none yet") != boot


async def test_what_a_role_may_not_use_never_reaches_comfyui(house: House, sim: Simulator, alice: Person) -> None:
    """Classes that are denied, and names of files that are another's, are refused before ComfyUI sees them."""
    folder = {"1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 1}}}
    folder["2"] = {"class_type": "SaveImageDataSetToFolder", "inputs": {"images": ["1", 0], "folder_name": "x"}}
    stolen = {"1": {"class_type": "LoadImage", "inputs": {"image": "seen_00001_.png [temp]"}}}
    stolen["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    for nodes, refusal in ((folder, (NodeNotAllowed, InvalidPrompt)), (stolen, FileNotAllowed)):
        with pytest.raises(refusal):
            await house.offer(alice, nodes)
    assert [happening for happening in sim.log if happening.kind == "queued"] == []


async def test_a_run_that_is_forgotten_is_no_mark_of_the_boot(house: House, sim: Simulator, alice: Person) -> None:
    """A job interrupted unasked is taken out of ComfyUI's history; a link that opens anew finds the same boot."""
    await house.ended(await house.submit(alice, preview("before")))
    boot = await house.store.files.boot(house.server.url, lambda: "none yet")
    prompt_id = await house.submit(alice, graph("long", seconds=0.6, steps=6))
    await house.in_state(prompt_id, "running")
    await house.server.send_json("POST", "/interrupt", b"{}", timeout=5)
    await house.until(lambda: house.runs(prompt_id) == 2, "it runs again")
    await house.works.follower.reconnect()
    assert (await house.ended(prompt_id)).state == "succeeded"
    assert await house.store.files.boot(house.server.url, lambda: "none yet") == boot
