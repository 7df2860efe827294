"""Each of the twelve traps of the protocol is in the simulated server, so that a gateway can be proved to avoid it."""

import io
import json
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError, ClientSession, FormData
from PIL import Image
from yarl import URL

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


# 7. Static rewriting of strings is bypassable.


async def test_value_is_unwrapped(talk: Talk) -> None:
    """{"__value__": x} becomes x, and numbers and objects become strings."""
    for given, name in (({"__value__": "x/y"}, "y_00001_.png"), (12, "12_00001_.png"), ({"a": 1}, "{'a': 1}_00001_.png")):
        entry = await talk.run({"1": plain(), "3": node("SaveImage", images=["1", 0], filename_prefix=given)})
        assert entry["outputs"]["3"]["images"][0]["filename"] == name


async def test_prefix_can_be_wired(talk: Talk) -> None:
    """A filename_prefix may come from another node."""
    prompt = {"1": plain(), "2": node("PrimitiveString", value="theirs/x")}
    entry = await talk.run({**prompt, "3": node("SaveImage", images=["1", 0], filename_prefix=["2", 0])})
    assert entry["outputs"]["3"]["images"][0]["subfolder"] == "theirs"


async def test_wired_image_is_refused(talk: Talk) -> None:
    """LoadImage.image wired from a string fails validation."""
    prompt = {"1": node("PrimitiveString", value="a.png"), "2": node("LoadImage", image=["1", 0])}
    await talk.submit({**prompt, "3": node("PreviewImage", images=["2", 0])}, status=400)


# 8. Files are global.


async def _upload(talk: Talk, filename: str, **fields: str) -> tuple[int, bytes]:
    form = FormData(quote_fields=False)
    form.add_field("image", b"bytes", filename=filename)
    for name, value in fields.items():
        form.add_field(name, value)
    async with talk.client.post(f"{talk.server.url}/upload/image", data=form) as answer:
        return answer.status, await answer.read()


async def test_file_name_leaves_the_subfolder(simulator: Simulator, talk: Talk) -> None:
    """A multipart file name of ../alice/b.png writes into Alice's folder although the subfolder is Bob's."""
    (simulator.directory / "input" / "alice").mkdir()
    (simulator.directory / "input" / "bob").mkdir()
    assert (await _upload(talk, "../alice/b.png", subfolder="bob"))[0] == 200
    assert (simulator.directory / "input" / "alice" / "b.png").read_bytes() == b"bytes"
    assert (await _upload(talk, "../../b.png", subfolder="bob"))[0] == 400


async def test_suffix_overrides_type(simulator: Simulator, talk: Talk) -> None:
    """The suffix of a file name decides the folder, whatever `type` says; a subfolder may be absolute."""
    await _upload(talk, "a.txt")
    assert await talk.get("/view?filename=a.txt%20[input]&type=output") == (200, b"bytes")
    absolute = simulator.directory / "input"
    assert await talk.get(f"/view?filename=a.txt&type=input&subfolder={absolute}") == (200, b"bytes")


