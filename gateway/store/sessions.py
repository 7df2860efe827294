"""The sessions and access JWTs that can be revoked, by their `jti`. It does not know how one is signed."""

from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import delete, insert, select, update

from gateway.store.changes import note_change
from gateway.store.tables import sessions
from gateway.store.transactions import Transactions


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session. Times are in seconds since 1970."""

    jti: str
    user_id: int
    created_at: float
    expires_at: float
    revoked_at: float | None = None


class Sessions:
    """The sessions that were begun and did not expire yet. One that is not here is over."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions: Final = transactions

    async def add(self, session: SessionRow) -> None:
        """Remember a session that begins."""
        async with self._transactions.write() as connection:
            await connection.execute(insert(sessions).values(**asdict(session)))
            await note_change(connection)

    async def get(self, jti: str) -> SessionRow | None:
        async with self._transactions.read() as connection:
            row = (await connection.execute(select(sessions).where(sessions.c.jti == jti))).one_or_none()
        return None if row is None else SessionRow(**row._mapping)

    async def revoke(self, jti: str, *, now: float) -> None:
        """End one session (logout). One that is unknown or over already stays so: a second logout is no error."""
        async with self._transactions.write() as connection:
            open_one = (sessions.c.jti == jti) & sessions.c.revoked_at.is_(None)
            ended = await connection.execute(update(sessions).where(open_one).values(revoked_at=now))
            if ended.rowcount:
                await note_change(connection)

    async def sweep(self, now: float) -> int:
        """Forget what expired; how many that were. Nobody can tell the difference, so it is not announced."""
        async with self._transactions.write() as connection:
            gone = await connection.execute(delete(sessions).where(sessions.c.expires_at < now))
            return gone.rowcount
