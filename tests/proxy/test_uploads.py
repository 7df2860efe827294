"""Uploads over real HTTP: into the caller's own folder, whatever the form says, in constant memory."""

import asyncio
import gc
import json
import secrets
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path

import aiohttp
import psutil
import pytest
from PIL import Image

from gateway.comfy.files import FileRef
from gateway.policy.allowance import Allowance
from gateway.proxy.files import OwnFiles
from gateway.proxy.uploads import Uploads
from gateway.store import Store
from gateway.store.storage import Storage
from gateway.upstream.server import Server
from tests.house import House, Said, house, until
from tests.proxy.own_files import own, picture, put, record, root_of, shown, view

MEBIBYTE = 1024 * 1024
PIXELS = picture(7)

pytestmark = [
    # Of aiohttp's own form parser, in the simulator: it leaves its file to the garbage collector when an upload is
    # broken off, and warns of a function that it uses itself.
    pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a test left to the garbage collector is not reported to a later one."""
    yield
    gc.collect()


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway in front of the newer version, where a member may upload one MiB."""
    async with house(tmp_path, roles={"member": {"max_upload_mb": 1}}) as built:
        yield built


def form(content: bytes = PIXELS, name: str = "a.png", **fields: str) -> aiohttp.FormData:
    made = aiohttp.FormData(quote_fields=False)
    made.add_field("image", content, filename=name)
    for field, value in fields.items():
        made.add_field(field, value)
    return made


async def upload(built: House, by: str, data: object, *, path: str = "/upload/image", **options: object) -> Said:
    return await built.ask("POST", path, by=by, data=data, **options)


def everything(built: House) -> set[str]:
    """Every file of the three folders, below `directory`."""
    directory = built.simulator.directory
    kinds = [directory / kind for kind in ("input", "output", "temp")]
    return {str(path.relative_to(directory)) for kind in kinds for path in kind.rglob("*") if path.is_file()}


async def test_an_upload_lands_in_one_s_own_folder(both: House, version: str) -> None:
    """The file lies below the root, the answer shows it without, and /view and the list find it."""
    root = await root_of(both, "alice")
    before = everything(both)
    for path, subfolder in (("/upload/image", ""), ("/api/upload/image", "pasted")):
        said = await upload(both, "alice", form(subfolder=subfolder, type="input"), path=path)
        assert said.json() == {"name": "a.png", "subfolder": subfolder, "type": "input"}
        assert (await view(both, "alice", f"filename=a.png&type=input&subfolder={subfolder}")).body == PIXELS
        assert (await view(both, "bob", f"filename=a.png&type=input&subfolder={subfolder}")).status == 404
    assert everything(both) - before == {f"input/{root}/a.png", f"input/{root}/pasted/a.png"}
    suffix = " [input]" if version == "0.28.1" else ""
    assert (await both.ask("GET", "/internal/files/input", by="alice")).json() == ["a.png" + suffix]
    assert (await both.ask("GET", "/internal/files/input", by="bob")).json() == []


async def test_names_of_every_kind_arrive(both: House) -> None:
    """Names with blanks, quotes, semicolons and other alphabets are kept."""
    for name in ("a b.png", "a;b;c.png", 'q"q.png', "ü.png", "日本.png", "100%.png", "a'b.png"):
        said = await upload(both, "alice", form(name=name))
        assert said.json()["name"] == name
        put_there = both.simulator.directory / "input" / await root_of(both, "alice") / name
        assert put_there.read_bytes() == PIXELS


async def test_I12_names_and_folders_cannot_leave(both: House) -> None:
    """I12: a file name loses its folders, a folder of another is below one's own, output and `..` are refused."""
    alice, bob = await root_of(both, "alice"), await root_of(both, "bob")
    await own(both, "bob", "input", "b.png", b"bob's")
    before = everything(both)
    said = await upload(both, "alice", form(name=f"../../{bob}/b.png", subfolder="bob", overwrite="true"))
    assert said.json() == {"name": "b.png", "subfolder": "bob", "type": "input"}
    said = await upload(both, "alice", form(name="b.png", subfolder=bob, overwrite="true"))
    assert said.json() == {"name": "b.png", "subfolder": bob, "type": "input"}
    for fields in (
        {"type": "output"},
        {"type": "../input"},
        {"type": "models"},
        {"subfolder": "../x"},
        {"subfolder": "/tmp"},
        {"subfolder": str(both.simulator.directory / "input" / bob)},
        {"name": "..", "subfolder": "x"},
    ):
        said = await upload(both, "alice", form(**fields))
        assert (said.status, said.json()["error"]["type"]) == (403, "file_not_allowed"), fields
    assert everything(both) - before == {f"input/{alice}/bob/b.png", f"input/{alice}/{bob}/b.png"}
    assert (both.simulator.directory / "input" / bob / "b.png").read_bytes() == b"bob's"


async def test_equal_names_tell_nothing_of_others(both: House) -> None:
    """There is no oracle: equal names and contents of another user's change nothing in the answer."""
    await upload(both, "bob", form())
    said = await upload(both, "alice", form())
    assert said.json()["name"] == "a.png"
    assert (await upload(both, "alice", form())).json()["name"] == "a.png"
    assert (await upload(both, "alice", form(picture(8)))).json()["name"] == "a (1).png"
    assert (await upload(both, "alice", form(picture(9), overwrite="true"))).json()["name"] == "a.png"
    assert (await view(both, "alice", "filename=a.png&type=input")).body == picture(9)
    assert (await view(both, "bob", "filename=a.png&type=input")).body == PIXELS


async def test_temp_uploads_are_one_s_own_too(both: House) -> None:
    """What is uploaded to temp lies below the root there, and only its owner sees it."""
    said = await upload(both, "alice", form(type="temp", subfolder="clipspace"))
    assert said.json() == {"name": "a.png", "subfolder": "clipspace", "type": "temp"}
    assert (both.simulator.directory / "temp" / await root_of(both, "alice") / "clipspace" / "a.png").exists()
    assert (await view(both, "alice", "filename=a.png&type=temp&subfolder=clipspace")).body == PIXELS
    assert (await view(both, "bob", "filename=a.png&type=temp&subfolder=clipspace")).status == 404


def reference(filename: str, *, type_: str = "input", subfolder: str = "") -> str:
    return json.dumps({"filename": filename, "subfolder": subfolder, "type": type_})


def mask() -> bytes:
    out = BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 99)).save(out, "PNG")
    return out.getvalue()


