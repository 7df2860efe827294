"""The administrator that a first start makes."""

import secrets

from gateway.identity.passwords import Passwords
from gateway.store import Store, User
from gateway.store.first_start import FirstAdmin, ensure_admin

CHEAP = Passwords(memory_kib=64)


async def ensured(store: Store) -> FirstAdmin | None:
    return await ensure_admin(store, CHEAP, random=secrets.token_bytes, now=1.0)


async def test_an_empty_store_gets_an_administrator(store: Store) -> None:
    """Where nobody is, `admin` is made with a random password, which is stored only as a hash and told once."""
    first = await ensured(store)
    assert first is not None and first.name == "admin" and len(first.password) >= 20
    admin = await store.users.by_name("admin")
    assert admin is not None and admin.role == "admin" and admin.password_hash is not None
    assert CHEAP.verify(first.password, admin.password_hash)
    assert first.password not in repr(first)
    assert await ensured(store) is None


async def test_passwords_differ(store: Store) -> None:
    """No two first starts give the same password."""
    first = await ensured(store)
    assert first is not None
    await store.users.remove((await store.users.all())[0].id)
    second = await ensured(store)
    assert second is not None and second.password != first.password


async def test_where_somebody_is_nobody_is_made(store: Store, ann: User) -> None:
    """With any user there, even a member, no administrator appears by itself."""
    assert await ensured(store) is None
    assert await store.users.all() == (ann,)
