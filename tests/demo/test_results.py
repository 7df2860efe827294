"""Events, history and pictures behave as the protocol says, beyond what the recordings show."""

import io
import json

import pytest
from PIL import Image

from gateway.demo.server import Simulator
from tests.demo.talking import Talk, node, plain, said, saving, slow, text_to_image

new_only = pytest.mark.parametrize("version", ["0.28.1"], indirect=True)


# The end of a job, and what is left of it.


async def test_history_comes_after_success(simulator: Simulator, talk: Talk) -> None:
    """At execution_success the history has no entry yet; at executing{node: null} it has."""
    simulator.faults.history_lag = 0.5
    ear = await talk.listen("a")
    prompt_id = await talk.submit(saving(), client_id="a")
    await ear.hear(lambda frame: frame["type"] == "execution_success")
    assert await talk.get_json(f"/history/{prompt_id}") == {}
    await ear.hear_end(prompt_id)
    assert prompt_id in await talk.get_json(f"/history/{prompt_id}")


async def test_reconnect_tells_the_current_node(talk: Talk) -> None:
    """A client that comes back while its job runs is told the current node, and nothing else is replayed."""
    ear = await talk.listen("a")
    await talk.submit(slow(), client_id="a")
    await ear.hear(lambda frame: frame.get("type") == "progress")
    socket = await talk.client.ws_connect(f"{talk.server.url}/ws?clientId=a")
    greeting = [await socket.receive_json() for _ in range(2)]
    assert greeting[1] == said("executing", node="2")


async def test_feature_flags_that_are_no_object(talk: Talk) -> None:
    """Flags that are a list make every later job with previews of that client fail."""
    ear = await talk.listen("a", flags=["x"])
    entry = await talk.run(slow(0.02, 2, previews=True), client_id="a")
    await ear.socket.close()
    assert entry["status"]["messages"][-1][0] == "execution_error"


async def test_only_the_first_message_counts(talk: Talk) -> None:
    """Feature flags are answered when they are the first message that is JSON, and never afterwards."""
    ear = await talk.listen("a")
    await ear.socket.send_str("no json")
    await ear.socket.send_json({"type": "other"})
    await ear.socket.send_json({"type": "feature_flags", "data": {}})
    await ear.hear_until_quiet(0.2)
    assert ear.frames == []


@pytest.mark.parametrize("flags", [None, {"supports_preview_metadata": True}])
async def test_result_over_the_socket(talk: Talk, flags: dict[str, bool] | None) -> None:
    """SaveImageWebsocket sends its picture as a PNG preview, with ids only to a client that takes them."""
    ear = await talk.listen("a", flags=flags)
    prompt_id = await talk.submit({"1": plain(), "3": node("SaveImageWebsocket", images=["1", 0])}, client_id="a")
    await ear.hear_end(prompt_id)
    (frame,) = [one for one in ear.frames if "binary" in one]
    if flags:
        label, data = json.loads(frame["rest"][: frame["word"]]), frame["rest"][frame["word"] :]
        assert (frame["binary"], label["image_type"], label["prompt_id"]) == (4, "image/png", prompt_id)
    else:
        data = frame["rest"]
        assert (frame["binary"], frame["word"]) == (1, 2)
    assert Image.open(io.BytesIO(data)).size == (64, 64)
    assert talk.server.history[prompt_id]["outputs"] == {}


# Pictures and models.


async def test_pictures_follow_seed_and_text(talk: Talk) -> None:
    """The same prompt draws the same picture, another seed or text another one."""

    async def drawn(**changes: object) -> bytes:
        entry = await talk.run(text_to_image(**changes))
        name = entry["outputs"]["9"]["images"][0]["filename"]
        return Image.open(io.BytesIO((await talk.get(f"/view?filename={name}"))[1])).tobytes()

    first = await drawn()
    others = [await drawn(seed=2), await drawn(text="a dog"), await drawn()]
    assert (first in others[:2], others[0] == others[1], others[2]) == (False, False, first)


async def test_model_loads_are_recorded(simulator: Simulator, talk: Talk) -> None:
    """A checkpoint is loaded for a prompt unless the prompt before used it too."""
    for seed in (1, 2):
        await talk.run(text_to_image(seed=seed))
    other = text_to_image()
    other["4"]["inputs"]["ckpt_name"] = "sd_xl_base_1.0.safetensors"
    await talk.run(other)
    await talk.run(text_to_image(seed=3))
    short = [one.detail[:2] for one in simulator.log if one.kind == "loaded_model"]
    assert short == ["v1", "sd", "v1"]


async def test_saved_animation(simulator: Simulator, talk: Talk) -> None:
    """Several pictures become one animated file."""
    frames = node("EmptyImage", width=16, height=16, batch_size=3, color=1)
    settings = {"filename_prefix": "a", "fps": 6, "lossless": True, "quality": 80, "method": "default"}
    await talk.run({"1": frames, "3": node("SaveAnimatedWEBP", images=["1", 0], **settings)})
    with Image.open(simulator.directory / "output" / "a_00001_.webp") as saved:
        assert saved.format == "WEBP"


async def test_uploaded_picture_is_loaded(simulator: Simulator, talk: Talk) -> None:
    """A picture in input/ is listed, loaded and saved again; its alpha is the mask."""
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(simulator.directory / "input" / "mine.png")
    listed = (await talk.get_json("/object_info/LoadImage"))["LoadImage"]["input"]["required"]["image"][0]
    assert listed == ["mine.png"]
    prompt = {"1": node("LoadImage", image="mine.png"), "2": node("MaskToImage", mask=["1", 1])}
    saved = [node("SaveImage", images=[source, 0], filename_prefix=name) for name, source in (("p", "1"), ("m", "2"))]
    await talk.run({**prompt, "3": saved[0], "4": saved[1]})
    for name, pixel in (("p", (10, 20, 30)), ("m", (255, 255, 255))):
        with Image.open(simulator.directory / "output" / f"{name}_00001_.png") as picture:
            assert picture.getpixel((0, 0)) == pixel


@new_only
async def test_text_outputs(talk: Talk) -> None:
    """A text is what a job shows when there is no picture, but it does not count as an output."""
    await talk.run({"1": node("PrimitiveString", value="said"), "2": node("PreviewAny", source=["1", 0])})
    (job,) = (await talk.get_json("/api/jobs"))["jobs"]
    assert (job["outputs_count"], job["preview_output"]) == (0, {"content": "said", "nodeId": "2", "mediaType": "text"})
