"""The tokens in the store."""

import secrets

import pytest
from sqlalchemy.exc import IntegrityError

from gateway.errors import NotFound, UserGone
from gateway.store import Store, TokenRow, User
from gateway.store.sqlite import path_of
from tests.store.databases import raw


def token(user: User, token_id: str = "k3m5n7qa", *, at: float = 1.0, scopes: frozenset[str] | None = None) -> TokenRow:
    return TokenRow(token_id, user.id, "laptop", secrets.token_bytes(32), scopes, at, at + 100)


@pytest.mark.parametrize("scopes", [None, frozenset(), frozenset({"read"}), frozenset({"read", "submit", "admin"})])
async def test_a_token_comes_back_as_it_was(store: Store, ann: User, scopes: frozenset[str] | None) -> None:
    """All of a token is kept; no scopes given (all of the role) and no scopes left (nothing) are different things."""
    kept = token(ann, scopes=scopes)
    await store.tokens.add(kept)
    assert await store.tokens.get(kept.id) == kept
    assert await store.tokens.get("unknown") is None


async def test_T20_only_a_hash_is_stored(store: Store, url: str, ann: User) -> None:
    """T20: nothing in the database tells a token's secret, on SQLite nothing in its files."""
    minted_text = "0" * 10 + "-the-secret-of-a-token"
    await store.tokens.add(token(ann))
    assert minted_text not in repr(await raw(url, "SELECT * FROM tokens"))
    if url.startswith("sqlite"):
        for file in path_of(url).parent.iterdir():
            assert minted_text.encode() not in file.read_bytes()
    assert "digest" not in repr(token(ann))


async def test_tokens_are_listed_oldest_first(store: Store, ann: User) -> None:
    """A user's tokens, and all, come in the order of their making."""
    bob = await store.users.add("bob", role="member", now=1.0, random=secrets.token_bytes)
    for row in (token(ann, "second", at=2.0), token(bob, "first", at=1.0), token(ann, "third", at=3.0)):
        await store.tokens.add(row)
    assert [row.id for row in await store.tokens.all()] == ["first", "second", "third"]
    assert [row.id for row in await store.tokens.of_user(ann.id)] == ["second", "third"]


async def test_a_revoked_token_stays_revoked(store: Store, ann: User) -> None:
    """Revoking is remembered with its first time; the token stays in the list."""
    await store.tokens.add(token(ann))
    await store.tokens.revoke("k3m5n7qa", now=5.0)
    await store.tokens.revoke("k3m5n7qa", now=6.0)
    (row,) = await store.tokens.all()
    assert row.revoked_at == 5.0


async def test_an_unknown_token_cannot_be_revoked(store: Store) -> None:
    """Revoking what is not there is a 404, so a typing error is noticed."""
    with pytest.raises(NotFound):
        await store.tokens.revoke("k3m5n7qa", now=5.0)


async def test_use_is_noted(store: Store, ann: User) -> None:
    """The time of the last use is kept, and nothing else changes."""
    await store.tokens.add(token(ann))
    await store.tokens.touch("k3m5n7qa", now=9.0)
    row = await store.tokens.get("k3m5n7qa")
    assert row is not None and row.last_used_at == 9.0 and row.revoked_at is None


async def test_an_id_is_given_once(store: Store, ann: User) -> None:
    """A second token under the same id is refused: it would take the first one's place."""
    await store.tokens.add(token(ann))
    with pytest.raises(IntegrityError):
        await store.tokens.add(token(ann))


async def test_a_token_needs_its_user(store: Store, ann: User) -> None:
    """A token of nobody cannot be kept."""
    await store.users.remove(ann.id)
    with pytest.raises(UserGone):
        await store.tokens.add(token(ann))
