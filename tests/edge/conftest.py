"""A store with people in it, and a clock that the test sets."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.config import Settings
from gateway.edge.authentication import Authenticator
from gateway.edge.issuing import Issuer
from gateway.edge.slowdown import Pace, Slowdown
from gateway.identity import tokens
from gateway.identity.jwt import Key, Keys
from gateway.identity.passwords import Passwords
from gateway.store import Store, TokenRow, User

EPOCH = 1_800_000_000.0


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = EPOCH

    def __call__(self) -> float:
        return self.now


class Random:
    """Bytes that nobody could predict who does not know how many were asked for before."""

    def __init__(self) -> None:
        self._asked = 0

    def __call__(self, size: int) -> bytes:
        self._asked += 1
        return hashlib.shake_256(b"%d" % self._asked).digest(size)


@dataclass(slots=True)
class Town:
    """Everything that authentication needs; `naps` are the seconds that the slow-down made somebody wait."""

    store: Store
    settings: Settings
    clock: Clock
    random: Random
    keys: Keys
    passwords: Passwords
    slowdown: Slowdown
    authenticator: Authenticator
    issuer: Issuer
    naps: list[float] = field(default_factory=list)

    async def user(self, name: str, *, role: str = "member", password: str | None = None) -> User:
        stored = None if password is None else self.passwords.hash(password)
        return await self.store.users.add(name, role=role, now=self.clock(), random=self.random, password_hash=stored)

    async def token(
        self, user: User, *, scopes: frozenset[str] | None = None, expires_at: float | None = None
    ) -> tuple[str, str]:
        """A new token of the user: its id and its text."""
        minted = tokens.mint(self.random)
        row = TokenRow(minted.id, user.id, "test", minted.digest, scopes, self.clock(), expires_at)
        await self.store.tokens.add(row)
        return minted.id, minted.secret_text


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    settings = Settings(data_dir=tmp_path)
    clock, random, naps = Clock(), Random(), list[float]()

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    keys = Keys([Key("k1", b"\x01\x02\x03\x04" * 8)])
    passwords = Passwords(memory_kib=64, passes=1)
    slowdown = Slowdown(pace=Pace(), sleep=nap)
    async with await Store.open(f"sqlite:///{tmp_path}/gateway.db") as store:
        authenticator = Authenticator(
            store, keys, settings, clock, passwords=passwords, slowdown=slowdown, random=random
        )
        issuer = Issuer(store, keys=keys, settings=settings, clock=clock, random=random)
        yield Town(store, settings, clock, random, keys, passwords, slowdown, authenticator, issuer, naps)
        await authenticator.close()
