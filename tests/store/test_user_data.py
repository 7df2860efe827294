"""The users' own files in the store."""

import asyncio
import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from gateway.comfy.user_data import UserFile
from gateway.errors import StorageFull, StoreUnavailable
from gateway.store import Store, User
from gateway.store.database import upgrade
from gateway.store.user_data import Kept, PathBlocked, PathTaken, Quota
from tests.store.earlier import database_of

QUOTA = Quota(1000, 5)


@pytest.fixture
async def bob(store: Store) -> User:
    return await store.users.add("bob", role="member", now=1.5, random=secrets.token_bytes)


async def put(store: Store, user: User, path: str, content: bytes = b"x", *, now: float = 1.0) -> UserFile:
    return await store.user_files.write(user.id, path, content, now=now, quota=QUOTA)


async def paths(store: Store, user: User, folder: str = "") -> list[str]:
    return [file.path for file in await store.user_files.below(user.id, folder)]


async def test_a_file_is_kept_with_its_times(store: Store, ann: User) -> None:
    """A file comes back as it was written; writing it again changes its bytes and its time, not when it was made."""
    assert await put(store, ann, "a.json", b"one", now=1.25) == UserFile("a.json", 3, 1.25, 1.25)
    assert await put(store, ann, "a.json", b"three", now=2.5) == UserFile("a.json", 5, 1.25, 2.5)
    assert await store.user_files.read(ann.id, "a.json") == (UserFile("a.json", 5, 1.25, 2.5), b"three")
    assert await store.user_files.read(ann.id, "A.json") is None


async def test_I20_nobody_has_anothers_files(store: Store, ann: User, bob: User) -> None:
    """I20: the same name is another file for each user, in every method."""
    await put(store, ann, "w/a.json", b"anns")
    assert await store.user_files.read(bob.id, "w/a.json") is None
    assert await paths(store, bob) == [] and not await store.user_files.is_file(bob.id, "w/a.json")
    assert not await store.user_files.remove(bob.id, "w/a.json")
    for source in ("w/a.json", "w"):
        assert await store.user_files.move(bob.id, source, "b", overwrite=True) is None
    await put(store, bob, "w", b"a file of bob's may have the name of a folder of ann's")
    assert await store.user_files.read(ann.id, "w/a.json") == (UserFile("w/a.json", 4, 1.0, 1.0), b"anns")
    assert await store.user_files.kept(ann.id) == Kept(1, 4)


async def test_removing_a_user_removes_the_files(store: Store, ann: User, bob: User) -> None:
    """With a user go the files, and nobody else's."""
    await put(store, ann, "a.json")
    await put(store, bob, "b.json")
    await store.users.remove(bob.id)
    async with store.read() as connection:
        assert (await connection.scalars(text("SELECT path FROM user_data"))).all() == ["a.json"]


async def test_a_folder_is_what_is_below_it(store: Store, ann: User) -> None:
    """Names that only begin alike, or that a pattern would match, are in no common folder; files come by path."""
    for path in ("w_x/b", "w_x/a/c", "w_x.json", "wax/d", "w_x0"):
        await put(store, ann, path)
    assert await paths(store, ann, "w_x") == ["w_x/a/c", "w_x/b"]
    assert await paths(store, ann) == ["w_x.json", "w_x/a/c", "w_x/b", "w_x0", "wax/d"]
    assert await paths(store, ann, "w") == []


async def test_overwrite_can_be_refused(store: Store, ann: User) -> None:
    """Without `overwrite` a file that is there stays as it is."""
    await put(store, ann, "a.json", b"one")
    with pytest.raises(PathTaken):
        await store.user_files.write(ann.id, "a.json", b"two", now=2.0, quota=QUOTA, overwrite=False)
    assert (await store.user_files.read(ann.id, "a.json") or ((), b""))[1] == b"one"


