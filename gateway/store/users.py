"""The users. It does not know how a password is proved or what a role may do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import ColumnElement

from gateway.comfy.files import Root
from gateway.errors import InvalidRequest, NotFound
from gateway.identity.names import is_name
from gateway.store.changes import note_change
from gateway.store.limits import NONE
from gateway.store.tables import removed_users, sessions, user_limits, users
from gateway.store.transactions import Transactions

_KEY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a name.

    `key` is opaque, never changes and never comes back: JWTs name the user by it, so that an old one cannot mean a
    new user of the same name. `epoch` grows when everything that was signed before must end (a new password, a
    disabled account). `created_at` is in seconds since 1970. `limits` are those that `Limits` keeps, as text.
    """

    id: int
    key: str
    name: str
    role: str
    password_hash: str | None = field(repr=False)
    disabled: bool
    epoch: int
    created_at: float
    limits: str = NONE


_LIMITS: Final = select(user_limits.c.limits).where(user_limits.c.user_id == users.c.id).scalar_subquery()
_USERS: Final = select(*users.c, func.coalesce(_LIMITS, NONE).label("limits"))


class Users:
    """All users. Names are unique whatever their case."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions: Final = transactions

    async def add(
        self, name: str, *, role: str, now: float, random: Callable[[int], bytes], password_hash: str | None = None
    ) -> User:
        """A new user; `random` mints the key.

        Raises:
            InvalidRequest: the name has a form that names cannot have, or is taken.
        """
        if not is_name(name):
            raise InvalidRequest(
                "A user name has 1 to 64 letters, digits, and “.”, “_”, “@” or “-”, and starts with a letter or digit."
            )
        row = {"name": name, "role": role, "created_at": now, "password_hash": password_hash}
        try:
            async with self._transactions.write() as connection:
                new = insert(users).values(**row, key=random(_KEY_BYTES).hex()).returning(*users.c)
                added = (await connection.execute(new)).one()
                await note_change(connection)
        except IntegrityError:
            raise InvalidRequest(f"The name “{name}” is taken.") from None
        return _user(added)

    async def get(self, user_id: int) -> User | None:
        return await self._one(users.c.id == user_id)

    async def by_name(self, name: str) -> User | None:
        """The user of that name in any case. Every string may be asked for; most name nobody."""
        # A name that nobody can have is looked for too, as none: it must not be told apart by a stop-watch.
        return await self._one(func.lower(users.c.name) == (name.lower() if is_name(name) else ""))

    async def by_key(self, key: str) -> User | None:
        return await self._one(users.c.key == key)

    async def all(self) -> tuple[User, ...]:
        """Everybody, in the order of their names."""
        async with self._transactions.read() as connection:
            rows = await connection.execute(_USERS.order_by(func.lower(users.c.name)))
            return tuple(_user(row) for row in rows)

    async def names(self) -> dict[int, str]:
        """Everybody's name, by id."""
        async with self._transactions.read() as connection:
            return {row.id: row.name for row in await connection.execute(select(users.c.id, users.c.name))}

    async def set(
        self, user_id: int, *, role: str | None = None, password_hash: str | None = None, disabled: bool | None = None
    ) -> User:
        """Change what is given and leave the rest.

        A new password, and disabling, end the user's sessions and raise the `epoch`. Tokens stay: they are not the
        password, and of a disabled user nothing is accepted anyway.

        Raises:
            NotFound: there is no such user.
        """
        ends_sessions = password_hash is not None or bool(disabled)
        given = {"role": role, "password_hash": password_hash, "disabled": disabled}
        changes = {name: value for name, value in given.items() if value is not None}
        async with self._transactions.write() as connection:
            epoch = users.c.epoch + int(ends_sessions)
            await connection.execute(update(users).where(users.c.id == user_id).values(**changes, epoch=epoch))
            row = (await connection.execute(_USERS.where(users.c.id == user_id))).one_or_none()
            if row is None:
                raise NotFound("There is no such user.")
            if ends_sessions:
                await connection.execute(delete(sessions).where(sessions.c.user_id == user_id))
            await note_change(connection)
        return _user(row)

    async def rehash(self, user_id: int, *, old: str, new: str) -> None:
        """Keep the same password under newer parameters; nothing, if it was changed in the meantime."""
        async with self._transactions.write() as connection:
            same = (users.c.id == user_id) & (users.c.password_hash == old)
            await connection.execute(update(users).where(same).values(password_hash=new))

    async def remove(self, user_id: int, *, with_files_at: float | None = None) -> None:
        """The user, with all tokens, sessions, jobs and user data.

        With a time, in seconds since 1970, it is noted that the files below the user's root go too.

        Raises:
            NotFound: there is no such user.
        """
        async with self._transactions.write() as connection:
            gone = await connection.execute(delete(users).where(users.c.id == user_id).returning(users.c.key))
            key = gone.scalar_one_or_none()
            if key is None:
                raise NotFound("There is no such user.")
            if with_files_at is not None:
                row = {"key": root_of(key).key, "removed_at": with_files_at}
                await connection.execute(insert(removed_users).values(row))
            await note_change(connection)

    async def _one(self, condition: ColumnElement[bool]) -> User | None:
        async with self._transactions.read() as connection:
            row = (await connection.execute(_USERS.where(condition))).one_or_none()
        return None if row is None else _user(row)


def root_of(key: str) -> Root:
    """The root of the user with this key.

    The first release made keys of 20 digits, and those are in signed sessions: they are padded here, not changed.
    """
    return Root(key.ljust(32, "0"))


def _user(row: Any) -> User:
    return User(**row._mapping)
