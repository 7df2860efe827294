"""Whether a name and a password belong together: at a bounded cost, in the same time for names that nobody has.

It does not know which role the user has, nor what the answer to the client will be.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from gateway.edge.slowdown import Slowdown
from gateway.identity.passwords import Passwords
from gateway.store.database import Store
from gateway.store.users import User

_AT_ONCE: Final = 2
"""Argon2 takes 46 MiB and tens of milliseconds of a core for each: more at once would be a way to exhaust both."""
_REMEMBERED_SECONDS: Final = 60.0
_MOST_REMEMBERED: Final = 1000


class PasswordCheck:
    """Checks passwords, and remembers the good ones for a minute: a script with Basic sends its own with every request.

    What is remembered is a keyed digest with a key that only this process has; `forget` is for when anything changed.
    """

    def __init__(
        self,
        store: Store,
        *,
        passwords: Passwords,
        slowdown: Slowdown,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._store: Final = store
        self._passwords: Final = passwords
        self._slowdown: Final = slowdown
        self._clock: Final = clock
        self._key: Final = random(32)
        self._free: Final = asyncio.Semaphore(_AT_ONCE)
        self._good: Final[dict[bytes, tuple[User, float]]] = {}
        self._under_way: Final[dict[tuple[bytes, str], asyncio.Task[User | None]]] = {}
        self._forgotten = 0

    async def user(self, name: str, password: str, *, ip: str) -> User | None:
        """The user of that name, if the password is right; None if not. A failure from `ip` counts.

        Raises LockedOut instead of returning None, or without a look, when too much failed before.
        """
        digest = self._digest(name, password)
        user, until = self._good.get(digest, (None, 0.0))
        if user is not None and self._clock() < until:
            return user
        key = (digest, ip)
        task = self._under_way.get(key)
        if task is None:
            # One look for all that send the same at the same time: a client with ten connections would else queue
            # behind itself while a stranger's failures slow its name down, and be refused from the fifth on.
            task = self._under_way[key] = asyncio.create_task(self._turn(digest, name, password, ip))
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Something about users changed. What is being looked at just now may have been read before the change."""
        self._forgotten += 1
        self._good.clear()
        self._under_way.clear()

    async def _turn(self, digest: bytes, name: str, password: str, ip: str) -> User | None:
        async with self._slowdown.turn(ip, name):
            before = self._forgotten
            user = await self._look(name, password)
        if user is None:
            self._slowdown.failed(ip, name)
            return None
        self._slowdown.succeeded(ip, name)
        if len(self._good) >= _MOST_REMEMBERED:
            self._good.clear()
        if before == self._forgotten:
            self._good[digest] = (user, self._clock() + _REMEMBERED_SECONDS)
        return user

    def _done(self, key: tuple[bytes, str], task: asyncio.Task[User | None]) -> None:
        """Whoever waited may have left; then nobody asks for the error."""
        if self._under_way.get(key) is task:
            del self._under_way[key]
        if not task.cancelled():
            task.exception()

    async def _look(self, name: str, password: str) -> User | None:
        user = await self._store.users.by_name(name)
        stored = None if user is None else user.password_hash
        async with self._free:
            if user is None or stored is None:
                await asyncio.to_thread(self._passwords.verify_nothing, password)
                return None
            if not await asyncio.to_thread(self._passwords.verify, password, stored) or user.disabled:
                return None
            if self._passwords.needs_rehash(stored):
                new = await asyncio.to_thread(self._passwords.hash, password)
                await self._store.users.rehash(user.id, old=stored, new=new)
        return user

    def _digest(self, name: str, password: str) -> bytes:
        text = f"{len(name)}:{name.lower()}{password}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256)