@pytest.mark.parametrize("path", ["a", "a/b/c", "a/b.json/c/d"])
async def test_a_name_is_a_file_or_a_folder(store: Store, ann: User, path: str) -> None:
    """No file has the name of a folder, or lies in a file."""
    await put(store, ann, "a/b")
    await put(store, ann, "a/b.json")
    with pytest.raises(PathBlocked):
        await put(store, ann, path)
    assert await paths(store, ann) == ["a/b", "a/b.json"]


async def test_the_quota_counts_bytes(store: Store, ann: User, bob: User) -> None:
    """More than the quota is refused with nothing changed; exactly the quota is not; another's files do not count."""
    await put(store, bob, "b", b"x" * 900)
    await put(store, ann, "a", b"x" * 400)
    await put(store, ann, "b", b"x" * 600)
    for path, content in (("c", b"x"), ("a", b"x" * 401)):
        with pytest.raises(StorageFull) as caught:
            await put(store, ann, path, content)
        assert (caught.value.status, caught.value.type) == (413, "storage_full")
    await put(store, ann, "c", b"")
    assert await store.user_files.kept(ann.id) == Kept(3, 1000)


async def test_the_quota_counts_files(store: Store, ann: User) -> None:
    """The number of files is bounded too; those that are there can be written again."""
    for number in range(5):
        await put(store, ann, str(number))
    with pytest.raises(StorageFull):
        await put(store, ann, "5", b"")
    await put(store, ann, "0", b"more")


async def test_Q18_a_lowered_quota_allows_what_makes_less(store: Store, ann: User) -> None:
    """Q18: with more than a lowered quota allows, files can still shrink, move and go."""
    await put(store, ann, "a", b"x" * 500)
    low = Quota(10, 0)
    await store.user_files.write(ann.id, "a", b"x" * 400, now=2.0, quota=low)
    with pytest.raises(StorageFull):
        await store.user_files.write(ann.id, "a", b"x" * 401, now=2.0, quota=low)
    assert await store.user_files.move(ann.id, "a", "b", overwrite=True)
    assert await store.user_files.remove(ann.id, "b")


async def test_writes_at_once_do_not_pass_the_quota_together(store: Store, ann: User) -> None:
    """Of many writes at once only as many succeed as there is room for."""
    writes = [put(store, ann, str(number), b"x" * 300) for number in range(5)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(result, StorageFull) for result in results) == 2
    assert (await store.user_files.kept(ann.id)).size == 900


async def test_changes_at_once_lose_nothing(store: Store, ann: User) -> None:
    """Each change sees what the one before it wrote."""

    def longer(old: bytes | None) -> bytes:
        return (old or b"") + b"x"

    await asyncio.gather(*(store.user_files.change(ann.id, "s", longer, now=1.0, quota=QUOTA) for _ in range(20)))
    assert (await store.user_files.kept(ann.id)).size == 20


async def test_a_change_that_fails_changes_nothing(store: Store, ann: User) -> None:
    """What the change raises comes out, and the file is as before."""
    await put(store, ann, "s", b"one")

    def failing(old: bytes | None) -> bytes:
        raise LookupError(old)

    with pytest.raises(LookupError):
        await store.user_files.change(ann.id, "s", failing, now=2.0, quota=QUOTA)
    assert await store.user_files.read(ann.id, "s") == (UserFile("s", 3, 1.0, 1.0), b"one")


async def test_a_file_moves_with_its_times(store: Store, ann: User) -> None:
    """A moved file is the same one under another name, into itself too; what it replaces is gone."""
    await put(store, ann, "a", b"one", now=1.0)
    await put(store, ann, "w/b", b"other", now=2.0)
    with pytest.raises(PathTaken):
        await store.user_files.move(ann.id, "a", "w/b", overwrite=False)
    assert await store.user_files.move(ann.id, "a", "w/b", overwrite=True) == UserFile("w/b", 3, 1.0, 1.0)
    assert await store.user_files.move(ann.id, "w/b", "w/b", overwrite=True) == UserFile("w/b", 3, 1.0, 1.0)
    assert await store.user_files.move(ann.id, "w/b", "w/b/c", overwrite=False) == UserFile("w/b/c", 3, 1.0, 1.0)
    assert await store.user_files.move(ann.id, "a", "b", overwrite=True) is None
    assert await paths(store, ann) == ["w/b/c"]


