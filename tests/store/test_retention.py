"""What goes by itself."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import insert, update

from gateway.comfy.files import FileRef, Root
from gateway.errors import UpstreamFault
from gateway.store import Store, User
from gateway.store import retention as module
from gateway.store.data_directory import DataDirectory
from gateway.store.retention import REMEMBERED_DAYS, Retention
from gateway.store.storage import Storage
from gateway.store.tables import jobs
from tests.store.things import DAY, directory, output, put, upload

DAYS = {"member": 30, "admin": None}


class Clock:
    """The time of the gateway, that much ahead of the disk's."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return Path("/proc/self").stat().st_ctime + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return directory(tmp_path / "comfyui")


@pytest.fixture
async def storage(store: Store, path: Path) -> AsyncIterator[Storage]:
    async with Storage(store, DataDirectory(path)) as made:
        yield made


@pytest.fixture
def keeping(store: Store, storage: Storage, clock: Clock) -> Retention:
    return Retention(store, storage, days_of=lambda user: DAYS.get(user.role), now=clock)


async def names(storage: Storage, user: User) -> set[str]:
    return {kept.ref.text() for kept in await storage.files(user.id, newest=0)}


async def keep_job(store: Store, user: User, prompt: Any, *, state: str = "waiting") -> None:
    row = {"prompt_id": secrets.token_hex(8), "user_id": user.id, "state": state, "position": 1, "number": 1}
    texts = {"prompt": orjson.dumps(prompt).decode(), "extra_data": "{}", "outputs_to_execute": "[]"}
    async with store.write() as connection:
        await connection.execute(insert(jobs).values(**row, **texts, created_at=1))


async def test_old_files_go(
    store: Store, storage: Storage, keeping: Retention, clock: Clock, path: Path, ann: User
) -> None:
    """Files of every kind go once they are older than the role keeps them, with their records, and not before."""
    for ref in (output("a.png", "x"), upload("b.png"), FileRef("temp", "", "c.png")):
        put(path, Root(ann.key), ref)
    await store.files.note_upload(ann.id, upload("b.png"), size=1, now=1)
    clock.ahead = 29 * DAY
    await keeping.round()
    assert len(await names(storage, ann)) == 3
    clock.ahead = 31 * DAY
    await keeping.round()
    assert await names(storage, ann) == set() and await store.files.uploads(ann.id, "input") == ()


async def test_a_role_may_keep_for_ever(
    store: Store, storage: Storage, keeping: Retention, clock: Clock, path: Path, ann: User
) -> None:
    """A role without `retention_days` keeps its files, and so does one that the settings do not have."""
    clock.ahead = 9999 * DAY
    put(path, Root(ann.key), output("a.png"))
    for role in ("admin", "gone"):
        await store.users.set(ann.id, role=role)
        await keeping.round()
        assert await names(storage, ann) == {"a.png [output]"}


async def test_a_file_that_came_lately_is_not_old(storage: Storage, keeping: Retention, path: Path, ann: User) -> None:
    """What was moved or restored here counts from then on, whatever time of modification it brought along."""
    put(path, Root(ann.key), output("a.png"), modified=1.0)
    await keeping.round()
    assert await names(storage, ann) == {"a.png [output]"}


@pytest.mark.parametrize("state", ["submitting", "unknown", "waiting", "handed", "running"])
async def test_what_an_unfinished_job_names_stays(
    store: Store, storage: Storage, keeping: Retention, clock: Clock, path: Path, ann: User, state: str
) -> None:
    """A file that stands anywhere in an unfinished job's workflow stays until the job has ended."""
    for ref in (upload("a.png"), output("b.png", "x"), upload("c.png"), upload('d"ü.png')):
        put(path, Root(ann.key), ref)
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "Pack", "inputs": {"list": [{"deep": "x/b.png [output]"}], "n": 1, "d": 'd"ü.png'}},
    }
    await keep_job(store, ann, graph, state=state)
    await keep_job(store, ann, {"1": {"class_type": "LoadImage", "inputs": {"image": "c.png"}}}, state="succeeded")
    clock.ahead = 31 * DAY
    await keeping.round()
    assert await names(storage, ann) == {"a.png", "x/b.png [output]", 'd"ü.png'}
    async with store.write() as connection:
        await connection.execute(update(jobs).values(state="failed"))
    await keeping.round()
    assert await names(storage, ann) == set()


