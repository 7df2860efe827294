"""The whole room, put together: one place that makes its parts, starts them, and stops them in the right order.

It decides nothing itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from gateway.errors import StoreUnavailable, UserGone
from gateway.jobs.cancel import Canceller
from gateway.jobs.catalogue import Catalogue
from gateway.jobs.departures import Departures
from gateway.jobs.desk import Desk, Link, cancelled
from gateway.jobs.dispatch import Dispatcher
from gateway.jobs.files import JobFiles, Owner
from gateway.jobs.follow import Follower, Rules
from gateway.jobs.hub import Hub
from gateway.jobs.live import Board
from gateway.jobs.outlook import Outlook
from gateway.jobs.overtime import Overtime
from gateway.jobs.recover import Recovery
from gateway.jobs.settle import Settler
from gateway.jobs.submission import Submitter
from gateway.jobs.views import Views
from gateway.log import get_logger
from gateway.policy.terms import Terms
from gateway.store.changes import Changes
from gateway.store.files import Files
from gateway.store.ledger import Ledger
from gateway.store.users import Users
from gateway.upstream.server import Server

HOUR = 3600.0
DAY_MS = 24 * 3600 * 1000

log = get_logger(__name__)


class Works:
    """What the rooms above use: `submitter`, `canceller`, `views`, `outlook`, `hub`, `connected`,
    `follower.server_flags`, and of `desk` the board and the clock."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        files: Files,
        users: Users,
        changes: Changes,
        server: Server,
        client_id: str,
        rules: Rules,
        owner_of: Callable[[int], Awaitable[Owner]],
        shared: Callable[[], frozenset[str]],
        ask_shared: Callable[[], Awaitable[None]],
        history_days: int,
        now: Callable[[], float],
        wrote: Callable[[int], None] = lambda user_id: None,
    ) -> None:
        board = Board()
        self.hub = Hub(board.count)
        catalogue = Catalogue(server)
        self.desk = Desk(
            ledger=ledger,
            board=board,
            hub=self.hub,
            server=server,
            link=Link(client_id),
            files=JobFiles(
                files,
                catalogue,
                server=server.url,
                owner_of=owner_of,
                shared=shared,
                ask_shared=ask_shared,
                wrote=wrote,
            ),
            terms_of=partial(_terms_of, owner_of),
            now=now,
        )
        self._files = files
        self._history_days = history_days
        self._settler = Settler(self.desk)
        self.canceller = Canceller(self.desk, self._settler)
        self._recovery = Recovery(self.desk, self._settler, self.canceller, catalogue)
        self.submitter = Submitter(self.desk, catalogue, self.canceller)
        self.follower = Follower(self.desk, self._settler, rules=rules, on_up=self._recovery.arrived)
        self._overtime = Overtime(self.desk, self._settler)
        self._dispatcher = Dispatcher(self.desk, self._settler, self.canceller)
        self._departures = Departures(self.desk, self.canceller, users=users, changes=changes)
        self.views = Views(self.desk)
        self.outlook = Outlook(self.desk)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load the ledger and begin to work; ComfyUI may be down."""
        await self._recovery.load()
        self._tasks = [
            asyncio.create_task(self._dispatcher.run()),
            asyncio.create_task(self.follower.run()),
            asyncio.create_task(self._recovery.watch(self.follower)),
            asyncio.create_task(self._departures.run()),
            asyncio.create_task(self._overtime.run()),
            asyncio.create_task(self._forget()),
        ]

    async def stop(self) -> None:
        """Finish what is half done, and let the rest be: the next start reconciles it."""
        dispatching, *others = self._tasks
        await cancelled(*others)
        self.desk.link.up.clear()
        await asyncio.gather(self.submitter.drain(), self._dispatcher.drain(), self._settler.drain())
        await cancelled(dispatching)

    @property
    def connected(self) -> bool:
        """Whether the server can take jobs."""
        return self.desk.link.up.is_set()

    async def _forget(self) -> None:
        while True:
            try:
                await self.desk.ledger.forget_before(self.desk.milliseconds() - self._history_days * DAY_MS)
                await self._files.sweep()
            except StoreUnavailable as fault:
                log.warning("old_jobs_kept", reason=fault.reason)
            await asyncio.sleep(HOUR)


async def _terms_of(owner_of: Callable[[int], Awaitable[Owner]], user_id: int) -> Terms:
    """Whoever was removed a moment ago must not keep the others waiting; the jobs leave the board at once."""
    try:
        return (await owner_of(user_id)).terms
    except UserGone:
        return Terms()
