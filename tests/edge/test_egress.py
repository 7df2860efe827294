"""Bytes of files on their way out: counted for whoever asked, written in batches."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.edge.egress import Egress
from gateway.errors import StoreUnavailable
from gateway.identity.principal import Principal
from gateway.store.books import Sent


def principal(user_id: int, token: str | None = None) -> Principal:
    return Principal(user_id, "ann", "member", frozenset(), "token" if token else "password", token, None)


class Book:
    """Where it is written; out of order while `broken`, and slow while it is not `open`."""

    def __init__(self) -> None:
        self.batches: list[list[Sent]] = []
        self.broken = False
        self.asked, self.open = asyncio.Event(), asyncio.Event()
        self.open.set()

    async def write(self, batch: Sequence[Sent]) -> None:
        self.asked.set()
        await self.open.wait()
        if self.broken:
            raise StoreUnavailable("not now", sent=False)
        self.batches.append(sorted(batch, key=lambda sent: (sent.user_id, sent.token_id, sent.day)))


async def test_one_row_for_all_that_one_token_got_on_a_day() -> None:
    """Counts of one user, token and day are written as one sum, and once."""
    book, day = Book(), [20_000]
    egress = Egress(book.write, clock=lambda: day[0] * 86400.0)
    for size in (5, 7, 0):
        egress.count(principal(1, "aaaaaaaa"), size)
    egress.count(principal(1), 1)
    day[0] += 1
    egress.count(principal(1), 2)
    egress.count(principal(2), 0)
    await egress.flush()
    await egress.flush()
    assert book.batches == [[Sent(1, "", 20_000, 1), Sent(1, "", 20_001, 2), Sent(1, "aaaaaaaa", 20_000, 12)]]


async def test_what_cannot_be_written_now_is_written_later() -> None:
    """A database that does not answer loses no byte."""
    book = Book()
    egress = Egress(book.write, clock=lambda: 0.0)
    egress.count(principal(1), 3)
    book.broken = True
    await egress.flush()
    egress.count(principal(1), 4)
    book.broken = False
    await egress.flush()
    assert book.batches == [[Sent(1, "", 0, 7)]]


async def test_a_stop_in_the_middle_of_writing_loses_nothing_and_counts_nothing_twice() -> None:
    """Whoever writes is cancelled at the stop; what was begun comes to its end before the last of it is written."""
    book = Book()
    egress = Egress(book.write, clock=lambda: 0.0)
    egress.count(principal(1), 3)
    book.open.clear()
    writing = asyncio.create_task(egress.flush())
    await book.asked.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    egress.count(principal(1), 4)
    asyncio.get_running_loop().call_later(0.01, book.open.set)
    await egress.flush()
    assert book.batches == [[Sent(1, "", 0, 3)], [Sent(1, "", 0, 4)]]
