"""What goes by itself: users' files that are older than their role keeps them, and the files of removed users.

It does not know roles beyond the number of days of each, nor who deletes files by hand.

A file that an unfinished job of its owner names stays, whatever its age. Names are looked for in all texts of the
workflow, so that no table of node classes is needed to find them.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.log import get_logger
from gateway.store.data_directory import KeptFile
from gateway.store.database import Store
from gateway.store.storage import Storage
from gateway.store.users import User

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
MOST_IN_A_ROUND: Final = 10_000
BATCH: Final = 100
REMEMBERED_DAYS: Final = 7
"""How long a removed user's job may go on writing."""

_LOG: Final = get_logger(__name__)


class Retention:
    """`days_of` gives the days that a user's files are kept, None for ever; `now` is in seconds since 1970."""

    def __init__(
        self, store: Store, storage: Storage, *, days_of: Callable[[User], int | None], now: Callable[[], float]
    ) -> None:
        self._store, self._storage, self._days_of, self._now = store, storage, days_of, now

    async def run(self) -> None:
        """A round now and every hour, until cancelled; nothing at all where the data directory is not mounted."""
        while self._storage.mounted:
            await self.round()
            await asyncio.sleep(HOUR)

    async def round(self) -> None:
        """Delete what is to go, at most 10,000 old files; the rest is for the next round. What fails is logged."""
        try:
            await self._removed_users()
            users = [(user.id, days) for user in await self._store.users.all() if (days := self._days_of(user))]
        except GatewayError as fault:
            _LOG.warning("old_files_kept", reason=fault.reason or fault.message)
            return
        left = MOST_IN_A_ROUND
        for user_id, days in users:
            try:
                left -= await self._old_files(user_id, days, most=left)
            except GatewayError as fault:
                _LOG.warning("old_files_kept", user_id=user_id, reason=fault.reason or fault.message)

    async def _removed_users(self) -> None:
        """Again and again for a week, because a job of theirs may have been running."""
        for removed in await self._store.removed_users.all():
            if await self._storage.exists(removed.root):
                count = await self._storage.delete_all(removed.root)
                _LOG.info("removed_users_files_deleted", files=count)
            elif self._now() - removed.removed_at > REMEMBERED_DAYS * DAY:
                await self._store.removed_users.forget(removed.root)

    async def _old_files(self, user_id: int, days: int, *, most: int) -> int:
        limit = self._now() - days * DAY
        files = await self._storage.files(user_id, newest=0)
        old = [kept for kept in files if kept.changed is not None and kept.changed < limit]
        # The oldest go first, so that a round that is cut short leaves no file behind newer ones.
        old = sorted(old, key=lambda kept: kept.changed or 0.0)[:most]
        count = 0
        for start in range(0, len(old), BATCH):
            count += await self._delete(user_id, old[start : start + BATCH], limit)
        if count:
            _LOG.info("old_files_deleted", user_id=user_id, files=count, days=days)
        return count

    async def _delete(self, user_id: int, files: Sequence[KeptFile], limit: float) -> int:
        """The jobs are read anew for each batch: one may have come in meanwhile."""
        jobs = await self._store.ledger.unfinished(user_id)
        named = "\n".join(text for job in jobs for text in _texts(job.prompt))
        refs = [kept.ref for kept in files if kept.ref.filename not in named]
        return len(await self._storage.delete(user_id, refs, unchanged_since=limit)) if refs else 0


def _texts(value: Any) -> Iterator[str]:
    """Every text in a workflow."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += item