async def test_another_s_job_keeps_nothing(
    store: Store, storage: Storage, keeping: Retention, clock: Clock, path: Path, ann: User
) -> None:
    """Only the owner's jobs count: nobody keeps another's files by naming them."""
    bob = await store.users.add("Bob", role="admin", now=1.5, random=secrets.token_bytes)
    put(path, Root(ann.key), upload("a.png"))
    await keep_job(store, bob, {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}})
    clock.ahead = 31 * DAY
    await keeping.round()
    assert await names(storage, ann) == set()


async def test_a_round_is_bounded(
    storage: Storage,
    keeping: Retention,
    clock: Clock,
    path: Path,
    ann: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A round deletes so many files at most, and the next one goes on."""
    monkeypatch.setattr(module, "MOST_IN_A_ROUND", 7)
    monkeypatch.setattr(module, "BATCH", 3)
    for number in range(10):
        put(path, Root(ann.key), output(f"{number}.png"))
    clock.ahead = 31 * DAY
    await keeping.round()
    assert len(await names(storage, ann)) == 3
    await keeping.round()
    assert await names(storage, ann) == set()


async def test_a_removed_user_s_files_go(
    store: Store, storage: Storage, keeping: Retention, clock: Clock, path: Path, ann: User
) -> None:
    """After a crash between user and files the next round deletes them, and what a job wrote later; then it forgets."""
    root = Root(ann.key)
    put(path, root, output("a.png"))
    await store.users.remove(ann.id, with_files_at=clock())
    await keeping.round()
    assert not await storage.exists(root)
    put(path, root, output("late.png"))
    await keeping.round()
    assert not await storage.exists(root)
    assert len(await store.removed_users.all()) == 1
    clock.ahead = (REMEMBERED_DAYS + 1) * DAY
    await keeping.round()
    assert await store.removed_users.all() == ()


async def test_folders_that_were_nobody_s_stay(
    store: Store, storage: Storage, keeping: Retention, clock: Clock, path: Path, ann: User
) -> None:
    """A folder below `users` of which we do not know that it was ours stays, and so do files that were to be kept."""
    stranger = Root("c" * 32)
    put(path, stranger, output("a.png"))
    put(path, Root(ann.key), output("b.png"))
    await store.users.remove(ann.id)
    clock.ahead = 999 * DAY
    await keeping.round()
    assert await storage.exists(stranger) and await storage.exists(Root(ann.key))


async def test_what_fails_is_for_the_next_round(
    store: Store,
    storage: Storage,
    keeping: Retention,
    clock: Clock,
    path: Path,
    ann: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that refuses one user's files keeps nobody else's, and ends no task."""
    bob = await store.users.add("Bob", role="member", now=1.5, random=secrets.token_bytes)
    for user in (ann, bob):
        put(path, Root(user.key), output("a.png"))
    whole = storage.delete

    async def refused(user_id: int, *args: Any, **more: Any) -> set[FileRef]:
        if user_id == ann.id:
            raise UpstreamFault("no")
        return await whole(user_id, *args, **more)

    monkeypatch.setattr(storage, "delete", refused)
    clock.ahead = 31 * DAY
    await keeping.round()
    assert (len(await names(storage, ann)), len(await names(storage, bob))) == (1, 0)


async def test_without_the_directory_nothing_runs(store: Store, clock: Clock) -> None:
    """Where the directory is not mounted there is nothing to do, and the task ends."""
    async with Storage(store, None) as storage:
        await Retention(store, storage, days_of=lambda user: DAYS.get(user.role), now=clock).run()
