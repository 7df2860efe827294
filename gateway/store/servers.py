"""The ComfyUI servers we spoke to, and under which client id. It does not know whether they are up."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import insert, select

from gateway.store.tables import servers
from gateway.store.transactions import Transactions


class Servers:
    """The client ids. Kept, because a running job's events go to the id under which it was submitted, also after our
    restart.
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