@pytest.mark.parametrize(("version", "status"), [("0.3.64", 200), ("0.28.1", 400)], indirect=["version"])
async def test_absolute_image_path(talk: Talk, tmp_path_factory: pytest.TempPathFactory, status: int) -> None:
    """LoadImage reads any absolute path on the old version, and none outside input/ on the new one."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.png"
    Image.new("RGB", (8, 8)).save(elsewhere)
    prompt = {"2": node("LoadImage", image=str(elsewhere)), "3": node("PreviewImage", images=["2", 0])}
    await talk.submit(prompt, status=status)


# 9. Parameter pollution.


async def test_first_parameter_counts(talk: Talk) -> None:
    """Of a repeated query parameter the first one is used."""
    await _upload(talk, "a.txt")
    assert await talk.get("/view?filename=a.txt&type=input&filename=b.txt&type=output") == (200, b"bytes")


# 10. Paths.


@pytest.mark.parametrize(
    ("path", "status"),
    [("/%71ueue", 200), ("/%69nternal/logs", 200), ("/api%2fqueue", 404), ("//queue", 404), ("/queue/", 404),
     ("/api/./queue", 404), ("/api/queue", 200), ("/api/internal/logs", 404), ("/api/nope", 404)],
)  # fmt: skip
async def test_paths(talk: Talk, path: str, status: int) -> None:
    """Escapes of letters are decoded before routing; doubled, dotted and escaped slashes are not."""
    async with talk.client.get(URL(talk.server.url + path, encoded=True)) as answer:
        assert answer.status == status


@pytest.mark.parametrize(("version", "statuses"), [("0.3.64", [404] * 3), ("0.28.1", [200, 200, 404])], indirect=["version"])
async def test_jobs_have_two_prefixes(talk: Talk, statuses: list[int]) -> None:
    """The new version serves /api/jobs and /api/api/jobs but not /jobs; the old one none of them."""
    assert [(await talk.get(path))[0] for path in ("/api/jobs", "/api/api/jobs", "/jobs")] == statuses


async def test_userdata_path_is_one_segment(talk: Talk) -> None:
    """A user data file is one segment with %2F inside, decoded once more if need be."""
    for path in ("/userdata/a%2Fb.json", "/userdata/a%252Fb.json"):
        url = URL(talk.server.url + path, encoded=True)
        async with talk.client.post(url, data=b"{}") as answer:
            assert await answer.json() == "a/b.json"


# 11. Origin.


@pytest.mark.parametrize(("origin", "status"), [("http://evil.example", 403), ("null", 200), ("http://127.0.0.1:1", 403)])
async def test_foreign_origin(talk: Talk, origin: str, status: int) -> None:
    """A loopback Host with another Origin is refused, for sockets too; the opaque origin `null` is let in."""
    assert (await talk.get("/queue", headers={"Origin": origin}))[0] == status
    assert (await talk.get("/ws", headers={"Origin": origin}))[0] == (403 if status == 403 else 400)


@pytest.mark.parametrize(("version", "status"), [("0.3.64", 200), ("0.28.1", 403)], indirect=["version"])
async def test_cross_site(talk: Talk, status: int) -> None:
    """Only the new version refuses what the browser calls cross-site."""
    assert (await talk.get("/queue", headers={"Sec-Fetch-Site": "cross-site"}))[0] == status


async def test_text_plain_prompt(talk: Talk, client: ClientSession) -> None:
    """POST /prompt does not look at the content type."""
    body = json.dumps({"prompt": saving()})
    async with client.post(f"{talk.server.url}/prompt", data=body, headers={"Content-Type": "text/plain"}) as answer:
        assert answer.status == 200


# 12. One stalled websocket stalls everybody.


async def test_stalled_socket(simulator: Simulator, talk: Talk) -> None:
    """A socket that is not read blocks the events of all others until it is closed; jobs go on meanwhile."""
    stalled, other = await talk.listen("stalled"), await talk.listen("other")
    large = text_to_image(size=1024, batch_size=5)
    large["9"] = node("SaveImageWebsocket", images=["8", 0])
    prompt_id = await talk.submit(large, client_id="stalled")
    await until(lambda: prompt_id in simulator.history, "the end of the job")
    with pytest.raises(TimeoutError):
        await other.socket.receive(0.3) and await _hear_all(other)
    assert said("status", status={"exec_info": {"queue_remaining": 0}}) not in other.frames
    await stalled.socket.close()
    await other.hear_idle()


async def _hear_all(ear: object) -> None:
    raise TimeoutError


def test_files_live_apart(tmp_path: Path) -> None:
    """Two servers share nothing but what they are given."""
    one, other = Simulator(directory=tmp_path), Simulator()
    assert one.directory != other.directory
