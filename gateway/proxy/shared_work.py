"""Work that many may want at once and that is done once: whoever comes while it is under way waits for the same.

It does not know what the work is, and keeps no results.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SharedWork(Generic[Key, Result]):
    """At most one piece of work for each key at a time."""

    def __init__(self) -> None:
        self._under_way: dict[Key, asyncio.Task[Result]] = {}

    async def do(self, key: Key, work: Callable[[], Awaitable[Result]]) -> Result:
        """The result of `work`, or of the work for this key that is under way. Raises what it raises.

        A caller that is cancelled ends nothing but its own waiting; when all are, the work still comes to its end.
        """
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(_done(work))
            task.add_done_callback(lambda ended: self._over(key, ended))
        return await asyncio.shield(task)

    def _over(self, key: Key, task: asyncio.Task[Result]) -> None:
        if self._under_way.get(key) is task:
            del self._under_way[key]
        if not task.cancelled():
            task.exception()  # taken note of, also when nobody waits any more


async def _done(work: Callable[[], Awaitable[Result]]) -> Result:
    return await work()
