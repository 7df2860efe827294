"""Group commit: writers that wait at the same time share one transaction, each behind a savepoint of its own. It does
not know what they write.

A commit costs the same for one writer and for fifty: one fsync, and one way to the database's own thread and back. So
while one group is being written the next one gathers; nobody waits for company.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy.engine import Connection, Engine

MOST_TOGETHER: Final = 64
"""Writers in one transaction. All of them wait for the slowest, and lose it together if the commit fails."""

T = TypeVar("T")


class _LeftError(Exception):
    """Nobody waits for this write any more: it is taken back."""


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """One writer. `outcome` is cancelled when the writer's task is: the thread looks at it, and only the event loop
    changes it."""

    work: Callable[[Connection], Any]
    outcome: asyncio.Future[Any]

    def done(self, connection: Connection) -> Any:
        """Do the work, unless its writer has left; take it back if that one left meanwhile."""
        if self.outcome.cancelled():
            raise _LeftError
        value = self.work(connection)
        if self.outcome.cancelled():
            raise _LeftError
        return value

    def settle(self, outcome: "_Outcome") -> None:
        """Tell the writer, if there still is one."""
        if self.outcome.done():
            return
        if outcome.error is None:
            self.outcome.set_result(outcome.value)
        else:
            self.outcome.set_exception(outcome.error)


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    error: Exception | None = None


class GroupCommit:
    """Writes through `engine`, whose transactions must begin as writers, and only while it holds `alone`."""

    def __init__(self, engine: Engine, alone: asyncio.Lock) -> None:
        self._engine, self._alone = engine, alone
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._waiting: list[_Turn] = []
        self._working: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once it is committed. It runs in the database's thread and touches nothing but its
        connection; what it raises takes back its own statements only.

        Cancelled, it has written all or nothing. Raises what `work` raises, and SQLAlchemy's errors when the
        transaction could not begin or be committed; then nothing was written.
        """
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Turn(work, outcome))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await outcome

    async def close(self) -> None:
        """Write what is waiting, and end the thread."""
        if self._working is not None:
            await asyncio.wait([self._working])
        self._thread.shutdown()

    async def _work(self) -> None:
        group: list[_Turn] = []
        try:
            while self._waiting:
                async with self._alone:
                    group, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                    await self._together(group)
        except asyncio.CancelledError:
            # The event loop is at its end: nobody may wait for a group without its leader.
            for turn in (*group, *self._waiting):
                turn.outcome.cancel()
            raise
        finally:
            self._working = None

    async def _together(self, group: Sequence[_Turn]) -> None:
        loop = asyncio.get_running_loop()
        outcomes = await loop.run_in_executor(self._thread, self._transaction, group)
        for turn, outcome in zip(group, outcomes, strict=True):
            turn.settle(outcome)

    def _transaction(self, group: Sequence[_Turn]) -> list[_Outcome]:
        """In the thread. An error of the transaction itself is everybody's."""
        try:
            with self._engine.begin() as connection:
                if len(group) == 1:
                    return [_Outcome(group[0].done(connection))]
                return [_behind_savepoint(connection, turn) for turn in group]
        except Exception as error:
            return [_Outcome(error=error)] * len(group)


def _behind_savepoint(connection: Connection, turn: _Turn) -> _Outcome:
    """Some faults, a full disk for one, make SQLite give up the whole transaction. Then there is no savepoint to go
    back to, and saying so ends the group: a statement after it would be a transaction of its own."""
    savepoint = connection.begin_nested()
    try:
        value = turn.done(connection)
    except Exception as error:
        savepoint.rollback()
        return _Outcome(error=error)
    savepoint.commit()
    return _Outcome(value)
