"""Every row of the published API guide, with the guide's own libraries, written the way it teaches: only the address
(and its credential) is changed."""

import json
import time
import uuid
from typing import Any

import pytest
import requests
import websocket

from gateway.demo.example import text_to_image
from tests.e2e.conftest import PATIENCE, REAL, Door
from tests.e2e.graphs import picture, slow

SERVER = ""
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def server(door: Door, alice: str) -> str:
    """The one thing that a reader of the guide changes: the address, with a token in it."""
    return f"{door.url}/gateway/t/{alice}"


def queue_prompt(server: str, workflow: dict[str, Any]) -> str:
    response = requests.post(f"{server}/prompt", json={"prompt": workflow}, timeout=PATIENCE)
    assert response.status_code == 200, response.text
    return str(response.json()["prompt_id"])


def wait_for_result(server: str, prompt_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        history = requests.get(f"{server}/history/{prompt_id}", timeout=PATIENCE).json()
        if prompt_id in history:
            return dict(history[prompt_id])
        time.sleep(0.1)
    raise AssertionError("the job did not end in time")


def collect_images(server: str, history: dict[str, Any]) -> list[bytes]:
    images = []
    for output in history["outputs"].values():
        for image in output.get("images", ()):
            where = {"filename": image["filename"], "subfolder": image["subfolder"], "type": image["type"]}
            images.append(requests.get(f"{server}/view", params=where, timeout=PATIENCE).content)
    return images


def test_submit_poll_collect(server: str) -> None:
    """POST /prompt gives a prompt_id; the id becomes a key of GET /history/{id}; its outputs lead to the picture."""
    prompt_id = queue_prompt(server, picture(11))
    images = collect_images(server, wait_for_result(server, prompt_id))
    assert [image[:8] for image in images] == [PNG]


def test_the_answer_to_a_submit_is_comfyuis(server: str) -> None:
    """A submit is answered with prompt_id, number and node_errors."""
    answer = requests.post(f"{server}/prompt", json={"prompt": picture(12)}, timeout=PATIENCE).json()
    assert set(answer) == {"prompt_id", "number", "node_errors"}
    assert uuid.UUID(answer["prompt_id"]).version == 4
    assert answer["node_errors"] == {}


def test_queue(server: str) -> None:
    """GET /queue shows what runs and what waits."""
    first, second = (queue_prompt(server, slow(f"queue{n}{time.time()}", seconds=0.6)) for n in range(2))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        queue = requests.get(f"{server}/queue", timeout=PATIENCE).json()
        if queue["queue_running"]:
            break
    assert [item[1] for item in queue["queue_running"]] == [first]
    assert [item[1] for item in queue["queue_pending"]] == [second]
    assert len(queue["queue_running"][0]) == 5
    wait_for_result(server, second)


def test_interrupt(server: str) -> None:
    """POST /interrupt without a body stops the running job."""
    prompt_id = queue_prompt(server, slow(f"interrupt{time.time()}", seconds=20, steps=200))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if requests.get(f"{server}/queue", timeout=PATIENCE).json()["queue_running"]:
            break
    assert requests.post(f"{server}/interrupt", timeout=PATIENCE).status_code == 200
    status = wait_for_result(server, prompt_id)["status"]
    assert status["status_str"] == "error"
    assert status["messages"][-1][0] == "execution_interrupted"


def test_clear(server: str) -> None:
    """POST /clear empties the queue."""
    running = queue_prompt(server, slow(f"clear{time.time()}", seconds=1))
    for n in range(3):
        queue_prompt(server, slow(f"clear{n}{time.time()}", seconds=1))
    assert requests.post(f"{server}/clear", timeout=PATIENCE).status_code == 200
    assert requests.get(f"{server}/queue", timeout=PATIENCE).json()["queue_pending"] == []
    wait_for_result(server, running)


def test_upload_and_use(server: str, door: Door) -> None:
    """POST /upload/image takes a picture, which a workflow can load and /view can show."""
    image = collect_images(server, wait_for_result(server, queue_prompt(server, picture(13))))[0]
    name = f"{uuid.uuid4().hex}.png"
    files = {"image": (name, image, "image/png")}
    uploaded = requests.post(f"{server}/upload/image", files=files, data={"overwrite": "true"}, timeout=PATIENCE).json()
    assert uploaded == {"name": name, "subfolder": "", "type": "input"}
    shown = requests.get(f"{server}/view?filename={name}&type=input", timeout=PATIENCE)
    assert shown.content == image
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "loaded"}},
    }
    assert wait_for_result(server, queue_prompt(server, graph))["status"]["completed"] is True


