"""Traps 1 to 6 and 12 of the protocol are in the simulated server, so that a gateway can be proved to avoid them."""

import io
import json
import socket

import pytest
from aiohttp import ClientConnectorError
from PIL import Image

from gateway.demo.server import Simulator
from tests.demo.talking import Talk, node, plain, said, saving, slow, text_to_image, until

ALICES = {"extra_pnginfo": {"workflow": {"id": "alices"}}}
new_only = pytest.mark.parametrize("version", ["0.28.1"], indirect=True)
old_only = pytest.mark.parametrize("version", ["0.3.64"], indirect=True)


# 1. One request kills the backend.


@pytest.mark.parametrize("client_id", [["a"], {"a": 1}])
async def test_unhashable_client_id(simulator: Simulator, talk: Talk, client_id: object) -> None:
    """A client_id that is a list or an object ends the whole process as soon as its job is announced."""
    await talk.submit(saving(), client_id=client_id)
    await until(simulator.crashed.is_set, "the crash")
    with pytest.raises(ClientConnectorError):
        await talk.get("/queue")


async def test_dangling_node_without_inputs(simulator: Simulator, talk: Talk) -> None:
    """A node without inputs that no output needs is accepted, and the worker never executes again; HTTP lives on."""
    killer = await talk.submit({**saving(), "9": {"class_type": "EmptyImage"}})
    await until(lambda: [one for one in simulator.log if one.kind == "worker_died"], "the worker's death")
    waiting = await talk.submit(saving(2))
    assert await talk.get_json("/prompt") == {"exec_info": {"queue_remaining": 2}}
    assert (simulator.queue_running, simulator.queue_pending) == ([killer], [waiting])
    await simulator.crash()
    await simulator.start()
    assert (await talk.run(saving(2)))["status"]["status_str"] == "success"


@old_only
async def test_null_extra_data(simulator: Simulator, talk: Talk) -> None:
    """On the old version a null extra_data is accepted, and kills the worker too."""
    await talk.submit(saving(), extra_data=None)
    await until(lambda: [one for one in simulator.log if one.kind == "worker_died"], "the worker's death")


@new_only
async def test_null_extra_data_refused(talk: Talk) -> None:
    """On the new version a null extra_data is answered 500."""
    await talk.submit(saving(), extra_data=None, status=500)


# 2. One request breaks a page for everybody.


async def test_nan_number(talk: Talk) -> None:
    """A number of NaN is accepted, and the queue then contains the bare token NaN, which no browser parses."""
    await talk.submit(slow())
    status, answer = await talk.post("/prompt", {"prompt": saving(), "number": float("nan")})
    assert (status, b'"number": NaN' in answer) == (200, True)
    assert b"[NaN, " in (await talk.get("/queue"))[1]


@new_only
@pytest.mark.parametrize("pnginfo", [None, [], {"workflow": None}])
async def test_pnginfo_that_is_no_object(talk: Talk, pnginfo: object) -> None:
    """An extra_pnginfo or workflow that is no object makes /api/jobs answer 500 until the history entry is deleted."""
    await talk.run(saving(), extra_data={"extra_pnginfo": pnginfo})
    assert (await talk.get("/api/jobs"))[0] == 500
    await talk.post("/history", {"clear": True})
    assert (await talk.get("/api/jobs"))[0] == 200


# 3. A prompt without client_id is broadcast.


@pytest.mark.parametrize("body", [{}, {"client_id": None}])
async def test_no_client_id(talk: Talk, body: dict[str, None]) -> None:
    """Without a client id, progress and previews go to everybody, and what only the client should hear to nobody."""
    ears = [await talk.listen("a"), await talk.listen("b")]
    await talk.submit(slow(0.02, 2, previews=True), **body)
    for ear in ears:
        await ear.hear_idle()
        assert set(ear.kinds()) == {"status", "progress_state", "progress", 1}


async def test_interruption_without_client_id(simulator: Simulator, talk: Talk) -> None:
    """The interruption of a job without a client id is told to everybody."""
    ear = await talk.listen("a")
    await talk.submit(slow())
    await ear.hear(lambda frame: frame.get("type") == "progress")
    await talk.post("/interrupt")
    await ear.hear(lambda frame: frame.get("type") == "execution_interrupted")


async def test_empty_client_id(talk: Talk) -> None:
    """An empty client id addresses nobody."""
    ear = await talk.listen("a")
    await talk.submit(saving(), client_id="")
    await ear.hear_idle()
    assert set(ear.kinds()) == {"status"}


# 4. The same clientId: hijack, then deafness.