async def test_a_mask_is_made_of_one_s_own_pictures(both: House) -> None:
    """The original is one's upload, output or recorded file; the copy has its colours and the mask's alpha."""
    temp = FileRef("temp", "", "ComfyUI_temp_abcde_00001_.png")
    await upload(both, "alice", form())
    await own(both, "alice", "output", "o.png", PIXELS)
    await record(both, "alice", temp, PIXELS)
    for number, original in enumerate(
        (
            reference("a.png"),
            reference("o.png", type_="output"),
            reference("o.png [output]"),
            reference(temp.filename, type_="temp"),
        )
    ):
        data = form(mask(), f"mask{number}.png", subfolder="clipspace", original_ref=original)
        said = await upload(both, "alice", data, path="/upload/mask")
        assert said.json() == {"name": f"mask{number}.png", "subfolder": "clipspace", "type": "input"}
        seen = await view(both, "alice", f"filename=mask{number}.png&type=input&subfolder=clipspace")
        with Image.open(BytesIO(seen.body)) as made:
            assert made.getpixel((0, 0)) == (7, 7, 7, 99)


async def test_I14_another_s_original_is_like_none(both: House) -> None:
    """I14: a mask of another's picture answers as one of a picture that does not exist, and nothing is stored."""
    root, temp = await root_of(both, "bob"), FileRef("temp", "", "t.png")
    await upload(both, "bob", form(name="b.png"))
    await own(both, "bob", "output", "o.png", PIXELS)
    await record(both, "bob", temp, PIXELS)
    put(both, FileRef("input", "", "old.png"), PIXELS)
    before = everything(both)

    async def answer(original: str) -> object:
        return shown(await upload(both, "alice", form(mask(), original_ref=original), path="/upload/mask"))

    absent = await answer(reference("absent.png"))
    assert isinstance(absent, tuple)
    assert absent[0] == 404
    for original in (
        reference("b.png"),
        reference("b.png", subfolder=root),
        reference("o.png", type_="output", subfolder=root),
        reference(f"{root}/b.png"),
        reference(f"{root}/b.png [input]", type_="temp"),
        reference("t.png", type_="temp"),
        reference("old.png"),
    ):
        assert await answer(original) == absent, original
    assert everything(both) == before


async def test_masks_that_are_none(both: House) -> None:
    """Without an original, with an unreadable one, or with a text for a picture: the client's fault, and no 500."""
    await own(both, "alice", "output", "a.txt", b"text")
    for fields, status in (
        ({}, 400),
        ({"original_ref": "{"}, 400),
        ({"original_ref": reference("../a.png")}, 403),
        ({"original_ref": reference("a.txt", type_="output")}, 400),
    ):
        said = await upload(both, "alice", form(mask(), **fields), path="/upload/mask")
        assert said.status == status, fields


async def test_what_is_no_form(both: House) -> None:
    """Anything but a form is refused, and so is a form that ComfyUI's server would unpack."""
    for data, headers in (
        (b"{}", {"Content-Type": "application/json"}),
        (b"image=a", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"", {"Content-Type": "multipart/form-data; boundary=x"}),
        (b"--x--", {"Content-Type": "multipart/form-data"}),
    ):
        said = await upload(both, "alice", data, headers=headers)
        assert said.status == 400, headers
    said = await upload(both, "alice", form(), headers={"Content-Encoding": "gzip"})
    assert said.status == 415


