"""Whose files are whose."""

import secrets
from collections.abc import Callable
from itertools import count

import pytest
from sqlalchemy import func, insert, select

from gateway.comfy.files import FileRef
from gateway.errors import UserGone
from gateway.store import Store, User
from gateway.store.database import upgrade
from gateway.store.files import Files
from gateway.store.roots import Roots
from gateway.store.tables import jobs, recorded_files
from tests.store.earlier import database_of

SERVER = "http://127.0.0.1:8188"
PROMPT = "00000000-0000-4000-8000-000000000001"
TEMP = FileRef("temp", "", "ComfyUI_temp_abcde_00001_.png")
OUTPUT = FileRef("output", "", "preview3d_1.glb")
INPUT = FileRef("input", "", "a.png")


@pytest.fixture
def files(store: Store) -> Files:
    return store.files


@pytest.fixture
async def bob(store: Store) -> User:
    return await store.users.add("Bob", role="member", now=1.5, random=secrets.token_bytes)


@pytest.fixture
def mint() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"boot{next(numbers)}"


async def keep_job(store: Store, user: User, prompt_id: str) -> None:
    row = {"prompt_id": prompt_id, "user_id": user.id, "state": "succeeded", "position": 1, "number": 1}
    texts = {"prompt": "{}", "extra_data": "{}", "outputs_to_execute": "[]"}
    async with store.write() as connection:
        await connection.execute(insert(jobs).values(**row, **texts, created_at=1))


async def rows(store: Store) -> int:
    async with store.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(recorded_files))).scalar_one())


async def test_uploads_are_listed_newest_first(files: Files, ann: User, bob: User) -> None:
    """Uploads are listed newest first, each once, of one type and one user."""
    for now, name in enumerate(("a.png", "b.png", "c.png", "a.png")):
        await files.note_upload(ann.id, FileRef("input", "", name), size=1, now=now)
    await files.note_upload(ann.id, FileRef("temp", "", "t.png"), size=1, now=9)
    await files.note_upload(bob.id, FileRef("input", "", "theirs.png"), size=1, now=9)
    assert [ref.filename for ref in await files.uploads(ann.id, "input")] == ["a.png", "c.png", "b.png"]
    assert [ref.filename for ref in await files.uploads(ann.id, "temp")] == ["t.png"]
    assert [ref.filename for ref in await files.uploads(bob.id, "input")] == ["theirs.png"]


async def test_an_upload_is_one_users(files: Files, ann: User, bob: User) -> None:
    """The name of one user's upload says nothing about another's."""
    await files.note_upload(ann.id, INPUT, size=1, now=1)
    deeper = FileRef("input", "x", "a.png")
    assert (await files.known(ann.id, SERVER, [INPUT, deeper])).uploaded == {INPUT}
    assert (await files.known(bob.id, SERVER, [INPUT, deeper])).uploaded == frozenset()


async def test_a_record_stays_with_the_first(files: Files, ann: User, bob: User, mint: Callable[[], str]) -> None:
    """What this boot recorded for one user is not recorded for another; what else the other made is."""
    boot = await files.boot(SERVER, mint)
    assert await files.record(SERVER, boot, TEMP, user_id=ann.id, prompt_id=PROMPT)
    assert await files.record(SERVER, boot, TEMP, OUTPUT, user_id=ann.id, prompt_id=PROMPT)
    other = FileRef("temp", "", "other.png")
    assert not await files.record(SERVER, boot, other, TEMP, user_id=bob.id, prompt_id=PROMPT)
    assert await files.owner(SERVER, boot, TEMP) == ann.id
    assert await files.owner(SERVER, boot, other) == bob.id
    assert await files.owner("http://other:1", boot, TEMP) is None
    assert (await files.known(bob.id, SERVER, [TEMP, OUTPUT, other])).recorded == {other}


async def test_nothing_is_recorded_by_recording_nothing(files: Files, ann: User) -> None:
    """A job without such files is in order."""
    assert await files.record(SERVER, "boot1", user_id=ann.id, prompt_id=PROMPT)


