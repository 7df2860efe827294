"""Which role somebody has now."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Role
from gateway.edge.role_of import NOTHING, RoleOf
from gateway.errors import UserGone
from gateway.identity.principal import Principal
from gateway.store import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(f"sqlite:///{tmp_path / 'gateway.db'}") as opened:
        yield opened


MEMBER = Role(permissions=frozenset({"read"}), max_queued=7)


def principal(role: str, limits: str) -> Principal:
    return Principal(1, "ann", role, frozenset(), "token", "t", None, limits)


async def test_limits_come_with_the_request(store: Store) -> None:
    """A principal's limits count over those of the role; a limit that is none any more is left out; a role that is not
    in the settings allows nothing."""
    role_of = RoleOf({"member": MEMBER}, store.roles)
    assert role_of(principal("member", "{}")) == MEMBER
    assert role_of(principal("member", '{"max_queued": 3, "bogus": 1}')).max_queued == 3
    assert role_of(principal("artist", "{}")) == NOTHING


async def test_whoever_stays_asks_again(store: Store) -> None:
    """By user id the limits are those of now; whoever was removed may do nothing."""
    role_of = RoleOf({"member": MEMBER}, store.roles)
    ann = await store.users.add("Ann", role="member", now=1.5, random=secrets.token_bytes)
    assert await role_of.user(ann.id) == MEMBER
    await store.limits.change(ann.id, given={"max_queued": 3})
    assert (await role_of.user(ann.id)).max_queued == 3
    await store.users.remove(ann.id)
    with pytest.raises(UserGone):
        await role_of.user(ann.id)
