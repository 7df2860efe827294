"""The users in the store."""

import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from gateway.errors import InvalidRequest, NotFound
from gateway.identity.names import is_name
from gateway.store import SessionRow, Store, TokenRow, User


async def add(store: Store, name: str) -> User:
    return await store.users.add(name, role="member", now=2.0, random=secrets.token_bytes)


async def test_a_user_is_found_by_id_name_and_key(store: Store, ann: User) -> None:
    """A user is the same by id, by name in any case, and by the opaque key."""
    assert ann == User(ann.id, ann.key, "Ann", "member", None, False, 0, 1.5)
    for found in (
        await store.users.get(ann.id),
        await store.users.by_name("ann"),
        await store.users.by_name("ANN"),
        await store.users.by_key(ann.key),
    ):
        assert found == ann


async def test_nobody_is_nobody(store: Store, ann: User) -> None:
    """What names nobody gives None, also what could never be a name."""
    assert await store.users.get(ann.id + 1) is None
    assert await store.users.by_key("") is None
    for name in ("bob", "", "ann ", "ann\x00", "%", "a" * 65, "x" * 1_000_000, "\udc80", "ann' OR 1=1 --"):
        assert await store.users.by_name(name) is None


@pytest.mark.parametrize("name", ["a", "0", "ann@example.org", "a.b-c_d", "A" * 64])
async def test_names_that_can_be_had(store: Store, name: str) -> None:
    """Letters, digits, “.”, “_”, “@” and “-”, up to 64 of them."""
    assert (await add(store, name)).name == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "-a", ".a", "@a", "a/b", "..", "a\n", "a\x00", "ä", "\u0430nn", "a" * 65, "a:b", "a\u202eb", "a%"],
)
async def test_T23_names_that_cannot_be_had(store: Store, name: str) -> None:
    """T23: blanks, line breaks, NUL, slashes, look-alikes and long names are refused with a 400."""
    with pytest.raises(InvalidRequest):
        await add(store, name)
    assert await store.users.all() == ()


@given(st.text())
def test_T23_names_are_plain(name: str) -> None:
    """T23: a name that can be had is printable ASCII without separators."""
    if is_name(name):
        assert name.isascii() and name.isprintable() and not set(name) & set(" /\\:%'\"<>&;")


@pytest.mark.parametrize("name", ["Ann", "ann", "ANN"])
async def test_a_name_is_taken_in_every_case(store: Store, ann: User, name: str) -> None:
    """Two users cannot differ by case alone."""
    with pytest.raises(InvalidRequest, match=f"“{name}” is taken"):
        await add(store, name)
    assert await store.users.all() == (ann,)


async def test_all_are_listed_by_name(store: Store, ann: User) -> None:
    """The list is in the order of names, whatever their case."""
    await add(store, "bob")
    await add(store, "Aaron")
    assert [user.name for user in await store.users.all()] == ["Aaron", "Ann", "bob"]


async def test_changes_leave_the_rest(store: Store, ann: User) -> None:
    """What is not given stays."""
    changed = await store.users.set(ann.id, role="admin")
    assert (changed.role, changed.name, changed.key, changed.epoch) == ("admin", "Ann", ann.key, 0)
    assert await store.users.get(ann.id) == changed


@pytest.mark.parametrize(
    ("change", "ends"), [({"password_hash": "new"}, True), ({"disabled": True}, True), ({"role": "x"}, False)]
)
async def test_T12_a_new_password_ends_sessions(store: Store, ann: User, change: dict[str, Any], ends: bool) -> None:
    """T12: a new password, and disabling, end the user's sessions and what else was signed; another's go on."""
    bob = await add(store, "bob")
    for user in (ann, bob):
        await store.sessions.add(SessionRow(f"of-{user.name}", user.id, 1.0, 100.0))
    changed = await store.users.set(ann.id, **change)
    assert (changed.epoch, await store.sessions.get("of-Ann") is None) == (int(ends), ends)
    assert await store.sessions.get("of-bob") is not None


async def test_enabling_again(store: Store, ann: User) -> None:
    """A disabled user can be enabled again, but the sessions of before stay ended."""
    assert (await store.users.set(ann.id, disabled=True)).disabled
    enabled = await store.users.set(ann.id, disabled=False)
    assert not enabled.disabled and enabled.epoch == 1


async def test_rehashing_never_undoes_a_new_password(store: Store, ann: User) -> None:
    """A login that makes the hash anew loses against a password that was changed meanwhile."""
    await store.users.set(ann.id, password_hash="old")
    await store.users.rehash(ann.id, old="old", new="same, stronger")
    await store.users.rehash(ann.id, old="old", new="too late")
    after = await store.users.get(ann.id)
    assert after is not None and after.password_hash == "same, stronger" and after.epoch == 1


async def test_removing_takes_everything_along(store: Store, ann: User) -> None:
    """A removed user's tokens, sessions and jobs are gone; another's are not, and the id and key never come back."""
    bob = await add(store, "bob")
    for user in (ann, bob):
        await store.tokens.add(TokenRow(f"t{user.id}", user.id, "", b"d" * 32, None, 1.0, None))
        await store.sessions.add(SessionRow(f"s{user.id}", user.id, 1.0, 100.0))
        async with store.write() as connection:
            await connection.execute(
                text(
                    "INSERT INTO jobs (prompt_id, user_id, state, position, number, created_at, prompt, extra_data,"
                    f" outputs_to_execute) VALUES ('p{user.id}', {user.id}, 'waiting', 1, 1, 1, '{{}}', '{{}}', '[]')"
                )
            )
    await store.users.remove(bob.id)
    assert await store.users.get(bob.id) is None and await store.users.by_name("bob") is None
    assert [token.id for token in await store.tokens.all()] == [f"t{ann.id}"]
    assert await store.sessions.get(f"s{bob.id}") is None and await store.sessions.get(f"s{ann.id}") is not None
    async with store.read() as connection:
        assert (await connection.scalars(text("SELECT prompt_id FROM jobs"))).all() == [f"p{ann.id}"]
    again = await add(store, "bob")
    assert again.id > bob.id and again.key != bob.key


async def test_who_is_not_there_cannot_be_changed(store: Store) -> None:
    """Changing or removing somebody who is not there is a 404."""
    with pytest.raises(NotFound):
        await store.users.set(7, role="admin")
    with pytest.raises(NotFound):
        await store.users.remove(7)


async def test_N06_the_text_of_a_user_shows_no_hash(store: Store, ann: User) -> None:
    """N06: a user in a log line or traceback does not show the password's hash."""
    assert "argon" not in repr(await store.users.set(ann.id, password_hash="$argon2id$x"))