async def test_many_files_at_once(store: Store, files: Files, ann: User, mint: Callable[[], str]) -> None:
    """More files than one statement takes are recorded and known."""
    boot = await files.boot(SERVER, mint)
    many = [FileRef("temp", "", f"{number}.png") for number in range(2500)]
    assert await files.record(SERVER, boot, *many, user_id=ann.id, prompt_id=PROMPT)
    assert await rows(store) == 2500
    assert (await files.known(ann.id, SERVER, many)).recorded == set(many)


async def test_a_boot_is_minted_once(files: Files, mint: Callable[[], str]) -> None:
    """A server is in the same boot until it is said to have started anew, which also forgets its mark."""
    assert await files.boot(SERVER, mint) == "boot1"
    await files.note_prompt(SERVER, PROMPT)
    assert await files.boot(SERVER, mint) == "boot1"
    assert await files.last_prompt(SERVER) == PROMPT
    assert await files.new_boot(SERVER, mint) == "boot2"
    assert await files.boot(SERVER, mint) == "boot2"
    assert await files.last_prompt(SERVER) is None


async def test_temp_names_come_again(files: Files, ann: User, bob: User, mint: Callable[[], str]) -> None:
    """After a restart of the server a temp name is nobody's, and then whose job makes it."""
    await files.record(SERVER, await files.boot(SERVER, mint), TEMP, user_id=ann.id, prompt_id=PROMPT)
    await files.note_upload(ann.id, FileRef("temp", "", "mask.png"), size=1, now=1)
    boot = await files.new_boot(SERVER, mint)
    assert (await files.known(ann.id, SERVER, [TEMP])).recorded == frozenset()
    assert await files.recorded(ann.id, SERVER, "temp") == ()
    assert await files.uploads(ann.id, "temp") == ()
    assert await files.record(SERVER, boot, TEMP, user_id=bob.id, prompt_id=PROMPT)
    assert (await files.known(bob.id, SERVER, [TEMP])).recorded == {TEMP}


async def test_outputs_outlive_a_boot(
    store: Store, files: Files, ann: User, bob: User, mint: Callable[[], str]
) -> None:
    """An output stays its owner's over restarts of the server, until a later boot records the name for another."""
    await files.record(SERVER, await files.boot(SERVER, mint), OUTPUT, user_id=ann.id, prompt_id=PROMPT)
    await files.new_boot(SERVER, mint)
    boot = await files.new_boot(SERVER, mint)
    assert (await files.known(ann.id, SERVER, [OUTPUT])).recorded == {OUTPUT}
    assert (await files.known(bob.id, SERVER, [OUTPUT])).recorded == frozenset()
    assert await files.record(SERVER, boot, OUTPUT, user_id=bob.id, prompt_id=PROMPT)
    assert (await files.known(ann.id, SERVER, [OUTPUT])).recorded == frozenset()
    assert (await files.known(bob.id, SERVER, [OUTPUT])).recorded == {OUTPUT}
    await files.new_boot(SERVER, mint)
    assert (await files.known(bob.id, SERVER, [OUTPUT])).recorded == {OUTPUT}
    assert await rows(store) == 1


async def test_a_new_boot_of_one_server_is_no_other_s(files: Files, ann: User, mint: Callable[[], str]) -> None:
    """Another server's temp files stay known."""
    await files.record("http://b:1", await files.boot("http://b:1", mint), TEMP, user_id=ann.id, prompt_id=PROMPT)
    await files.boot(SERVER, mint)
    await files.new_boot(SERVER, mint)
    assert (await files.known(ann.id, "http://b:1", [TEMP])).recorded == {TEMP}


async def test_recorded_files_are_listed_newest_job_first(
    store: Store, files: Files, ann: User, mint: Callable[[], str]
) -> None:
    """The recorded files of the present boot, those of the newest job first."""
    boot = await files.boot(SERVER, mint)
    ids = [f"00000000-0000-4000-8000-{number:012}" for number in range(3)]
    for prompt_id, name in zip(ids, ("m.png", "a.png", "z.png"), strict=True):
        await keep_job(store, ann, prompt_id)
        await files.record(SERVER, boot, FileRef("temp", "", name), user_id=ann.id, prompt_id=prompt_id)
    assert [ref.filename for ref in await files.recorded(ann.id, SERVER, "temp")] == ["z.png", "a.png", "m.png"]


