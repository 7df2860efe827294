"""What users keep: listed, deleted and counted."""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from gateway.comfy.files import FileRef, Root
from gateway.errors import Disabled, StorageFull, UpstreamFault
from gateway.policy.allowance import Allowance
from gateway.store import Store, User
from gateway.store import upload_room as module
from gateway.store.data_directory import DataDirectory
from gateway.store.storage import Storage
from gateway.store.tables import jobs
from gateway.store.upload_room import DAY_SECONDS, UploadRoom
from tests.store.things import directory, output, put, upload

MEBIBYTE = 1024 * 1024
NOW = 20_000.25 * DAY_SECONDS
SMALL = Allowance(kept=100, per_day=100, uploads=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return directory(tmp_path / "comfyui")


@pytest.fixture
async def mounted(store: Store, path: Path) -> AsyncIterator[Storage]:
    async with Storage(store, DataDirectory(path), now=lambda: NOW) as storage:
        yield storage


@pytest.fixture
async def unmounted(store: Store) -> AsyncIterator[Storage]:
    async with Storage(store, None, now=lambda: NOW) as storage:
        yield storage


@pytest.fixture
async def bob(store: Store) -> User:
    return await store.users.add("Bob", role="member", now=1.5, random=secrets.token_bytes)


def root(user: User) -> Root:
    return Root(user.key)


class There:
    """What ComfyUI says when it is asked for a file."""

    def __init__(self, *refs: FileRef) -> None:
        self.refs = set(refs)

    async def __call__(self, ref: FileRef) -> bool:
        return ref in self.refs


def room_in(storage: Storage, user: User, allowance: Allowance, *there: FileRef) -> UploadRoom:
    return storage.upload(user.id, allowance, exists=There(*there))


async def land(room: UploadRoom, ref: FileRef, size: int) -> None:
    """An upload, from its first byte to its end."""
    await room.claim(size)
    await room.name(ref, size, now=1)
    await room.land(ref, size, now=1)
    room.end()


async def test_files_are_deleted_and_forgotten(
    store: Store, mounted: Storage, path: Path, ann: User, bob: User
) -> None:
    """What is deleted is in no record any more; a record of what is gone anyway goes with the attempt."""
    for user in (ann, bob):
        for name in ("a.png", "b.png"):
            put(path, root(user), upload(name))
            await store.files.note_upload(user.id, upload(name), size=1, now=1)
    (path / "input" / root(ann).path / "b.png").unlink()
    named = [FileRef("input", root(ann).path, "a.png"), upload("b.png"), upload("c.png")]
    assert await mounted.delete(ann.id, named) == {named[0]}
    assert await store.files.uploads(ann.id, "input") == ()
    assert len(await store.files.uploads(bob.id, "input")) == 2
    assert len(await mounted.files(bob.id, newest=1)) == 2
    assert await mounted.files(ann.id, newest=1) == []


async def test_the_event_loop_never_waits_for_the_disk(store: Store, path: Path, ann: User) -> None:
    """Every question to the directory is asked from another thread."""
    data, threads = DataDirectory(path), set[int]()

    def noting(work: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **more: Any) -> Any:
            threads.add(threading.get_ident())
            return work(*args, **more)

        return noted

    for name in ("files", "files_on_top", "size", "remove", "remove_all", "exists"):
        setattr(data, name, noting(getattr(data, name)))
    async with Storage(store, data) as storage:
        await storage.files(ann.id, newest=1)
        await storage.files_on_top(ann.id, "output")
        await storage.kept(ann.id)
        await storage.delete(ann.id, [output("a.png")])
        await storage.exists(root(ann))
        await storage.delete_all(root(ann))
    assert threads and threading.get_ident() not in threads


async def test_without_the_directory_the_database_says_what_it_knows(
    store: Store, unmounted: Storage, ann: User, bob: User
) -> None:
    """Own uploads with sizes and outputs of jobs without, newest first; nothing can be deleted, and it is said why."""
    await store.files.note_upload(ann.id, upload("in.png"), size=3, now=5000)
    await store.files.note_upload(bob.id, upload("bobs.png"), size=3, now=5000)
    images = [
        {"filename": "o.png", "subfolder": "", "type": "output"},
        {"filename": "t.png", "subfolder": "", "type": "temp"},
    ]
    row = {"user_id": ann.id, "state": "succeeded", "position": 1, "number": 1, "created_at": 1, "ended_at": 9000}
    texts = {"prompt": "{}", "extra_data": "{}", "outputs_to_execute": "[]"}
    outputs = str({"1": {"images": images}}).replace("'", '"')
    async with store.write() as connection:
        await connection.execute(insert(jobs).values(**row, **texts, outputs=outputs, prompt_id="p"))
    found = await unmounted.files(ann.id, newest=10)
    assert [(kept.ref.text(), kept.size, kept.modified) for kept in found] == [
        ("o.png [output]", None, 9.0),
        ("in.png", 3, 5.0),
    ]
    assert not unmounted.mounted and await unmounted.files_on_top(ann.id, "output") is None
    for asked in (unmounted.delete(ann.id, [upload("in.png")]), unmounted.kept(ann.id), unmounted.exists(root(ann))):
        with pytest.raises(Disabled, match="data directory"):
            await asked
    await unmounted.require_room(ann.id, Allowance(kept=0, per_day=0, uploads=0))


async def test_a_disk_that_refuses_is_said_so(
    mounted: Storage, ann: User, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk refuses is 502 without a path of the host in what the user reads."""
    put(path, root(ann), output("a.png"))

    def refused(*_args: object, **_more: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.unlink", refused)
    with pytest.raises(UpstreamFault) as caught:
        await mounted.delete(ann.id, [output("a.png")])
    told = str(caught.value.body("r"))
    assert str(path) not in told and "Permission denied" in caught.value.reason and caught.value.status == 502


async def test_a_full_storage_takes_no_job(store: Store, mounted: Storage, path: Path, ann: User, bob: User) -> None:
    """Who keeps as much as may be gets `storage_full` with both numbers, until something is deleted."""
    await mounted.require_room(ann.id, SMALL)
    put(path, root(ann), output("a.png"), "x" * 100)
    mounted.job_wrote(ann.id)

    async def refused() -> StorageFull:
        async with asyncio.timeout(10):
            while True:
                try:
                    await mounted.require_room(ann.id, SMALL)
                except StorageFull as full:
                    return full
                await asyncio.sleep(0.01)

    full = await refused()
    assert full.extra_info == {"limit": 100, "current": 100} and "storage is full" in full.message
    await mounted.require_room(bob.id, SMALL)
    await mounted.delete(ann.id, [output("a.png")])
    await mounted.require_room(ann.id, SMALL)


async def test_parallel_uploads_take_no_more_than_there_is(mounted: Storage, ann: User, bob: User) -> None:
    """Of many uploads at once only so many pass as fit, those of others apart."""
    allowance = Allowance(kept=55, per_day=0, uploads=1000)

    async def claimed(user: User) -> int:
        room = room_in(mounted, user, allowance)
        try:
            for size in range(1, 11):
                await room.claim(size)
        except StorageFull:
            room.end()
            return 0
        return 1

    done = await asyncio.gather(*(claimed(user) for user in (ann, bob) for _ in range(20)))
    for passed in (sum(done[:20]), sum(done[20:])):
        assert 1 <= passed <= 5


async def test_what_did_not_land_is_free_again(mounted: Storage, path: Path, ann: User) -> None:
    """Room of an upload that failed is free at once; of one that landed it is what the file takes."""
    room = room_in(mounted, ann, SMALL)
    await room.claim(100)
    with pytest.raises(StorageFull) as caught:
        await room_in(mounted, ann, SMALL).claim(1)
    assert caught.value.extra_info == {"limit": 100, "current": 0}
    room.end()
    await land(room_in(mounted, ann, SMALL), upload("a.png"), 60)
    room = room_in(mounted, ann, SMALL)
    with pytest.raises(StorageFull):
        await room.claim(41)
    await room.claim(40)
    room.end()
    assert await mounted.kept(ann.id) == 60


async def test_without_the_directory_the_day_counts(store: Store, unmounted: Storage, ann: User) -> None:
    """The bytes of a day are limited, and the refusal says when they are free again."""
    await land(room_in(unmounted, ann, SMALL), upload("a.png"), 70)
    room = room_in(unmounted, ann, SMALL)
    with pytest.raises(StorageFull) as caught:
        await room.claim(31)
    room.end()
    assert caught.value.extra_info == {"limit": 100, "current": 70, "resets_at": 20_001 * DAY_SECONDS}
    assert caught.value.headers == {"Retry-After": str(DAY_SECONDS * 3 // 4)}
    async with Storage(store, None, now=lambda: NOW + DAY_SECONDS) as tomorrow:
        await land(room_in(tomorrow, ann, SMALL), upload("b.png"), 100)


async def test_a_stream_of_unknown_length_is_counted_ahead(store: Store, ann: User) -> None:
    """Of a body without a length some bytes are counted ahead, and given back when they did not come."""
    async with Storage(store, None, now=lambda: NOW) as storage:
        room = room_in(storage, ann, SMALL)
        await room.claim(40, ahead=40)
        assert await store.upload_days.used(ann.id, 20_000) == 80
        await room.claim(90, ahead=40)
        await room.name(upload("a.png"), 85, now=1)
        await room.land(upload("a.png"), 85, now=1)
        room.end()
    assert await store.upload_days.used(ann.id, 20_000) == 85


async def test_an_abandoned_upload_costs_nothing(store: Store, ann: User) -> None:
    """What was counted for an upload that came to nothing is given back, also when the client has left."""
    async with Storage(store, None, now=lambda: NOW) as storage:
        room = room_in(storage, ann, SMALL)
        await room.claim(90)
        room.end()
        room.end()
    assert await store.upload_days.used(ann.id, 20_000) == 0


async def test_uploads_are_so_many(store: Store, mounted: Storage, unmounted: Storage, ann: User) -> None:
    """One more file than the role allows is refused; to replace one is not one more."""
    for storage in (mounted, unmounted):
        for name in ("a.png", "b.png", "c.png"):
            await land(room_in(storage, ann, SMALL), upload(name), 1)
        room = room_in(storage, ann, SMALL)
        with pytest.raises(StorageFull) as caught:
            await room.name(upload("d.png"), 1, now=1)
        room.end()
        assert caught.value.extra_info == {"limit": 3, "current": 3}


async def test_uploads_at_once_are_so_many(store: Store, mounted: Storage, ann: User) -> None:
    """Twenty uploads at the same time do not pass the limit."""

    async def one(number: int) -> bool:
        room = room_in(mounted, ann, SMALL)
        try:
            await land(room, upload(f"{number}.png"), 1)
        except StorageFull:
            room.end()
            return False
        return True

    done = await asyncio.gather(*(one(number) for number in range(20)))
    assert 1 <= sum(done) <= 3
    assert len(await store.files.uploads(ann.id, "input")) == sum(done)


async def test_leaving_before_the_answer_gains_nothing(
    store: Store, mounted: Storage, unmounted: Storage, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When ComfyUI may have the whole file and nobody heard its answer, bytes and name count as if it had; the file is
    recorded if ComfyUI has it."""
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.05)
    for storage, name in ((mounted, "a.png"), (unmounted, "b.png")):
        room = room_in(storage, ann, SMALL, upload(name))
        await room.claim(80)
        await room.name(upload(name), 80, now=1)
        room.end()
        with pytest.raises(StorageFull):
            await room_in(storage, ann, SMALL).claim(21)
    full = Allowance(kept=100, per_day=100, uploads=1)
    with pytest.raises(StorageFull):
        await room_in(unmounted, ann, full).name(upload("c.png"), 1, now=1)
    await mounted.close()
    await unmounted.close()
    assert {ref.filename for ref in await store.files.uploads(ann.id, "input")} == {"a.png", "b.png"}


async def test_an_answer_that_nobody_heard_may_have_been_no(
    store: Store, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that ComfyUI turns out not to have is not recorded, and its name is free again."""
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.05)
    storage = Storage(store, None, now=lambda: NOW)
    one = Allowance(kept=0, per_day=1000, uploads=1)
    room = room_in(storage, ann, one)
    await room.name(upload("a.png"), 1, now=1)
    room.end()
    await storage.close()
    assert await store.files.uploads(ann.id, "input") == ()
    await land(room_in(storage, ann, one), upload("b.png"), 1)


async def test_what_comfyui_refuses_costs_nothing(store: Store, ann: User) -> None:
    """An answer that says no gives back everything."""
    async with Storage(store, None, now=lambda: NOW) as storage:
        room = room_in(storage, ann, SMALL)
        await room.claim(90)
        await room.name(upload("a.png"), 90, now=1)
        room.refuse()
        room.end()
    assert await store.upload_days.used(ann.id, 20_000) == 0
