"""Uploads and jobs against what a role may keep and bring, by a whole gateway."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.comfy.files import FileRef
from gateway.store import Store
from gateway.store.transactions import url_of
from tests.e2e.graphs import picture as picture_job
from tests.house import House, Said, house, until
from tests.isolation.things import form
from tests.proxy.own_files import own, picture, put, root_of

MEBIBYTE = 1024 * 1024
FILES = "/gateway/api/v1/files"

pytestmark = [
    pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a test left to the garbage collector is not reported to a later one."""
    yield
    gc.collect()


def roles(**member: Any) -> dict[str, Any]:
    return {"member": member}


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway with the directory, where a member may keep one MiB."""
    async with house(tmp_path, mounted=True, roles=roles(storage_mb=1)) as built:
        yield built


@pytest.fixture
async def apart(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway without it, where a member may upload one MiB a day."""
    async with house(tmp_path, roles=roles(upload_mb_per_day=1)) as built:
        yield built


async def upload(built: House, by: str, size: int, name: str = "a.bin", **fields: str) -> Said:
    return await built.ask("POST", "/upload/image", by=by, data=form(b"x" * size, name, **fields))


async def chunked(built: House, by: str, size: int, *, name: str = "c.bin", whole: bool = True) -> Said:
    """An upload that does not say how long it is."""

    async def pieces() -> AsyncIterator[bytes]:
        yield f'--x\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()
        for start in range(0, size, 50_000):
            yield b"x" * min(50_000, size - start)
        if whole:
            yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    return await built.ask("POST", "/upload/image", by=by, data=pieces(), headers=headers)


async def bytes_of(built: House, name: str) -> int:
    root = await root_of(built, name)
    folders = [built.simulator.directory / kind / root for kind in ("input", "output", "temp")]
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def refusal(said: Said) -> tuple[int, str]:
    return said.status, said.json()["error"]["type"] if said.status != 200 else ""


FULL = (413, "storage_full")


async def test_an_upload_that_does_not_fit_is_refused(one: House) -> None:
    """413 `storage_full` with limit and current value in words and numbers; nothing is stored, and less still fits."""
    assert (await upload(one, "alice", 600_000)).status == 200
    said = await upload(one, "alice", 500_000, "b.bin")
    assert refusal(said) == FULL
    error = said.json()["error"]
    assert error["extra_info"] == {"limit": MEBIBYTE, "current": 600_000}
    assert "you keep 0.6 MB of files and may keep 1.0 MB" in error["message"] and "Delete files" in error["details"]
    assert refusal(await chunked(one, "alice", 500_000)) == FULL
    assert await bytes_of(one, "alice") == 600_000
    assert (await upload(one, "alice", MEBIBYTE - 600_000, "c.bin", type="temp")).status == 200
    assert refusal(await upload(one, "alice", 1, "d.bin")) == FULL
    assert (await upload(one, "bob", 600_000)).status == 200


@pytest.mark.parametrize("way", [upload, chunked])
async def test_parallel_uploads(one: House, way: Any) -> None:
    """Of twenty uploads at once no more pass than fit, with and without a declared length."""

    async def send(number: int) -> Said:
        # Names of their own: ComfyUI keeps equal bytes of one name once, and such an upload would take no room.
        name = f"{number}.bin"
        return await (
            upload(one, "alice", 200_000, name) if way is upload else chunked(one, "alice", 200_000, name=name)
        )

    said = [refusal(answer) for answer in await asyncio.gather(*(send(number) for number in range(20)))]
    assert set(said) == {FULL, (200, "")}
    assert 200_000 <= await bytes_of(one, "alice") <= MEBIBYTE
    assert said.count((200, "")) <= MEBIBYTE // 200_000
    assert refusal(await upload(one, "alice", MEBIBYTE, "z.bin")) == FULL


async def test_an_upload_that_came_to_nothing_takes_no_room(one: House, apart: House) -> None:
    """A form that is cut short, refused by name or refused by ComfyUI leaves all the room as it was."""
    original = '{"filename": "o.png", "type": "output"}'
    for built in (one, apart):
        await own(built, "alice", "output", "o.png", picture())
        for _ in range(3):
            data = form(b"x" * 900_000, "no-picture.png", original_ref=original)
            said = await built.ask("POST", "/upload/mask", by="alice", data=data)
            assert said.json()["error"]["message"] == "ComfyUI cannot make a mask of these files."
            assert (await chunked(built, "alice", 900_000, whole=False)).status == 400
            assert (await upload(built, "alice", 900_000, type="output")).status == 403
        await until(lambda built=built: not built.gateway.parts.storage._under_way)
        assert (await upload(built, "alice", 1_000_000)).status == 200