async def test_records_go_with_their_jobs(store: Store, files: Files, ann: User, mint: Callable[[], str]) -> None:
    """The table is bounded: what the ledger has forgotten is swept."""
    boot = await files.boot(SERVER, mint)
    await keep_job(store, ann, PROMPT)
    await files.record(SERVER, boot, TEMP, user_id=ann.id, prompt_id=PROMPT)
    await files.record(SERVER, boot, OUTPUT, user_id=ann.id, prompt_id="gone")
    assert await files.sweep() == 1
    assert (await files.known(ann.id, SERVER, [TEMP, OUTPUT])).recorded == {TEMP}


async def test_everything_goes_with_the_user(store: Store, files: Files, ann: User, mint: Callable[[], str]) -> None:
    """A removed user owns nothing any more."""
    boot = await files.boot(SERVER, mint)
    await files.record(SERVER, boot, TEMP, user_id=ann.id, prompt_id=PROMPT)
    await files.note_upload(ann.id, INPUT, size=1, now=1)
    await store.users.remove(ann.id)
    assert await files.owner(SERVER, boot, TEMP) is None
    assert await files.uploads(ann.id, "input") == ()


async def test_a_root_is_the_user_s_key(store: Store, ann: User) -> None:
    """A user's root is made of the key, which never changes; an older, shorter key is made as long."""
    assert (await store.roots.of(ann.id)).key == ann.key
    async with store.write() as connection:
        await connection.exec_driver_sql("UPDATE users SET key = '0123456789abcdef0123'")
    assert (await Roots(store.users).of(ann.id)).key == "0123456789abcdef0123000000000000"


async def test_files_of_the_removed_are_nobody_s(
    store: Store, files: Files, ann: User, bob: User, mint: Callable[[], str]
) -> None:
    """What was recorded for a user who is removed stays recorded for nobody, over a sweep, until the server starts
    anew; then the name is free."""
    boot = await files.boot(SERVER, mint)
    assert await files.record(SERVER, boot, TEMP, OUTPUT, user_id=ann.id, prompt_id=PROMPT)
    await store.users.remove(ann.id)
    await files.sweep()
    for ref in (TEMP, OUTPUT):
        assert await files.owner(SERVER, boot, ref) is None
        assert not await files.record(SERVER, boot, ref, user_id=bob.id, prompt_id=PROMPT)
        assert (await files.known(bob.id, SERVER, [ref])).recorded == frozenset()
    boot = await files.new_boot(SERVER, mint)
    assert await files.record(SERVER, boot, TEMP, OUTPUT, user_id=bob.id, prompt_id=PROMPT)


async def test_nothing_is_recorded_for_who_is_gone(store: Store, files: Files, ann: User) -> None:
    """A user who was removed meanwhile gets no record, no upload and no other row; it is said so."""
    await store.users.remove(ann.id)
    with pytest.raises(UserGone):
        await files.record(SERVER, "boot", TEMP, user_id=ann.id, prompt_id=PROMPT)
    with pytest.raises(UserGone):
        await files.note_upload(ann.id, INPUT, size=1, now=1)


async def test_old_records_are_kept(url: str) -> None:
    """An upgrade keeps the records that a database has, and from then on they outlive their user."""
    names = "server, boot, type, subfolder, filename, user_id, prompt_id"
    record = f"'{SERVER}', 'boot', '{TEMP.type}', '{TEMP.subfolder}', '{TEMP.filename}', 7, '{PROMPT}'"
    ann_id = await database_of(url, "0004", f"INSERT INTO recorded_files ({names}) VALUES ({record})")
    assert await upgrade(url) is True
    async with await Store.open(url) as store:
        assert await store.files.owner(SERVER, "boot", TEMP) == ann_id
        await store.users.remove(ann_id)
        async with store.read() as connection:
            assert (await connection.execute(select(recorded_files.c.user_id))).all() == [(None,)]
