"""The ComfyUI servers we spoke to: under which client id, and whether their old inputs are shared. It does not know
whether they are up.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import insert, select, update

from gateway.store.tables import servers
from gateway.store.transactions import Transactions


class Servers:
    """The client ids are kept, because a running job's events go to the id under which it was submitted, also after
    our restart. What was decided of a server's inputs is kept, because it cannot be found out later.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions: Final = transactions

    async def client_id(self, url: str, mint: Callable[[], str]) -> str:
        """Our client id at that server; `mint` is called when we meet it for the first time."""
        async with self._transactions.write() as connection:
            known = await connection.scalar(select(servers.c.client_id).where(servers.c.url == url))
            if known is not None:
                return str(known)
            client_id = mint()
            await connection.execute(insert(servers).values(url=url, client_id=client_id))
            return client_id

    async def known(self, url: str) -> str | None:
        """Our client id at that server, if we ever met it."""
        async with self._transactions.read() as connection:
            return await connection.scalar(select(servers.c.client_id).where(servers.c.url == url))

    async def shares_inputs(self, url: str) -> bool | None:
        """Whether everybody may read what lies at the top of the server's input folder; None while that is undecided,
        and for a server that we have not met."""
        async with self._transactions.read() as connection:
            return await connection.scalar(select(servers.c.share_inputs).where(servers.c.url == url))

    async def decide_inputs(self, url: str, *, shared: bool) -> bool:
        """Decide it, once: what was decided before stays. What holds now; False for a server that we have not met."""
        undecided = (servers.c.url == url) & servers.c.share_inputs.is_(None)
        async with self._transactions.write() as connection:
            await connection.execute(update(servers).where(undecided).values(share_inputs=shared))
            decided = await connection.scalar(select(servers.c.share_inputs).where(servers.c.url == url))
        return bool(decided)