async def test_E10_the_limit_is_the_role_s(one: House) -> None:
    """E10: more than the role may upload is refused by its declared length and by the bytes that come."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(20):
            yield b"x" * (MEBIBYTE // 10)

    before = everything(one)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for data, head in ((form(b"x" * MEBIBYTE), {}), (pieces(), headers)):
        said = await upload(one, "alice", data, headers=head)
        assert (said.status, said.json()["error"]["type"]) == (413, "too_large")
    assert (await upload(one, "alice", form(b"x" * (MEBIBYTE - 4096)))).status == 200
    assert len(everything(one) - before) == 1


async def test_E11_an_abandoned_upload_leaves_nothing(one: House) -> None:
    """E11: clients that leave in the middle leave no file, no open file and no lent connection behind."""
    process = psutil.Process()
    before, files = everything(one), process.num_fds()
    head = (
        b"POST /upload/image HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\nContent-Length: 500000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    ) % one.tokens["alice"].encode()
    port = int(one.url.rpartition(":")[2])
    for _ in range(50):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"x" * 250_000)
        await writer.drain()
        writer.transport.abort()
    assert one.gateway.parts is not None
    await until(one.gateway.parts.server.pool_is_idle)
    await until(lambda: process.num_fds() <= files + 8)
    assert everything(one) == before


async def test_E13_a_hostile_form_is_refused_early(one: House) -> None:
    """E13: very many parts or part headers cost nothing."""
    part = b'--x\r\nContent-Disposition: form-data; name="y"\r\n\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for data in (part * 10_000, b"--x\r\n" + b"A: b\r\n" * 100_000, b"\r\n" + b"p" * 900_000):
        said = await upload(one, "alice", data, headers=headers)
        assert said.status == 400


async def test_E10_a_large_upload_is_streamed(gateway, comfyui, head_of, tmp_path: Path) -> None:
    """E10: a file of 100 MB goes through in less than 10 MiB of memory, and arrives whole."""
    length, piece, seen = 100_000_000, b"p" * 50_000, 0

    async def swallow(connection) -> None:
        nonlocal seen
        last = b""
        while not last.endswith(b"0\r\n\r\n"):
            read = await connection.reader.read(65536)
            seen += read.count(b"p")
            last = (last + read)[-5:]
        told = b'{"name": "a.png", "subfolder": "", "type": "input"}'
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told)

    comfyui.script = swallow
    upstream = Server(comfyui.url)
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}") as store:
        await store.users.add("alice", role="member", now=1.0, random=secrets.token_bytes)
        storage = Storage(store, None, now=lambda: 1.0)
        files = OwnFiles(store, upstream, storage=storage, shared=frozenset, version=None, newest=1)
        uploads = Uploads(
            store,
            files,
            storage=storage,
            allowance_of=lambda principal: Allowance(0, 2 * length, 1),
            random_text=lambda: "0" * 32,
            now=lambda: 1.0,
        )
        running = await gateway(rewrites={"upload_image": uploads.image}, upload_limit=lambda principal: 2 * length)
        reader, writer = await running.connect()
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.dat"\r\n\r\n'
        tracemalloc.start()
        try:
            writer.write(
                b"POST /upload/image HTTP/1.1\r\nHost: a\r\nX-API-Key: alice\r\nConnection: close\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n"
                % (len(head) + length + 9)
            )
            writer.write(head)
            for _ in range(length // len(piece)):
                writer.write(piece)
                await writer.drain()
            writer.write(b"\r\n--x--\r\n")
            status, _, _ = head_of(await reader.read())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            writer.close()
    assert status == 200
    assert seen - length < 200  # letters of the fields
    assert seen >= length
    assert peak < 10 * MEBIBYTE


async def test_leaving_before_the_answer_counts(gateway, comfyui, tmp_path: Path, eventually) -> None:
    """A client that leaves when ComfyUI has the whole form, and before it answers, has used what it sent."""
    asked = asyncio.Event()

    async def silent(connection) -> None:
        read = b""
        while not read.endswith(b"0\r\n\r\n"):
            read += await connection.reader.read(65536)
        asked.set()
        await connection.until_closed()

    comfyui.script = silent
    upstream = Server(comfyui.url)
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}") as store:
        await store.users.add("alice", role="member", now=1.0, random=secrets.token_bytes)
        async with Storage(store, None, now=lambda: 1.0) as storage:
            files = OwnFiles(store, upstream, storage=storage, shared=frozenset, version=None, newest=1)
            uploads = Uploads(
                store,
                files,
                storage=storage,
                allowance_of=lambda principal: Allowance(0, MEBIBYTE, 10),
                random_text=lambda: "0" * 32,
                now=lambda: 1.0,
            )
            running = await gateway(rewrites={"upload_image": uploads.image})
            _, writer = await running.connect()
            body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.dat"\r\n\r\n'
            body += b"p" * 100_000 + b"\r\n--x--\r\n"
            writer.write(
                b"POST /upload/image HTTP/1.1\r\nHost: a\r\nX-API-Key: alice\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            await asyncio.wait_for(asked.wait(), 10)
            writer.transport.abort()
            await eventually(lambda: bool(storage._under_way))
        assert await store.upload_days.used(1, 0) == 100_000