def test_object_info(server: str) -> None:
    """GET /object_info lists the node classes; GET /object_info/{node_class} describes one."""
    assert "SaveImage" in requests.get(f"{server}/object_info", timeout=PATIENCE).json()
    one = requests.get(f"{server}/object_info/SaveImage", timeout=PATIENCE).json()
    assert one["SaveImage"]["output_node"] is True


def test_models_and_status(server: str) -> None:
    """The lists of models and the system's status can be read."""
    assert "checkpoints" in requests.get(f"{server}/models", timeout=PATIENCE).json()
    assert isinstance(requests.get(f"{server}/models/checkpoints", timeout=PATIENCE).json(), list)
    assert "comfyui_version" in requests.get(f"{server}/system_stats", timeout=PATIENCE).json()["system"]


@pytest.mark.skipif(REAL is not None, reason="the guide's graph needs a model, which a real ComfyUI may not have")
def test_batch_loop(server: str) -> None:
    """Change a seed, submit, wait, collect: a loop over text-to-image graphs of nodes 3 to 9."""
    pictures = set()
    for seed in range(3):
        workflow = text_to_image(seed=0)
        workflow["3"]["inputs"]["seed"] = seed
        history = wait_for_result(server, queue_prompt(server, workflow))
        pictures.update(collect_images(server, history))
    assert len(pictures) == 3


def test_websocket_app_that_executes(server: str) -> None:
    """A WebSocketApp without a clientId that sends `execute` on opening sees its job to `executing` with node null."""
    seen: list[dict[str, Any]] = []

    def on_open(socket: websocket.WebSocketApp) -> None:
        socket.send(json.dumps({"type": "execute", "data": picture(int(time.time()) % 10**6)}))

    def on_message(socket: websocket.WebSocketApp, message: str | bytes) -> None:
        if isinstance(message, bytes):
            return
        seen.append(json.loads(message))
        if seen[-1]["type"] == "executing" and seen[-1]["data"]["node"] is None:
            socket.close()

    address = server.replace("http://", "ws://") + "/ws"
    app = websocket.WebSocketApp(address, on_message=on_message, on_open=on_open)
    app.run_forever(ping_timeout=PATIENCE)
    kinds = [message["type"] for message in seen]
    assert kinds[0] == "status"
    assert "execution_start" in kinds
    assert "executed" in kinds
    assert seen[-1]["data"]["node"] is None
    images = collect_images(server, wait_for_result(server, seen[-1]["data"]["prompt_id"]))
    assert images[0][:8] == PNG


def test_websocket_that_waits_for_its_prompt(server: str) -> None:
    """The client-id way: connect with a clientId, submit with the same one, read until `executing` with node null and
    one's own id."""
    client_id = str(uuid.uuid4())
    socket = websocket.WebSocket()
    socket.connect(server.replace("http://", "ws://") + f"/ws?clientId={client_id}", timeout=PATIENCE)
    body = {"prompt": slow(f"ws{time.time()}"), "client_id": client_id}
    prompt_id = requests.post(f"{server}/prompt", json=body, timeout=PATIENCE).json()["prompt_id"]
    previews = 0
    while True:
        message = socket.recv()
        if isinstance(message, bytes):
            previews += message[:4] == b"\x00\x00\x00\x01"
            continue
        said = json.loads(message)
        if said["type"] == "executing" and said["data"]["node"] is None and said["data"]["prompt_id"] == prompt_id:
            break
    socket.close()
    assert previews > 0, "a client that announced nothing gets previews in the plain form"
    history = requests.get(f"{server}/history/{prompt_id}", timeout=PATIENCE).json()
    assert prompt_id in history, "the history is there when the end is announced"


def test_a_workflow_that_fails_says_why(server: str) -> None:
    """Wrong input types and unknown nodes are answered with ComfyUI's own errors by node."""
    broken = picture(14)
    broken["1"]["inputs"]["width"] = -5
    answer = requests.post(f"{server}/prompt", json={"prompt": broken}, timeout=PATIENCE)
    assert answer.status_code == 400
    assert answer.json()["node_errors"]["1"]["errors"][0]["type"] == "value_smaller_than_min"


def test_an_image_that_is_not_there(server: str) -> None:
    """A picture that does not exist is a 404."""
    assert requests.get(f"{server}/view?filename=not-there.png", timeout=PATIENCE).status_code == 404


def test_without_a_credential_the_answer_says_what_to_do(door: Door) -> None:
    """Remote access needs authentication: without it 401, in words, and without a browser's own password dialog."""
    answer = requests.get(f"{door.url}/queue", timeout=PATIENCE)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "unauthenticated"
    assert "basic" not in answer.headers["WWW-Authenticate"].lower()