async def test_second_socket_takes_over(talk: Talk) -> None:
    """A second socket of the same clientId gets everything at once, the first nothing, not even broadcasts."""
    first, second = await talk.listen("same"), await talk.listen("same")
    other = await talk.listen("other")
    await second.hear_end(await talk.submit(saving(), client_id="same"))
    await other.hear_idle()
    await first.socket.close()
    assert first.frames == []


async def test_late_close_deafens_the_second(simulator: Simulator, talk: Talk) -> None:
    """When the first socket closes later, the second hears nothing any more, though it stays open."""
    first, second = await talk.listen("same"), await talk.listen("same")
    await first.socket.close()
    await until(lambda: [one for one in simulator.log if one.kind == "socket_closed"], "the server seeing the close")
    other = await talk.listen("other")
    await talk.run(saving(), client_id="same")
    await other.hear_idle()
    await second.socket.close()
    assert second.frames == []


# 5. Binary frames can be broadcast even for an addressed job.


async def test_progress_text_goes_to_all(talk: Talk) -> None:
    """GetImageSize sends its text to every socket, as binary type 3 with a node id and no prompt id."""
    other = await talk.listen("other")
    size = {"2": node("GetImageSize", image=["1", 0])}
    sized = {"1": plain(), **size, "3": node("EmptyImage", width=["2", 0], height=["2", 1], batch_size=1, color=2)}
    await talk.submit({**sized, "4": node("PreviewImage", images=["3", 0])}, client_id="owner")
    text = await other.hear(lambda frame: frame.get("binary") == 3)
    assert (text["word"], text["rest"]) == (1, b"2width: 64, height: 64\n batch size: 1")


# 6. The execution cache crosses users.


async def test_cache_gives_away_files(simulator: Simulator, talk: Talk) -> None:
    """Bob's copy of Alice's prompt runs nothing, names Alice's file, and that file holds Alice's workflow."""
    alices = await talk.run(saving(), client_id="alice", extra_data=ALICES)
    ear = await talk.listen("bob")
    bob = await talk.submit(saving(), client_id="bob")
    await ear.hear_end(bob)
    assert said("executed", node="3", display_node="3", output=alices["outputs"]["3"], prompt_id=bob) in ear.frames
    assert not [one for one in simulator.log if one.kind == "executed_node" and one.prompt_id == bob]
    name = simulator.history[bob]["outputs"]["3"]["images"][0]["filename"]
    picture = Image.open(io.BytesIO((await talk.get(f"/view?filename={name}"))[1]))
    assert json.loads(picture.text["workflow"]) == ALICES["extra_pnginfo"]["workflow"]


async def test_undeclared_input_is_in_the_key(talk: Talk) -> None:
    """An undeclared input passes validation, is not given to the node, and keeps caches apart."""
    entries = []
    for user in ("alice", "bob"):
        prompt = {"1": plain(), "3": node("PreviewImage", images=["1", 0], _gw=user)}
        entries.append(await talk.run(prompt))
    one, other = (entry["outputs"]["3"]["images"][0]["filename"] for entry in entries)
    assert one != other


async def test_only_the_last_prompt_is_cached(talk: Talk) -> None:
    """A prompt in between makes the first one run again."""
    cached = []
    for prompt in (saving(1), saving(2), saving(1)):
        messages = dict((await talk.run(prompt))["status"]["messages"])
        cached.append(messages["execution_cached"]["nodes"])
    assert cached == [[], [], []]


# 12. One stalled websocket stalls everybody.


async def test_stalled_socket(simulator: Simulator, talk: Talk) -> None:
    """A socket that is not read blocks the events of all others until it is closed; jobs go on meanwhile."""
    other = await talk.listen("other")
    stalled = _connect_and_never_read(simulator, "stalled")
    await until(lambda: len([one for one in simulator.log if one.kind == "socket_opened"]) == 2, "both sockets")
    large = text_to_image(size=1024, batch_size=5)
    large["9"] = node("SaveImageWebsocket", images=["8", 0])
    prompt_id = await talk.submit(large, client_id="stalled")
    await until(lambda: prompt_id in simulator.history, "the end of the job")
    await other.hear_until_quiet()
    assert said("status", status={"exec_info": {"queue_remaining": 0}}) not in other.frames
    stalled.close()
    await other.hear_idle()


def _connect_and_never_read(simulator: Simulator, client_id: str) -> socket.socket:
    """An event socket with a small receive buffer, of which nobody reads a byte."""
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect(("127.0.0.1", simulator.port))
    head = [
        f"GET /ws?clientId={client_id} HTTP/1.1",
        f"Host: 127.0.0.1:{simulator.port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    stalled.sendall("\r\n".join([*head, "", ""]).encode())
    return stalled
