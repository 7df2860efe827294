"""The API tokens that were handed out, without their secrets. It does not know how a token looks or what a scope
allows.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Row, insert, select, update
from sqlalchemy.sql import ColumnElement

from gateway.errors import NotFound
from gateway.store.changes import note_change
from gateway.store.tables import tokens
from gateway.store.transactions import Transactions


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token. `digest` is the SHA-256 of its whole text; `scopes` None means all that the user's role has.

    Times are in seconds since 1970; `expires_at` None means never.
    """

    id: str
    user_id: int
    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[str] | None
    created_at: float
    expires_at: float | None
    last_used_at: float | None = None
    revoked_at: float | None = None


class Tokens:
    """All tokens, the revoked and expired ones too: what is gone from here cannot be explained to its user."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions: Final = transactions

    async def add(self, token: TokenRow) -> None:
        """Remember a token that was just minted."""
        async with self._transactions.write() as connection:
            await connection.execute(insert(tokens).values(**_columns(token)))
            await note_change(connection)

    async def get(self, token_id: str) -> TokenRow | None:
        found = await self._select(tokens.c.id == token_id)
        return found[0] if found else None

    async def of_user(self, user_id: int) -> tuple[TokenRow, ...]:
        return await self._select(tokens.c.user_id == user_id)

    async def all(self) -> tuple[TokenRow, ...]:
        """All, oldest first."""
        return await self._select(tokens.c.id.is_not(None))

    async def revoke(self, token_id: str, *, now: float) -> None:
        """End a token. One that is revoked already stays so, with its first time.

        Raises:
            NotFound: there is no such token.
        """
        async with self._transactions.write() as connection:
            known = await connection.execute(select(tokens.c.revoked_at).where(tokens.c.id == token_id))
            row = known.one_or_none()
            if row is None:
                raise NotFound("There is no such token.")
            if row.revoked_at is None:
                await connection.execute(update(tokens).where(tokens.c.id == token_id).values(revoked_at=now))
                await note_change(connection)

    async def touch(self, token_id: str, *, now: float) -> None:
        """Note that the token was used. No change of an identity, so it is not announced as one."""
        async with self._transactions.write() as connection:
            await connection.execute(update(tokens).where(tokens.c.id == token_id).values(last_used_at=now))

    async def _select(self, condition: ColumnElement[bool]) -> tuple[TokenRow, ...]:
        async with self._transactions.read() as connection:
            rows = await connection.execute(select(tokens).where(condition).order_by(tokens.c.created_at, tokens.c.id))
            return tuple(_token(row) for row in rows)


def _columns(token: TokenRow) -> dict[str, Any]:
    columns = {column.name: getattr(token, column.name) for column in tokens.c}
    return {**columns, "scopes": None if token.scopes is None else " ".join(sorted(token.scopes))}


def _token(row: Row[tuple[Any, ...]]) -> TokenRow:
    columns = dict(row._mapping)
    scopes = columns.pop("scopes")
    return TokenRow(**columns, scopes=None if scopes is None else frozenset(scopes.split()))