async def test_who_is_over_submits_nothing(one: House) -> None:
    """A submit while the storage is full is refused, by POST and by `execute`, until something is deleted."""
    await own(one, "alice", "output", "big.bin", b"x" * MEBIBYTE)
    assert one.gateway.parts is not None
    one.gateway.parts.storage.job_wrote(await user_id(one, "alice"))
    said = await one.ask("POST", "/prompt", by="alice", json={"prompt": picture_job(1)})
    assert refusal(said) == FULL
    assert said.json()["error"]["extra_info"] == {"limit": MEBIBYTE, "current": MEBIBYTE}
    assert said.json()["node_errors"] == {}
    async with one.socket(by="alice") as socket:
        await socket.send_json({"type": "execute", "data": picture_job(1)})
        async with asyncio.timeout(20):
            while (told := await socket.receive_json())["type"] != "execution_error":
                pass
    assert "storage is full" in told["data"]["exception_message"]
    assert await one.submit(picture_job(1), by="bob")
    said = await one.ask("DELETE", f"{FILES}?type=output&filename=big.bin", by="alice")
    assert said.status == 204
    await one.history(await one.submit(picture_job(1), by="alice"), by="alice")


async def test_what_jobs_make_counts(one: House) -> None:
    """After a job its files are counted, without a word from anybody."""
    before = (await one.ask("GET", FILES, by="alice")).json()["storage"]["used"]
    await one.history(await one.submit(picture_job(1), by="alice"), by="alice")

    async def counted() -> bool:
        return (await one.ask("GET", FILES, by="alice")).json()["storage"]["used"] == await bytes_of(one, "alice") > 0

    assert before == 0
    await until(counted)


async def test_a_day_s_bytes(apart: House) -> None:
    """Without the directory the bytes of a day are limited; the refusal says when they are free again."""
    assert (await upload(apart, "alice", 600_000)).status == 200
    said = await upload(apart, "alice", 500_000, "b.bin")
    assert refusal(said) == FULL
    info = said.json()["error"]["extra_info"]
    assert (info["limit"], info["current"]) == (MEBIBYTE, 600_000)
    assert info["resets_at"] % 86400 == 0 and 1 <= int(said.headers["Retry-After"]) <= 86400
    assert refusal(await chunked(apart, "alice", 500_000)) == FULL
    assert (await upload(apart, "alice", MEBIBYTE - 600_000, "c.bin")).status == 200
    assert refusal(await upload(apart, "alice", 1, "d.bin")) == FULL
    assert (await upload(apart, "bob", 600_000)).status == 200
    assert await apart.submit(picture_job(1), by="alice"), "jobs are not limited by it"


async def test_a_day_s_bytes_in_parallel(apart: House) -> None:
    """Of twenty uploads at once no more bytes pass than the day has."""
    said = await asyncio.gather(*(upload(apart, "alice", 200_000, f"{number}.bin") for number in range(20)))
    passed = [answer.status for answer in said].count(200)
    assert 1 <= passed <= 5 and await bytes_of(apart, "alice") == passed * 200_000
    async with await Store.open(url_of(apart.settings)) as store:
        await until(lambda: not apart.gateway.parts.storage._under_way)
        today = int(time.time() // 86400)
        assert await store.upload_days.used(await user_id(apart, "alice"), today) == passed * 200_000


async def test_uploads_are_so_many(tmp_path: Path) -> None:
    """A role's `max_uploads` is the number of files that a user may have uploaded; to replace one is always allowed."""
    async with house(tmp_path, roles=roles(max_uploads=2)) as built:
        for name in ("a.bin", "b.bin"):
            assert (await upload(built, "alice", 10, name)).status == 200
        said = await upload(built, "alice", 10, "c.bin")
        assert refusal(said) == FULL and said.json()["error"]["extra_info"] == {"limit": 2, "current": 2}
        assert not (built.simulator.directory / "input" / await root_of(built, "alice") / "c.bin").exists()
        assert (await upload(built, "alice", 11, "b.bin", overwrite="true")).status == 200


async def test_a_removed_user_s_folder_goes_at_the_next_start(tmp_path: Path) -> None:
    """What a crash left between user and files is deleted when the gateway starts; what is nobody's stays."""
    async with house(tmp_path, mounted=True) as built:
        root = await root_of(built, "alice")
        await own(built, "alice", "output", "a.png", b"x")
        put(built, FileRef("output", "users/" + "0" * 32, "stranger.png"), b"x")
        async with await Store.open(url_of(built.settings)) as store:
            await store.users.remove(await user_id(built, "alice"), with_files_at=1.0)
    async with house(tmp_path, mounted=True) as again:
        await until(lambda: not (again.simulator.directory / "output" / root).exists())
        assert (again.simulator.directory / "output" / "users" / ("0" * 32) / "stranger.png").exists()


async def user_id(built: House, name: str) -> int:
    async with await Store.open(url_of(built.settings)) as store:
        user = await store.users.by_name(name)
        assert user is not None
        return user.id
