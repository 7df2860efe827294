"""What the users keep on the server: lists, deletes, and counts it, with the data directory where it is mounted, and
from what the database knows where it is not.

It does not know who may ask, nor HTTP. The disk is asked from threads of its own, never from the event loop.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, Self, TypeVar

from gateway.comfy import made_files
from gateway.comfy.files import FileRef, FileType, Root, visible_json
from gateway.errors import Disabled, GatewayError, StorageFull, UpstreamFault
from gateway.log import get_logger
from gateway.policy.allowance import Allowance
from gateway.store.data_directory import DataDirectory, KeptFile, newest_first
from gateway.store.database import Store
from gateway.store.disk_use import DiskUse
from gateway.store.upload_room import DaySpace, KeptSpace, UploadRoom, megabytes

THREADS: Final = 4
CLOSE_SECONDS: Final = 10.0

P = ParamSpec("P")
T = TypeVar("T")

_LOG: Final = get_logger(__name__)


class Storage:
    """`directory` is None where ComfyUI's data directory is not mounted; `now` is in seconds since 1970.

    Every method with a user id works on this user's own files only. Raises UpstreamFault when the disk refuses.
    """

    def __init__(self, store: Store, directory: DataDirectory | None, *, now: Callable[[], float] = time.time) -> None:
        self._store, self._directory, self._now = store, directory, now
        self._disk_use: Final = DiskUse(self._measured, clock=time.monotonic)
        self._naming: Final[Counter[int]] = Counter()
        self._threads: Final = ThreadPoolExecutor(THREADS, thread_name_prefix="files")
        self._under_way: Final[set[asyncio.Task[Any]]] = set()

    @property
    def mounted(self) -> bool:
        """Whether the files themselves can be seen and deleted."""
        return self._directory is not None

    async def files(self, user_id: int, *, newest: int) -> list[KeptFile]:
        """The user's files, newest first. Without the directory: what was uploaded, and the outputs of the `newest`
        ended jobs, of which nobody knows the sizes."""
        if self._directory is None:
            return await self._known(user_id, newest)
        found = await self._in_thread(self._directory.files, await self._store.roots.of(user_id))
        return newest_first(found)

    async def files_on_top(self, user_id: int, type_: FileType) -> list[FileRef] | None:
        """The user's files that are in no folder, newest first; None without the directory."""
        if self._directory is None:
            return None
        root = await self._store.roots.of(user_id)
        return [kept.ref for kept in await self._in_thread(self._directory.files_on_top, root, type_)]

    async def delete(
        self, user_id: int, refs: Collection[FileRef], *, unchanged_since: float | None = None
    ) -> set[FileRef]:
        """Delete files of the user by their visible names; those that were there, are gone, and are forgotten.

        It runs to its end even if nobody waits for it any more. Raises Disabled without the directory.
        """
        work = self._delete(self._required(), user_id, refs, unchanged_since)
        return await asyncio.shield(self._begun(work))

    async def _delete(
        self, directory: DataDirectory, user_id: int, refs: Collection[FileRef], unchanged_since: float | None
    ) -> set[FileRef]:
        root = await self._store.roots.of(user_id)
        gone = await self._in_thread(_removed, directory, root, refs, unchanged_since)
        self._disk_use.lessen(user_id)
        # Also those that were not there: a record of what somebody deleted on the disk goes with the next attempt.
        lost = [root.stripped(ref) for ref in (refs if unchanged_since is None else gone)]
        await self._store.files.forget_uploads(user_id, lost)
        return gone

    async def delete_all(self, root: Root) -> int:
        """Delete everything of a user who was removed; how many files. Raises Disabled without the directory."""
        return await self._in_thread(self._required().remove_all, root)

    async def exists(self, root: Root) -> bool:
        """Whether this root has any folder. Raises Disabled without the directory."""
        return await self._in_thread(self._required().exists, root)

    async def kept(self, user_id: int) -> int:
        """The bytes that the user keeps. Raises Disabled without the directory."""
        self._required()
        return await self._disk_use.kept(user_id)

    async def require_room(self, user_id: int, allowance: Allowance) -> None:
        """Returns if the user may make more files. Raises StorageFull."""
        if self._directory is None:
            return
        kept = await self._disk_use.kept(user_id)
        if kept >= allowance.kept:
            raise StorageFull(
                f"Your storage is full: you keep {megabytes(kept)} of files and may keep {megabytes(allowance.kept)}.",
                details="Delete files that you do not need any more, or ask an administrator for more room.",
                extra_info={"limit": allowance.kept, "current": kept},
            )

    def upload(
        self,
        user_id: int,
        allowance: Allowance,
        *,
        exists: Callable[[FileRef], Awaitable[bool]],
        token_id: str | None = None,
    ) -> UploadRoom:
        """The room of an upload that begins, with this token; whoever asked for it ends it. `exists` asks ComfyUI for a
        file of the user's by its visible name."""
        space: KeptSpace | DaySpace
        if self._directory is None:
            days = self._store.upload_days
            space = DaySpace(days, user_id, allowance.per_day, now=self._now, soon=self._soon)
        else:
            space = KeptSpace(self._disk_use, user_id, allowance.kept)
        return UploadRoom(
            space,
            self._store.files,
            user_id,
            allowance=allowance,
            token_id=token_id,
            naming=self._naming,
            exists=exists,
            soon=self._soon,
        )

    def job_wrote(self, user_id: int) -> None:
        """A job of this user ended."""
        self._disk_use.grow(user_id)

    async def close(self) -> None:
        """Finish what was begun in the background; what a thread is at is not waited for."""
        # What settles an upload may leave something to give back.
        while self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def _known(self, user_id: int, newest: int) -> list[KeptFile]:
        root = await self._store.roots.of(user_id)
        found = {kept.ref: kept for kept in await self._store.files.kept_uploads(user_id)}
        for job in await self._store.ledger.history(user_id, limit=newest):
            ended = None if job.ended_at is None else job.ended_at / 1000
            made = made_files.listed(visible_json(dict(job.outputs), root))
            found.update({ref: KeptFile(ref, None, ended) for ref in made if ref.type == "output"})
        return newest_first(found.values())

    async def _measured(self, user_id: int) -> int:
        return await self._in_thread(self._required().size, await self._store.roots.of(user_id))

    def _required(self) -> DataDirectory:
        if self._directory is None:
            raise Disabled(
                "Files cannot be deleted here, because the gateway cannot reach ComfyUI's data directory.",
                details="An administrator mounts it where the gateway runs, and sets comfyui_files to it.",
                sent=False,
            )
        return self._directory

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, lambda: work(*args, **more))
        except OSError as error:
            raise UpstreamFault(
                "ComfyUI's data directory cannot be worked on.",
                details="Tell an administrator; the log says why.",
                sent=False,
                reason=f"{error.strerror}: {error.filename}",
            ) from error

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        self._begun(_logged(work))

    def _begun(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task


def _removed(
    directory: DataDirectory, root: Root, refs: Collection[FileRef], unchanged_since: float | None
) -> set[FileRef]:
    return {ref for ref in refs if directory.remove(root, ref, unchanged_since=unchanged_since)}


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except GatewayError as fault:
        _LOG.warning("upload_not_settled", reason=fault.reason or fault.message)
