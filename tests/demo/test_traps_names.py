"""Traps 7 to 11 of the protocol, those of names and addresses, are in the simulated server."""

import json

import pytest
from aiohttp import ClientSession, FormData
from PIL import Image
from yarl import URL

from gateway.demo.server import Simulator
from tests.demo.talking import Talk, node, plain, saving

# 7. Static rewriting of strings is bypassable.


async def test_value_is_unwrapped(talk: Talk) -> None:
    """{"__value__": x} becomes x, and numbers and objects become strings."""
    for given, name in (({"__value__": "x/y"}, "y"), (12, "12"), ({"a": 1}, "{'a': 1}")):
        entry = await talk.run({"1": plain(), "3": node("SaveImage", images=["1", 0], filename_prefix=given)})
        assert entry["outputs"]["3"]["images"][0]["filename"] == f"{name}_00001_.png"


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


@pytest.mark.parametrize(
    ("version", "statuses"), [("0.3.64", [404] * 3), ("0.28.1", [200, 200, 404])], indirect=["version"]
)
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


@pytest.mark.parametrize(
    ("origin", "status"), [("http://evil.example", 403), ("null", 200), ("http://127.0.0.1:1", 403)]
)
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
