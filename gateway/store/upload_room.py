"""The room that one upload takes: bytes and a name, taken before they come and given back when nothing came of it.

It does not know a form, nor where the file goes. What is refused is refused before ComfyUI has the whole form, so
nothing is stored.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, Protocol

from gateway.comfy.files import FileRef
from gateway.errors import StorageFull
from gateway.policy.allowance import Allowance
from gateway.store.disk_use import DiskUse
from gateway.store.files import Files
from gateway.store.upload_days import UploadDays

DAY_SECONDS: Final = 24 * 3600
SETTLE_SECONDS: Final = 1.0
_ADVICE: Final = "Delete files that you do not need any more, or ask an administrator for more room."

Soon = Callable[[Coroutine[Any, Any, None]], None]


class Space(Protocol):
    """Where an upload's bytes are counted."""

    async def claim(self, size: int, *, ahead: int = 0) -> None:
        """Have room for so many bytes in all, and for some `ahead` if there is so much and it saves asking again.
        Raises StorageFull, with what was claimed before still claimed."""

    def land(self, size: int) -> None:
        """The file is there, and is this large."""

    def end(self) -> None:
        """Give back what did not land."""


class KeptSpace:
    """Room among the files that the user keeps. What an upload replaces is not counted off: that is known too late."""

    def __init__(self, disk_use: DiskUse, user_id: int, limit: int) -> None:
        self._disk_use, self._user_id, self._limit = disk_use, user_id, limit
        self._claimed = 0

    async def claim(self, size: int, *, ahead: int = 0) -> None:
        """See `Space`. To ask costs nothing here, so nothing is taken ahead."""
        if size <= self._claimed:
            return
        kept = await self._disk_use.kept(self._user_id)
        if not self._disk_use.take(self._user_id, size - self._claimed, limit=self._limit):
            raise StorageFull(
                f"This file does not fit: you keep {megabytes(kept)} of files and may keep {megabytes(self._limit)}.",
                details=_ADVICE,
                extra_info={"limit": self._limit, "current": kept},
            )
        self._claimed = size

    def land(self, size: int) -> None:
        """See `Space`. ComfyUI may have written something else: a mask is a copy, and equal pictures are kept once."""
        self.end()
        self._disk_use.land(self._user_id, size)
        self._disk_use.grow(self._user_id)

    def end(self) -> None:
        """See `Space`."""
        self._disk_use.give_back(self._user_id, self._claimed)
        self._claimed = 0


class DaySpace:
    """Room in what the user may upload today. `soon` runs what must not wait for a client that left."""

    def __init__(self, days: UploadDays, user_id: int, limit: int, *, now: Callable[[], float], soon: Soon) -> None:
        self._days, self._user_id, self._limit, self._now, self._soon = days, user_id, limit, now, soon
        self._day = int(now() // DAY_SECONDS)
        self._claimed = self._landed = 0

    async def claim(self, size: int, *, ahead: int = 0) -> None:
        """See `Space`. Each time is a write to the database."""
        if size <= self._claimed:
            return
        for wanted in dict.fromkeys((size + ahead, size)):
            growth = wanted - self._claimed
            if await self._days.take(self._user_id, self._day, growth, limit=self._limit):
                self._claimed = wanted
                return
        raise await self._refusal()

    def land(self, size: int) -> None:
        """See `Space`."""
        self._landed = size

    def end(self) -> None:
        """See `Space`."""
        surplus, self._claimed = self._claimed - self._landed, self._landed
        if surplus > 0:
            self._soon(self._days.give_back(self._user_id, self._day, surplus))

    async def _refusal(self) -> StorageFull:
        used = await self._days.used(self._user_id, self._day) - self._claimed
        resets_at = (self._day + 1) * DAY_SECONDS
        return StorageFull(
            f"This file is more than you may upload today: {megabytes(used)} of {megabytes(self._limit)} are used.",
            details="Upload it tomorrow (UTC), or ask an administrator for more.",
            extra_info={"limit": self._limit, "current": used, "resets_at": resets_at},
            headers={"Retry-After": str(max(1, ceil(resets_at - self._now())))},
        )


class UploadRoom:
    """One upload of one user. `naming` counts the uploads of each user that have a name and no record yet; `exists`
    asks ComfyUI for a file by its visible name; `soon` runs what must not wait for a client that left."""

    def __init__(
        self,
        space: Space,
        files: Files,
        user_id: int,
        *,
        allowance: Allowance,
        token_id: str | None,
        naming: Counter[int],
        exists: Callable[[FileRef], Awaitable[bool]],
        soon: Soon,
    ) -> None:
        self._space, self._files, self._user_id, self._most = space, files, user_id, allowance.uploads
        self._by, self._naming, self._exists, self._soon = token_id or "", naming, exists, soon
        self._is_named = False
        self._sent: _Sent | None = None
        self.claim = space.claim

    async def name(self, ref: FileRef, size: int, *, now: int) -> None:
        """Have room for a file of this visible name, which may be there already; from here on ComfyUI may get all of
        it. `now` is in milliseconds. Raises StorageFull."""
        others = self._naming[self._user_id]
        self._naming[self._user_id] += 1
        self._is_named = True
        count = await self._files.upload_count(self._user_id, besides=ref)
        if count + others >= self._most:
            raise StorageFull(
                f"You have uploaded {count} files, and may have {self._most}.",
                details=_ADVICE,
                extra_info={"limit": self._most, "current": count},
            )
        self._sent = _Sent(ref, size, now)

    async def land(self, ref: FileRef, size: int, *, now: int) -> None:
        """ComfyUI says that the file is there, under this name; it may say so before it had the whole form."""
        await self._files.note_upload(self._user_id, ref, size=size, now=now, by=self._by)
        self._space.land(size)
        self._sent = None

    def refuse(self) -> None:
        """ComfyUI says that it did not take the file."""
        self._sent = None

    def end(self) -> None:
        """The upload is over, however it ended. What ComfyUI may have got counts, or whoever leaves before the answer
        would keep files for nothing."""
        if self._sent is None:
            self._close()
            return
        sent, self._sent = self._sent, None
        self._soon(self._settle(sent))

    async def _settle(self, sent: "_Sent") -> None:
        """Nobody heard the answer: ComfyUI is asked whether it has the file, after time to write it. Until then the
        room stays taken, so that no measurement comes too early."""
        try:
            await asyncio.sleep(SETTLE_SECONDS)
            if await self._exists(sent.ref):
                await self._files.note_upload(self._user_id, sent.ref, size=sent.size, now=sent.now, by=self._by)
        finally:
            self._space.land(sent.size)
            self._close()

    def _close(self) -> None:
        self._space.end()
        if self._is_named:
            self._naming[self._user_id] -= 1
            self._is_named = False


@dataclass(frozen=True, slots=True)
class _Sent:
    """A file that ComfyUI may have. `now` is in milliseconds."""

    ref: FileRef
    size: int
    now: int


def megabytes(size: int) -> str:
    """For people: as many as the settings say, of 1024 * 1024 bytes."""
    return f"{size / (1024 * 1024):,.1f} MB"
