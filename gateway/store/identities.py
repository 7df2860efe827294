"""Who the people are here whom somebody else knows: by issuer and subject, and by nothing else. It does not know who
may come in.

A name is no proof: whoever comes for the first time gets one that is free, and nobody's user by that of another.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import InvalidRequest, NotFound, StoreUnavailable
from gateway.store.changes import note_change
from gateway.store.memberships import set_groups
from gateway.store.people_tables import identities
from gateway.store.tables import users
from gateway.store.transactions import Transactions
from gateway.store.users import User, Users

USE_NOTED_SECONDS: Final = 60.0
_KEY_BYTES: Final = 16
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Identity:
    """One user as one issuer knows them. Times are seconds since 1970; `groups` are those that it put them into."""

    issuer: str
    subject: str
    user_id: int
    created_at: float
    last_used_at: float
    said_at: float
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What an issuer's word comes to: `role` None leaves the role; `said_at` is when it gave it."""

    role: str | None
    first_role: str
    groups: tuple[str, ...]
    said_at: float


class Identities:
    """All identities."""

    def __init__(self, transactions: Transactions, everybody: Users) -> None:
        self._transactions: Final = transactions
        self._users: Final = everybody

    async def get(self, issuer: str, subject: str) -> Identity | None:
        """Who that is, if they are known."""
        async with self._transactions.read() as connection:
            return await _one(connection, issuer, subject)

    async def of_user(self, user_id: int) -> tuple[Identity, ...]:
        """All of one user's."""
        query = select(identities).where(identities.c.user_id == user_id).order_by(identities.c.issuer)
        async with self._transactions.read() as connection:
            return tuple(_identity(row) for row in await connection.execute(query))

    async def all(self) -> tuple[Identity, ...]:
        """Everybody's."""
        query = select(identities).order_by(identities.c.issuer, identities.c.subject)
        async with self._transactions.read() as connection:
            return tuple(_identity(row) for row in await connection.execute(query))

    async def used(self, issuer: str, subject: str, standing: Standing, *, now: float) -> User | None:
        """The user whom the issuer speaks of, with role and groups as it says now; None for somebody unknown.

        An older word than the last one changes nothing: a token outlives what it says.
        """
        known = await self.get(issuer, subject)
        user = None if known is None else await self._users.get(known.user_id)
        if known is None or user is None:
            return None
        is_news = standing.said_at >= known.said_at and (
            (standing.role is not None and standing.role != user.role) or known.groups != standing.groups
        )
        if not is_news and now - known.last_used_at < USE_NOTED_SECONDS and standing.said_at <= known.said_at:
            return user
        return await self._take_over(known, standing, now=now)

    async def create(
        self,
        issuer: str,
        subject: str,
        standing: Standing,
        *,
        names: Sequence[str],
        now: float,
        random: Callable[[int], bytes],
    ) -> User:
        """A new user with the first of `names` that nobody has; whoever came at the same time is the same one.

        Raises StoreUnavailable if all of them are taken.
        """
        for _ in range(_TRIES):
            try:
                async with self._transactions.write() as connection:
                    user_id = await _made(connection, issuer, subject, standing, names=names, now=now, random=random)
                    await note_change(connection)
            except IntegrityError:
                # Somebody took the name, or was the same one, in another process.
                continue
            user = await self._users.get(user_id)
            if user is not None:
                return user
        raise StoreUnavailable("No name is free for this user.", sent=False, reason=f"{names[:3]!r:.200}")

    async def link(self, user_id: int, issuer: str, subject: str, *, now: float) -> None:
        """Let a user that is here already come in as somebody whom an issuer knows. Raises InvalidRequest."""
        row = _row(issuer, subject, user_id, now=now)
        try:
            async with self._transactions.write() as connection:
                await connection.execute(insert(identities).values(**row))
                await note_change(connection)
        except IntegrityError:
            raise InvalidRequest("Somebody is known by that issuer and subject already.") from None

    async def unlink(self, issuer: str, subject: str) -> None:
        """Forget it; the user stays. Raises NotFound."""
        async with self._transactions.write() as connection:
            gone = await connection.execute(delete(identities).where(_is(issuer, subject)))
            if not gone.rowcount:
                raise NotFound("Nobody is known by that issuer and subject.")
            await note_change(connection)

    async def _take_over(self, known: Identity, standing: Standing, *, now: float) -> User | None:
        where = _is(known.issuer, known.subject)
        async with self._transactions.write() as connection:
            current = await _one(connection, known.issuer, known.subject)
            if current is None:
                return None
            noted: dict[str, Any] = {"last_used_at": now}
            if standing.said_at >= current.said_at:
                noted |= {"said_at": standing.said_at, "groups": _text(standing.groups)}
                await _set_standing(connection, current, standing)
            await connection.execute(update(identities).where(where).values(**noted))
        return await self._users.get(known.user_id)


async def _set_standing(connection: AsyncConnection, known: Identity, standing: Standing) -> None:
    role = standing.role
    is_other = (users.c.id == known.user_id) & (users.c.role != role)
    changed = 0
    if role is not None:
        changed = (await connection.execute(update(users).where(is_other).values(role=role))).rowcount
    # Also where they are the same as before: a group of that name may be new here.
    changed += await set_groups(connection, known.user_id, standing.groups, before=known.groups)
    if changed:
        await note_change(connection)


async def _made(
    connection: AsyncConnection,
    issuer: str,
    subject: str,
    standing: Standing,
    *,
    names: Sequence[str],
    now: float,
    random: Callable[[int], bytes],
) -> int:
    known = await _one(connection, issuer, subject)
    if known is not None:
        return known.user_id
    row = {
        "name": await _free(connection, names),
        "role": standing.first_role,
        "created_at": now,
        "key": random(_KEY_BYTES).hex(),
    }
    user_id: int = (await connection.execute(insert(users).values(**row).returning(users.c.id))).scalar_one()
    identity = _row(issuer, subject, user_id, now=now) | {"said_at": standing.said_at, "groups": _text(standing.groups)}
    await connection.execute(insert(identities).values(**identity))
    await set_groups(connection, user_id, standing.groups, before=())
    return user_id


async def _free(connection: AsyncConnection, names: Sequence[str]) -> str:
    """The first that nobody has; the last, which is then found to be taken, if there is none."""
    wanted = [name.lower() for name in names]
    rows = await connection.execute(select(func.lower(users.c.name)).where(func.lower(users.c.name).in_(wanted)))
    taken = {row[0] for row in rows}
    return next((name for name in names if name.lower() not in taken), names[-1])


async def _one(connection: AsyncConnection, issuer: str, subject: str) -> Identity | None:
    row = (await connection.execute(select(identities).where(_is(issuer, subject)))).one_or_none()
    return None if row is None else _identity(row)


def _is(issuer: str, subject: str) -> Any:
    return (identities.c.issuer == issuer) & (identities.c.subject == subject)


def _row(issuer: str, subject: str, user_id: int, *, now: float) -> dict[str, Any]:
    return {"issuer": issuer, "subject": subject, "user_id": user_id, "created_at": now, "last_used_at": now}


def _identity(row: Any) -> Identity:
    return Identity(**{**row._mapping, "groups": tuple(orjson.loads(row.groups))})


def _text(names: Iterable[str]) -> str:
    return orjson.dumps(list(names)).decode()