async def test_a_folder_moves_with_everything_in_it(store: Store, ann: User) -> None:
    """A folder can be renamed, but it replaces nothing and does not go into itself."""
    await put(store, ann, "w/a", b"1", now=1.0)
    await put(store, ann, "w/s/b", b"22", now=3.0)
    await put(store, ann, "wa", b"3")
    assert await store.user_files.move(ann.id, "w", "v/w", overwrite=False) == UserFile("v/w", 3, 1.0, 3.0)
    assert await paths(store, ann) == ["v/w/a", "v/w/s/b", "wa"]
    for target in ("v/w", "v/w/s", "v/w/new", "wa", "wa/x", "v"):
        with pytest.raises(PathBlocked):
            await store.user_files.move(ann.id, "v/w", target, overwrite=True)
    with pytest.raises(PathTaken):
        await store.user_files.move(ann.id, "v/w", "wa", overwrite=False)
    assert await paths(store, ann) == ["v/w/a", "v/w/s/b", "wa"]


async def test_a_moved_folder_gets_no_name_that_is_too_long(store: Store, ann: User) -> None:
    """Names stay as short as they must be when their folder's name grows."""
    await put(store, ann, "w/" + "/".join(["y" * 200] * 4))
    with pytest.raises(PathBlocked):
        await store.user_files.move(ann.id, "w", "z" * 250, overwrite=True)


async def test_a_file_never_replaces_a_folder(store: Store, ann: User) -> None:
    """A file cannot be moved onto a folder; a folder is not removed as a file."""
    await put(store, ann, "a")
    await put(store, ann, "w/b")
    with pytest.raises(PathBlocked):
        await store.user_files.move(ann.id, "a", "w", overwrite=True)
    with pytest.raises(PathTaken):
        await store.user_files.move(ann.id, "a", "w", overwrite=False)
    with pytest.raises(PathBlocked):
        await store.user_files.remove(ann.id, "w")
    assert not await store.user_files.remove(ann.id, "v")
    assert await paths(store, ann) == ["a", "w/b"]


NAMES = st.sampled_from(["a", "b", "a/b", "a/c", "a/b/c", "c/a", "c"])
STEPS = st.lists(st.tuples(st.sampled_from(["write", "move", "remove"]), NAMES, NAMES, st.booleans()), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
async def test_whatever_happens_names_stay_unambiguous(
    store: Store, ann: User, steps: list[tuple[str, str, str, bool]]
) -> None:
    """After any sequence of writes, moves and removals no file has the name of a folder."""
    for file in await store.user_files.below(ann.id, ""):
        assert await store.user_files.remove(ann.id, file.path)
    for step, path, other, overwrite in steps:
        try:
            if step == "write":
                await store.user_files.write(ann.id, path, b"x", now=1.0, quota=Quota(100), overwrite=overwrite)
            elif step == "move":
                await store.user_files.move(ann.id, path, other, overwrite=overwrite)
            else:
                await store.user_files.remove(ann.id, path)
        except (PathTaken, PathBlocked):
            continue
        found = await paths(store, ann)
        assert not any(one.startswith(f"{two}/") for one in found for two in found), found


async def test_a_database_without_user_data_is_upgraded(url: str) -> None:
    """A database of the version before has its users after `db upgrade`, and the new tables."""
    ann_id = await database_of(url, "0001")
    with pytest.raises(StoreUnavailable, match="db upgrade"):
        await Store.open(url)
    assert await upgrade(url) is True
    async with await Store.open(url) as store:
        ann = await store.users.get(ann_id)
        assert ann is not None
        await put(store, ann, "a.json")
        assert await paths(store, ann) == ["a.json"]
